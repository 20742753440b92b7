"""What is odd about volumes is counted, told once for each kind, and kept in the index."""

import collections
import pickle
import re
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.catalog import SPLITS
from ecc_jax.volumes import FileRemark
from tests.folders import save, scan, write_scans
from tests.nifti_sets import SETS, SIDE
from tfds_builders import preparation, prepared_index, record_checks, remarks, slice_builder
from tfds_builders.options import DataOptions

NOT_HU = "values are not Hounsfield units"
LEVELS, SATURATED = record_checks.FEW_LEVELS, record_checks.SATURATED
SHARED = record_checks.SHARED


@pytest.fixture
def folder(tmp_path):
    return write_scans(tmp_path / "ct", count=6)


@pytest.fixture
def options(tmp_path, folder):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), path=str(folder), size=32)


def prepare(options):
    """Returns the directory and the remarks that were said, those of other packages left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        directory = preparation.prepare(options, progress=False)
    return directory, [str(item.message) for item in caught if item.category is UserWarning]


def shift(folder, numbers):
    """Stores HU + 1024 in some images."""
    for number in numbers:
        save(folder / "images" / f"case{number}.nii.gz", scan(number)[0] + np.int16(1024))


def test_nothing_odd_nothing_said(folder, options):
    directory, said = prepare(options)
    assert said == [] and preparation.read_index(directory)["remarks"] == {}
    assert "remarks" not in prepared_index.summary(preparation.read_index(directory))


@pytest.mark.parametrize(
    ("count", "jobs"), [(1, 1), (3, 1), (6, 1), pytest.param(4, 2, marks=pytest.mark.slow)]
)
def test_volumes_are_counted_and_the_first_named(folder, options, count, jobs):
    shift(folder, range(count))
    directory, said = prepare(options._replace(jobs=jobs))
    index = preparation.read_index(directory)
    names = [f"case{number}" for number in range(count)]
    assert sorted(index["remarks"][NOT_HU]) == names
    (line,) = [text for text in said if NOT_HU in text]
    rest = f" and {count - 3} more" if count > 3 else ""
    start = f"ct_folder_2d: {NOT_HU} in {count} of 6 volumes: {', '.join(names[:3])}{rest}; "
    assert line == start + index["remarks"][NOT_HU]["case0"] and "\n" not in line
    assert f"  {NOT_HU}: {count} (case0" in prepared_index.summary(index)


def test_remarks_survive_an_interruption(folder, options, monkeypatch):
    shift(folder, [1, 4])
    with monkeypatch.context() as patch:
        patch.setattr(slice_builder.SliceBuilder, "_generate_examples", None)
        with pytest.raises(TypeError):
            prepare(options)
    with monkeypatch.context() as patch:  # what was read must do
        patch.setattr("tfds_builders.nifti_volumes.make_records", None)
        directory, said = prepare(options)
    assert list(preparation.read_index(directory)["remarks"][NOT_HU]) == ["case1", "case4"]
    assert any("in 2 of 6 volumes: case1, case4; " in line for line in said)


def test_remarks_on_labels_and_on_images_are_told_alike(folder, options):
    for number in (2, 3):
        save(folder / "labels" / f"case{number}.nii.gz", scan(number)[1], None)
    said = prepare(options)[1]
    assert any("orientation missing in 2 of 6 volumes: case2, case3; " in line for line in said)


def test_a_joint_dataset_keeps_the_remarks_of_its_sources(tmp_path):
    for name in ("kits_2d", "md_panc_2d"):
        written = SETS[name][0](tmp_path / "raw" / name)
        for volume in sorted(written)[:2]:
            raw = written[volume]
            save(raw.image_path, raw.image + np.int16(1024), _affine(raw.image_path))
    options = DataOptions(
        "combined_2d",
        root=str(tmp_path / "root"),
        path=str(tmp_path / "raw"),
        size=SIDE,
        sources=("kits_2d", "md_panc_2d"),
    )
    told = preparation.read_index(prepare(options)[0])["remarks"][NOT_HU]
    assert {"kits_2d/case_00000", "md_panc_2d/pancreas_001"} <= set(told)


def _affine(path):
    return nibabel.load(path).affine


def test_other_warnings_pass_through():
    with pytest.warns(RuntimeWarning, match="odd"), remarks.collected() as found:
        warnings.warn("odd", RuntimeWarning, stacklevel=1)
        warnings.warn(FileRemark(Path("a.nii"), "kind", "what"), stacklevel=1)
    assert found == [remarks.Remark("kind", "a.nii: what")]
    assert pickle.loads(pickle.dumps(found)) == found


KINDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), max_size=12)


@given(KINDS)
def test_every_kind_has_one_line_with_its_count(given_remarks):
    table: remarks.Remarks = {}
    for number, (kind, volume) in enumerate(given_remarks):
        remarks.add(table, volume, [remarks.Remark(kind, f"text {number}")])
    volumes = collections.defaultdict(set)
    for kind, volume in given_remarks:
        volumes[kind].add(volume)
    lines = list(remarks.lines(table, "set", total=6))
    assert len(lines) == len(volumes)
    for kind, names in volumes.items():
        (line,) = [line for line in lines if line.startswith(f"set: {kind} in ")]
        assert line.startswith(f"set: {kind} in {len(names)} of 6 volumes: {min(names)}")
        first = given_remarks.index((kind, min(names)))
        assert line.endswith(f"; text {first}")


WINDOWS = {
    "far too high": ((1500.0, 2500.0), {LEVELS, SATURATED}),
    "far too low": ((-3000.0, -2000.0), {LEVELS, SATURATED}),
    "a few units": ((38.0, 43.0), {LEVELS, SATURATED}),
    "a narrow one": ((36.0, 44.0), {SATURATED}),
    "one that fits": ((-150.0, 250.0), set()),
    "all of it": ((-1024.0, 3071.0), set()),
}


@pytest.mark.parametrize("variant", ["windowed", "raw"])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_that_leave_nothing_are_told(folder, options, window, variant):
    ends, kinds = WINDOWS[window]
    chosen = options._replace(window_hu=ends, variant=variant, size=40)  # padded and resized
    directory, said = prepare(chosen)
    told = preparation.read_index(directory)["remarks"]
    assert set(told) == kinds
    for kind in kinds:
        assert len(told[kind]) == 6
        assert any(f"{kind} in 6 of 6 volumes" in line and "slice 1: " in line for line in said)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_values_scaled_to_one_leave_few_levels(folder, options, scale):
    for number in (0, 5):
        image = (scan(number)[0] + 1000) / np.float32(1500) * scale
        save(folder / "images" / f"case{number}.nii.gz", image.astype(np.float32))
    told = preparation.read_index(prepare(options)[0])["remarks"]
    assert sorted(told[LEVELS]) == ["case0", "case5"]


def test_only_lesion_slices_count(folder, options):
    image, labels = scan(0)
    image[:, :, 5] = 3000  # no lesion there
    save(folder / "images" / "case0.nii.gz", image)
    assert not preparation.read_index(prepare(options)[0])["remarks"].keys() & {LEVELS, SATURATED}
    labels[3, 3, 5] = 1
    save(folder / "labels" / "case0.nii.gz", labels)
    told = preparation.read_index(prepare(options)[0])["remarks"]
    assert list(told[SATURATED]) == list(told[LEVELS]) == ["case0"]
    assert told[SATURATED]["case0"].startswith("slice 5: 100% of the pixels lie outside")


def test_padding_is_no_part_of_the_slice(tmp_path):
    """A narrow slice becomes a square with 80 % air, which its window cannot help."""
    for seed in range(3):
        for part, array in zip(("images", "labels"), scan(seed), strict=True):
            save(tmp_path / "ct" / part / f"c{seed}.nii", array[8:20])
    options = DataOptions(
        "ct_folder_2d", root=str(tmp_path / "root"), path=str(tmp_path / "ct"), size=64
    )
    narrow = options._replace(window_hu=(-10.0, 90.0))  # within it, half of the tissue
    assert preparation.read_index(prepare(narrow)[0])["remarks"] == {}


@given(
    share=st.floats(0, 1),
    levels=st.integers(1, 20),
    low=st.integers(-1000, 1000),
    side=st.integers(16, 300),
)
def test_levels_and_share_are_those_of_a_count(share, levels, low, side):
    rng = np.random.default_rng(0)
    image = low + 1 + rng.integers(0, levels, (side, side))
    image[rng.uniform(size=image.shape) < share] = low - 5
    record = {
        "image": image.astype(np.int16),
        "window_hu": np.float32([low, low + 100]),
        "fit_original_shape": np.int32([side, side]),
        "fit_padding": np.zeros((2, 2), np.int32),
        "slice_index": 3,
    }
    kinds = {remark.kind for remark in record_checks.window_remarks(record)}
    outside = (image < low).mean()
    if abs(outside - 0.9) > 0.02:
        assert (SATURATED in kinds) == (outside > 0.9)
    kept = len(np.unique(image[::2, ::2].clip(low)))
    if side <= 256:
        assert (LEVELS in kinds) == (len(np.unique(image.clip(low))) < 8)
    elif kept >= 8:
        assert LEVELS not in kinds


def test_the_phantom_gives_no_remark(tmp_path):
    options = DataOptions("ct_phantom_2d", root=str(tmp_path), size=64, num_patients=4)
    assert preparation.read_index(prepare(options)[0])["remarks"] == {}


def duplicate(folder, change):
    """Stores the scan of case0 as case6, changed."""
    image, labels = scan(0)
    image, labels = change(image), change(labels)
    save(folder / "images" / "case6.nii.gz", image)
    save(folder / "labels" / "case6.nii.gz", labels)


COPIES = {
    "as it is": lambda array: array,
    "as float": lambda array: array.astype(np.float32),
    "mirrored": lambda array: array[::-1].copy(),
    "fewer slices": lambda array: array[:, :, 1:].copy(),
    "one slice among others": lambda array: np.concatenate(
        [array[:, :, 2:3], np.roll(array, 3, 0)], axis=2
    ),
}


@pytest.mark.parametrize("copy", COPIES)
def test_the_same_scan_under_two_names_is_told(folder, options, copy):
    duplicate(folder, COPIES[copy])
    directory, said = prepare(options)
    told = preparation.read_index(directory)["remarks"][SHARED]
    assert list(told) == ["case0", "case6"]
    assert "case6 of another patient" in told["case0"]
    (line,) = [line for line in said if SHARED in line]
    assert re.search(r"in 2 of 7 volumes: case0, case6; .*data.patient_regex", line)


def test_a_patient_may_share_with_himself(folder, options):
    duplicate(folder, COPIES["as it is"])
    for part in ("images", "labels"):
        for old, new in (("case0", "p0_a"), ("case6", "p0_b")):
            (folder / part / f"{old}.nii.gz").rename(folder / part / f"{new}.nii.gz")
    grouped = options._replace(patient_regex=r"^(p0|case\d)")
    assert preparation.read_index(prepare(grouped)[0])["remarks"] == {}


def test_scans_that_differ_are_not_told(folder, options):
    duplicate(folder, lambda array: np.where(array > 1, array + 1, array).astype(array.dtype))
    assert preparation.read_index(prepare(options)[0])["remarks"] == {}


def test_sources_of_a_joint_dataset_may_share_a_scan(tmp_path):
    kits = SETS["kits_2d"][0](tmp_path / "raw" / "kits_2d")
    panc = SETS["md_panc_2d"][0](tmp_path / "raw" / "md_panc_2d")
    for one, other in zip(sorted(kits), sorted(panc), strict=True):
        turned = np.moveaxis(kits[one].image, 0, 2)
        for path, array in ((panc[other].image_path, turned), (panc[other].label_path, None)):
            array = np.moveaxis(kits[one].labels, 0, 2) % 3 if array is None else array
            save(path, array, _affine(path))
    options = DataOptions(
        "combined_2d",
        root=str(tmp_path / "root"),
        path=str(tmp_path / "raw"),
        size=SIDE,
        sources=("kits_2d", "md_panc_2d"),
    )
    directory, _ = prepare(options)
    told = preparation.read_index(directory)["remarks"][SHARED]
    builder = tfds.builder_from_directory(directory)
    rows = [row for split in SPLITS for row in builder.as_data_source(split)]
    owners = collections.defaultdict(set)
    for row in rows:
        for key in ("volume_id", "slice_id"):
            owners[row[key]].add(row["volume"].decode())
    assert set(told) == set().union(*(names for names in owners.values() if len(names) > 1))
