"""Volumes as they are shown: upright, square, and back to the voxel."""

import itertools
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from ecc_jax.annotator import documents, sources
from ecc_jax.annotator.sources import Source
from ecc_jax.data.slices import turn_back
from ecc_jax.volumes import Volume
from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import Scan

SOURCE = Source("id", "name", "nifti", None)


def document(image, affine, *, kind="nifti"):
    spacing = tuple(float(s) for s in nibabel.affines.voxel_sizes(affine))
    volume = Volume(image, spacing, affine, path=Path("x"))
    return documents.document_of(SOURCE._replace(kind=kind), volume)


def turned(axes, signs, sizes=(0.7, 0.7, 3.0)):
    """Returns an affine whose array axis n runs along the patient axis axes[n]."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for n, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, n] = sign * sizes[axis]
    return affine


ORIENTATIONS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_slices_stand_upright_and_masks_go_back(axes, signs):
    rng = np.random.default_rng(0)
    affine = turned(axes, signs)
    image = rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    shown = document(image, affine)
    # The oracle: nibabel's canonical copy has axes right, anterior, superior; a radiologist sees
    # it from the feet, anterior up.
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(image, affine))
    expected = np.asarray(canonical.dataobj)[::-1, ::-1].transpose(2, 1, 0)
    is_rising = signs[axes.index(2)] > 0
    for index in range(shown.num_slices):
        place = index if is_rising else shown.num_slices - 1 - index
        np.testing.assert_array_equal(documents.slice_of(shown, index), expected[place])
    assert documents.letters_of(shown) == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    masks = {k: rng.random(shown.shape) < 0.5 for k in (0, shown.num_slices - 1)}
    back = np.zeros(shown.volume.image_hu.shape, bool)
    for index, mask in masks.items():
        np.moveaxis(back, shown.axis, 0)[index] = turn_back(mask, shown.orientation)
    again = document(back.astype(np.int16), affine)
    for index in range(shown.num_slices):
        wanted = masks.get(index, np.zeros(shown.shape, bool))
        np.testing.assert_array_equal(documents.slice_of(again, index), wanted)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::7])
def test_the_affine_of_upright_slices_leads_to_the_same_places(axes, signs):
    affine = turned(axes, signs) + np.pad(np.full((3, 1), 12.5), ((0, 1), (3, 0)))
    shape = (4, 5, 6)
    found = documents.affine_of(document(np.zeros(shape, np.int16), affine))
    # Every voxel holds its own coordinate along one patient axis; upright slices show it.
    grid = np.stack([*np.indices(shape), np.ones(shape)])
    places = np.tensordot(affine, grid, 1)[:3]
    for axis in range(3):
        shown = document(np.rint(places[axis] * 10).astype(np.int16), affine)
        for index, y, x in itertools.product(
            (0, shown.num_slices - 1), (0, shown.shape[0] - 1), (0, 2)
        ):
            value = documents.slice_of(shown, index)[y, x] / 10
            assert (found @ [index, y, x, 1])[axis] == pytest.approx(value, abs=0.06)


def test_oblong_voxels_are_square_on_screen_and_masks_come_back():
    # Sagittal-like: rows of 2.5 mm, columns of 1 mm, slices of 4 mm.
    image = np.random.default_rng(0).integers(-100, 100, (9, 21, 14)).astype(np.int16)
    affine = np.array([[0, 0, 4.0, 0], [0, 1, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    shown = document(image, affine)
    assert shown.axis == 2 and shown.shape == (9, 21)
    assert shown.factors == (2.5, 1.0) and shown.pixel_mm == 1.0
    assert documents.display_shape(shown) == (22, 21)
    assert documents.display_image(shown, 3).shape == (22, 21)
    mask = np.random.default_rng(1).random((9, 21)) < 0.4
    np.testing.assert_array_equal(
        documents.voxel_mask(shown, documents.display_mask(shown, mask)), mask
    )
    for y, x in ((0.0, 0.0), (8.0, 20.0), (3.25, 7.0)):
        there = documents.display_point(shown, y, x)
        assert 0 <= there[0] <= 21 and there[1] == x
    assert documents.voxel_point(shown, *documents.display_point(shown, 3.25, 7.0)) == (
        pytest.approx(3.25),
        7,
    )


def test_square_voxels_are_left_alone():
    image = np.zeros((3, 4, 5), np.int16)
    shown = document(image, np.diag([0.7, 0.703, 3, 1.0]))
    assert shown.factors == (1, 1)
    assert np.shares_memory(documents.display_image(shown, 0), image)


def test_a_volume_without_orientation_keeps_its_order():
    volume = Volume(
        np.arange(24, dtype=np.int16).reshape(2, 3, 4), (math.nan,) * 3, np.eye(4), Path("x"), False
    )
    shown = documents.document_of(SOURCE, volume)
    np.testing.assert_array_equal(documents.slice_of(shown, 1), volume.image_hu[:, :, 1])
    facts = documents.facts_of(shown)
    assert facts["letters"] == {} and facts["affine"] is None and not facts["orientation_known"]
    assert facts["spacing_mm"] is None and facts["pixel_mm"] is None and facts["factors"] == [1, 1]


def test_windows():
    values = np.array([[-200, -160, 40, 240, 900]], np.int16)
    assert documents.windowed(values, -160.0, 240.0).tolist() == [[0, 0, 128, 255, 255]]
    assert documents.PRESETS["lung"] == (1500, -600)
    image = np.full((3, 40, 40), 40, np.int16)
    image[:, :, 20:] = -850
    shown = document(image, turned((2, 1, 0), (1, -1, -1)), kind="dicom")
    assert documents.automatic_window(shown, 0, y=20.0, x=3.0, radius=4.0) == (-150, 250)
    assert documents.automatic_window(shown, 0, y=20.0, x=25.0, radius=4.0) == (-900, 600)
    assert documents.automatic_window(shown, 0, y=39.0, x=39.0, radius=50.0) == (-900, 600)


@pytest.mark.parametrize(
    ("brightest", "white"),
    [(0, 255), (255, 255), (256, 511), (1200, 2047), (4095, 4095), (4096, 8191), (65535, 65535)],
)
def test_a_picture_is_seen_in_the_range_of_its_bits(tmp_path, brightest, white):
    values = np.zeros((5, 6), np.uint16)
    values[2, 3] = brightest
    Image.fromarray(values).save(tmp_path / "a.png")
    shown = documents.open_source(sources.sources_of(tmp_path / "a.png")[0])
    assert documents.automatic_window(shown, 0, y=0.0, x=0.0, radius=1.0) == (0, white)


def test_floats_are_shown_rounded_and_within_int16():
    shown = document(np.full((3, 3, 3), 40000.6, np.float32), np.eye(4))
    assert documents.pixels_of(shown, 0).dtype == np.int16
    assert documents.pixels_of(shown, 0)[0, 0] == 2**15 - 1
    facts = documents.facts_of(shown)
    assert facts["value_range"] == [-32768, 32767] and facts["orientation_known"]


@pytest.mark.parametrize(
    ("brightest", "kind"), [(255, "int16"), (2**15 - 1, "int16"), (2**15, "uint16")]
)
def test_pictures_are_shown_in_full(tmp_path, brightest, kind):
    values = np.arange(30, dtype=np.uint16).reshape(5, 6)
    values[2, 3] = brightest
    Image.fromarray(values).save(tmp_path / "a.png")
    shown = documents.open_source(sources.sources_of(tmp_path / "a.png")[0])
    pixels = documents.pixels_of(shown, 0)
    assert pixels.dtype == kind
    np.testing.assert_array_equal(pixels, values)
    facts, limits = documents.facts_of(shown), np.iinfo(kind)
    assert facts["value_range"] == [limits.min, limits.max]
    assert not facts["orientation_known"]


def test_a_folder_is_listed_without_paths(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.diag([1, 1, 2, 1]))
    nibabel.save(image, tmp_path / "a.nii.gz")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.nii").write_bytes(b"x")
    outside = tmp_path.parent / f"{tmp_path.name}_outside.nii"
    nibabel.save(image, outside)
    (tmp_path / "link.nii").symlink_to(outside)
    (found,) = sources.sources_of(tmp_path)
    assert (found.name, found.kind) == ("a.nii.gz", "nifti")
    assert len(found.id) == 16 and "a.nii" not in found.id
    assert sources.sources_of(tmp_path / "a.nii.gz")[0].id == found.id  # links stay valid
    shown = documents.open_source(found)
    assert shown.num_slices == 3 and documents.facts_of(shown)["name"] == "a.nii.gz"


def test_of_several_series_one_is_chosen(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 8, 10)).astype(np.int16)
    lidc.write_series(tmp_path / "one", hu, Scan())
    lidc.write_series(tmp_path / "two", hu[:3] // 2, Scan(series_uid=lidc.UID_ROOT + "9"))
    found = sources.sources_of(tmp_path)
    assert [source.kind for source in found] == ["dicom", "dicom"]
    opened = {documents.open_source(source).num_slices: source for source in found}
    assert set(opened) == {3, 4} and opened[3].detail == "3 files"
    shown = documents.open_source(opened[4])
    np.testing.assert_array_equal(documents.slice_of(shown, 1), hu[1])


@pytest.mark.parametrize("name", ["missing.nii", "notes.txt", "empty"])
def test_nothing_to_open_is_one_line(tmp_path, name):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError) as error:
        sources.sources_of(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_damaged_dicom_files_are_told_and_the_rest_opens(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 8, 10)).astype(np.int16)
    lidc.write_series(tmp_path / "good", hu, Scan())
    (tmp_path / "bad").mkdir()
    for n in range(7):
        (tmp_path / "bad" / f"{n}.dcm").write_bytes(b"nothing of DICOM")
    (tmp_path / "lost.dcm").symlink_to(tmp_path / "nowhere")
    lines = []
    (found,) = sources.sources_of(tmp_path, say=lines.append)
    assert documents.open_source(found).num_slices == 4
    assert len(lines) == 6 and "bad/0.dcm" in lines[0] and "3 more" in lines[-1]
    with pytest.raises(ValueError, match=r"0\.dcm: not a DICOM file"):
        sources.sources_of(tmp_path / "bad", say=lines.append)


def test_slices_behind_links_are_read(tmp_path):
    """As git-annex keeps them."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 8, 10)).astype(np.int16)
    kept = lidc.write_series(tmp_path / "kept", hu, Scan())
    (tmp_path / "opened").mkdir()
    for file in kept.iterdir():
        (tmp_path / "opened" / file.name).symlink_to(file)
    (found,) = sources.sources_of(tmp_path / "opened")
    np.testing.assert_array_equal(documents.open_source(found).volume.image_hu, hu)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "series").symlink_to(kept, target_is_directory=True)
    with pytest.raises(ValueError, match="holds no NIfTI"):
        sources.sources_of(tmp_path / "none")


def test_sessions_in_the_opened_folder_are_no_volumes(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4))
    work = tmp_path / "data" / "annotations"
    (work / "a-1").mkdir(parents=True)
    nibabel.save(image, tmp_path / "data" / "a.nii.gz")
    nibabel.save(image, work / "a-1" / "lesions.nii.gz")
    hu = np.zeros((4, 8, 10), np.int16)
    lidc.write_series(work / "a-1" / "dicom", hu, Scan())

    def names(path):
        return [source.name for source in sources.sources_of(path, workdir=work)]

    assert names(tmp_path / "data") == ["a.nii.gz"]
    assert "lesions.nii.gz" in names(work / "a-1")


def test_sessions_never_lie_among_the_slices_of_a_series(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 8, 10)).astype(np.int16)
    folder = lidc.write_series(tmp_path / "data" / "series", hu, Scan())
    found = sources.sources_of(tmp_path / "data")
    sources.check_workdir(tmp_path / "data" / "annotations", tmp_path / "data", found)
    for workdir in (folder, folder / "annotations", folder / "deep" / ".." / "er"):
        with pytest.raises(ValueError, match="folder of a DICOM series"):
            sources.check_workdir(workdir, tmp_path / "data", found)
    with pytest.raises(ValueError, match="is the folder that is opened"):
        sources.check_workdir(tmp_path / "data", tmp_path / "data", found)
