"""Measures of lesions on a DICOM series -> a structured report that viewers and archives read.

Three groups of measurements per lesion, tied together by its tracking UID: of the whole segment
(volume, Hounsfield units), of the slice with the longest diameter (area), and on that slice both
axes as lines, which viewers draw; the standard allows lines in no group of a segment. All is
measured in the plane of acquisition, in whichever plane the lesion was drawn.

Source: DICOM PS3.16 TID 1500, 1410, 1411, 1501, 300; PS3.3 C.18.6 (SCOORD: the first pixel's
centre is (0.5, 0.5)).
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from ecc_jax.annotator.measure import Axis, LesionMeasures, SliceMeasures, measure_lesion
from ecc_jax.annotator.save_dicom import MODEL_NAME, own_series, quiet
from ecc_jax.annotator.save_lesions import Lesion, by_frame
from ecc_jax.annotator.save_target import SOFTWARE, VERSION
from ecc_jax.volumes import Volume

_Value = TypeVar("_Value")
_Group = (
    sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)


@quiet()
def report(
    segmentation: pydicom.Dataset,
    headers: Mapping[int, pydicom.Dataset],
    volume: Volume,
    lesions: Sequence[Lesion],
) -> sr.Comprehensive3DSR:
    """Returns a measurement report (TID 1500) that refers to a segmentation of the same lesions.

    Args:
      segmentation: As `save_dicom.segmentation` gave it for these lesions.
      headers: Of the slices, by position.
      volume: The series.
      lesions: In the order of the segments.
    """
    groups: list[_Group] = []
    for segment, lesion in zip(segmentation.SegmentSequence, lesions, strict=True):
        frames = lesion._replace(slices=by_frame(lesion, volume.geometry), slice_axis=0)
        measures = measure_lesion(frames, volume)
        groups += [
            _whole(
                segmentation,
                segment,
                measures,
                [headers[each.slice_index] for each in measures.slices],
            ),
            _area(segmentation, segment, _known(measures.longest), headers),
            _axes(segment, _known(measures.longest), headers),
        ]
    device = sr.DeviceObserverIdentifyingAttributes(
        # The same software has the same UID whoever runs it, so it says nothing of the user.
        generate_uid(prefix=None, entropy_srcs=[SOFTWARE, VERSION]),
        name=SOFTWARE,
        manufacturer_name=SOFTWARE,
        model_name=MODEL_NAME,
    )
    content = sr.MeasurementReport(
        sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                sr.CodedConcept(*_code(codes.DCM.Device)), device
            )
        ),
        codes.LN.CTUnspecifiedBodyRegion,
        groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=list(headers.values()),
    )
    return sr.Comprehensive3DSR(
        [segmentation, *headers.values()],
        content[0],
        is_complete=True,
        series_description="Measures of lesions (research use only)",
        **own_series("SR"),
    )


def _known(value: _Value | None) -> _Value:
    """Returns what a lesion with pixels on a series, which has voxel sizes, always measures."""
    if value is None:
        raise ValueError("a lesion without pixels has no measures; draw it or delete it")
    return value


def _code(code: pydicom.sr.coding.Code) -> tuple[str, str, str]:
    return code.value, code.scheme_designator, code.meaning


def _tracking(segment: pydicom.Dataset) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID)


def _whole(
    segmentation: pydicom.Dataset,
    segment: pydicom.Dataset,
    measures: LesionMeasures,
    sources: Sequence[pydicom.Dataset],
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Returns volume and Hounsfield units of a segment."""
    hounsfield = [
        sr.Measurement(
            codes.DCM.AttenuationCoefficient,
            _known(value),
            codes.UCUM.HounsfieldUnit,
            derivation=kind,
        )
        for kind, value in (
            (codes.SCT.Mean, measures.mean_hu),
            (codes.SCT.StandardDeviation, measures.sd_hu),
            (codes.SCT.Minimum, measures.min_hu),
            (codes.SCT.Maximum, measures.max_hu),
        )
    ]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        _tracking(segment),
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            segment.SegmentNumber,
            source_images=[
                sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID)
                for source in sources
            ],
        ),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=segment.SegmentedPropertyTypeCodeSequence[0],
        measurements=[
            sr.Measurement(
                codes.SCT.Volume, _known(measures.volume_mm3), codes.UCUM.CubicMillimeter
            ),
            *hounsfield,
        ],
    )


def _area(
    segmentation: pydicom.Dataset,
    segment: pydicom.Dataset,
    widest: SliceMeasures,
    headers: Mapping[int, pydicom.Dataset],
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Returns the area of the slice with the longest diameter."""
    source = headers[widest.slice_index]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        _tracking(segment),
        referenced_segment=sr.ReferencedSegmentationFrame(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            _frame_number(segmentation, segment.SegmentNumber, source),
            segment.SegmentNumber,
            sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID),
        ),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=segment.SegmentedPropertyTypeCodeSequence[0],
        measurements=[
            sr.Measurement(codes.SCT.Area, _known(widest.area_mm2), codes.UCUM.SquareMillimeter)
        ],
    )


def _axes(
    segment: pydicom.Dataset, widest: SliceMeasures, headers: Mapping[int, pydicom.Dataset]
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Returns long and short axis on the slice with the longest diameter."""
    source = headers[widest.slice_index]
    return sr.MeasurementsAndQualitativeEvaluations(
        _tracking(segment),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=segment.SegmentedPropertyTypeCodeSequence[0],
        method=codes.DCM.RECIST1Point1,
        measurements=[
            _line(codes.SCT.LongAxis, _known(widest.long_axis), source),
            _line(codes.SCT.ShortAxis, _known(widest.short_axis), source),
        ],
    )


def _line(name: pydicom.sr.coding.Code, axis: Axis, source: pydicom.Dataset) -> sr.Measurement:
    ends = np.array(axis.ends_yx)[:, ::-1] + 0.5
    region = sr.CoordinatesForMeasurement(
        sr.GraphicTypeValues.POLYLINE,
        ends,
        sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
    )
    return sr.Measurement(
        name, axis.length_mm, codes.UCUM.Millimeter, referenced_coordinates=[region]
    )


def _frame_number(
    segmentation: pydicom.Dataset, segment_number: int, source: pydicom.Dataset
) -> int:
    """Returns the number, from 1, of the frame of a segment that was drawn on an instance."""
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        # With a single segment it stands where the frames' common properties are.
        identified = group if "SegmentIdentificationSequence" in group else shared
        derived = group.DerivationImageSequence[0].SourceImageSequence[0]
        if (
            identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment_number
            and derived.ReferencedSOPInstanceUID == source.SOPInstanceUID
        ):
            return number
    raise ValueError(f"segment {segment_number} has no frame on {source.SOPInstanceUID}")
