"""The slices of a DICOM series in order, on one grid; whatever does not fit is refused."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ecc_jax.volumes.dicom_files import Header
from ecc_jax.volumes.dicom_members import (
    check_members,
    check_rescale,
    move,
    names,
    patient_of,
)
from ecc_jax.volumes.dicom_steps import check_steps as _check_steps
from ecc_jax.volumes.dicom_steps import rounding_of
from ecc_jax.volumes.geometry import Geometry

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
# DICOM's patient axes run to left, posterior, head; ours to right, anterior, head.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Headers hold a few decimals: cosines and spacings of one scan differ by less than this.
COSINE_TOLERANCE = 1e-3
MAX_TILT_DEGREES = 0.5


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
      LocalizerError: All files are localizers.
      ValueError: Not CT, multi-frame or colour; a tag is missing or makes no sense; files that do
        not belong to the others; two patients; rescale tags in some files only; slices are
        shifted against each other.
    """
    check_members(headers, folder)
    patient = patient_of(headers, folder)
    planes = [_plane(header) for header in headers]
    _check_one_grid(headers, planes, folder)
    check_rescale(headers, folder)
    row, column = planes[0].cosines
    normal = np.cross(row, column)
    stored = np.stack([plane.position_mm for plane in planes])
    along = stored @ normal
    # Sorting by file as well makes messages about duplicates repeatable.
    order = sorted(range(len(headers)), key=lambda i: (along[i], headers[i].path))
    files = [headers[i].path for i in order]
    thickness = [_numbers(h, "SliceThickness", 1)[0] for h in headers if h.has("SliceThickness")]
    thickest = max((float(mm) for mm in thickness if mm > 0), default=None)
    _check_steps(along[order], files, folder, rounding_mm=rounding_of(stored, normal))
    positions = stored[order]
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
        patient,
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
    frames = _numbers(header, "NumberOfFrames", 1) if header.has("NumberOfFrames") else [1]
    if tags.get("SOPClassUID") == ENHANCED_CT or frames[0] > 1:
        raise ValueError(
            f"{path}: a multi-frame (enhanced) CT, expected one file per slice; convert it to "
            "single frames or to NIfTI"
        )
    if header.has("SamplesPerPixel") and _numbers(header, "SamplesPerPixel", 1)[0] != 1:
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


def _check_one_grid(headers: Sequence[Header], planes: Sequence[_Plane], folder: Path) -> None:
    """Checks that all slices have one grid; those that differ from most are the odd ones."""
    groups: list[list[int]] = []
    for index, plane in enumerate(planes):
        alike = (group for group in groups if not _differences(plane, planes[group[0]]))
        own = next(alike, None)
        if own is None:
            groups.append([index])
        else:
            own.append(index)
    if len(groups) == 1:
        return
    # The largest first, then by name.
    members = sorted(
        (sorted((headers[i].path, i) for i in group) for group in groups),
        key=lambda group: (-len(group), group),
    )
    (most, first), (other, second) = members[0][0], members[1][0]
    found = _differences(planes[second], planes[first])
    what = " and ".join(found)
    values = "; ".join(f"{got}, not {expected}" for got, expected in found.values())
    if len(members[0]) == len(members[1]):
        listed = ", ".join(f"{len(group)} files like {group[0][0].name}" for group in members)
        number = "two" if len(members) == 2 else len(members)
        raise ValueError(
            f"{folder}: {number} reconstructions in one series: {listed}; {what} of {other.name} "
            f"differ from those of {most.name} ({values}); move all but one to other folders"
        )
    odd = [headers[i] for group in members[1:] for _, i in group]
    raise ValueError(
        f"{names(odd, folder=True)}: {what} differ from those of {most.name} and "
        f"{len(members[0]) - 1} more ({values}); a localizer or a second reconstruction, "
        f"{move(odd)}"
    )


def _differences(plane: _Plane, other: _Plane) -> dict[str, tuple[str, str]]:
    """Returns in what two planes differ, with the values of both."""
    found = {}
    for what, one, two in (
        ("rows and columns", np.array(plane.shape), np.array(other.shape)),
        ("PixelSpacing", plane.spacing_mm, other.spacing_mm),
        ("ImageOrientationPatient", plane.cosines, other.cosines),
    ):
        if np.abs(one - two).max() > COSINE_TOLERANCE:
            found[what] = (str(one.ravel().tolist()), str(two.ravel().tolist()))
    return found


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
