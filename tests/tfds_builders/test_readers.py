"""readers/ of a folder: what several people drew, beside images/ and labels/."""

import shutil

import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.catalog import SPLITS
from tests.folders import AFFINE, save, scan, write_scans
from tests.preparing import prepare, refusal
from tfds_builders.options import DataOptions
from tfds_builders.prepared_index import read_index


def drawn(seed):
    """Three readers: the label, the label moved, and one who drew in a single slice."""
    labels = scan(seed)[1]
    bits = labels | np.roll(labels, seed, axis=0) << 1
    bits[20:24, 5:9, 2] |= 1 << 4
    return bits


@pytest.fixture
def folder(tmp_path):
    folder = write_scans(tmp_path / "ct")
    for seed in range(4):
        save(folder / "readers" / f"case{seed}.nii.gz", drawn(seed))
    return folder


@pytest.fixture
def options(tmp_path, folder):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), path=str(folder), size=32)


def rows_of(options):
    builder = tfds.builder_from_directory(prepare(options))
    return [row for split in SPLITS for row in builder.as_data_source(split)]


def test_every_reader_lies_in_the_record_as_the_mask_does(options):
    rows = rows_of(options)
    assert len(rows) == 12
    for row in rows:
        seed, index = int(row["volume"][-1:]), int(row["slice_index"])
        np.testing.assert_array_equal(row["reader_masks"], drawn(seed)[:, :, index].T)
        np.testing.assert_array_equal(row["reader_masks"] & 1, row["mask"])
        # The third drew in one slice of the three, and could have drawn in the others.
        assert row["num_readers"] == 3 and row["reader_masks"].dtype == np.uint8


def test_readers_are_fitted_to_another_size_each_by_itself(options):
    for row in rows_of(options._replace(size=16)):
        bits = drawn(int(row["volume"][-1:]))[:, :, int(row["slice_index"])]
        for reader in range(8):
            own = row["reader_masks"] >> reader & 1
            assert own.any() == (bits >> reader & 1).any()
        np.testing.assert_array_equal(row["reader_masks"] & 1, row["mask"])


def test_a_set_without_readers_is_what_it_was(folder, options):
    with_readers = prepare(options)
    shutil.move(folder / "readers", folder.parent / "away")
    without = prepare(options)
    assert without != with_readers
    assert not {"reader_masks", "num_readers"} & rows_of(options)[0].keys()
    (folder / "readers").mkdir()
    assert prepare(options) == without
    (folder / "readers").rmdir()
    shutil.move(folder.parent / "away", folder / "readers")
    assert prepare(options) == with_readers


def test_other_readers_are_prepared_anew(folder, options):
    first = prepare(options)
    save(folder / "readers" / "case2.nii.gz", drawn(2) * 0)
    second = prepare(options)
    assert second != first
    assert {int(row["num_readers"]) for row in rows_of(options)} == {0, 3}


def test_names_follow_the_labels(folder, options):
    for part in ("images", "readers"):
        (folder / part / "case1.nii.gz").rename(folder / part / "case1_0000.nii.gz")
    assert {row["volume"] for row in rows_of(options)} == {b"case%d" % i for i in range(4)}
    shutil.copy(folder / "readers" / "case1_0000.nii.gz", folder / "readers" / "case1.nii.gz")
    assert "'case1' has two files of readers, case1.nii.gz and case1_0000" in refusal(options)


def test_readers_without_volume_are_refused(folder, options):
    (folder / "readers" / "case3.nii.gz").rename(folder / "readers" / "case33.nii.gz")
    message = refusal(options)
    assert "1 files of readers without a volume: case33.nii.gz (nearest in labels: case3" in message


def test_volumes_without_readers_have_none_and_are_told_of(folder, options):
    (folder / "readers" / "case3.nii.gz").unlink()
    for row in rows_of(options):
        has_readers = row["volume"] != b"case3"
        assert row["num_readers"] == 3 * has_readers and row["reader_masks"].any() == has_readers
    assert set(read_index(prepare(options))["remarks"]["no readers"]) == {"case3"}


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (drawn(0)[:-1], AFFINE, "case0.nii.gz: label shape (31, 32, 6) differs"),
        (drawn(0), AFFINE + np.diag([0, 0, 1.0, 0]), "case0.nii.gz: its affine places corners"),
        (-drawn(0).astype(np.int16), AFFINE, "expected values 0..255, bit k set where reader k"),
        (drawn(0).astype(np.int16) * 256, AFFINE, "got 0..4096; write the sum of 2 ** k"),
        (drawn(0).astype(np.float32) / 2, AFFINE, "labels must be whole numbers"),
    ],
)
def test_what_no_readers_can_be_is_refused(folder, options, array, affine, message):
    save(folder / "readers" / "case0.nii.gz", array, affine)
    assert message in refusal(options)


def test_readers_on_mirrored_axes_are_turned_and_told_of(folder, options):
    expected = {
        (row["volume"], row["slice_index"]): row["reader_masks"] for row in rows_of(options)
    }
    image = nibabel.load(folder / "readers" / "case1.nii.gz")
    nibabel.save(nibabel.as_closest_canonical(image), folder / "readers" / "case1.nii.gz")
    for row in rows_of(options):
        key = row["volume"], row["slice_index"]
        np.testing.assert_array_equal(row["reader_masks"], expected[key])
    told = read_index(prepare(options))["remarks"]
    assert any("case1" in volumes and "turned" in kind for kind, volumes in told.items())


def test_foreign_files_among_the_readers_are_named(folder, options):
    (folder / "readers" / "case5.nrrd").write_bytes(b"NRRD")
    with pytest.warns(UserWarning, match=r"ignored: readers/case5.nrrd \(no NIfTI file\)"):
        prepare(options)
