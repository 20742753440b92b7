import gzip
import itertools
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ecc_jax import volumes
from ecc_jax.data import slices

AFFINE = np.diag([0.7, 0.8, 3.0, 1.0])


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, (5, 6, 4)).astype(np.int16)


def save(path, array, affine=AFFINE, **header):
    image = nibabel.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_volume_round_trips(tmp_path, hu, name):
    volume = volumes.read_volume(save(tmp_path / name, hu))
    np.testing.assert_array_equal(volume.image_hu, hu)
    assert volume.image_hu.dtype == np.int16
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 3.0), rtol=1e-6)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert volume.path == tmp_path / name
    assert volume.geometry.shape == (5, 6, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_values_equal_nibabels(tmp_path, dtype, byteorder):
    stored = np.random.default_rng(1).integers(0, 200, (3, 4, 5)).astype(dtype)
    image = nibabel.Nifti1Image(stored, AFFINE, nibabel.Nifti1Header(endianness=byteorder))
    image.header.set_slope_inter(2.0, -100.5)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    volume = volumes.read_volume(tmp_path / "a.nii.gz")
    assert volume.image_hu.dtype in (np.int16, np.float32)
    np.testing.assert_allclose(volume.image_hu, expected, atol=1e-3)


def test_slope_and_intercept_are_applied(tmp_path):
    path = tmp_path / "a.nii"
    save(path, np.full((2, 3, 4), 100, np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([2.0, -1024.0], "<f4").tobytes()
    path.write_bytes(raw)
    image_hu = volumes.read_volume(path).image_hu
    assert image_hu.dtype == np.int16
    np.testing.assert_array_equal(image_hu, np.full((2, 3, 4), -824))


@pytest.mark.filterwarnings("ignore:.*not Hounsfield units")
def test_fractions_and_large_values_stay_float(tmp_path):
    for values in ([-1.5, 0.25, 7, 3], [-40000, 1, 2, 3], [-1, 40000, 2, 3]):
        array = np.array(values, np.float32).reshape(1, 2, 2)
        image_hu = volumes.read_volume(save(tmp_path / "a.nii", array)).image_hu
        assert image_hu.dtype == np.float32
        np.testing.assert_array_equal(image_hu, array)


def test_nifti2_and_misleading_suffixes(tmp_path, hu):
    nibabel.save(nibabel.Nifti2Image(hu, AFFINE), tmp_path / "two.nii")
    np.testing.assert_array_equal(volumes.read_volume(tmp_path / "two.nii").image_hu, hu)
    (tmp_path / "plain.nii.gz").write_bytes((tmp_path / "two.nii").read_bytes())
    np.testing.assert_array_equal(volumes.read_volume(tmp_path / "plain.nii.gz").image_hu, hu)


def test_zero_voxel_offset_is_read_after_the_header(tmp_path, hu):
    path = save(tmp_path / "a.nii", hu)
    raw = bytearray(path.read_bytes())
    raw[108:112] = bytes(4)
    path.write_bytes(raw)
    np.testing.assert_array_equal(volumes.read_volume(path).image_hu, hu)


def test_flipped_and_oblique_affines_give_positive_spacing(tmp_path, hu):
    turn = np.array([[0, -0.8, 0, 5], [-0.7, 0, 0, 9], [0, 0, -3.0, 7], [0, 0, 0, 1.0]])
    volume = volumes.read_volume(save(tmp_path / "a.nii", hu, turn))
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 3.0), rtol=1e-6)
    np.testing.assert_array_equal(volume.image_hu, hu)  # axes stay as stored


def test_units_are_converted_to_mm(tmp_path, hu):
    image = nibabel.Nifti1Image(hu, np.diag([700.0, 800.0, 3000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    spacing = volumes.read_volume(tmp_path / "a.nii").spacing_mm
    np.testing.assert_allclose(spacing, (0.7, 0.8, 3.0), rtol=1e-6)


def test_trailing_singleton_axis_is_dropped(tmp_path, hu):
    volume = volumes.read_volume(save(tmp_path / "a.nii", hu[..., None]))
    np.testing.assert_array_equal(volume.image_hu, hu)


def test_geometry_equals_the_volumes(tmp_path, hu):
    path = save(tmp_path / "a.nii.gz", hu)
    geometry, volume = volumes.read_geometry(path), volumes.read_volume(path)
    assert geometry.shape == hu.shape
    assert geometry.spacing_mm == volume.spacing_mm
    np.testing.assert_array_equal(geometry.affine, volume.geometry.affine)
    assert geometry.has_affine


def geometry_of(linear, *, has_affine=True):
    affine = np.eye(4)
    affine[:3, :3] = linear
    return volumes.Geometry((4, 5, 6), (0.7, 0.8, 3.0), affine, has_affine, None)


def axis_permutations():
    """Yields the 48 ways of laying patient axes on array axes."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[:, axes] * signs


# Rows and columns of the display by patient axis of the slices, as the patient axis (0 right,
# 1 anterior, 2 superior) along which they must fall.
DISPLAY = {0: (2, 1), 1: (2, 0), 2: (1, 0)}


@pytest.mark.parametrize("degrees", [(0, 0, 0), (25, -15, 10), (-20, 10, 25)])
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_display_runs_to_posterior_left_inferior(degrees, slice_axis):
    """Turns the patient coordinates of the voxels themselves and looks which way they run."""
    voxels = np.moveaxis(np.indices((4, 5, 6)), 0, -1)
    tilt = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    for permutation in axis_permutations():
        linear = tilt @ permutation @ np.diag([0.7, 0.8, 3.0])
        orientation = volumes.display_orientation(geometry_of(linear), slice_axis=slice_axis)
        cut = np.take(voxels @ linear.T, 2, axis=slice_axis)
        upright = np.stack([slices.turn(cut[..., i], orientation) for i in range(3)])
        plane = int(np.argmax(np.abs(permutation[:, slice_axis])))
        rows, columns = DISPLAY[plane]
        assert (np.diff(upright[rows], axis=0) < 0).all()
        assert (np.diff(upright[columns], axis=1) < 0).all()


def test_display_orientation_by_hand():
    lps = geometry_of(np.diag([-0.7, -0.8, 3.0]))
    orientation = volumes.display_orientation(lps, slice_axis=2)
    assert orientation == volumes.Orientation(True, False, False)  # as DICOM, stored x first
    assert volumes.display_orientation(lps, slice_axis=1) == (True, True, False)
    assert volumes.display_orientation(lps, slice_axis=0) == (True, True, False)
    ras = geometry_of(np.diag([0.7, 0.8, 3.0]))
    assert volumes.display_orientation(ras, slice_axis=2) == (True, True, True)


def test_display_orientation_without_affine_is_the_array_order():
    bare = geometry_of(np.diag([0.7, 0.8, 3.0]), has_affine=False)
    for axis in range(3):
        assert volumes.display_orientation(bare, slice_axis=axis) == (False, False, False)


def one_line_error(call, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_file(tmp_path):
    message = one_line_error(volumes.read_volume, tmp_path / "none.nii")
    assert "none.nii: no such file" in message


@pytest.mark.parametrize("keep", [40, 200, -4])
def test_truncated_gz(tmp_path, hu, keep):
    path = save(tmp_path / "a.nii.gz", hu)
    path.write_bytes(path.read_bytes()[:keep])
    message = one_line_error(volumes.read_volume, path)
    assert str(path) in message and "truncated or corrupt" in message and "again" in message


def test_every_flipped_byte_of_the_voxels_is_noticed(tmp_path, hu):
    path = save(tmp_path / "a.nii.gz", hu)
    good = path.read_bytes()
    start = len(good) // 2
    for position in range(start, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 0xFF
        path.write_bytes(bad)
        assert "a.nii.gz" in one_line_error(volumes.read_volume, path)


def test_truncated_plain_file(tmp_path, hu):
    path = save(tmp_path / "a.nii", hu)
    path.write_bytes(path.read_bytes()[:-10])
    message = one_line_error(volumes.read_volume, path)
    assert "truncated: expected 592 bytes" in message and "got 582" in message


# A time in the zip would give the case another name in every process that collects it.
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"x" * 2000, gzip.compress(b"y" * 2000, mtime=0)]
)
def test_not_nifti(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    message = one_line_error(volumes.read_volume, path)
    assert "expected a NIfTI file" in message and str(path) in message


def test_corrupt_header(tmp_path, hu):
    path = save(tmp_path / "a.nii", hu)
    raw = bytearray(path.read_bytes())
    raw[70:72] = b"\xff\x7f"  # no such data type
    path.write_bytes(raw)
    assert "header is corrupt" in one_line_error(volumes.read_volume, path)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4)])
def test_not_three_dimensional(tmp_path, shape):
    path = save(tmp_path / "a.nii", np.zeros(shape, np.int16))
    for read in (volumes.read_volume, volumes.read_label, volumes.read_geometry):
        message = one_line_error(read, path)
        assert f"expected a 3-D volume, got {len(shape)}-D of shape {shape}" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, bad):
    array = np.zeros((2, 3, 4), np.float32)
    array[1, 2, 3] = bad
    message = one_line_error(volumes.read_volume, save(tmp_path / "a.nii", array))
    assert "1 of 24 voxels are NaN or infinite" in message


def test_colour_is_refused(tmp_path):
    rgb = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    message = one_line_error(volumes.read_volume, save(tmp_path / "a.nii", rgb))
    assert "one number per voxel" in message


def test_voxel_size_zero_is_refused(tmp_path, hu):
    image = nibabel.Nifti1Image(hu, None)
    image.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert "voxel sizes must be" in one_line_error(volumes.read_volume, tmp_path / "a.nii")


def test_affine_with_two_parallel_axes_is_refused(tmp_path, hu):
    image = nibabel.Nifti1Image(hu, None)
    flat = np.array([[0.7, 0.8, 0, 0], [0.7, 0.8, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    image.header.set_sform(flat, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    for read in (volumes.read_volume, volumes.read_label, volumes.read_geometry):
        message = one_line_error(read, tmp_path / "a.nii")
        assert "a.nii: the affine must turn the array axes into three directions" in message


@pytest.fixture
def slab_per_slice(monkeypatch):
    monkeypatch.setattr(volumes.nifti, "SLAB_VOXELS", 30)


def test_slabs_widen_where_a_late_one_needs_it(tmp_path, hu, slab_per_slice):
    """The first slabs are whole numbers in int16; one later holds halves, or more than int16."""
    for value, dtype in ((0.5, np.float32), (40000.0, np.float32), (-7.0, np.int16)):
        values = hu.astype(np.float64)
        values[4, 5, 2] = value
        volume = volumes.read_volume(save(tmp_path / "a.nii", values))
        assert volume.image_hu.dtype == dtype
        np.testing.assert_array_equal(volume.image_hu, values)
    labels = np.abs(hu) % 3
    labels[0, 0, 3] = 256
    read = volumes.read_label(save(tmp_path / "l.nii.gz", labels))
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)


def test_bad_voxels_are_counted_over_all_slabs(tmp_path, hu, slab_per_slice):
    values = hu.astype(np.float32)
    values[0, 0, [1, 3]] = np.nan
    path = save(tmp_path / "a.nii", values)
    assert "2 of 120 voxels are NaN" in one_line_error(volumes.read_volume, path)
    values = np.zeros(hu.shape, np.float32)
    values[0, 0, [1, 3]] = 0.25, 0.75
    path = save(tmp_path / "a.nii", values)
    assert "got 0.25 (2 such voxels)" in one_line_error(volumes.read_label, path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_header_that_promises_too_much_allocates_nothing(tmp_path, hu, name):
    path = save(tmp_path / name, hu)
    raw = bytearray(gzip.open(path).read() if name.endswith("gz") else path.read_bytes())
    raw[42:48] = np.array([32767] * 3, "<i2").tobytes()
    path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    message = one_line_error(volumes.read_volume, path)
    assert "truncated: expected 7036230192" in message and "far too small" in message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*not Hounsfield units")
def test_memory_of_a_large_scaled_volume(tmp_path):
    """512 x 512 x 300 as int16 with an intercept: twice its 157 MB, not floating point of it."""
    path = tmp_path / "a.nii"
    save(path, np.zeros((512, 512, 300), np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([1.0, -24.0], "<f4").tobytes()
    path.write_bytes(raw)
    del raw
    tracemalloc.start()
    try:
        assert volumes.read_volume(path).image_hu.dtype == np.int16
        assert tracemalloc.get_traced_memory()[1] < 340e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0, 1, "0..1"), (0, 255, "8-bit"), (0, 3000, "1024"), (-1, 1, "-1..1"), (-1000, 3000, "")],
)
def test_values_that_are_not_hu_warn(tmp_path, low, high, says):
    path = save(tmp_path / "a.nii", np.array([low, high] * 4, np.int16).reshape(2, 2, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volumes.read_volume(path)
    assert len(caught) == bool(says)
    assert all(says in str(w.message) and str(path) in str(w.message) for w in caught)


def test_labels_are_whole_numbers(tmp_path):
    labels = np.arange(24).reshape(2, 3, 4) % 4
    path = save(tmp_path / "a.nii.gz", labels.astype(np.float64))
    read = volumes.read_label(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)
    big = volumes.read_label(save(tmp_path / "b.nii", (labels * 1000).astype(np.int16)))
    assert big.dtype == np.int32
    np.testing.assert_array_equal(big, labels * 1000)


def test_fractional_labels_are_refused(tmp_path):
    labels = np.zeros((2, 3, 4), np.float32)
    labels[0, 0, :2] = 0.5
    message = one_line_error(volumes.read_label, save(tmp_path / "a.nii", labels))
    assert "got 0.5 (2 such voxels)" in message and "nearest" in message


def test_label_of_another_shape(tmp_path, hu):
    volume = volumes.read_volume(save(tmp_path / "i.nii", hu))
    path = save(tmp_path / "l.nii", np.zeros((5, 6, 3), np.uint8))
    message = one_line_error(volumes.read_label, path, like=volume)
    assert "(5, 6, 3) differs from image shape (5, 6, 4)" in message
    assert "l.nii" in message and "i.nii" in message


@pytest.mark.parametrize("as_geometry", [True, False])
def test_label_on_another_grid(tmp_path, hu, as_geometry):
    image = save(tmp_path / "i.nii", hu)
    like = volumes.read_geometry(image) if as_geometry else volumes.read_volume(image)
    flipped = AFFINE @ np.diag([-1.0, 1, 1, 1])
    path = save(tmp_path / "l.nii", np.zeros(hu.shape, np.uint8), flipped)
    message = one_line_error(volumes.read_label, path, like=like)
    assert "affine" in message and "5.6 mm" in message  # 4 voxels of 0.7 mm, twice


def test_label_almost_on_the_grid_is_taken(tmp_path, hu):
    volume = volumes.read_volume(save(tmp_path / "i.nii", hu))
    shifted = AFFINE.copy()
    shifted[:3, 3] = 0.2
    path = save(tmp_path / "l.nii", np.ones(hu.shape, np.uint8), shifted)
    assert volumes.read_label(path, like=volume).all()


@pytest.mark.parametrize("affine", [None, np.diag([-1.0, -1.0, 1.0, 1.0]), np.eye(4)])
def test_label_without_orientation_is_matched_by_index(tmp_path, hu, affine):
    volume = volumes.read_volume(save(tmp_path / "i.nii", hu))
    path = tmp_path / "l.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones(hu.shape, np.uint8), affine), path)
    with pytest.warns(UserWarning, match="no orientation"):
        assert volumes.read_label(path, like=volume).all()
