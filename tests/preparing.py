"""Preparation of datasets in tests."""

from pathlib import Path

import pytest

from tfds_builders import preparation
from tfds_builders.options import DataOptions


def prepare(options: DataOptions) -> Path:
    """Returns the folder of a prepared dataset, without showing progress."""
    return preparation.prepare(options, progress=False)


def refusal(options: DataOptions) -> str:
    """Returns the error of a dataset that must be refused, checked to be one line."""
    with pytest.raises(ValueError) as caught:
        prepare(options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
