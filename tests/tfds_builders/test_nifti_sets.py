"""kits_2d, lits_2d and md_panc_2d from raw files to batches, against a count voxel by voxel."""

import importlib
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.catalog import SPLITS
from ecc_jax.data import pipeline, slices
from tests.nifti_sets import ONE_VOXEL, SETS, SIDE, WITHOUT_LESION, brute_force
from tests.preparing import prepare
from tfds_builders import preparation, prepared_index
from tfds_builders.options import CONFIGS, DataOptions, module_of


class Source:
    """A raw folder, what was written there, and options that point to it."""

    def __init__(self, name, folder, root):
        write, self.axis, self.window = SETS[name]
        self.volumes = write(folder)
        self.lesions = brute_force(self.volumes, self.axis)
        self.options = DataOptions(name, root=str(root), path=str(folder), size=SIDE)


@pytest.fixture(scope="module", params=sorted(SETS))
def source(request, tmp_path_factory):
    return Source(
        request.param, tmp_path_factory.mktemp(request.param), tmp_path_factory.mktemp("root")
    )


@pytest.fixture
def fresh(request, tmp_path):
    """A raw folder that a test may damage."""
    name = getattr(request, "param", "kits_2d")
    return Source(name, tmp_path / "raw", tmp_path / "root")


def rows_of(directory):
    builder = tfds.builder_from_directory(directory)
    rows = [(split, row) for split in SPLITS for row in builder.as_data_source(split)]
    return {(row["volume"].decode(), int(row["slice_index"])): (split, row) for split, row in rows}


def test_every_lesion_slice_is_there_once(source):
    rows = rows_of(prepare(source.options))
    assert set(rows) == set(source.lesions)
    for key, (_, row) in rows.items():
        mask = slices.unfit_mask(row["mask"], slices.stored_fit(row))
        np.testing.assert_array_equal(mask, source.lesions[key])
        factor = SIDE // max(mask.shape)
        assert row["lesion_area"] == source.lesions[key].sum() * factor**2
        np.testing.assert_array_equal(row["window_hu"], source.window)


def test_images_are_the_clipped_hu_of_their_slices(source):
    checked = 0
    for (name, index), (_, row) in rows_of(prepare(source.options)).items():
        fit = slices.stored_fit(row)
        hu = source.volumes[name].image.take(index, axis=source.axis)
        if max(hu.shape) != SIDE:
            continue
        (top, _), (left, _) = fit.padding
        height, width = fit.original_shape
        part = row["image"][top : top + height, left : left + width]
        back = slices.turn_back(part, fit.orientation)
        np.testing.assert_array_equal(back, np.clip(hu, *source.window))
        assert (row["image"][:, :left] == source.window[0]).all()  # padded with air
        checked += 1
    assert checked >= 5


def test_slices_stand_upright(source):
    """Of equal signs, rows run posterior and columns left only if both array axes are reversed."""
    for (name, _), (_, row) in rows_of(prepare(source.options)).items():
        reversed_axes = int(name[-1]) // 2 % 2 == 0
        if name.startswith("pancreas"):
            reversed_axes = (int(name[-1]) - 1) // 2 % 2 == 0
        transpose = source.axis == 2  # columns before rows in the file
        expected = (transpose, reversed_axes, reversed_axes)
        np.testing.assert_array_equal(row["fit_orientation"], expected)


def test_provenance_leads_back_to_the_file(source):
    for (name, _), (_, row) in rows_of(prepare(source.options)).items():
        path = source.volumes[name].image_path
        assert path.is_relative_to(source.options.path)
        assert str(path).endswith(row["source"].decode())
        assert row["patient"].decode() == name


def test_spacing_belongs_to_the_upright_slice(source):
    seen = {
        tuple(row["spacing_mm"].round(3).tolist())
        for _, row in rows_of(prepare(source.options)).values()
    }
    expected = {(3.0, 0.8, 0.8), (1.0, 0.7, 0.7), (5.0, 0.9, 0.6), (0.5, 0.7, 0.7)}
    assert {tuple(np.float32(values).round(3).tolist()) for values in expected} == seen


def test_one_voxel_is_kept_and_a_volume_without_lesion_named(source):
    index = preparation.read_index(prepare(source.options))
    names = sorted(source.volumes)
    assert index["without_lesion"] == [names[WITHOUT_LESION]] and index["skipped"] == {}
    assert sum(name == names[ONE_VOXEL] for name, _ in source.lesions) == 1
    text = prepared_index.summary(index)
    assert "1 volumes hold no lesion" in text and "thesis" in text
    total = next(line for line in text.splitlines() if line.startswith("total"))
    assert [int(word) for word in total.split()[1:4]] == [len(source.lesions), 6, 6]


def test_patients_are_never_in_two_splits(source):
    rows = rows_of(prepare(source.options))
    splits = {name: {s for (n, _), (s, _) in rows.items() if n == name} for name, _ in rows}
    assert all(len(of_patient) == 1 for of_patient in splits.values())


@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_configs(source, config):
    rows = rows_of(prepare(source.options._replace(**CONFIGS[config])))
    full = source.lesions
    if config.startswith("small"):
        best = {}
        for name, index in sorted(full):
            if name not in best or full[name, index].sum() > full[name, best[name]].sum():
                best[name] = index
        assert set(rows) == set(best.items())
    else:
        assert set(rows) == set(full)
    if config.endswith("thesis"):
        counts = [sum(split == s for s, _ in rows.values()) for split in SPLITS]
        assert counts == list(slices.thesis_split(len(rows)))
    images = [row["image"] for _, row in rows.values()]
    lowest, highest = min(map(np.min, images)), max(map(np.max, images))
    if config == "raw":
        assert lowest < source.window[0] and highest > source.window[1]
    else:
        assert (lowest, highest) == source.window


@pytest.mark.parametrize("name", sorted({*SETS, "combined_2d"}))
def test_named_configs(name, tmp_path):
    builder_class = importlib.import_module(module_of(name)).Builder
    assert [config.name for config in builder_class.BUILDER_CONFIGS] == list(CONFIGS)
    builder = builder_class(data_dir=tmp_path, config="small_thesis")
    assert builder.options.subset == "small" and builder.options.split_rule == "thesis"
    with pytest.raises(ValueError, match="data.path is empty; get|lacks 4 of 4 sources"):
        builder.download_and_prepare(file_format="array_record")


def test_batches(source):
    directory = prepare(source.options)
    everything = pipeline.open_split(directory, "all")
    batches = list(pipeline.eval_batches(everything, np.arange(len(everything)), batch_size=4))
    area = sum(int(batch.target[batch.valid].sum()) for batch in batches)
    assert area == sum(row["lesion_area"] for row in everything.index)
    train = pipeline.open_split(directory, "train")
    batch = next(pipeline.train_batches(train, np.arange(len(train)), batch_size=2, seed=0))
    assert batch.image_hu.shape == (2, SIDE, SIDE) and batch.target.any(axis=(1, 2)).all()


def test_prepared_data_outlive_the_raw_files(fresh):
    directory = prepare(fresh.options)
    shutil.rmtree(fresh.options.path)
    assert prepare(fresh.options._replace(path="")) == directory
    assert prepare(fresh.options) == directory
    with pytest.raises(ValueError, match="other is not a folder; get KiTS23"):
        prepare(fresh.options._replace(path=fresh.options.path + "other"))
    with pytest.raises(ValueError, match="kits_2d is not prepared under .*; get KiTS23: clone"):
        prepare(fresh.options._replace(path="", size=32))


def test_two_states_of_the_raw_files_are_not_mixed_up(fresh):
    prepare(fresh.options)
    shutil.rmtree(fresh.volumes["case_00000"].image_path.parent)
    prepare(fresh.options)
    with pytest.raises(ValueError, match="prepared 2 times with these options.*data.path=DIR"):
        prepare(fresh.options._replace(path=""))


def test_processes_change_nothing(fresh, tmp_path):
    first = prepare(fresh.options)
    second = prepare(fresh.options._replace(root=str(tmp_path / "other"), jobs=2))
    files = preparation.read_index(first)["files"]
    assert any("array_record" in name for name in files)
    for name in files:
        if "array_record" in name:
            assert (first / name).read_bytes() == (second / name).read_bytes()


def test_nothing_but_the_dataset_is_left(fresh, tmp_path):
    prepare(fresh.options)
    left = [path.name for path in (tmp_path / "root" / "kits_2d").iterdir() if path.is_dir()]
    assert len(left) == 1 and not left[0].startswith(".")
    assert json.loads(json.dumps(preparation.read_index(prepare(fresh.options))))
