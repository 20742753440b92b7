import importlib
import json
import os
import sys
import threading
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax import catalog
from ecc_jax.data import slices
from ecc_jax.volumes import Orientation
from tests.preparing import prepare
from tfds_builders import preparation, slice_builder
from tfds_builders.options import DataOptions, default_root, module_of, resolve
from tfds_builders.prepared_index import is_complete

SPLITS = slice_builder.SPLITS
VOLUMES = 6


class Tiny(slice_builder.SliceBuilder, skip_registration=True):
    """Six volumes of two patients' halves each: slice i of volume v is filled with 10 v + i HU."""

    name = "ct_phantom_2d"
    USED_OPTIONS = ("kind",)
    facts = {"state": 1}
    reads = 0

    @classmethod
    def source_facts(cls, options):
        return cls.facts

    def survey(self):
        areas = [{0: 4, 2: 9, 3: 9}, {1: 1}] * (VOLUMES // 2)
        return [
            slice_builder.VolumeEntry(f"v{v}", f"p{v}", areas[v], (-150.0, 250.0))
            for v in reversed(range(VOLUMES))
        ]

    def read(self, entry):
        type(self).reads += 1
        values = 10 * int(entry.volume[1:]) + np.arange(4)
        image = np.full((4, 16, 12), -2000.0) + 0
        image[:, 2:] = values[:, None, None]
        mask = np.zeros((4, 16, 12), bool)
        for index, area in entry.slice_areas.items():
            mask[index, 5, :area] = True
        return slice_builder.SliceVolume(image, mask, (3.0, 0.8, 0.7))


@pytest.fixture
def tiny(monkeypatch):
    """Puts `Tiny` where preparation looks for the phantom's builder."""
    module = types.SimpleNamespace(Builder=Tiny)
    monkeypatch.setitem(sys.modules, module_of("ct_phantom_2d"), module)
    monkeypatch.setattr(Tiny, "facts", {"state": 1})
    monkeypatch.setattr(Tiny, "reads", 0)
    return Tiny


@pytest.fixture
def options(tmp_path):
    return DataOptions("ct_phantom_2d", root=str(tmp_path), size=16)


def read_index(directory):
    return json.loads((directory / catalog.INDEX_FILE).read_text())


def test_records_and_index(tiny, options):
    directory = prepare(options)
    index = read_index(directory)
    builder = tfds.builder_from_directory(directory)
    seen = []
    for split in SPLITS:
        source = builder.as_data_source(split)
        table = index["splits"][split]
        assert len(source) == len(table["patient"]) == index["counts"][split]["slices"] > 0
        for i in range(len(source)):
            row = source[i]
            volume, number = row["volume"].decode(), int(row["slice_index"])
            assert table["volume"][i] == volume and table["slice_index"][i] == number
            assert table["patient"][i] == row["patient"].decode() == "p" + volume[1:]
            assert table["lesion_area"][i] == row["lesion_area"] == row["mask"].sum() > 0
            assert row["image"].dtype == np.int16 and row["image"].shape == (16, 16)
            assert row["mask"].dtype == np.uint8 and row["mask"].max() == 1
            assert (row["image"][2:, 2:14] == 10 * int(volume[1:]) + number).all()
            assert (row["image"][:, :2] == -150).all()  # air of the padding, clipped
            np.testing.assert_array_equal(row["window_hu"], np.float32([-150, 250]))
            np.testing.assert_array_equal(row["spacing_mm"], np.float32([3.0, 0.8, 0.7]))
            fit = slices.stored_fit(row)
            assert fit == slices.Fit((16, 12), ((0, 0), (2, 2)), 16)  # upright as it is
            back = slices.unfit_mask(row["mask"], fit)
            assert back.shape == (16, 12) and back.sum() == row["lesion_area"]
            seen.append((volume, number))
    assert len(seen) == len(set(seen)) == 12
    assert index["window_hu"] == [-150.0, 250.0]
    assert index["options"]["size"] == 16 and index["name"] == "ct_phantom_2d"


def test_patients_stay_together(tiny, options):
    tables = read_index(prepare(options))["splits"]
    patients = [set(tables[split]["patient"]) for split in SPLITS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == VOLUMES


def test_split_weighs_patients_by_slices_over_all_volumes():
    sizes = [1, 1, 1, 1, 20, 1, 1, 1]
    entries = [
        slice_builder.VolumeEntry(f"p{p}v{v}", f"p{p}", dict.fromkeys(range(n), 1), (0.0, 1.0))
        for p, n in enumerate(sizes)
        for v in range(2)
    ]
    jobs = slice_builder.plan(entries, DataOptions("ct_phantom_2d"))
    names = [f"p{p}" for p in range(len(sizes))]
    expected = slices.patient_split(names, [2 * n for n in sizes], 0)
    assert expected != slices.patient_split(names, [1] * len(sizes), 0)
    for split in SPLITS:
        assert sorted({entry.patient for entry, _ in jobs[split]}) == expected[split]
        assert all(indices == list(entry.slice_areas) for entry, indices in jobs[split])


def test_hu_are_rounded_to_the_nearest(options):
    image = np.full((1, 16, 16), -20.6)
    volume = slice_builder.SliceVolume(image, np.ones((1, 16, 16), bool), (1.0, 1.0, 1.0))
    entry = slice_builder.VolumeEntry("v", "p", {0: 256}, (-150.0, 250.0))
    record = slice_builder.make_record(volume, entry, 0, options, air=-1000.0)
    np.testing.assert_array_equal(record["image"], np.full((16, 16), -21, np.int16))


def test_raw_keeps_all_hu_and_windowed_is_its_clip(tiny, options):
    def images(variant):
        builder = tfds.builder_from_directory(prepare(options._replace(variant=variant)))
        return [row["image"] for row in builder.as_data_source("train")]

    raw, windowed = images("raw"), images("windowed")
    assert min(image.min() for image in raw) == -2000
    for a, b in zip(raw, windowed, strict=True):
        np.testing.assert_array_equal(np.clip(a, -150, 250), b)


def test_small_is_the_largest_slice_of_each_volume_in_the_same_split(tiny, options):
    full = read_index(prepare(options))["splits"]
    small = read_index(prepare(options._replace(subset="small")))["splits"]
    for split in SPLITS:
        assert set(small[split]["patient"]) == set(full[split]["patient"])
        chosen = dict(zip(small[split]["volume"], small[split]["slice_index"]))
        assert len(chosen) == len(small[split]["volume"])
        for volume, index in chosen.items():
            assert index == (1 if int(volume[1:]) % 2 else 2)  # of 2 and 3 alike, the first


def test_thesis_split_is_by_slice(tiny, options):
    tables = read_index(prepare(options._replace(split_rule="thesis")))["splits"]
    assert [len(tables[split]["patient"]) for split in SPLITS] == list(slices.thesis_split(12))


def test_second_call_reads_nothing(tiny, options):
    directory = prepare(options)
    reads = tiny.reads
    assert reads > 0
    assert prepare(options) == directory
    assert tiny.reads == reads


@pytest.mark.parametrize(
    "change",
    [
        {"size": 32},
        {"variant": "raw"},
        {"subset": "small"},
        {"window_hu": (-100.0, 200.0)},
        {"split_seed": 1},
        {"split_rule": "thesis"},
        {"kind": "lung"},
    ],
)
def test_every_option_that_matters_has_its_own_directory(options, change):
    names = {
        preparation.config_name(Tiny, options, {}),
        preparation.config_name(Tiny, options._replace(**change), {}),
        preparation.config_name(Tiny, options, {"edited": True}),
    }
    assert len(names) == 3
    assert preparation.config_name(Tiny, options._replace(patient_regex="x"), {}) in names


def test_directory_of_an_older_layout_is_not_reused(tiny, options):
    directory = prepare(options)
    older = directory.rename(directory.with_name("1.0.0"))
    reads = tiny.reads
    with pytest.warns(UserWarning, match="1.0.0 was prepared by version 1.0.0; version 2.2.0"):
        assert prepare(options) == directory != older
    assert tiny.reads > reads and older.exists()


def test_record_of_turned_slices(options):
    image = np.arange(16.0 * 12).reshape(1, 16, 12)
    volume = slice_builder.SliceVolume(
        image, image > 100, (3.0, 0.8, 0.7), Orientation(True, False, True)
    )
    entry = slice_builder.VolumeEntry("v", "p", {0: 91}, (-150.0, 250.0))
    record = slice_builder.make_record(volume, entry, 0, options, air=-1000.0)
    np.testing.assert_array_equal(record["image"][2:14], image[0].T[:, ::-1])
    np.testing.assert_array_equal(record["spacing_mm"], np.float32([3.0, 0.7, 0.8]))
    np.testing.assert_array_equal(record["fit_original_shape"], (12, 16))
    np.testing.assert_array_equal(record["fit_orientation"], (1, 0, 1))
    fit = slices.stored_fit(record)
    assert fit.orientation == Orientation(True, False, True)
    np.testing.assert_array_equal(slices.unfit_mask(record["mask"], fit), volume.mask[0])


def test_changed_source_is_prepared_again(tiny, options, monkeypatch):
    first = prepare(options)
    monkeypatch.setattr(Tiny, "facts", {"state": 2})
    assert prepare(options) != first


def test_interrupted_build_leaves_nothing_behind(tiny, options, monkeypatch, tmp_path):
    calls = []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return make_record(*args, **kwargs)

    make_record = slice_builder.make_record
    with monkeypatch.context() as patch:
        patch.setattr(slice_builder, "make_record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(options)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []
    assert is_complete(prepare(options))


def test_leftover_of_a_killed_build_is_removed(tiny, options, tmp_path):
    directory = prepare(options)
    leftover = tmp_path / options.name / f".{directory.parent.name}.incomplete-x"
    (leftover / "deep").mkdir(parents=True)
    (directory / catalog.INDEX_FILE).unlink()
    prepare(options)
    assert not leftover.exists()


@pytest.mark.parametrize("damage", ["no index", "half index", "no record", "short record"])
def test_damaged_directory_is_built_again(tiny, options, damage):
    directory = prepare(options)
    before = read_index(directory)
    record = next(directory.glob("*train*"))
    index = directory / catalog.INDEX_FILE
    if damage == "no index":
        index.unlink()
    elif damage == "half index":
        index.write_text(index.read_text()[:100])
    elif damage == "no record":
        record.unlink()
    else:
        os.truncate(record, 10)
    assert not is_complete(directory)
    assert prepare(options) == directory
    assert read_index(directory) == before


def test_two_at_once_build_once(tiny, options, monkeypatch):
    builds, results = [], []
    build = preparation._build

    def counted(*args, **kwargs):
        builds.append(1)
        build(*args, **kwargs)

    monkeypatch.setattr(preparation, "_build", counted)
    threads = [threading.Thread(target=lambda: results.append(prepare(options))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1 and len(set(results)) == 1 and len(results) == 2
    assert is_complete(results[0])


def test_full_disk_is_refused_before_writing(tiny, options, monkeypatch, tmp_path):
    usage = types.SimpleNamespace(free=5000)
    monkeypatch.setattr(slice_builder.shutil, "disk_usage", lambda root: usage)
    with pytest.raises(ValueError, match=r"12 slices of 16 x 16 .* GB are free; free space"):
        prepare(options)
    assert tiny.reads == 0


def test_root_that_is_a_file(tiny, options, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to .*data.root"):
        prepare(options._replace(root=str(tmp_path / "file")))


def test_tfds_alone_can_build(tiny, options, tmp_path):
    config = slice_builder.SliceConfig(name="direct", options=options, progress=False)
    builder = Tiny(data_dir=tmp_path / "direct", config=config)
    builder.download_and_prepare(file_format="array_record")
    counts = {split: builder.info.splits[split].num_examples for split in SPLITS}
    assert counts == {
        split: len(table["patient"])
        for split, table in read_index(prepare(options))["splits"].items()
    }


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert default_root() == tmp_path
    assert resolve(DataOptions("ct_phantom_2d")).root == str(tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_root() == tmp_path / "home" / "tensorflow_datasets"


def test_resolve_fills_in_the_catalog():
    options = resolve(DataOptions("ct_folder_2d", slice_axis=-1, window_hu=()))
    assert options.slice_axis is None and options.window_hu is None
    assert options.lesion_labels == catalog.DATASETS["ct_folder_2d"].lesion_labels
    options = resolve(DataOptions("ct_folder_2d", lesion_labels=(3, 2, 3)))
    assert options.lesion_labels == (2, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "ct_foldr"}, "data.name must be one of ct_phantom_2d, .*got 'ct_foldr'"),
        ({"variant": "clipped"}, r"data.variant must be one of \('windowed', 'raw'\)"),
        ({"subset": "tiny"}, r"data.subset must be one of \('full', 'small'\)"),
        ({"split_rule": "slice"}, "data.split_rule must be one of"),
        ({"slice_axis": 3}, "data.slice_axis must be one of"),
        ({"size": 0}, r"data.size must be in 16..4096 pixels; got 0"),
        ({"window_hu": (250.0, -150.0)}, "data.window_hu must be two HU, low < high"),
        ({"window_hu": (1.0, 2.0, 3.0)}, "data.window_hu must be two HU"),
        ({"window_hu": (float("nan"), 3.0)}, "data.window_hu must be two HU"),
        ({"window_hu": (-1e6, 3.0)}, "int16 range"),
        ({"patient_regex": "("}, "data.patient_regex is not a regular expression"),
    ],
)
def test_invalid_options(change, says):
    with pytest.raises(ValueError, match=says):
        resolve(DataOptions("ct_folder_2d")._replace(**change))


@pytest.mark.parametrize("name", catalog.DATASETS)
def test_every_dataset_of_the_catalog_has_a_builder(name):
    assert issubclass(importlib.import_module(module_of(name)).Builder, slice_builder.RecordBuilder)
