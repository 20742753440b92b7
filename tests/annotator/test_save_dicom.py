"""DICOM segmentations and reports read back by highdicom, and by hand with pydicom alone."""

import highdicom
import numpy as np
import pydicom
import pytest

from ecc_jax import volumes
from ecc_jax.annotator import measure, save_dicom, save_report
from ecc_jax.annotator.save_lesions import Lesion
from tests.raw_layouts import lidc

SHAPE = (6, 11, 13)
TAGS = {"FrameOfReferenceUID": "1.2.3.4.5"}
SERIES = {
    "axial": {},
    "oblong": {"pixel_mm": (0.7, 0.9)},
    "tilted": {"shift_mm": 0.4},
    "feet first": {"orientation": (-1, 0, 0, 0, 1, 0), "reverse": True},
    "sagittal": {"orientation": (0, 1, 0, 0, 0, -1)},
}


def series(tmp_path, *, tags=None, **kwargs):
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    scan = lidc.Scan(tags=TAGS | (tags or {}), **kwargs)
    return volumes.read_series(lidc.write_series(tmp_path / "ct", hu, scan))


def blobs(count=3, *, seed=0):
    """Lesions that overlap, each missing on some slices."""
    rng = np.random.default_rng(seed)
    masks = rng.random((count, *SHAPE)) < 0.3
    masks[:, 0] = False
    masks[0, 4:] = False
    return masks


def lesions_of(masks, axis=0):
    return [
        Lesion(f"L{n}", dict(enumerate(np.moveaxis(mask, axis, 0))), axis)
        for n, mask in enumerate(masks)
    ]


def export(tmp_path, volume, lesions):
    headers = save_dicom.read_headers(volume, lesions)
    segmentation = save_dicom.segmentation(headers, volume, lesions)
    report = save_report.report(segmentation, headers, volume, lesions)
    return (
        save_dicom.write_dicom(tmp_path / "out" / "seg.dcm", segmentation, volume),
        save_dicom.write_dicom(tmp_path / "out" / "sr.dcm", report, volume),
    )


def read_by_hand(path):
    """Yields segment, instance, position and pixels of each frame, from the standard alone."""
    data = pydicom.dcmread(path)
    assert (data.BitsAllocated, data.SegmentationType) == (1, "BINARY")
    frames, size = int(data.NumberOfFrames), data.Rows * data.Columns
    # One bit per pixel, the first in the lowest bit, frames without a gap between them.
    bits = [(byte >> k) & 1 for byte in data.PixelData for k in range(8)]
    (shared,) = data.SharedFunctionalGroupsSequence
    assert len(data.PerFrameFunctionalGroupsSequence) == frames
    for k, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        # What is the same in all frames, such as the only segment, may stand in one place.
        identified = group if "SegmentIdentificationSequence" in group else shared
        yield (
            identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            source.ReferencedSOPInstanceUID,
            [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient],
            np.array(bits[k * size : (k + 1) * size], bool).reshape(data.Rows, data.Columns),
        )


@pytest.mark.filterwarnings("ignore:.*tilted gantry")
@pytest.mark.parametrize("kind", SERIES)
def test_segmentation_is_voxel_exact(tmp_path, kind):
    volume = series(tmp_path, **SERIES[kind])
    masks = blobs()
    path, _ = export(tmp_path, volume, lesions_of(masks))
    positions = {
        data.SOPInstanceUID: [float(v) for v in data.ImagePositionPatient]
        for data in map(pydicom.dcmread, (tmp_path / "ct").glob("*.dcm"))
    }
    found = np.zeros_like(masks)
    seen = set()
    for segment, uid, position, pixels in read_by_hand(path):
        index = volume.slice_uids.index(uid)
        found[segment - 1, index] = pixels
        assert position == positions[uid] and pixels.any()
        seen.add((segment, index))
    np.testing.assert_array_equal(found, masks)
    # Frames without a lesion are left out.
    assert len(seen) == np.count_nonzero(masks.any(axis=(2, 3)))


@pytest.mark.filterwarnings("ignore:.*tilted gantry")
@pytest.mark.parametrize("kind", ["oblong", "tilted", "feet first"])
def test_segmentation_is_read_by_highdicom(tmp_path, kind):
    volume = series(tmp_path, **SERIES[kind])
    masks = blobs()
    path, _ = export(tmp_path, volume, lesions_of(masks))
    data = highdicom.seg.segread(path)
    used = [n for n in range(SHAPE[0]) if masks[:, n].any()]
    pixels = data.get_pixels_by_source_instance(
        [volume.slice_uids[n] for n in used], ignore_spatial_locations=True
    )
    np.testing.assert_array_equal(pixels.astype(bool), np.moveaxis(masks[:, used], 0, -1))
    shared = data.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    assert tuple(map(float, spacing)) == pytest.approx(volume.spacing_mm[1:])


def test_lesions_that_do_not_overlap_and_one_alone(tmp_path):
    volume = series(tmp_path)
    masks = blobs()
    masks[1] &= ~masks[0]
    masks[2] &= ~(masks[0] | masks[1])
    for count in (3, 1):
        path, _ = export(tmp_path / str(count), volume, lesions_of(masks[:count]))
        found = np.zeros((count, *SHAPE), bool)
        for segment, uid, _, pixels in read_by_hand(path):
            found[segment - 1, volume.slice_uids.index(uid)] = pixels
        np.testing.assert_array_equal(found, masks[:count])


@pytest.mark.parametrize("axis", [1, 2])
def test_lesions_drawn_in_another_plane(tmp_path, axis):
    volume = series(tmp_path)
    masks = blobs(1)
    paths = [
        export(tmp_path / str(n), volume, lesions_of(masks, plane))
        for n, plane in enumerate((0, axis))
    ]
    first, second = (
        [(uid, pixels.tobytes()) for _, uid, _, pixels in read_by_hand(seg)] for seg, _ in paths
    )
    assert first == second
    values = [[v for _, v in numbers(pydicom.dcmread(sr))] for _, sr in paths]
    assert values[0] == values[1]


def test_what_a_segmentation_says(tmp_path):
    tags = {
        "PatientName": "Müller^Anna",
        "SpecificCharacterSet": "ISO_IR 100",
        "StudyID": "7",
        "OtherPatientNames": "Maier^Anna",
        "PatientComments": "private words",
        "OperatorsName": "Operator^One",
        "InstitutionName": "Some Clinic",
    }
    volume = series(tmp_path, tags=tags)
    first, second = lesions_of(blobs(2))
    lesions = [
        first._replace(name="Läsion 中 1", tracking_uid="2.25.77", finding="neoplasm"),
        second,
    ]
    for path in export(tmp_path, volume, lesions):
        data = pydicom.dcmread(path)
        # What the standard asks for, and no other name of a person or place.
        assert str(data.PatientName) == "Müller^Anna" and data.PatientID == "LIDC-IDRI-0001"
        assert data.StudyID == "7" and data.StudyInstanceUID == lidc.UID_ROOT + "1.0"
        raw = path.read_bytes()
        assert not any(word in raw for word in (b"Maier", b"private", b"Operator^", b"Clinic"))
        assert (data.Manufacturer, data.SoftwareVersions) == ("ecc_jax", "0.1.0")
        assert "research use only" in data.SeriesDescription
        assert data.SeriesInstanceUID != lidc.UID_ROOT + "1"
    data = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    assert data.FrameOfReferenceUID == "1.2.3.4.5"
    one, two = data.SegmentSequence
    assert (one.SegmentLabel, two.SegmentLabel) == ("Läsion 中 1", "L1")
    assert one.TrackingUID == "2.25.77" != two.TrackingUID
    codes = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in (one, two)]
    assert codes == ["108369006", "52988006"]  # SNOMED CT: neoplasm, lesion
    for segment in (one, two):
        assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ecc_jax", "0.1.0")
    (referenced,) = data.ReferencedSeriesSequence
    uids = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
    assert uids <= set(volume.slice_uids) and volume.slice_uids[0] not in uids


def numbers(report):
    """Yields name and value of every number in a report's measurements, in order."""
    for child in report.ContentSequence:
        if child.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements":
            yield from numbers_in(child)


def numbers_in(item):
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM":
            value = float(child.MeasuredValueSequence[0].NumericValue)
            yield child.ConceptNameCodeSequence[0].CodeMeaning, value
        yield from numbers_in(child)


def lines(item):
    """Yields name, ends (x, y) and instance of every line in a report."""
    for child in item.get("ContentSequence", []):
        inner = child.get("ContentSequence", [])
        for place in [each for each in inner if each.ValueType == "SCOORD"]:
            (source,) = place.ContentSequence
            yield (
                child.ConceptNameCodeSequence[0].CodeMeaning,
                np.reshape(place.GraphicData, (2, 2)),
                source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
            )
        yield from lines(child)


@pytest.mark.filterwarnings("ignore:.*tilted gantry")
@pytest.mark.parametrize("kind", ["oblong", "tilted"])
def test_report_holds_the_measures(tmp_path, kind):
    volume = series(tmp_path, **SERIES[kind])
    lesions = lesions_of(blobs(2))
    seg_path, path = export(tmp_path, volume, lesions)
    data = pydicom.dcmread(path)
    assert data.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    found, drawn = list(numbers(data)), list(lines(data))
    for k, lesion in enumerate(lesions):
        expected = measure.measure_lesion(lesion, volume)
        widest = expected.longest
        values = [
            ("Volume", expected.volume_mm3),
            ("Attenuation Coefficient", expected.mean_hu),
            ("Attenuation Coefficient", expected.sd_hu),
            ("Attenuation Coefficient", expected.min_hu),
            ("Attenuation Coefficient", expected.max_hu),
            ("Area", widest.area_mm2),
            ("Long axis", widest.long_axis.length_mm),
            ("Short axis", widest.short_axis.length_mm),
        ]
        ours = found[k * len(values) : (k + 1) * len(values)]
        assert [name for name, _ in ours] == [name for name, _ in values]
        assert [v for _, v in ours] == pytest.approx([v for _, v in values], rel=1e-9)
        for (name, ends, uid), axis in zip(
            drawn[2 * k : 2 * k + 2], (widest.long_axis, widest.short_axis), strict=True
        ):
            assert name in ("Long axis", "Short axis")
            assert uid == volume.slice_uids[widest.slice_index]
            # Column before row, and the middle of the first pixel at a half.
            np.testing.assert_allclose(ends[:, ::-1] - 0.5, axis.ends_yx, atol=1e-5)
            lengths = (ends[1] - ends[0]) * np.array(volume.spacing_mm[:0:-1])
            assert np.linalg.norm(lengths) == pytest.approx(axis.length_mm, abs=1e-4)
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    segments = pydicom.dcmread(seg_path).SegmentSequence
    assert [g.tracking_uid for g in groups] == [s.TrackingUID for s in segments]


def test_report_refers_to_the_frame_of_the_slice(tmp_path):
    volume = series(tmp_path)
    lesions = lesions_of(blobs(2))
    seg_path, path = export(tmp_path, volume, lesions)
    frames = list(read_by_hand(seg_path))
    groups = highdicom.sr.srread(path).content.get_planar_roi_measurement_groups()
    for lesion, group in zip(lesions, groups, strict=True):
        widest = measure.measure_lesion(lesion, volume).longest
        reference = group.referenced_segmentation_frame[0].ReferencedSOPSequence[0]
        _, uid, _, pixels = frames[int(reference.ReferencedFrameNumber) - 1]
        assert uid == volume.slice_uids[widest.slice_index]
        np.testing.assert_array_equal(pixels, lesion.slices[widest.slice_index])


def error(call, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def masks_of_two():
    """A lesion on the second slice alone."""
    masks = np.zeros((1, *SHAPE), bool)
    masks[0, 1, 2:5, 3:6] = True
    return masks


def test_series_that_cannot_be_referred_to(tmp_path):
    lesions = lesions_of(blobs(1))
    volume = series(tmp_path)
    for path in (tmp_path / "ct").glob("*.dcm"):
        lidc.edit(path, FrameOfReferenceUID=None)
    assert "no FrameOfReferenceUID" in error(save_dicom.read_headers, volume, lesions)
    next((tmp_path / "ct").glob("1-003.dcm")).unlink()
    for path in (tmp_path / "ct").glob("*.dcm"):
        lidc.edit(path, FrameOfReferenceUID="1.2")
    assert "1 slices are not there" in error(save_dicom.read_headers, volume, lesions)
    lidc.edit(tmp_path / "ct" / "1-002.dcm", PatientSex="U")
    headers = save_dicom.read_headers(volume, lesions_of(masks_of_two()))
    assert "(ValueError, PatientSex)" in error(
        save_dicom.segmentation, headers, volume, lesions_of(masks_of_two())
    )
    (tmp_path / "ct" / "1-002.dcm").write_bytes(b"no DICOM whatever its name says")
    assert "1-002.dcm: cannot be read" in error(
        save_dicom.read_headers, volume, lesions_of(masks_of_two())
    )
    nifti = volume._replace(path=tmp_path / "a.nii", slice_uids=())
    assert "is no DICOM series" in error(save_dicom.read_headers, nifti, lesions)


@pytest.mark.parametrize(
    ("keyword", "fitting"),
    [
        ("PatientSex", "ABCDEFGH"),
        ("StudyDate", "20200101"),
        ("PatientBirthDate", "19500203"),
        ("StudyTime", "101112.5"),
    ],
)
def test_nothing_of_a_patient_is_told(tmp_path, keyword, fitting, capfd, caplog):
    """Values in the wrong tag: they are in no message, no warning (an error here) and no log."""
    volume, lesions = series(tmp_path), lesions_of(masks_of_two())
    path = tmp_path / "ct" / "1-002.dcm"
    lidc.edit(path, **{keyword: fitting})
    # pydicom itself would write no such value.
    assert path.read_bytes().count(fitting.encode()) == 1
    path.write_bytes(path.read_bytes().replace(fitting.encode(), b"Jane Doe"))
    said = ""
    try:
        export(tmp_path, volume, lesions)
    except ValueError as refused:
        said = str(refused)
        assert refused.__cause__ is None and "save as NIfTI" in said
    out, err = capfd.readouterr()
    assert "Jane" not in said + out + err + caplog.text


def test_a_slice_without_thickness_and_other_series_beside(tmp_path):
    volume = series(tmp_path, thickness_mm=None)
    lidc.write_series(
        tmp_path / "ct" / "second", np.zeros(SHAPE), lidc.Scan(series_uid=lidc.UID_ROOT + "9")
    )
    masks = blobs(1)
    path, _ = export(tmp_path, volume, lesions_of(masks))
    found = np.zeros(SHAPE, bool)
    for _, uid, _, pixels in read_by_hand(path):
        found[volume.slice_uids.index(uid)] = pixels
    np.testing.assert_array_equal(found, masks[0])


def test_the_folder_of_the_series_is_never_written_to(tmp_path):
    volume = series(tmp_path)
    lesions = lesions_of(blobs(1))
    headers = save_dicom.read_headers(volume, lesions)
    data = save_dicom.segmentation(headers, volume, lesions)
    before = {path: path.read_bytes() for path in (tmp_path / "ct").iterdir()}
    for name in ("ct/seg.dcm", "ct/1-001.dcm", "ct/deep/er/seg.dcm", "other/../ct/seg.dcm"):
        said = error(save_dicom.write_dicom, tmp_path / name, data, volume, replace=True)
        assert "folder of the source" in said
    (tmp_path / "link").symlink_to(tmp_path / "ct")
    assert "folder of the source" in error(
        save_dicom.write_dicom, tmp_path / "link" / "seg.dcm", data, volume
    )
    target = tmp_path / "seg.dcm"
    save_dicom.write_dicom(target, data, volume)
    assert "is there already" in error(save_dicom.write_dicom, target, data, volume)
    save_dicom.write_dicom(target, data, volume, replace=True)
    (tmp_path / "foreign.dcm").write_bytes(next(iter(before.values())))
    assert "not written by ecc_jax" in error(
        save_dicom.write_dicom, tmp_path / "foreign.dcm", data, volume, replace=True
    )
    assert {path: path.read_bytes() for path in (tmp_path / "ct").iterdir()} == before
