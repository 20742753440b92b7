"""The synthetic dataset: records are the phantom's slices, splits are by patient."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.phantom import volumes as phantom
from tfds_builders import preparation
from tfds_builders.ct_phantom_2d import ct_phantom_2d_dataset_builder as phantom_builder
from tfds_builders.options import DataOptions, resolve

OPTIONS = DataOptions("ct_phantom_2d", size=32, num_patients=5, variant="raw")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return preparation.prepare(OPTIONS._replace(root=str(root)), progress=False)


def read(directory):
    builder = tfds.builder_from_directory(directory)
    return [
        row for split in ("train", "validation", "test") for row in builder.as_data_source(split)
    ]


def test_records_are_the_lesion_slices_of_the_patients(prepared):
    rows = {(r["patient"].decode(), int(r["slice_index"])): r for r in read(prepared)}
    expected = 0
    for patient in range(5):
        volume = phantom.generate_volume(phantom_builder.PATIENT_SEED, patient, size=32)
        for index in np.flatnonzero(volume.mask.any(axis=(1, 2))):
            row = rows[f"phantom_{patient:05d}", int(index)]
            np.testing.assert_array_equal(row["image"], volume.image_hu[index])
            np.testing.assert_array_equal(row["mask"], volume.mask[index])
            np.testing.assert_allclose(row["window_hu"], volume.window_hu)
            np.testing.assert_allclose(row["spacing_mm"], volume.spacing_mm, rtol=1e-6)
            expected += 1
    assert len(rows) == expected


def test_patients_stay_in_one_split(prepared):
    splits = json.loads((prepared / "index.json").read_text())["splits"]
    patients = [set(table["patient"]) for table in splits.values()]
    assert all(patients)
    assert sum(map(len, patients)) == len(set().union(*patients)) == 5


def test_regenerated_volumes_equal_cached_ones(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(phantom_builder, "CACHE_BYTES", 0)
    again = preparation.prepare(OPTIONS._replace(root=str(tmp_path)), progress=False)
    for a, b in zip(read(prepared), read(again), strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        assert a["slice_index"] == b["slice_index"] and a["patient"] == b["patient"]


def test_kind_number_and_generation_change_the_directory(monkeypatch):
    def name(**changes):
        options = resolve(OPTIONS._replace(**changes))
        facts = phantom_builder.Builder.source_facts(options)
        return preparation.config_name(phantom_builder.Builder, options, facts)

    names = {name(), name(kind="liver"), name(num_patients=6), name(size=40)}
    monkeypatch.setattr(phantom, "GENERATION", -1)
    assert len(names | {name()}) == 5


def test_named_configs_are_the_kinds_at_512():
    configs = phantom_builder.Builder.builder_configs
    assert set(configs) == set(phantom.KINDS)
    for kind, config in configs.items():
        assert (config.options.kind, config.options.size) == (kind, 512)
        assert config.options.num_patients == 120


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "brain"}, "data.phantom_kind must be one of lung"),
        ({"num_patients": 2}, "at least 3"),
    ],
)
def test_refuses_bad_options(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        preparation.prepare(OPTIONS._replace(root=str(tmp_path), **changes), progress=False)


def test_patients_keep_their_identity_in_another_size_and_kind(prepared, tmp_path):
    changed = OPTIONS._replace(root=str(tmp_path), size=40, kind="all", num_patients=6)
    other = preparation.prepare(changed, progress=False)
    tables = []
    for directory, kind in ((prepared, "mixed"), (other, "all")):
        rows = read(directory)
        names = {row["patient"].decode(): row["volume_id"].decode() for row in rows}
        organs = {
            name: phantom.generate_volume(0, int(name[-5:]), kind=kind, size=32, num_slices=4).kind
            for name in names
        }
        tables.append((names, organs, {row["slice_id"] for row in rows}))
    (one, organs, slices), (two, others, drawn_anew) = tables
    same = {name for name in one if organs[name] == others[name]}
    assert 0 < len(same) < len(one)
    assert all((one[name] == two[name]) == (name in same) for name in one)
    assert len(set(two.values())) == 6 and not slices & drawn_anew


def test_data_of_the_version_before_are_prepared_anew_and_it_is_said(tmp_path):
    options = OPTIONS._replace(root=str(tmp_path), num_patients=3)
    directory = preparation.prepare(options, progress=False)
    older = directory.rename(directory.with_name("2.2.0"))
    with pytest.warns(UserWarning, match="2.2.0; version 2.3.0 prepares .* has one identity"):
        assert preparation.prepare(options, progress=False) == directory != older
