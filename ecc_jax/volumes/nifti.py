"""NIfTI files -> volumes in Hounsfield units, with errors that say which file and what to do.

The voxels are read here rather than by nibabel's array proxy, because that stops after the last
voxel and so never reaches the checksum at the end of a .gz file.
"""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, Num

from ecc_jax.volumes.geometry import Geometry, Volume
from ecc_jax.volumes.grids import AS_STORED, Match, match_grid
from ecc_jax.volumes.nifti_files import read_bytes
from ecc_jax.volumes.nifti_header import FORMS_DIFFER, Header, geometry_of, read_header
from ecc_jax.volumes.plausibility import warn_unless_hu
from ecc_jax.volumes.remarks import FileRemark
from ecc_jax.volumes.voxels import gather, is_whole

MAX_COMPRESSION = 1100  # Deflate reaches 1032.
SLAB_VOXELS = 1 << 20  # Fits a processor's cache in float32.
# A whole number saved in steps of a slope is off by half a step, and a little for the rounding of
# the slope itself. Half a step of 8 bits is 0.004 for labels 0..2; above the second limit stored
# values are so coarse that a soft mask might look whole.
WHOLE_TOLERANCE, MAX_WHOLE_TOLERANCE = 0.01, 0.25


def read_geometry(path: str | Path) -> Geometry:
    """Returns the grid of a NIfTI file without reading its voxels.

    Of sform and qform the one is used whose voxel sizes agree with pixdim. A header that holds
    nothing but an identity or voxel sizes of 1 leaves the voxel size unknown: NaN, and no
    orientation. Both give a `FileRemark`.

    Args:
      path: .nii, .nii.gz, or either half of a .hdr/.img pair.

    Raises:
      ValueError: Missing, not NIfTI, truncated header, not 3-D, or no usable affine.
    """
    path = Path(path)
    geometry, remarks = geometry_of(read_header(path).fields, path)
    _warn(path, remarks)
    return geometry


def read_volume(path: str | Path) -> Volume:
    """Reads a CT volume (told apart by content, not by suffix), slope and intercept applied.

    A fourth axis of length 1 is dropped. Values that cannot be Hounsfield units, and what is odd
    in the header (see `read_geometry`), give a `FileRemark`.

    Args:
      path: .nii, .nii.gz, or either half of a .hdr/.img pair.

    Raises:
      ValueError: Missing, not NIfTI, truncated or corrupt, not 3-D, NaN or infinite voxels.
    """
    path = Path(path)
    header = read_header(path)
    geometry, remarks = geometry_of(header.fields, path)
    _warn(path, remarks)
    stored = _read_voxels(header, geometry)
    if stored.voxels.dtype == np.int16 and not stored.is_scaled:
        image = stored.voxels  # a copy would take as much memory again
    else:
        blocks = _blocks(stored, path)
        image = gather(blocks, geometry.shape, narrow=np.int16, wide=np.float32, order="F")
    warn_unless_hu(image, path)
    return Volume(image, *geometry[1:3], path=path, has_affine=geometry.has_affine)


def read_label(
    path: str | Path, *, like: Geometry | Volume | None = None, match: Match = "geometry"
) -> Integer[np.ndarray, "d h w"]:
    """Reads a label volume (uint8 where the values allow, else int32).

    A label whose header describes the image's grid with axes in another order or running the other
    way is turned onto the image's axes. Whole numbers that a slope in an old header has moved a
    little are rounded. Both give a `FileRemark`, as does an orientation that only one header holds:
    the voxels are then taken to correspond.

    Args:
      path: .nii, .nii.gz, or either half of a .hdr/.img pair.
      like: The image (or its grid) that the labels belong to.
      match: "geometry": a label on another grid than the image's is refused, because its mask would
        lie in the wrong place. "index": image and label belong together voxel by voxel, whatever
        origin and voxel size their headers say; only axes that run another way are refused.

    Raises:
      ValueError: As `read_volume`; values that are not whole numbers; shape or grid of the image
        differs.
    """
    path = Path(path)
    header = read_header(path)
    geometry, remarks = geometry_of(header.fields, path)
    # Of a label's header only what decides where the mask lies matters.
    _warn(path, [remark for remark in remarks if remark[0] == FORMS_DIFFER])
    turn = AS_STORED
    if like is not None:
        image = like if isinstance(like, Geometry) else like.geometry
        turn = match_grid(geometry, image, match=match, stacklevel=3)
    stored = _read_voxels(header, geometry)
    stored = stored._replace(voxels=turn.apply(stored.voxels))
    blocks = _whole(_blocks(stored, path), path, tolerance=_tolerance(stored))
    return gather(blocks, stored.voxels.shape, narrow=np.uint8, wide=np.int32, order="F")


def _warn(path: Path, remarks: list[tuple[str, str]]) -> None:
    for kind, text in remarks:
        warnings.warn(FileRemark(path, kind, text), stacklevel=3)


class _Stored(NamedTuple):
    """Voxels as they stand in the file, and what turns them into values.

    Attributes:
      voxels: A view of the file's bytes, in its byte order.
      slope: 1 if the header gives none.
      intercept: 0 if the header gives none.
    """

    voxels: Num[np.ndarray, "d h w"]
    slope: float
    intercept: float

    @property
    def is_scaled(self) -> bool:
        """Whether values differ from what is stored."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def _read_voxels(header: Header, geometry: Geometry) -> _Stored:
    """Returns the voxels as stored.

    Raises:
      ValueError: Missing, truncated or corrupt, not one number per voxel.
    """
    path = header.voxels
    dtype = header.fields.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected one number per voxel, got {dtype}; convert to int16")
    count = math.prod(geometry.shape)
    need = header.offset + count * dtype.itemsize
    # A header may promise any size; no compression reaches this ratio, so it is not believed.
    within_reach = need <= MAX_COMPRESSION * path.stat().st_size
    raw = read_bytes(path, limit=need, to_end=True) if within_reach else b""
    if len(raw) < need:
        got = f"got {len(raw)}" if within_reach else "the file is far too small"
        raise ValueError(
            f"{path}: truncated: expected {need} bytes of voxels and header, {got}; copy or "
            "download the file again"
        )
    voxels = np.frombuffer(raw, dtype, count, header.offset).reshape(geometry.shape, order="F")
    slope, intercept = header.fields.get_slope_inter()
    if slope is None:
        return _Stored(voxels, 1.0, 0.0)
    return _Stored(voxels, float(slope), float(intercept))


def _blocks(stored: _Stored, path: Path) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields index and finite values of one slab after the other.

    Raises:
      ValueError: At the end, if any voxel is NaN or infinite; slabs that hold one are left out.
    """
    voxels = stored.voxels
    dtype = voxels.dtype.newbyteorder("=")
    # 16 bits and fewer are exact in float32.
    wide = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    depth = max(1, SLAB_VOXELS // max(voxels.shape[0] * voxels.shape[1], 1))
    bad = 0
    for start in range(0, voxels.shape[2], depth):
        index = (..., slice(start, start + depth))
        values = voxels[index].astype(dtype, copy=False)
        if stored.is_scaled:
            values = values.astype(wide) * wide.type(stored.slope) + wide.type(stored.intercept)
        if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
            bad += int(np.count_nonzero(~np.isfinite(values)))
        else:
            yield index, values
    if bad:
        raise ValueError(
            f"{path}: {bad} of {voxels.size} voxels are NaN or infinite; replace them (air is "
            "-1000 HU, background label 0)"
        )


def _tolerance(stored: _Stored) -> float:
    """Returns how far labels may lie from whole numbers because of the slope they are stored with.

    Who edits labels as floating point and saves them under the old header gets integers that span
    the whole range of their type, and a slope that brings them nearly back: 1 reads as 1.00001526.
    """
    if stored.voxels.dtype.kind not in "iu" or stored.slope == 1:
        return 0.0
    return min(max(WHOLE_TOLERANCE, 0.501 * abs(stored.slope)), MAX_WHOLE_TOLERANCE)


def _whole(
    blocks: Iterator[tuple[Any, np.ndarray]], path: Path, *, tolerance: float
) -> Iterator[tuple[Any, np.ndarray]]:
    """Passes on blocks of whole numbers that fit 32 bits, rounded if they lie within a tolerance.

    Raises:
      ValueError: At the end, if any value is not whole; at once, if one does not fit.
    """
    odd, first, rounded = 0, 0.0, 0.0
    limits = np.iinfo(np.int32)
    for index, values in blocks:
        if not is_whole(values):
            whole = np.rint(values)
            is_odd = np.abs(values - whole) > tolerance
            if is_odd.any():
                first = first if odd else float(values[is_odd][0])
                odd += int(np.count_nonzero(is_odd))
                continue
            rounded = rounded or float(values[values != whole][0])
            values = whole
        low, high = values.min(), values.max()
        if not limits.min <= low <= high <= limits.max:
            raise ValueError(
                f"{path}: labels must fit 32 bits, got {low:g}..{high:g}; renumber them"
            )
        yield index, values
    if odd:
        slope = " and scl_slope 1 in the header" if tolerance else ""
        raise ValueError(
            f"{path}: labels must be whole numbers, got {first!r} ({odd} such voxels); store the "
            f"mask without interpolation (nearest neighbour when resampling){slope}"
        )
    if rounded:
        warnings.warn(
            FileRemark(
                path,
                "label scaled by an old header",
                f"labels such as {rounded!r} are rounded: scl_slope in the header, left from "
                "another image, moves whole numbers; save the label as uint8 with scl_slope 1",
            ),
            stacklevel=4,
        )
