import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGLosslessSV1, RLELossless, generate_uid

from ecc_jax import volumes
from ecc_jax.data import slices
from ecc_jax.volumes import dicom
from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import UID_ROOT, Scan

SHAPE = (6, 8, 10)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def write(tmp_path, hu, **kwargs):
    return lidc.write_series(tmp_path / "series", hu, Scan(**kwargs))


def error(folder, **kwargs):
    with pytest.raises(ValueError) as caught:
        volumes.read_series(folder, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder):
    return sorted(folder.glob("*.dcm"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("step", [2.0, 0.625])
def test_series_in_order_of_position(tmp_path, hu, reverse, step):
    scan = Scan(reverse=reverse, step_mm=step, pixel_mm=(0.7, 0.9))
    volume = volumes.read_series(lidc.write_series(tmp_path / "series", hu, scan))
    np.testing.assert_array_equal(volume.image_hu, hu)
    assert volume.image_hu.dtype == np.int16 and volume.path == tmp_path / "series"
    np.testing.assert_allclose(volume.spacing_mm, (step, 0.7, 0.9), rtol=1e-6)
    assert volume.slice_uids == tuple(scan.sop_uid(k) for k in range(6))
    np.testing.assert_allclose(volume.slice_z_mm, -100 + step * np.arange(6))


def test_affine_leads_to_ras(tmp_path, hu):
    """The first pixel at LPS (-50, -40, -100); columns run left, rows posterior, slices up."""
    affine = volumes.read_series(write(tmp_path, hu, pixel_mm=(0.7, 0.9))).affine
    np.testing.assert_allclose(affine @ [0, 0, 0, 1], [50, 40, -100, 1])
    np.testing.assert_allclose(affine @ [2, 3, 4, 1], [50 - 3.6, 40 - 2.1, -96, 1])


@pytest.mark.parametrize(
    "orientation",
    [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)],
)
def test_slices_become_upright(tmp_path, orientation):
    """Values are the coordinates themselves; upright rows run to posterior or feet."""
    scan = Scan(orientation=orientation)
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    plane = np.add.outer(np.arange(8) * 0.7, np.zeros(10))[..., None] * column
    plane = plane + (np.arange(10) * 0.7)[:, None] * row
    rows_axis = 1 if orientation[5] == 0 else 2
    along = np.rint(100 * plane[..., rows_axis] * (1 if rows_axis == 1 else -1)) - 500
    folder = lidc.write_series(tmp_path / "s", np.repeat(along[None], 6, axis=0), scan)
    volume = volumes.read_series(folder)
    orientation = volumes.display_orientation(volume.geometry, slice_axis=0)
    upright = slices.turn(volume.image_hu[0], orientation)
    assert (np.diff(upright.astype(int), axis=0) > 0).all()


def test_rescale_of_each_slice(tmp_path, hu):
    even = (hu // 2) * 2
    slopes = (1.0, 2.0, 1.0, 2.0, 1.0, 1.0)
    volume = volumes.read_series(write(tmp_path, even, slope=slopes))
    np.testing.assert_array_equal(volume.image_hu, even)
    assert volume.image_hu.dtype == np.int16


def test_fractions_stay(tmp_path, hu):
    halves = hu / 2
    volume = volumes.read_series(write(tmp_path, halves, slope=(1.0, 0.5, 0.5, 0.5, 0.5, 0.5)))
    assert volume.image_hu.dtype == np.float32
    np.testing.assert_allclose(volume.image_hu[1:], halves[1:])


@pytest.mark.parametrize(
    ("signed", "declared", "last"),
    [(True, -2000, None), (True, 63536, None), (True, -2000, -1990), (False, 0, None)],
)
def test_padding_becomes_air(tmp_path, hu, signed, declared, last):
    """63536 is -2000 read as an unsigned number, as some scanners write it."""
    hu = np.maximum(hu, -900)
    intercept = 0.0 if signed else -1024.0
    hu[:, 0] = (-1995 if last else -2000) if signed else -1024
    folder = write(tmp_path, hu, intercept=intercept)
    for path in files(folder):
        data = pydicom.dcmread(path)
        kind = "US" if declared >= 0 else "SS"
        data.add_new("PixelPaddingValue", kind, declared)
        if last:
            data.add_new("PixelPaddingRangeLimit", kind, last)
        data.save_as(path)
    image = volumes.read_series(folder).image_hu
    assert (image[:, 0] == -1000).all()
    np.testing.assert_array_equal(image[:, 1:], hu[:, 1:])


def test_padding_that_means_water_is_not_taken(tmp_path, hu):
    folder = write(tmp_path, hu, intercept=0.0, tags={"PixelPaddingValue": 0})
    with pytest.warns(UserWarning, match="PixelPaddingValue 0 means a tissue") as caught:
        volume = volumes.read_series(folder)
    assert len(caught) == 1
    np.testing.assert_array_equal(volume.image_hu, hu)


def test_missing_rescale_warns(tmp_path, hu):
    folder = write(tmp_path, hu)
    for path in files(folder):
        lidc.edit(path, RescaleSlope=None, RescaleIntercept=None)
    with pytest.warns(UserWarning, match="1024 without the intercept"):
        np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu + 1024)


@pytest.mark.parametrize("z0", [-100.0, -0.4])
def test_one_slice_takes_its_thickness(tmp_path, hu, z0):
    volume = volumes.read_series(write(tmp_path, hu[:1], z0_mm=z0, thickness_mm=1.25))
    assert volume.spacing_mm[0] == 1.25 and volume.image_hu.shape == (1, 8, 10)


def test_one_slice_without_thickness(tmp_path, hu):
    assert "without SliceThickness" in error(write(tmp_path, hu[:1], thickness_mm=None))


def test_missing_slices(tmp_path, hu):
    message = error(write(tmp_path, hu, skip=(2, 3)))
    assert "about 2 slices missing, first between 1-002.dcm and 1-005.dcm" in message
    assert "(6.00 mm apart, usually 2.00)" in message


def test_duplicate_slices(tmp_path, hu):
    message = error(write(tmp_path, hu, twice=(1, 4)))
    assert "2 duplicate slices, first 1-002.dcm and 2-002.dcm at the same position" in message


def test_uneven_spacing(tmp_path, hu):
    folder = write(tmp_path, hu)
    lidc.edit(files(folder)[3], ImagePositionPatient=[-50, -40, -93.5])
    assert "unevenly spaced, 1.50 to 2.50 mm" in error(folder)


def test_positions_rounded_to_a_tenth_are_even(tmp_path, hu):
    folder = write(tmp_path, hu, step_mm=0.625)
    for k, path in enumerate(files(folder)):
        lidc.edit(path, ImagePositionPatient=[-50, -40, round(0.625 * k, 1)])
    assert volumes.read_series(folder).spacing_mm[0] == pytest.approx(0.62)


def test_steps_that_drift(tmp_path):
    hu = np.zeros((60, 4, 4), np.int16)
    folder = write(tmp_path, hu - 1)
    for k, path in enumerate(files(folder)):
        lidc.edit(path, ImagePositionPatient=[0, 0, k * 1.0 + 0.09 * max(0, k - 30)])
    assert "unevenly spaced" in error(folder)


def test_tilted_gantry_is_reported_and_kept_in_the_affine(tmp_path, hu):
    with pytest.warns(UserWarning, match="tilted gantry: slices move 14.0 degrees"):
        volume = volumes.read_series(write(tmp_path, hu, shift_mm=0.5))
    np.testing.assert_allclose(volume.affine @ [5, 0, 0, 1], [50, 37.5, -90, 1])
    assert volume.spacing_mm[0] == pytest.approx(np.hypot(2, 0.5))
    np.testing.assert_array_equal(volume.image_hu, hu)


def test_tilted_planes_at_one_table_height_are_a_tilt_too(tmp_path, hu):
    angle = np.deg2rad(20)
    scan = {"orientation": (1, 0, 0, 0, np.cos(angle), np.sin(angle))}
    folder = write(tmp_path, hu, **scan)
    for k, path in enumerate(files(folder)):
        lidc.edit(path, ImagePositionPatient=[-50, -40, -100 + 2 * k])
    with pytest.warns(UserWarning, match="20.0 degrees"):
        assert volumes.read_series(folder).spacing_mm[0] == pytest.approx(2.0)


def test_slices_shifted_in_their_plane(tmp_path, hu):
    folder = write(tmp_path, hu)
    lidc.edit(files(folder)[2], ImagePositionPatient=[-45, -40, -96])
    assert "shifted against each other by up to 5.0 mm" in error(folder)


def test_two_series(tmp_path, hu):
    folder = write(tmp_path, hu)
    other = Scan(series_uid=UID_ROOT + "2")
    lidc.write_series(folder / "deeper", hu + 1, other)
    message = error(folder)
    assert f"holds 2 series: {UID_ROOT}1 (6 files), {UID_ROOT}2 (6 files)" in message
    assert "choose one with series_uid" in message
    volume = volumes.read_series(folder, series_uid=UID_ROOT + "2")
    np.testing.assert_array_equal(volume.image_hu, hu + 1)
    assert f"series 9.9 is not there, but {UID_ROOT}1" in error(folder, series_uid="9.9")


def test_other_files_are_ignored(tmp_path, hu):
    folder = write(tmp_path, hu)
    files(folder)[0].rename(folder / "no_suffix")
    (folder / "069.xml").write_text("<a/>")
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "._1-002.dcm").write_bytes(b"macOS")
    np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu)


def test_empty_and_missing_folder(tmp_path):
    assert "holds no DICOM file" in error(tmp_path)
    assert "no such folder" in error(tmp_path / "none")


@pytest.mark.parametrize("keep", [0, 100, 140, 400, -100])
def test_truncated_file_is_named(tmp_path, hu, keep):
    folder = write(tmp_path, hu)
    path = files(folder)[3]
    path.write_bytes(path.read_bytes()[:keep])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = error(folder)
    assert str(path) in message and "again" in message


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"Modality": "MR"}, "expected a CT slice, got modality 'MR'"),
        ({"Modality": None}, "expected a CT slice, got modality 'none'"),
        ({"NumberOfFrames": 4}, "multi-frame"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "multi-frame (enhanced) CT"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
        ({"PixelSpacing": [0, 0.7]}, "must be positive"),
        ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient is missing or makes no sense"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two unit vectors at right angles"),
        ({"SeriesInstanceUID": None}, "has no SeriesInstanceUID"),
        ({"RescaleSlope": 0}, "make no sense"),
    ],
)
def test_slices_that_do_not_belong(tmp_path, hu, tags, says):
    folder = write(tmp_path, hu)
    for path in files(folder):
        lidc.edit(path, **tags)
    message = error(folder)
    assert says in message and "1-001.dcm" in message


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"Rows": 4, "Columns": 20}, "rows and columns differ from those of 1-001.dcm"),
        ({"PixelSpacing": [0.7, 0.8]}, "PixelSpacing differ"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "ImageOrientationPatient differ"),
    ],
)
def test_localizer_in_the_series(tmp_path, hu, tags, says):
    folder = write(tmp_path, hu)
    lidc.edit(files(folder)[2], **tags)
    message = error(folder)
    assert says in message and "1-003.dcm" in message


def test_compressed_series(tmp_path, hu):
    """pydicom unpacks run lengths by itself; JPEG needs the extra."""
    folder = write(tmp_path, hu)
    for path in files(folder):
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu)


def test_missing_decoder_names_the_extra(tmp_path, hu, monkeypatch):
    folder = write(tmp_path, hu)
    for path in files(folder):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" * 8])
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
    decoder = pydicom.pixels.get_decoder(JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    message = error(folder)
    assert "1-001.dcm: compressed as JPEG Lossless" in message
    assert message.endswith("pip install 'ecc_jax[dicom]'")


def test_unknown_transfer_syntax(tmp_path, hu):
    folder = write(tmp_path, hu)
    path = files(folder)[0]
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = generate_uid()
    data.save_as(path, implicit_vr=False, little_endian=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "1-001.dcm: the pixels cannot be read" in error(folder)


def test_chosen_slices_only(tmp_path, hu):
    folder = write(tmp_path, hu)
    headers = [dicom.read_header(path) for path in dicom.dicom_files(folder)]
    stack = dicom.stack_slices(headers, folder=folder)
    files(folder)[0].write_bytes(b"gone")
    np.testing.assert_array_equal(dicom.read_pixels(stack, indices=[4, 1]), hu[[4, 1]])
    assert stack.patient == "LIDC-IDRI-0001" and stack.thickness_mm == 2.0


@given(st.integers(0, 10**9))
@settings(max_examples=60)
def test_damaged_files_never_raise_anything_else(tmp_path_factory, seed):
    """Bytes overwritten, cut or inserted anywhere: a volume or a ValueError of one line."""
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("damaged")
    lidc.write_series(folder, np.zeros((3, 8, 10), np.int16) - 5)
    path = files(folder)[rng.integers(3)]
    raw = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 6)):
        start = int(rng.integers(128, len(raw)))
        raw[start : start + int(rng.integers(0, 9))] = rng.bytes(int(rng.integers(0, 9)))
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            volumes.read_series(folder)
        except ValueError as caught:
            assert "\n" not in str(caught)
