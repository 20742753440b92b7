"""Files that do not belong to their series: the odd one is named, whatever sorts first."""

import warnings

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from ecc_jax import volumes
from ecc_jax.volumes import FileRemark, dicom
from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import Scan

SHAPE = (8, 6, 7)
SCOUT = (0, 1, 0, 0, 0, -1)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


@pytest.fixture
def folder(tmp_path, hu):
    return lidc.write_series(tmp_path / "series", hu)


def files(folder):
    return sorted(folder.glob("*.dcm"))


def error(folder):
    with pytest.raises(ValueError) as caught:
        volumes.read_series(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def spoil(folder, numbers, **tags):
    for number in numbers:
        lidc.edit(folder / f"1-{number:03d}.dcm", **tags)


# Rescale tags


@pytest.mark.parametrize(
    ("lacking", "tags"),
    [
        ([4], {"RescaleSlope": None, "RescaleIntercept": None}),
        ([1], {"RescaleIntercept": None}),
        ([4, 5], {"RescaleSlope": None}),
        ([1, 2, 3, 4, 6, 7, 8], {"RescaleIntercept": None}),
        ([8], {"RescaleIntercept": ""}),
        ([2], {"RescaleSlope": "", "RescaleIntercept": ""}),
    ],
)
def test_rescale_missing_in_some_is_refused_from_headers(folder, lacking, tags):
    spoil(folder, lacking, **tags)
    message = error(folder)
    assert message.startswith(f"{folder}: {' and '.join(tags)} missing in {len(lacking)} of 8")
    named = [f"1-{number:03d}.dcm" for number in lacking[:3]]
    assert ", ".join(named) in message and ("and 4 more" in message) == (len(lacking) == 7)
    headers = [dicom.read_header(path) for path in files(folder)]
    with pytest.raises(ValueError, match="missing in"):
        dicom.stack_slices(headers, folder=folder)


def test_rescale_missing_in_all_but_not_alike_is_refused(folder):
    """Some keep the intercept: these would be 1024 below the others."""
    spoil(folder, range(1, 9), RescaleSlope=None)
    spoil(folder, [1, 2], RescaleIntercept=None)
    assert "RescaleSlope and RescaleIntercept missing in 8 of 8 files" in error(folder)


@pytest.mark.parametrize("keep", ["RescaleSlope", "RescaleIntercept", ""])
def test_rescale_missing_in_all_is_remarked(tmp_path, hu, keep):
    folder = lidc.write_series(tmp_path / "s", hu, Scan(intercept=0.0))
    lacking = [tag for tag in ("RescaleSlope", "RescaleIntercept") if tag != keep]
    spoil(folder, range(1, 9), **dict.fromkeys(lacking))
    with pytest.warns(FileRemark, match=f"{' and '.join(lacking)} missing in all 8") as caught:
        volume = volumes.read_series(folder)
    assert [(w.message.kind, w.message.path) for w in caught] == [("no rescale tags", folder)]
    np.testing.assert_array_equal(volume.image_hu, hu)


def test_rescale_may_differ_from_slice_to_slice(tmp_path, hu):
    slopes = (1.0, 2.0, 4.0, 1.0, 0.5, 1.0, 2.0, 1.0)
    folder = lidc.write_series(tmp_path / "s", hu // 4 * 4, Scan(slope=slopes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu // 4 * 4)


@pytest.mark.parametrize("number", [1, 4, 8])
def test_an_intercept_that_is_lost_in_one_slice_is_remarked(tmp_path, hu, number):
    folder = lidc.write_series(tmp_path / "s", hu, Scan(intercept=-1024.0))
    spoil(folder, [number], RescaleIntercept=0)
    with pytest.warns(FileRemark, match=rf"is -1024, but in 1 of 8 files \(1-{number:03d}.dcm\)"):
        volume = volumes.read_series(folder)
    # Nothing is guessed: perhaps the file stores other numbers.
    assert np.count_nonzero((volume.image_hu != hu).any((1, 2))) == 1


# Localizers and other images


@pytest.mark.parametrize("number", [1, 4, 8])
@pytest.mark.parametrize(
    "more",
    [
        {"ImageOrientationPatient": list(SCOUT)},
        {"Rows": 3, "Columns": 14},
        {"PixelSpacing": [1, 0.5]},
        {"ImageOrientationPatient": None, "ImagePositionPatient": None, "PixelSpacing": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {},
    ],
    ids=lambda tags: ",".join(tags) or "alike",
)
def test_a_localizer_says_so(folder, number, more):
    spoil(folder, [number], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **more)
    message = error(folder)
    assert message.startswith(f"{folder / f'1-{number:03d}.dcm'}: ImageType says LOCALIZER")
    assert "unlike the 7 other files" in message and message.endswith("move it to another folder")


@pytest.mark.parametrize("number", [1, 4, 8])
@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({"ImageOrientationPatient": list(SCOUT)}, "ImageOrientationPatient"),
        ({"Rows": 3, "Columns": 14}, "rows and columns"),
        ({"PixelSpacing": [0.7, 0.75]}, "PixelSpacing"),
        ({"PixelSpacing": [1, 1], "Rows": 2, "Columns": 21}, "rows and columns and PixelSpacing"),
    ],
)
def test_the_odd_one_is_named_whatever_sorts_first(folder, number, tags, what):
    spoil(folder, [number], RescaleSlope=None, **tags)
    message = error(folder)
    usual = "1-002.dcm" if number == 1 else "1-001.dcm"
    assert message.startswith(f"{folder / f'1-{number:03d}.dcm'}: {what} differ from those of ")
    assert f"of {usual} and 6 more" in message and message.endswith("move it to another folder")


def test_several_scouts(folder):
    spoil(folder, [1], ImageOrientationPatient=list(SCOUT))
    spoil(folder, [2], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    message = error(folder)
    assert f"{folder / '1-001.dcm'}, 1-002.dcm: ImageOrientationPatient differ" in message
    assert "of 1-003.dcm and 5 more" in message and "move these 2 to another folder" in message
    spoil(folder, [1, 2, 3, 4, 5], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    message = error(folder)
    assert f"{folder / '1-001.dcm'}, 1-002.dcm, 1-003.dcm and 2 more: ImageType" in message
    assert "unlike the 3 other files" in message


def test_a_tie_is_two_reconstructions(folder):
    spoil(folder, [1, 3, 5, 7], PixelSpacing=[0.5, 0.5])
    message = error(folder)
    assert message.startswith(f"{folder}: two reconstructions in one series: 4 files like 1-001")
    assert "4 files like 1-002.dcm; PixelSpacing of 1-002.dcm differ" in message
    assert "[0.7, 0.7], not [0.5, 0.5]" in message


def test_three_reconstructions(folder):
    spoil(folder, [1, 2, 3], PixelSpacing=[0.5, 0.5])
    spoil(folder, [4, 5], PixelSpacing=[0.6, 0.6])
    message = error(folder)
    assert "3 reconstructions in one series: 3 files like 1-001.dcm, 3 files like 1-006" in message


def test_localizers_alone_are_no_scan(folder):
    spoil(folder, range(1, 9), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"])
    assert "ImageType says LOCALIZER in all 8 files" in error(folder)


@pytest.mark.parametrize("number", [1, 8])
@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"Modality": "SR"}, "modality 'SR'"),
        ({"Modality": "CR", "ImageOrientationPatient": list(SCOUT)}, "modality 'CR'"),
        ({"Modality": None}, "modality 'none'"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "a Secondary Capture Image Storage"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, "a X-Ray Radiation Dose SR Storage"),
        ({"SOPClassUID": "1.2.3"}, "a 1.2.3"),
    ],
)
def test_what_is_no_ct_slice_is_named(folder, number, tags, says):
    spoil(folder, [number], **tags)
    message = error(folder)
    assert message.startswith(f"{folder / f'1-{number:03d}.dcm'}: {says}, unlike the 7 other files")


def test_an_export_that_calls_all_slices_secondary_is_read(folder, hu):
    spoil(folder, range(1, 9), SOPClassUID=SecondaryCaptureImageStorage)
    np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu)


def test_slices_of_other_image_types_are_one_scan(folder, hu):
    spoil(folder, [1, 2], ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    spoil(folder, [3], ImageType=["DERIVED", "SECONDARY"])
    spoil(folder, [4], ImageType="")
    np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu)


# Patients


@pytest.mark.parametrize("numbers", [[1], [8], [1, 2, 3, 4], [2, 3, 4, 5, 6, 7, 8]])
def test_two_patients_in_a_series(folder, numbers):
    spoil(folder, numbers, PatientID="Other")
    message = error(folder)
    assert message.startswith(f"{folder}: 2 patients in one series: PatientID ")
    assert f"'Other' in {len(numbers)} files (1-{numbers[0]:03d}.dcm" in message
    assert f"'LIDC-IDRI-0001' in {8 - len(numbers)} files (1-" in message


@pytest.mark.parametrize("first", ["", " lidc-idri-0001", "LIDC-IDRI-0001  ", None])
def test_one_patient_spelled_in_several_ways(folder, hu, first):
    spoil(folder, [1], PatientID=first)
    headers = [dicom.read_header(path) for path in files(folder)]
    stack = dicom.stack_slices(headers, folder=folder)
    assert stack.patient.upper() == "LIDC-IDRI-0001"
    np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu)


def test_a_patient_without_name(folder):
    spoil(folder, range(1, 9), PatientID="")
    headers = [dicom.read_header(path) for path in files(folder)]
    assert dicom.stack_slices(headers, folder=folder).patient == ""
