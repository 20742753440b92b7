"""Lesions on a DICOM series -> a DICOM segmentation, one segment per lesion.

A segmentation belongs to the patient and the study of its source. Of both it takes what the
standard asks for (types 1 and 2 of the patient and the study module) and nothing else: names and
comments that a source holds elsewhere do not travel.

Source: DICOM PS3.3 A.51 (segmentation), C.8.20; codes of CID 7150 and 7151.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ecc_jax.annotator.save_lesions import Lesion, by_frame, check_lesions
from ecc_jax.annotator.save_target import SOFTWARE, VERSION, write
from ecc_jax.volumes import Volume
from ecc_jax.volumes.dicom_files import dicom_files, parse

FINDINGS = {"lesion": codes.SCT.Lesion, "neoplasm": codes.SCT.Neoplasm}
SERIES_NUMBERS = {"SEG": 901, "SR": 902}
MODEL_NAME = f"{SOFTWARE} annotator"
# What must be there, and what the standard asks to be there, be it without a value.
NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID",
          "FrameOfReferenceUID")  # fmt: skip
EMPTY_ALLOWED = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
                 "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName")  # fmt: skip
GRID = ("Modality", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient",
        "ImagePositionPatient", "SliceThickness", "SpacingBetweenSlices",
        "SpecificCharacterSet")  # fmt: skip


def own_series(modality: str) -> dict[str, Any]:
    """Returns what an object of ours says of itself and its series, as highdicom takes it.

    Args:
      modality: In `SERIES_NUMBERS`.
    """
    return {
        "series_instance_uid": generate_uid(prefix=None),
        "series_number": SERIES_NUMBERS[modality],
        "sop_instance_uid": generate_uid(prefix=None),
        "instance_number": 1,
        "manufacturer": SOFTWARE,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": VERSION,
        "specific_character_set": "ISO_IR 192",
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what the libraries of DICOM warn of to itself: they quote values, of patients too.

    Also a decorator: `@quiet()`.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@quiet()
def read_headers(volume: Volume, lesions: Sequence[Lesion]) -> dict[int, pydicom.Dataset]:
    """Returns the headers of the slices that hold a lesion, by position, rising.

    Args:
      volume: As `volumes.read_series` gave it.
      lesions: At least one; none empty.

    Raises:
      ValueError: Lesions that cannot be saved; the volume is no DICOM series; a file of it has
        gone or lacks an identifier that DICOM demands.
    """
    check_lesions(lesions, volume.geometry)
    if not volume.path.is_dir() or len(volume.slice_uids) != volume.image_hu.shape[0]:
        raise ValueError(
            f"{volume.path}: is no DICOM series, which a DICOM segmentation must refer to; save as "
            "NIfTI"
        )
    frames = sorted({index for lesion in lesions for index in by_frame(lesion, volume.geometry)})
    wanted = {volume.slice_uids[index]: index for index in frames}
    found = {}
    for path in dicom_files(volume.path):
        header = _header(path)
        index = wanted.get(str(header.get("SOPInstanceUID", "")))
        if index is not None:
            found[index] = _completed(header, path, step_mm=volume.spacing_mm[0])
    missing = [index for index in frames if index not in found]
    if missing:
        raise ValueError(
            f"{volume.path}: the files of {len(missing)} slices are not there any more (the first: "
            f"slice index {missing[0]} (from 0)); bring them back, or save as NIfTI"
        )
    return dict(sorted(found.items()))


def _header(path: Path) -> pydicom.Dataset:
    try:
        header = parse(
            path, stop_before_pixels=True, specific_tags=[*NEEDED, *EMPTY_ALLOWED, *GRID]
        )
        list(header)  # parses the values, which are raw until looked at
    # A damaged file can raise anything in the parser.
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be read any more ({_without_values(error)}); "
            "bring it back, or save as NIfTI"
        ) from None
    return header


def _completed(header: pydicom.Dataset, path: Path, *, step_mm: float) -> pydicom.Dataset:
    for keyword in NEEDED:
        if not header.get(keyword):
            raise ValueError(
                f"{path}: has no {keyword}, which a DICOM segmentation must refer to; save as NIfTI"
            )
    for keyword in EMPTY_ALLOWED:
        if keyword not in header:
            setattr(header, keyword, None)
    # A segmentation says how thick its slices are; where its source does not, the step stands in.
    if not header.get("SliceThickness"):
        header.SliceThickness = pydicom.valuerep.format_number_as_ds(step_mm)
    return header


@quiet()
def segmentation(
    headers: Mapping[int, pydicom.Dataset], volume: Volume, lesions: Sequence[Lesion]
) -> highdicom.seg.Segmentation:
    """Returns a binary segmentation: one segment per lesion, frames only where it has pixels.

    Each frame refers to the instance it was drawn on. Names are encoded as UTF-8.

    Args:
      headers: As `read_headers` gave them for the same lesions.
      volume: The series.
      lesions: In the order of their segments; they may overlap.

    Raises:
      ValueError: Something in the series' headers is not as DICOM demands.
    """
    algorithm = highdicom.AlgorithmIdentificationSequence(
        SOFTWARE, family=codes.DCM.ArtificialIntelligence, version=VERSION
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            number,
            lesion.name,
            codes.SCT.MorphologicallyAbnormalStructure,
            FINDINGS[lesion.finding],
            highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm,
            tracking_uid=lesion.tracking_uid or generate_uid(prefix=None),
            tracking_id=lesion.name,
        )
        for number, lesion in enumerate(lesions, start=1)
    ]
    try:
        return highdicom.seg.Segmentation(
            list(headers.values()),
            _pixels(headers, volume, lesions),
            highdicom.seg.SegmentationTypeValues.BINARY,
            descriptions,
            device_serial_number="none",
            content_label="LESIONS",
            content_description="Lesions outlined with a network's help; research use only",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description="Lesions (research use only)",
            **own_series("SEG"),
        )
    # What is copied from the source is checked there: a sex of "unknown", a date of words.
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{volume.path}: its headers are not as a DICOM segmentation needs them "
            f"({_without_values(error)}); correct them, or save as NIfTI"
        ) from None


def _without_values(error: Exception) -> str:
    """Returns the kind of an error and the tags that it names; its text quotes the patient's."""
    named = [keyword for keyword in (*NEEDED, *EMPTY_ALLOWED, *GRID) if keyword in str(error)]
    return ", ".join([type(error).__name__, *named])


def _pixels(
    headers: Mapping[int, pydicom.Dataset], volume: Volume, lesions: Sequence[Lesion]
) -> np.ndarray:
    """Returns segment numbers [frame h w], or where lesions overlap 0 and 1 [frame h w segment].

    The former takes so much less memory that many lesions in a long series are no matter.
    """
    position = {index: k for k, index in enumerate(headers)}
    masks = [by_frame(lesion, volume.geometry) for lesion in lesions]
    numbers = np.zeros((len(headers), *volume.image_hu.shape[1:]), np.uint16)
    for segment, frames in enumerate(masks, start=1):
        for index, mask in frames.items():
            frame = numbers[position[index]]
            if frame[mask].any():
                return _layered(numbers.shape, position, masks)
            frame[mask] = segment
    return numbers


def _layered(
    shape: tuple[int, ...],
    position: Mapping[int, int],
    masks: Sequence[Mapping[int, np.ndarray]],
) -> np.ndarray:
    pixels = np.zeros((*shape, len(masks)), np.uint8)
    for segment, frames in enumerate(masks):
        for index, mask in frames.items():
            pixels[position[index], :, :, segment] = mask
    return pixels


@quiet()
def write_dicom(
    target: Path, dataset: pydicom.Dataset, volume: Volume, *, replace: bool = False
) -> Path:
    """Writes a segmentation or a report; returns its path.

    Args:
      target: The file, outside the folder of the series.
      dataset: What to write.
      volume: The series it belongs to.
      replace: Whether a file that this package wrote may be replaced.

    Raises:
      ValueError: The target may not be written.
      OSError: It cannot be written; what was there before stays.
    """
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return write(target, file.getvalue(), volume.path, replace=replace)
