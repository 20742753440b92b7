"""Files that do not belong to the others of their series, found whatever sorts first."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ecc_jax.volumes.dicom_files import Header
from ecc_jax.volumes.remarks import FileRemark

MAX_NAMES = 3
LOCALIZER = "LOCALIZER"
RESCALE = ("RescaleSlope", "RescaleIntercept")
INTERCEPTS = 500  # HU between the intercepts of one scan at most
CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)


class LocalizerError(ValueError):
    """Every file of a series is a localizer."""


def check_members(headers: Sequence[Header], folder: Path) -> None:
    """Checks that the files of a series say of themselves that they are slices of one CT scan.

    What all of them lack may be the way of the scanner or the export, and is not refused here.

    Args:
      headers: Of the files of one series.
      folder: Named in messages.

    Raises:
      LocalizerError: All files are localizers.
      ValueError: Some are localizers, of another modality or no CT images.
    """
    if all(_is_localizer(header) for header in headers):
        raise LocalizerError(
            f"{folder}: ImageType says {LOCALIZER} in all {len(headers)} files of a series, "
            "expected the slices of a scan; choose another series"
        )
    _refuse_some(headers, _is_localizer, lambda _: f"ImageType says {LOCALIZER}")
    _refuse_some(headers, _is_not_ct, lambda header: f"modality {header.modality or 'none'!r}")
    _refuse_some(headers, _is_other_class, lambda header: f"a {_storage(header).name}")


def check_rescale(headers: Sequence[Header], folder: Path) -> None:
    """Checks that stored values become Hounsfield units in all files of a series or in none.

    Both rescale tags are mandatory in CT. Where all files lack them a remark says so, and where
    their intercepts differ by more than one scan's do.

    Raises:
      ValueError: Some files lack a tag that others have: their values would be off by it.
    """
    missing = {header.path: [k for k in RESCALE if not header.has(k)] for header in headers}
    lacking = [header for header in headers if missing[header.path]]
    if not lacking:
        _compare_intercepts(headers, folder)
        return
    what = " and ".join(k for k in RESCALE if any(k in found for found in missing.values()))
    if len({tuple(found) for found in missing.values()}) > 1:
        raise ValueError(
            f"{folder}: {what} missing in {len(lacking)} of {len(headers)} files "
            f"({names(lacking)}), so their values are not Hounsfield units; download or export "
            "these again"
        )
    warnings.warn(
        FileRemark(
            folder,
            "no rescale tags",
            f"{what} missing in all {len(headers)} files, taken as slope 1 and intercept 0; check "
            "that air is near -1000, else it is perhaps HU + 1024 without the intercept: export "
            "the series again",
        ),
        stacklevel=4,
    )


def _compare_intercepts(headers: Sequence[Header], folder: Path) -> None:
    # What is no number is refused with the pixels.
    values = {h.path: v for h in headers if isinstance(v := h.tags.RescaleIntercept, float)}
    usual = float(np.median([*values.values()])) if values else 0.0
    odd = [h for h in headers if abs(values.get(h.path, usual) - usual) > INTERCEPTS]
    if not odd:
        return
    warnings.warn(
        FileRemark(
            folder,
            "intercepts that differ",
            f"RescaleIntercept is {usual:g}, but in {len(odd)} of {len(headers)} files "
            f"({names(odd)}) it is another by more than {INTERCEPTS}; look whether these slices "
            "are as bright as their neighbours, else export the series again",
        ),
        stacklevel=5,
    )


def patient_of(headers: Sequence[Header], folder: Path) -> str:
    """Returns the PatientID of a series; empty if no file has one.

    Spaces and case do not tell patients apart, nor does a file without PatientID.

    Raises:
      ValueError: Two patients.
    """
    patients: dict[str, list[Header]] = {}
    for header in sorted(headers, key=lambda header: header.path):
        patients.setdefault(_patient(header).casefold(), []).append(header)
    patients.pop("", None)
    if len(patients) > 1:
        listed = ", ".join(
            f"PatientID {_patient(own[0])!r} in {len(own)} files ({names(own)})"
            for own in patients.values()
        )
        raise ValueError(
            f"{folder}: {len(patients)} patients in one series: {listed}; move the files of all "
            "but one to other folders, or correct the tag"
        )
    return next((_patient(own[0]) for own in patients.values()), "")


def names(headers: Sequence[Header], *, folder: bool = False) -> str:
    """Returns the names of files, the first few.

    Args:
      headers: Of the files.
      folder: Whether the first is named with its folder.
    """
    paths = sorted(header.path for header in headers)
    shown = [path.name for path in paths[:MAX_NAMES]]
    if folder:
        shown[0] = str(paths[0])
    rest = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def move(headers: Sequence[Header]) -> str:
    """Returns the remedy for files that do not belong."""
    return f"move {'it' if len(headers) == 1 else f'these {len(headers)}'} to another folder"


def _refuse_some(
    headers: Sequence[Header], is_odd: Callable[[Header], bool], reason: Callable[[Header], str]
) -> None:
    odd = [header for header in headers if is_odd(header)]
    if odd and len(odd) < len(headers):
        others = len(headers) - len(odd)
        raise ValueError(
            f"{names(odd, folder=True)}: {reason(min(odd))}, unlike the {others} other files of "
            f"the series, which are CT slices; {move(odd)}"
        )


def _is_localizer(header: Header) -> bool:
    # One text, or several.
    return LOCALIZER in str(header.tags.get("ImageType")).upper()


def _is_not_ct(header: Header) -> bool:
    return header.modality != "CT"


def _is_other_class(header: Header) -> bool:
    return header.has("SOPClassUID") and _storage(header) not in CT_CLASSES


def _storage(header: Header) -> UID:
    return UID(str(header.tags.SOPClassUID), validation_mode=config.IGNORE)


def _patient(header: Header) -> str:
    return " ".join(str(header.tags.get("PatientID") or "").split())
