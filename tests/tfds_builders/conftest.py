"""Fixtures of the lidc_2d tests; modules of other datasets have `options` of their own."""

import shutil

import pytest

from tests.raw_layouts import lidc_archive
from tfds_builders.options import DataOptions


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return lidc_archive.write(tmp_path_factory.mktemp("archive") / "LIDC-IDRI")


@pytest.fixture
def archive(written, tmp_path):
    return shutil.copytree(written, tmp_path / "LIDC-IDRI")


@pytest.fixture
def options(tmp_path, archive):
    return DataOptions("lidc_2d", root=str(tmp_path / "root"), path=str(archive), size=60)
