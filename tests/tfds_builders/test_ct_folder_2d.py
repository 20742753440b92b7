import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.data import slices
from ecc_jax.volumes import slice_axis
from tests.preparing import prepare
from tfds_builders.options import DataOptions
from tfds_builders.prepared_index import is_complete

SPLITS = ("train", "validation", "test")
AFFINE = np.diag([0.7, 0.8, 3.0, 1.0])


def volume(seed, shape=(20, 14, 5), lesion=((4, 9), (3, 8), (1, 4))):
    """Returns noise in HU and a box of label 1."""
    hu = np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(*ends) for ends in lesion)] = 1
    return hu, labels


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def add(folder, name, seed=0, suffix=".nii.gz", affine=AFFINE, **kwargs):
    hu, labels = volume(seed, **kwargs)
    save(folder / "images" / (name + suffix), hu, affine)
    save(folder / "labels" / (name + suffix), labels, affine)
    return hu, labels


@pytest.fixture
def folder(tmp_path):
    """Four volumes of four patients."""
    folder = tmp_path / "ct"
    for seed in range(4):
        add(folder, f"case{seed}", seed)
    return folder


@pytest.fixture
def options(tmp_path, folder):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), path=str(folder), size=20)


def records(options):
    builder = tfds.builder_from_directory(prepare(options))
    rows = [row for split in SPLITS for row in builder.as_data_source(split)]
    return {(row["volume"].decode(), int(row["slice_index"])): row for row in rows}


def error(options):
    with pytest.raises(ValueError) as caught:
        prepare(options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def replace_label(folder, name, labels):
    save(folder / "labels" / f"{name}.nii.gz", labels)


def test_records_hold_the_files_slices_upright(folder, options):
    rows = records(options)
    assert sorted(rows) == [(f"case{v}", i) for v in range(4) for i in (1, 2, 3)]
    for (name, index), row in rows.items():
        hu, labels = volume(int(name[-1]))
        upright = hu[::-1, ::-1, index].T  # anterior and right first
        padded = np.pad(upright, ((3, 3), (0, 0)), constant_values=hu.min())
        np.testing.assert_array_equal(row["image"], np.clip(padded, -150, 250))
        mask = slices.unfit_mask(row["mask"], slices.stored_fit(row))
        np.testing.assert_array_equal(mask, labels[:, :, index] == 1)
        np.testing.assert_allclose(row["spacing_mm"], (3.0, 0.8, 0.7), rtol=1e-6)
        np.testing.assert_array_equal(row["window_hu"], (-150, 250))
        assert row["patient"].decode() == name and row["lesion_area"] == 25


def test_one_voxel_lesion_survives_shrinking(folder, options):
    hu, labels = volume(9, (61, 57, 3), lesion=((40, 41), (13, 14), (1, 2)))
    save(folder / "images" / "dot.nii", hu)
    save(folder / "labels" / "dot.nii", labels)
    row = records(options._replace(size=16))["dot", 1]
    assert row["lesion_area"] == row["mask"].sum() == 1
    back = slices.unfit_mask(row["mask"], slices.stored_fit(row))
    assert back[40, 13] and back.sum() <= 16


@pytest.mark.parametrize(
    ("spacing", "chosen", "axis"),
    [
        ((0.7, 0.8, 3.0), None, 2),
        ((3.0, 0.8, 0.7), None, 0),
        ((0.7, 3.0, 0.7), None, 1),
        ((1.0, 1.0, 1.0), None, 2),
        ((0.7, 0.7, 0.5), None, 2),  # two axes alike: not unique
        ((0.7, 0.8, 3.0), 1, 1),
        ((np.nan, np.nan, np.nan), None, 2),  # unknown
        ((3.0, np.nan, 0.7), None, 2),
        ((np.nan, np.nan, np.nan), 0, 0),
    ],
)
def test_slice_axis(spacing, chosen, axis):
    assert slice_axis(spacing, chosen) == axis


def test_chosen_axis_is_cut(folder, options):
    rows = records(options._replace(slice_axis=0))
    assert sorted(index for name, index in rows if name == "case0") == [4, 5, 6, 7, 8]
    np.testing.assert_allclose(rows["case0", 4]["spacing_mm"], (0.7, 3.0, 0.8), rtol=1e-6)


def test_axis_of_largest_spacing_is_cut(tmp_path, options):
    other = tmp_path / "first"
    for seed in range(3):
        hu, labels = volume(seed)
        affine = np.diag([3.0, 0.8, 0.7, 1.0])
        save(other / "images" / f"c{seed}.nii", hu.transpose(2, 1, 0), affine)
        save(other / "labels" / f"c{seed}.nii", labels.transpose(2, 1, 0), affine)
    rows = records(options._replace(path=str(other)))
    hu, labels = volume(0)
    row = rows["c0", 2]
    mask = slices.unfit_mask(row["mask"], slices.stored_fit(row))
    np.testing.assert_array_equal(mask, labels[:, :, 2].T == 1)
    np.testing.assert_allclose(row["spacing_mm"], (3.0, 0.7, 0.8), rtol=1e-6)


def test_nnunet_names_hidden_files_and_other_files(tmp_path, options):
    other = tmp_path / "nnunet"
    for seed in range(3):
        hu, labels = volume(seed)
        save(other / "imagesTr" / f"case{seed}_0000.nii.gz", hu)
        save(other / "labelsTr" / f"case{seed}.nii.gz", labels)
    for name in ("._case0_0000.nii.gz", ".hidden.nii", "notes.txt"):
        (other / "imagesTr" / name).write_bytes(b"no volume")
    assert {name for name, _ in records(options._replace(path=str(other)))} == {
        "case0",
        "case1",
        "case2",
    }


def test_image_and_label_may_be_zipped_differently(folder, options):
    hu, labels = volume(7)
    save(folder / "images" / "mixed.nii", hu)
    save(folder / "labels" / "mixed.nii.gz", labels)
    assert ("mixed", 2) in records(options)


def test_lesion_labels(folder, options):
    for seed in range(4):
        _, labels = volume(seed)
        labels[4:6, 3:8, 1:3] = 3
        replace_label(folder, f"case{seed}", labels)
    areas = {
        wanted: records(options._replace(lesion_labels=wanted))["case0", 1]["lesion_area"]
        for wanted in ((1,), (3,), (1, 3))
    }
    assert areas == {(1,): 15, (3,): 10, (1, 3): 25}


def test_patient_regex_keeps_volumes_of_a_patient_together(folder, options):
    for seed in range(4):
        add(folder, f"case{seed}_late", seed + 10)
    for expression in (r"case\d", r"^case(\d)"):
        index = json.loads(
            (prepare(options._replace(patient_regex=expression)) / "index.json").read_text()
        )
        patients = [set(index["splits"][split]["patient"]) for split in SPLITS]
        assert len(set.union(*patients)) == sum(map(len, patients)) == 4
        for split in SPLITS:
            table = index["splits"][split]
            assert len(set(table["volume"])) == 2 * len(set(table["patient"]))


def test_windows_csv(folder, options):
    text = "\ufeffvolume, low, high\ncase1.nii.gz, -900, 600\n"
    (folder / "windows.csv").write_text(text, encoding="utf-8")
    rows = records(options)
    np.testing.assert_array_equal(rows["case1", 1]["window_hu"], (-900, 600))
    np.testing.assert_array_equal(rows["case0", 1]["window_hu"], (-150, 250))
    assert rows["case1", 1]["image"].min() == -900 and rows["case0", 1]["image"].min() == -150
    index = json.loads((prepare(options) / "index.json").read_text())
    assert index["window_hu"] is None  # no one window
    explicit = records(options._replace(window_hu=(-100.0, 100.0)))
    np.testing.assert_array_equal(explicit["case1", 1]["window_hu"], (-100, 100))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,low,high\ncase1,0,1\n", "expected columns volume, low, high, got name, low, high"),
        ("volume,low,high\nother,0,1\n", "line 2: volume 'other' is not in the folder"),
        ("volume,low,high\ncase1,0,1\ncase1,0,2\n", "line 3: volume 'case1' is listed twice"),
        ("volume,low,high\ncase1,a,1\n", "line 2: low and high must be numbers, got 'a', '1'"),
        ("volume,low,high\ncase1,5\n", "low and high must be numbers, got '5', None"),
        ("volume,low,high\ncase1,5,-5\n", "low < high"),
        ("", "expected columns volume, low, high, got none"),
    ],
)
def test_bad_windows_csv(folder, options, text, says):
    (folder / "windows.csv").write_text(text)
    message = error(options)
    assert says in message and "windows.csv" in message


def test_edited_folder_is_prepared_again(folder, options):
    first = prepare(options)
    assert prepare(options) == first
    label = folder / "labels" / "case0.nii.gz"
    stat = label.stat()
    os.utime(label, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = prepare(options)
    add(folder, "case9", 9)
    grown = prepare(options)
    (folder / "windows.csv").write_text("volume,low,high\n")
    with_windows = prepare(options)
    assert len({first, touched, grown, with_windows}) == 4


def test_two_folders_never_meet(tmp_path, folder, options):
    other = tmp_path / "other"
    for seed in range(4):
        add(other, f"case{seed}", seed)
    assert prepare(options) != prepare(options._replace(path=str(other)))
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert prepare(options) == prepare(options._replace(path=str(link)))


def test_no_path_and_missing_folder(options, tmp_path):
    assert "data.path is empty; put NIfTI volumes in DIR/images" in error(options._replace(path=""))
    message = error(options._replace(path=str(tmp_path / "gone")))
    assert "gone is not a folder; put NIfTI" in message


def test_folder_without_the_subfolders(options, tmp_path):
    (tmp_path / "odd" / "scans").mkdir(parents=True)
    message = error(options._replace(path=str(tmp_path / "odd")))
    assert "expected subfolders images and labels" in message and "found scans" in message


def test_folder_without_volumes(options, tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    assert "holds no .nii or .nii.gz file" in error(options._replace(path=str(tmp_path / "empty")))
    (tmp_path / "empty/images/a.png").touch()
    message = error(options._replace(path=str(tmp_path / "empty")))
    assert message.endswith("file; python scripts/pictures_to_nifti.py makes volumes of PNG slices")


def test_image_without_label(folder, options):
    (folder / "labels" / "case2.nii.gz").unlink()
    message = error(options)
    assert "1 images without a label: case2.nii.gz" in message and "remove" in message


def test_label_without_image(folder, options):
    (folder / "images" / "case2.nii.gz").unlink()
    assert "1 labels without an image: case2.nii.gz" in error(options)


def test_volume_twice(folder, options):
    save(folder / "images" / "case2.nii", volume(2)[0])
    assert "'case2' is there twice, case2.nii and case2.nii.gz" in error(options)
    (folder / "images" / "case2.nii").rename(folder / "images" / "case2_0000.nii")
    assert "two images, case2.nii.gz and case2_0000.nii" in error(options)


def test_second_channel_has_no_label(folder, options):
    save(folder / "images" / "case2_0001.nii.gz", volume(2)[0])
    assert "case2_0001.nii.gz" in error(options)


def test_shapes_that_differ(folder, options):
    replace_label(folder, "case1", volume(1)[1][:, :, :4])
    message = error(options)
    assert "(20, 14, 4) differs from image shape (20, 14, 5)" in message and "case1" in message


@pytest.mark.parametrize("part", ["images", "labels"])
def test_truncated_file(folder, options, part):
    path = folder / part / "case3.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    message = error(options)
    assert f"{part}/case3.nii.gz: the compressed data are truncated or corrupt" in message


def test_nan_in_an_image(folder, options, tmp_path):
    hu = volume(3)[0].astype(np.float32)
    hu[0, 0, 0] = np.nan
    save(folder / "images" / "case3.nii.gz", hu)
    message = error(options)
    assert "case3.nii.gz: 1 of 1400 voxels are NaN" in message
    root = tmp_path / "root" / "ct_folder_2d"
    # Nothing half done, but for the volumes read so far.
    assert [path.suffix for path in root.iterdir() if path.is_dir()] == [".volumes"]
    save(folder / "images" / "case3.nii.gz", volume(3)[0])
    prepare(options)
    assert not list(root.glob(".*.volumes"))


def test_four_dimensional_image(folder, options):
    hu = volume(3)[0]
    save(folder / "images" / "case3.nii.gz", np.stack([hu, hu], -1))
    assert "case3.nii.gz: expected a 3-D volume, got 4-D" in error(options)


def test_fractional_label(folder, options):
    replace_label(folder, "case3", volume(3)[1] * np.float32(0.5))
    assert "case3.nii.gz: labels must be whole numbers, got 0.5" in error(options)


def test_label_file_without_the_lesion_value(folder, options):
    replace_label(folder, "case1", np.full((20, 14, 5), 7, np.uint8))
    message = error(options)
    assert "label value 1 is missing in 1 label files: case1 (values 7)" in message
    assert "data.lesion_labels" in message and "data.allow_empty=True" in message
    with pytest.warns(UserWarning, match="case1 .values 7.; skipped"):
        rows = records(options._replace(allow_empty=True))
    assert {name for name, _ in rows} == {"case0", "case2", "case3"}


@pytest.mark.parametrize("allow_empty", [False, True])
def test_no_lesion_anywhere(folder, options, allow_empty):
    message = error(options._replace(lesion_labels=(4, 2), allow_empty=allow_empty))
    assert "no volume holds a lesion: expected label value 2, 4" in message
    assert "the 4 label files hold 0, 1; set --config.data.lesion_labels" in message


def test_too_few_patients(folder, options):
    message = error(options._replace(patient_regex="case"))
    assert "at least 3 patients with lesions, got 1 (case)" in message
    for name in ("case2", "case3"):
        (folder / "images" / f"{name}.nii.gz").unlink()
        (folder / "labels" / f"{name}.nii.gz").unlink()
    assert "at least 3 patients with lesions, got 2 (case0, case1)" in error(options)


def test_patient_regex_that_matches_nothing(options):
    message = error(options._replace(patient_regex=r"patient(\d+)"))
    assert "finds no patient in the volume name 'case0'" in message


@pytest.mark.slow
def test_script(folder, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "build_dataset.py"
    command = [sys.executable, str(script), "ct_folder_2d", "--root", str(tmp_path / "root")]
    command += ["--size", "20", "--no-progress", "--path"]
    settings = {"capture_output": True, "text": True}
    settings["env"] = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    done = subprocess.run([*command, str(folder)], check=True, **settings)
    assert is_complete(Path(done.stdout.strip()))
    failed = subprocess.run([*command, "/nowhere"], **settings)
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("error: data.path /nowhere is not a folder")
