"""NIfTI files -> volumes in Hounsfield units, with errors that say which file and what to do.

The voxels are read here rather than by nibabel's array proxy, because that stops after the last
voxel and so never reaches the checksum at the end of a .gz file.
"""

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from jaxtyping import Integer, Num

from ecc_jax.volumes.geometry import Geometry, Volume, check_grid
from ecc_jax.volumes.voxels import gather, is_whole, warn_unless_hu

HEADER_BYTES = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# Of the array axes as unit vectors: 1 at right angles, 0 in one plane. A tilted gantry leaves 0.8.
MIN_DETERMINANT = 1e-3
MAX_COMPRESSION = 1100  # Deflate reaches 1032.
SLAB_VOXELS = 1 << 20  # Fits a processor's cache in float32.
CHUNK_BYTES = 1 << 20


def read_geometry(path: str | Path) -> Geometry:
    """Returns the grid of a NIfTI file without reading its voxels.

    Raises:
      ValueError: Missing, not NIfTI, truncated header, not 3-D, or no usable affine.
    """
    path = Path(path)
    # Two headers' length covers NIfTI-1 and NIfTI-2.
    return _geometry(_header(_read_bytes(path, limit=1024), path), path)


def read_volume(path: str | Path) -> Volume:
    """Reads a CT volume (.nii or .nii.gz, told apart by content), slope and intercept applied.

    A fourth axis of length 1 is dropped. Values that cannot be Hounsfield units give a warning.

    Raises:
      ValueError: Missing, not NIfTI, truncated or corrupt, not 3-D, NaN or infinite voxels.
    """
    stored, geometry = _read(Path(path))
    blocks = _blocks(stored, geometry.path)
    image = gather(blocks, geometry.shape, narrow=np.int16, wide=np.float32, order="F")
    warn_unless_hu(image, geometry.path)
    return Volume(image, *geometry[1:3], path=geometry.path, has_affine=geometry.has_affine)


def read_label(
    path: str | Path, *, like: Geometry | Volume | None = None
) -> Integer[np.ndarray, "d h w"]:
    """Reads a label volume (uint8 where the values allow, else int32).

    Args:
      path: .nii or .nii.gz.
      like: The image (or its grid) that the labels belong to. Where only one of the two headers
        holds an orientation the voxels are taken to correspond and a warning is given; where both
        do and differ by more than half a voxel the label is refused, because its mask would lie
        in the wrong place.

    Raises:
      ValueError: As `read_volume`; values that are not whole numbers; shape or grid of the image
        differs.
    """
    stored, geometry = _read(Path(path))
    if like is not None:
        check_grid(geometry, like if isinstance(like, Geometry) else like.geometry)
    blocks = _whole(_blocks(stored, geometry.path), geometry.path)
    return gather(blocks, geometry.shape, narrow=np.uint8, wide=np.int32, order="F")


def _read_bytes(path: Path, *, limit: int, to_end: bool = False) -> bytes | bytearray:
    """Returns the first bytes of a file, unpacked if it is zipped; fewer if it has no more.

    `to_end` reads on to the checksum at the end of a .gz file without keeping what it reads.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check the path")
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            if not to_end:
                return file.read(limit)
            raw = bytearray(limit)
            filled, view = 0, memoryview(raw)
            while part := file.readinto(view[filled:]):
                filled += part
            while file.read(CHUNK_BYTES):
                pass
            view.release()
            return raw[:filled] if filled < limit else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: the compressed data are truncated or corrupt ({error}); copy or download "
            "the file again"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


def _header(raw: bytes | bytearray, path: Path) -> nibabel.Nifti1Header:
    for size, header_class in HEADER_BYTES.items():
        # The first field is the header's own length, in either byte order; the magic follows.
        magic = raw[344:347] if size == 348 else raw[4:7]
        lengths = (size.to_bytes(4, "little"), size.to_bytes(4, "big"))
        if raw[:4] in lengths and magic in (b"n+1", b"n+2") and len(raw) >= size:
            try:
                header = header_class.from_fileobj(io.BytesIO(raw[:size]), check=False)
                # Each of these raises on a field that makes no sense.
                header.get_data_dtype(), header.get_best_affine(), header.get_slope_inter()
                header.get_xyzt_units(), int(header.get_data_offset())
                return header
            except (nibabel.spatialimages.HeaderDataError, KeyError, ValueError) as error:
                raise ValueError(
                    f"{path}: the NIfTI header is corrupt ({error}); convert the file again"
                ) from error
    raise ValueError(
        f"{path}: expected a NIfTI file (.nii or .nii.gz), got something else ({len(raw)} bytes "
        f"starting {raw[:8]!r}); convert it to NIfTI or remove it"
    )


def _geometry(header: nibabel.Nifti1Header, path: Path) -> Geometry:
    shape = tuple(int(n) for n in header.get_data_shape())
    squeezed = shape[:3] if all(n == 1 for n in shape[3:]) else shape
    if len(squeezed) != 3 or min(squeezed) < 1:
        raise ValueError(
            f"{path}: expected a 3-D volume, got {len(shape)}-D of shape {shape}; split it into "
            "3-D files, one volume each"
        )
    unit = header.get_xyzt_units()[0]
    mm = np.diag([*[MM_PER_UNIT.get(unit, 1.0)] * 3, 1.0])
    affine = mm @ np.asarray(header.get_best_affine(), np.float64)
    spacing = nibabel.affines.voxel_sizes(affine)
    if not (np.all(np.isfinite(affine)) and np.all(spacing > 0)):
        raise ValueError(
            f"{path}: voxel sizes must be finite and positive, got {spacing.tolist()} mm; repair "
            "the header or convert the file again"
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < MIN_DETERMINANT:
        raise ValueError(
            f"{path}: the affine must turn the array axes into three directions, got "
            f"{affine[:3, :3].tolist()}; repair the header or convert the file again"
        )
    made_up = np.array_equal(np.abs(affine), np.eye(4))
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    spacing_mm = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return Geometry(squeezed, spacing_mm, affine, coded and not made_up, path)


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


def _read(path: Path) -> tuple[_Stored, Geometry]:
    """Returns the voxels and the grid.

    Raises:
      ValueError: Missing, not NIfTI, truncated or corrupt, not 3-D, not one number per voxel.
    """
    header = _header(_read_bytes(path, limit=1024), path)
    geometry = _geometry(header, path)
    # Some writers leave the offset at 0; the voxels never start before the header's end.
    dtype = header.get_data_dtype()
    offset = max(int(header.get_data_offset()), int(header.single_vox_offset))
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected one number per voxel, got {dtype}; convert to int16")
    count = math.prod(geometry.shape)
    need = offset + count * dtype.itemsize
    # A header may promise any size; no compression reaches this ratio, so it is not believed.
    within_reach = need <= MAX_COMPRESSION * path.stat().st_size
    raw = _read_bytes(path, limit=need, to_end=True) if within_reach else b""
    if len(raw) < need:
        got = f"got {len(raw)}" if within_reach else "the file is far too small"
        raise ValueError(
            f"{path}: truncated: expected {need} bytes of voxels and header, {got}; copy or "
            "download the file again"
        )
    voxels = np.frombuffer(raw, dtype, count, offset).reshape(geometry.shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope is None:
        return _Stored(voxels, 1.0, 0.0), geometry
    return _Stored(voxels, float(slope), float(intercept)), geometry


def _blocks(stored: _Stored, path: Path) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields index and finite values of one slab after the other.

    Raises:
      ValueError: At the end, if any voxel is NaN or infinite; slabs that hold one are left out.
    """
    voxels = stored.voxels
    dtype = voxels.dtype.newbyteorder("=")
    scaled = (stored.slope, stored.intercept) != (1.0, 0.0)
    # 16 bits and fewer are exact in float32.
    wide = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    depth = max(1, SLAB_VOXELS // max(voxels.shape[0] * voxels.shape[1], 1))
    bad = 0
    for start in range(0, voxels.shape[2], depth):
        index = (..., slice(start, start + depth))
        values = voxels[index].astype(dtype, copy=False)
        if scaled:
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


def _whole(
    blocks: Iterator[tuple[Any, np.ndarray]], path: Path
) -> Iterator[tuple[Any, np.ndarray]]:
    """Passes on blocks of whole numbers that fit 32 bits.

    Raises:
      ValueError: At the end, if any value is not whole; at once, if one does not fit.
    """
    odd, first = 0, 0.0
    limits = np.iinfo(np.int32)
    for index, values in blocks:
        if not is_whole(values):
            fractions = values[values != np.rint(values)]
            first = first if odd else float(fractions[0])
            odd += fractions.size
            continue
        low, high = values.min(), values.max()
        if not limits.min <= low <= high <= limits.max:
            raise ValueError(
                f"{path}: labels must fit 32 bits, got {low:g}..{high:g}; renumber them"
            )
        yield index, values
    if odd:
        raise ValueError(
            f"{path}: labels must be whole numbers, got {first:g} ({odd} such voxels); store the "
            "mask without interpolation (nearest neighbour when resampling)"
        )
