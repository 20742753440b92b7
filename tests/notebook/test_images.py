"""Own slices: every readable kind comes upright, with its place, or is refused in one line."""

import zipfile

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ecc_jax.notebook.images import EXAMPLE_SLICE, read_slice, store, write_example
from ecc_jax.phantom.volumes import generate_volume
from tests.raw_layouts import lidc

SHAPE = (5, 6, 7)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


@pytest.fixture
def series(tmp_path, hu):
    lidc.write_series(tmp_path / "series", hu)
    return tmp_path / "series"


def refusal(call):
    """The one line with which something is refused."""
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_picture(path, picture):
    Image.fromarray(picture).save(path)
    return path


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_pictures_become_shares_of_white(tmp_path, dtype, white):
    picture = np.array([[0, white], [white // 5, 7], [1, 2]], dtype)
    ct = read_slice(write_picture(tmp_path / "a.PNG", picture))
    np.testing.assert_allclose(ct.image, picture / white, atol=1e-6)
    assert ct.window_hu is None and np.isnan(ct.pixel_mm).all()
    assert "a.PNG: 3 x 2, pixel size unknown" in ct.describe()


def test_pixels_of_a_picture_have_the_size_that_is_named(tmp_path):
    path = write_picture(tmp_path / "a.png", np.zeros((3, 2), np.uint8))
    ct = read_slice(path, pixel_mm=0.5)
    assert ct.pixel_mm == (0.5, 0.5)
    # Patients' right and front are where radiologists have them: at the left and at the top.
    assert nib.aff2axcodes(ct.geometry.affine)[:2] == ("P", "L")
    for size in (-1.0, np.inf):
        assert "must be positive" in refusal(lambda size=size: read_slice(path, pixel_mm=size))


def test_slices_of_nifti_stand_upright_whatever_the_order_of_their_axes(tmp_path):
    path = write_example(tmp_path)
    whole = generate_volume(2, 0, kind="kidney", size=192, num_slices=8)
    ct = read_slice(path, number=EXAMPLE_SLICE)
    np.testing.assert_array_equal(ct.image, whole.image_hu[EXAMPLE_SLICE])
    assert whole.mask[EXAMPLE_SLICE].sum() == whole.mask.sum(axis=(1, 2)).max()
    assert ct.window_hu == (-150, 250) and ct.remarks == ()
    turned = nib.as_closest_canonical(nib.load(path))
    nib.save(turned, tmp_path / "turned.nii.gz")
    again = read_slice(tmp_path / "turned.nii.gz", number=EXAMPLE_SLICE, window_hu=(0.0, 9.0))
    np.testing.assert_array_equal(again.image, ct.image)
    assert again.window_hu == (0, 9) and again.pixel_mm == pytest.approx(ct.pixel_mm)


def test_height_and_width_of_a_pixel_follow_the_rows(tmp_path):
    affine = np.diag([-0.5, -2.0, 5.0, 1.0])
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 1), np.int16), affine), tmp_path / "a.nii")
    ct = read_slice(tmp_path / "a.nii")
    # Columns run along the first array axis.
    assert ct.image.shape == (5, 4) and ct.pixel_mm == (2.0, 0.5)


@pytest.mark.parametrize("kind", ["folder", "zip", "file"])
def test_dicom(tmp_path, series, hu, kind):
    path, number, expected = series, 3, hu[3]
    files = sorted(series.glob("*.dcm"))
    if kind == "zip":
        path = tmp_path / "series.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name in files:
                file.write(name, f"deep/{name.name}")
    elif kind == "file":
        path, number = files[0], None
        expected = read_slice(path).image
        assert any((expected == one).all() for one in hu)
    ct = read_slice(path, number=number)
    np.testing.assert_array_equal(ct.image, expected)
    assert ct.geometry.path == path and np.isfinite(ct.pixel_mm).all()


def test_masks_come_back_to_their_place(tmp_path):
    rng = np.random.default_rng(1)
    for letters in ("LPS", "RAS", "PLS", "SAR", "AIR"):
        start = nib.orientations.axcodes2ornt("RAS")
        turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(letters))
        image = nib.Nifti1Image(
            rng.integers(-500, 500, (4, 5, 3)).astype(np.int16), np.diag([1.0, 1.5, 4.0, 1.0])
        )
        path = tmp_path / f"{letters}.nii"
        nib.save(image.as_reoriented(turn), path)
        ct = read_slice(path, number=1)
        mask = ct.image > 0
        volume = ct.in_volume(mask)
        stored = nib.load(path).get_fdata()
        # The oracle is the file itself: in that slice, and only there, the mask is its threshold.
        assert volume.shape == stored.shape
        marked = np.moveaxis(volume, ct.axis, 0)
        assert not marked[[0, 2]].any()
        np.testing.assert_array_equal(marked[1], np.moveaxis(stored, ct.axis, 0)[1] > 0)


def test_refusals_name_file_and_remedy(tmp_path, series):
    example = write_example(tmp_path)
    assert "example.nii: holds 8 slices; choose one by its number, 0 to 7" in refusal(
        lambda: read_slice(example)
    )
    for number in (8, -1, 1.5):
        text = refusal(lambda number=number: read_slice(example, number=number))
        assert f"slice number from 0 to 7, got {number}" in text
    picture = write_picture(tmp_path / "c.png", np.zeros((4, 4, 3), np.uint8))
    assert "slice number from 0 to 0, got 2" in refusal(lambda: read_slice(picture, number=2))
    colour = write_picture(tmp_path / "c.png", np.full((4, 4, 3), (9, 0, 0), np.uint8))
    assert "c.png: is a colour picture" in refusal(lambda: read_slice(colour))
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8" + bytes(500))
    assert "a.jpg: expected .png, NIfTI" in refusal(lambda: read_slice(tmp_path / "a.jpg"))
    with zipfile.ZipFile(tmp_path / "no.zip", "w") as file:
        file.writestr("a.txt", "nothing")
    assert f"{tmp_path}/no.zip: holds no DICOM" in refusal(lambda: read_slice(tmp_path / "no.zip"))
    for name, says in {
        "b.png": "cannot be read as a picture",
        "b.nii.gz": "b.nii.gz: ",
        "b.dcm": "not a DICOM file",
        "b.zip": "cannot be unpacked",
    }.items():
        (tmp_path / name).write_bytes(b"no such thing" * 50)
        assert says in refusal(lambda name=name: read_slice(tmp_path / name))
    assert "no such file" in refusal(lambda: read_slice(tmp_path / "nowhere.nii"))
    assert "holds 5 slices" in refusal(lambda: read_slice(series))


def test_remarks_on_a_file_are_kept_and_not_warned_of(tmp_path):
    ones = nib.Nifti1Image(np.ones((40, 40, 1), np.int16), np.eye(4))
    nib.save(ones, tmp_path / "a.nii")
    ct = read_slice(tmp_path / "a.nii")
    assert any("voxel size" in remark or "orientation" in remark for remark in ct.remarks)
    assert np.isnan(ct.pixel_mm).all() and not any("\n" in remark for remark in ct.remarks)


def test_uploads(tmp_path, series, hu):
    with pytest.raises(ValueError, match="nothing was uploaded"):
        store({}, tmp_path)
    files = {path.name: path.read_bytes() for path in series.glob("*.dcm")}
    folder = store(files, tmp_path / "uploads")
    np.testing.assert_array_equal(read_slice(folder, number=0).image, hu[0])
    one = store({"../x.dcm": next(iter(files.values()))}, tmp_path / "uploads")
    assert one.name == "x.dcm" and one.parent.parent == tmp_path / "uploads"
    nib.save(nib.Nifti1Pair(np.zeros((4, 5, 1), np.int16), np.eye(4)), tmp_path / "p.img")
    pair = {name: (tmp_path / name).read_bytes() for name in ("p.img", "p.hdr")}
    assert read_slice(store(pair, tmp_path / "uploads")).image.size == 20
