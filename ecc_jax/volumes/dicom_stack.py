"""The slices of a DICOM series in order, on one grid; whatever does not fit is refused."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ecc_jax.volumes.geometry import Geometry

TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
)
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
# DICOM's patient axes run to left, posterior, head; ours to right, anterior, head.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Headers hold a few decimals: cosines and spacings of one scan differ by less than this.
COSINE_TOLERANCE = 1e-3
SAME_POSITION_MM = 0.01
# Positions rounded to 0.1 mm step unevenly by as much; beyond it slices are missing or moved.
UNEVEN_MM, UNEVEN_SHARE = 0.1, 0.05
MISSING_SHARE = 1.5
MAX_TILT_DEGREES = 0.5


class SpacingError(ValueError):
    """Slices of a series are missing, twice, or unevenly spaced."""


class Header(NamedTuple):
    """What one file says of its slice.

    Attributes:
      path: The file.
      series_uid: SeriesInstanceUID.
      modality: CT, MR, CR, ...
      tags: The tags named in `TAGS` that the file has, a pydicom Dataset.
    """

    path: Path
    series_uid: str
    modality: str
    tags: Any


class Stack(NamedTuple):
    """The slices of one series, rising along the normal of the image plane.

    Attributes:
      series_uid: SeriesInstanceUID.
      patient: PatientID; empty if there is none.
      files: One per slice.
      slice_uids: SOPInstanceUID of each.
      slice_z_mm: z of each slice's first pixel as its header holds it.
      thickness_mm: Largest SliceThickness; None if no slice has one.
      geometry: The grid: slices, rows, columns.
    """

    series_uid: str
    patient: str
    files: tuple[Path, ...]
    slice_uids: tuple[str, ...]
    slice_z_mm: tuple[float, ...]
    thickness_mm: float | None
    geometry: Geometry


class _Plane(NamedTuple):
    """Where one slice lies.

    Attributes:
      shape: Rows and columns.
      spacing_mm: Between rows and between columns.
      cosines: Directions of a row (along which columns rise) and of a column, [2 3], LPS.
      position_mm: Centre of the first pixel, LPS.
    """

    shape: tuple[int, int]
    spacing_mm: Float[np.ndarray, "2"]
    cosines: Float[np.ndarray, "2 3"]
    position_mm: Float[np.ndarray, "3"]


def stack_slices(headers: Sequence[Header], *, folder: Path) -> Stack:
    """Returns the slices of one series in order, checked.

    Args:
      headers: Of the files of one series, in any order.
      folder: Named in messages.

    Raises:
      SpacingError: Slices are missing, twice or unevenly spaced.
      ValueError: Not CT, multi-frame or colour; a tag is missing or makes no sense; grids differ;
        slices are shifted against each other.
    """
    planes = [_plane(header) for header in headers]
    _check_one_grid(headers, planes)
    row, column = planes[0].cosines
    normal = np.cross(row, column)
    along = np.array([plane.position_mm @ normal for plane in planes])
    # Sorting by file as well makes messages about duplicates repeatable.
    order = sorted(range(len(headers)), key=lambda i: (along[i], headers[i].path))
    files = [headers[i].path for i in order]
    thickness = [_numbers(h, "SliceThickness", 1)[0] for h in headers if _has(h, "SliceThickness")]
    thickest = max((float(mm) for mm in thickness if mm > 0), default=None)
    _check_steps(along[order], files, folder)
    positions = np.stack([planes[i].position_mm for i in order])
    affine = np.eye(4)
    affine[:3, 0] = _step(positions, normal, thickest, folder)
    affine[:3, 1] = column * planes[0].spacing_mm[0]
    affine[:3, 2] = row * planes[0].spacing_mm[1]
    affine[:3, 3] = positions[0]
    _check_line(positions, affine, normal, folder)
    between, rows, columns = (float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    shape = (len(headers), *planes[0].shape)
    return Stack(
        headers[0].series_uid,
        " ".join(str(headers[0].tags.get("PatientID") or "").split()),
        tuple(files),
        tuple(str(headers[i].tags.get("SOPInstanceUID", "")) for i in order),
        tuple(float(z) for z in positions[:, 2]),
        thickest,
        Geometry(shape, (between, rows, columns), LPS_TO_RAS @ affine, True, folder),
    )


def _plane(header: Header) -> _Plane:
    path, tags = header.path, header.tags
    if header.modality != "CT":
        raise ValueError(
            f"{path}: expected a CT slice, got modality {header.modality or 'none'!r}; remove the "
            "series"
        )
    frames = _numbers(header, "NumberOfFrames", 1) if _has(header, "NumberOfFrames") else [1]
    if tags.get("SOPClassUID") == ENHANCED_CT or frames[0] > 1:
        raise ValueError(
            f"{path}: a multi-frame (enhanced) CT, expected one file per slice; convert it to "
            "single frames or to NIfTI"
        )
    if _has(header, "SamplesPerPixel") and _numbers(header, "SamplesPerPixel", 1)[0] != 1:
        raise ValueError(f"{path}: expected one number per pixel, got a colour image; remove it")
    rows, columns = _numbers(header, "Rows", 1), _numbers(header, "Columns", 1)
    spacing = _numbers(header, "PixelSpacing", 2)
    cosines = _numbers(header, "ImageOrientationPatient", 6).reshape(2, 3)
    position = _numbers(header, "ImagePositionPatient", 3)
    if rows[0] < 1 or columns[0] < 1 or not (spacing > 0).all():
        raise ValueError(
            f"{path}: rows, columns and PixelSpacing must be positive, got {rows[0]:g}, "
            f"{columns[0]:g}, {spacing.tolist()}; repair the file"
        )
    if not np.allclose(cosines @ cosines.T, np.eye(2), atol=10 * COSINE_TOLERANCE):
        raise ValueError(
            f"{path}: ImageOrientationPatient must be two unit vectors at right angles, got "
            f"{cosines.ravel().tolist()}; repair the file"
        )
    return _Plane((int(rows[0]), int(columns[0])), spacing, cosines, position)


def _has(header: Header, keyword: str) -> bool:
    return header.tags.get(keyword) not in (None, "")


def _numbers(header: Header, keyword: str, count: int) -> Float[np.ndarray, " n"]:
    try:
        values = np.atleast_1d(np.asarray(header.tags[keyword].value, np.float64))
    # pydicom raises various errors on values that cannot be parsed.
    except Exception:
        values = np.empty(0)
    if values.shape != (count,) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"{header.path}: {keyword} is missing or makes no sense (expected {count} numbers), "
            "perhaps truncated; copy or download the file again"
        )
    return values


def _check_one_grid(headers: Sequence[Header], planes: Sequence[_Plane]) -> None:
    first = planes[0]
    for header, plane in zip(headers, planes, strict=True):
        for what, got, expected in (
            ("rows and columns", plane.shape, first.shape),
            ("PixelSpacing", plane.spacing_mm, first.spacing_mm),
            ("ImageOrientationPatient", plane.cosines, first.cosines),
        ):
            if not np.allclose(got, expected, rtol=0, atol=COSINE_TOLERANCE):
                raise ValueError(
                    f"{header.path}: {what} differ from those of {headers[0].path.name} "
                    f"({np.ravel(got).tolist()}, {np.ravel(expected).tolist()}); a localizer or a "
                    "second reconstruction, move it to another folder"
                )


def _check_steps(along: Float[np.ndarray, " n"], files: Sequence[Path], folder: Path) -> None:
    """Checks rising positions along the normal."""
    if len(along) < 2:
        return
    steps = np.diff(along)
    same = np.flatnonzero(steps < SAME_POSITION_MM)
    if same.size:
        a, b = files[same[0]], files[same[0] + 1]
        raise SpacingError(
            f"{folder}: {same.size} duplicate slices, first {a.name} and {b.name} at the same "
            f"position ({along[same[0]]:.2f} mm); remove one of each"
        )
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > MISSING_SHARE * usual)
    if gaps.size:
        lost = sum(max(round(steps[gap] / usual) - 1, 1) for gap in gaps)
        raise SpacingError(
            f"{folder}: about {lost} slices missing, first between {files[gaps[0]].name} and "
            f"{files[gaps[0] + 1].name} ({steps[gaps[0]]:.2f} mm apart, usually {usual:.2f}); "
            "download the series again"
        )
    drift = np.abs(along - np.linspace(along[0], along[-1], len(along))).max()
    if np.abs(steps - usual).max() > max(UNEVEN_MM, UNEVEN_SHARE * usual) or drift > usual / 2:
        raise SpacingError(
            f"{folder}: slices are unevenly spaced, {steps.min():.2f} to {steps.max():.2f} mm; "
            "resample the series"
        )


def _step(
    positions: Float[np.ndarray, "n 3"],
    normal: Float[np.ndarray, "3"],
    thickness_mm: float | None,
    folder: Path,
) -> Float[np.ndarray, "3"]:
    """Returns the vector from one slice to the next, LPS; warns of a tilted gantry."""
    if len(positions) == 1:
        if thickness_mm is None:
            raise ValueError(
                f"{folder}: a single slice without SliceThickness has no extent; add slices"
            )
        return normal * thickness_mm
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    tilt = math.degrees(math.acos(min(step @ normal / float(np.linalg.norm(step)), 1.0)))
    if tilt > MAX_TILT_DEGREES:
        warnings.warn(
            f"{folder}: tilted gantry: slices move {tilt:.1f} degrees off their normal; the affine "
            "holds the shear, the voxels are not resampled",
            stacklevel=4,
        )
    return step


def _check_line(
    positions: Float[np.ndarray, "n 3"],
    affine: Float[np.ndarray, "4 4"],
    normal: Float[np.ndarray, "3"],
    folder: Path,
) -> None:
    """Checks that the slices lie behind each other: one affine must hold for all."""
    expected = positions[0] + np.arange(len(positions))[:, None] * affine[:3, 0]
    off = positions - expected
    sideways = np.linalg.norm(off - (off @ normal)[:, None] * normal, axis=1).max()
    pixel = np.linalg.norm(affine[:3, 1:3], axis=0).min()
    if sideways > pixel / 2:
        raise ValueError(
            f"{folder}: slices are shifted against each other by up to {sideways:.1f} mm in their "
            "plane; resample the series"
        )
