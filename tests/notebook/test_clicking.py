"""Clicks by hand: what is kept, undone, measured, drawn and saved."""

import gzip
import io

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ecc_jax import runs, volumes
from ecc_jax.notebook import sliders
from ecc_jax.notebook.clicking import Clicker, Mark
from ecc_jax.notebook.drawing import draw, png
from ecc_jax.notebook.images import read_slice, write_example
from ecc_jax.notebook.saving import save_mask
from ecc_jax.phantom.volumes import generate_volume

POINTS = [(94, 123, 18, True), (79, 127, 4, True), (106, 113, 3, False)]


@pytest.fixture(scope="module")
def predictor():
    return runs.load_predictor("shipped")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def clicker(predictor, example):
    return Clicker(predictor, read_slice(example, number=4))


@pytest.fixture
def picture(predictor, tmp_path):
    """A picture of unknown pixel size under the hand; as large as the example, to compile once."""
    values = np.random.default_rng(0).integers(0, 255, (192, 192), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    return Clicker(predictor, read_slice(tmp_path / "a.png"))


def test_the_clicks_of_the_notebook_find_the_lesion_of_its_example(clicker):
    target = generate_volume(2, 0, kind="kidney", size=192, num_slices=8).mask[4]
    ious = []
    for count in (1, 3):
        clicker.answer(POINTS[:count])
        ious.append((clicker.mask & target).sum() / (clicker.mask | target).sum())
    assert ious[0] > 0.75 and ious[1] > ious[0]
    assert clicker.clicks == [Mark(*map(float, point[:3]), point[3]) for point in POINTS]


def test_undo_brings_the_mask_before_back(clicker):
    clicker.answer(POINTS[:1])
    before = clicker.mask
    clicker.click(*POINTS[2])
    assert (clicker.mask != before).any()
    clicker.undo()
    np.testing.assert_array_equal(clicker.mask, before)
    assert len(clicker.clicks) == 1
    clicker.undo()
    assert not clicker.mask.any() and clicker.area_mm2 == 0
    with pytest.raises(ValueError, match="no click to undo"):
        clicker.undo()


def test_area_of_a_picture_is_unknown(picture):
    picture.click(90, 85, 20)
    assert np.isnan(picture.area_mm2)
    assert picture.describe() == f"1 click: {picture.mask.sum()} pixels, pixel size unknown"


def test_a_slice_that_was_replaced_takes_no_clicks_for_the_new_one(clicker, predictor):
    newer = Clicker(predictor, clicker.ct)
    for call in (lambda: clicker.click(94, 123, 18), clicker.undo, lambda: clicker.mask):
        with pytest.raises(ValueError, match="another slice by now; run the cell"):
            call()
    newer.click(94, 123, 18)
    assert clicker.clicks == []


def test_area_of_a_volume(clicker):
    clicker.answer(POINTS)
    header = nib.load(clicker.ct.geometry.path).header
    area = clicker.mask.sum() * np.prod(header.get_zooms()[:2])
    assert clicker.area_mm2 == pytest.approx(area, rel=1e-5)
    assert clicker.describe() == f"3 clicks: {clicker.mask.sum()} pixels = {area:.1f} mm²"


@pytest.mark.parametrize(
    ("click", "says"),
    [
        ((500, 20, 5), "click 2 of 3: expected a click inside the image"),
        ((20, 20, 0), "click 2 of 3: expected a positive, finite radius"),
        ((20, 20, 5, "lesion"), "click 2 of 3: expected is_positive=True"),
        ((20, 20), r"click 2 of 3: expected \(y, x, radius, is_lesion\), got \(20, 20\)"),
        (7, "click 2 of 3: expected"),
    ],
)
def test_a_bad_click_is_named_by_its_number(clicker, click, says):
    with pytest.raises(ValueError, match=says):
        clicker.answer([POINTS[0], click, POINTS[1]])
    assert len(clicker.clicks) == 1


def test_the_drawing_shows_mask_and_disks(clicker):
    empty = np.asarray(Image.open(io.BytesIO(png(clicker))))
    clicker.answer(POINTS[:1])
    marked = np.asarray(Image.open(io.BytesIO(png(clicker))))
    dashed = np.asarray(Image.open(io.BytesIO(png(clicker, preview=Mark(50, 50, 9)))))
    assert marked.shape == dashed.shape and (marked != dashed).any()
    assert empty.shape[1] < marked.shape[1]  # nothing to come close to
    whole, close = draw(clicker).axes
    assert whole.get_ylim() == (191.5, -0.5) and whole.get_xlim() == (-0.5, 191.5)
    left, right = close.get_xlim()
    assert left <= 123 - 18 and right >= 123 + 18


def test_saved_volumes_lie_on_the_grid_of_the_file(clicker, tmp_path):
    clicker.answer(POINTS)
    source = nib.load(clicker.ct.geometry.path)
    for name in ("mask.nii", "mask.NII.gz", "deep/mask.nii.gz"):
        path = save_mask(tmp_path / name, clicker)
        raw = path.read_bytes()
        stored = nib.Nifti1Image.from_bytes(
            gzip.decompress(raw) if name.lower().endswith("gz") else raw
        )
        np.testing.assert_allclose(stored.affine, source.affine)
        values = np.asarray(stored.dataobj)
        assert values.shape == source.shape and set(np.unique(values)) == {0, 1}
        # Array axes columns and rows, as the example has them.
        np.testing.assert_array_equal(values[..., 4].T, clicker.mask)
        assert values[..., 4].sum() == values.sum()


def test_a_saved_mask_knows_no_more_than_the_file_did(predictor, tmp_path):
    """Of a header with voxel sizes and no orientation the mask has just these."""
    image = nib.Nifti1Image(np.zeros((12, 14, 1), np.int16), np.diag([0.7, 0.7, 3.0, 1.0]))
    image.set_sform(None, code=0)
    image.set_qform(np.diag([0.7, 0.7, 3.0, 1.0]), code=0)
    nib.save(image, tmp_path / "a.nii")
    saved = save_mask(tmp_path / "m.nii", Clicker(predictor, read_slice(tmp_path / "a.nii")))
    grid, source = (volumes.read_geometry(path) for path in (saved, tmp_path / "a.nii"))
    assert not grid.has_affine and not source.has_affine
    assert grid.spacing_mm == source.spacing_mm == pytest.approx((0.7, 0.7, 3.0))


def test_saved_pictures_are_what_is_shown(picture, tmp_path):
    picture.click(90, 85, 20)
    saved = matplotlib.image.imread(save_mask(tmp_path / "mask.png", picture))
    np.testing.assert_array_equal(saved, picture.mask)
    volume = nib.load(save_mask(tmp_path / "mask.nii.gz", picture))
    np.testing.assert_array_equal(np.asarray(volume.dataobj)[..., 0], picture.mask)
    with pytest.raises(ValueError, match=r"mask.jpg: expected a name ending in .png, .nii"):
        save_mask(tmp_path / "mask.jpg", picture)


def test_sliders_click_undo_and_say_what_went_wrong(clicker):
    y, x, radius, kind, buttons, message, shown = sliders.controls(clicker).children
    click, undo, again = buttons.children
    y.value, x.value, radius.value = 94.0, 123.0, 18.0
    before = shown.value
    click.click()
    assert clicker.clicks == [Mark(94.0, 123.0, 18.0)] and clicker.mask[94, 123]
    assert shown.value != before
    kind.value, radius.value = "background", 3.0
    click.click()
    assert not clicker.mask[94, 123] and len(clicker.clicks) == 2
    undo.click()
    assert clicker.mask[94, 123]
    again.click()
    assert clicker.clicks == [] and message.value == ""
    undo.click()
    assert message.value == "there is no click to undo"
    # No place of a slider lies outside the slice.
    y.value, x.value = 1e6, -5.0
    assert (y.value, x.value) == (191.0, 0.0)
