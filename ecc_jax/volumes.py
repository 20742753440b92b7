"""NIfTI files -> volumes in Hounsfield units, with errors that say which file and what to do.

The voxels are read here rather than by nibabel's array proxy, because that stops after the last
voxel and so never reaches the checksum at the end of a .gz file.
"""

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from jaxtyping import Float, Integer, Num

HEADER_BYTES = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# Rounding of stored affines stays far below this; a label on another grid is far above.
MAX_OFFSET_VOXELS = 0.5
# Of the array axes as unit vectors: 1 at right angles, 0 in one plane. A tilted gantry leaves 0.8.
MIN_DETERMINANT = 1e-3


class Orientation(NamedTuple):
    """How a slice in array order becomes one in display order: transposed first, then flipped.

    Attributes:
      transpose: Whether the two array axes are swapped.
      flip_rows: Whether the rows (after the swap) are reversed.
      flip_columns: Whether the columns (after the swap) are reversed.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False


ARRAY_ORDER = Orientation()


class Geometry(NamedTuple):
    """The grid of a volume, from the header alone.

    Attributes:
      shape: Voxels along each array axis.
      spacing_mm: Voxel size along each array axis.
      affine: Voxel index to patient coordinates (RAS+, mm).
      has_affine: False if the header holds no orientation and `affine` is made up.
      path: The file.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: Float[np.ndarray, "4 4"]
    has_affine: bool
    path: Path


class Volume(NamedTuple):
    """A CT volume, array axes as in the file.

    Attributes:
      image_hu: Hounsfield units; int16 where they are whole numbers in its range, else float32.
      spacing_mm: Voxel size along each array axis.
      affine: Voxel index to patient coordinates (RAS+, mm).
      path: The file.
      has_affine: False if the header holds no orientation and `affine` is made up.
    """

    image_hu: Num[np.ndarray, "d h w"]
    spacing_mm: tuple[float, float, float]
    affine: Float[np.ndarray, "4 4"]
    path: Path
    has_affine: bool = True

    @property
    def geometry(self) -> Geometry:
        """The grid."""
        d, h, w = self.image_hu.shape
        return Geometry((d, h, w), self.spacing_mm, self.affine, self.has_affine, self.path)


def read_geometry(path: str | Path) -> Geometry:
    """Returns the grid of a NIfTI file without reading its voxels.

    Raises:
      ValueError: Missing, not NIfTI, truncated header, not 3-D, or no usable affine.
    """
    path = Path(path)
    # Two headers' length covers NIfTI-1 and NIfTI-2.
    return _geometry(_header(_read_bytes(path, limit=1024), path), path)


def display_orientation(geometry: Geometry, *, slice_axis: int) -> Orientation:
    """Returns how slices of a volume are turned to stand as a radiologist expects them.

    Axial: rows run anterior to posterior, columns patient right to left. Coronal: rows superior
    to inferior, columns right to left. Sagittal: rows superior to inferior, columns anterior to
    posterior. Each array axis of an oblique volume counts as the anatomical axis nearest to it. A
    volume without orientation keeps its array order.

    Args:
      geometry: The grid.
      slice_axis: Array axis along which slices are taken; the other two, in their order, are rows
        and columns of a slice in array order.

    Source: the radiological convention, as DICOM viewers show slices.
    """
    if not geometry.has_affine:
        return ARRAY_ORDER
    # One row per array axis: patient axis (0 right, 1 anterior, 2 superior), sign of the step.
    nearest = nibabel.orientations.io_orientation(geometry.affine)
    first, second = np.delete(nearest, slice_axis, axis=0)
    # In all three planes the rows follow the later of the two patient axes, and both run against
    # right, anterior, superior.
    transpose = bool(first[0] < second[0])
    rows, columns = (second, first) if transpose else (first, second)
    return Orientation(transpose, bool(rows[1] > 0), bool(columns[1] > 0))


def read_volume(path: str | Path) -> Volume:
    """Reads a CT volume (.nii or .nii.gz, told apart by content), slope and intercept applied.

    A fourth axis of length 1 is dropped. Values that cannot be Hounsfield units give a warning.

    Raises:
      ValueError: Missing, not NIfTI, truncated or corrupt, not 3-D, NaN or infinite voxels.
    """
    values, geometry = _read(Path(path))
    if _is_whole(values) and -32768 <= values.min() and values.max() <= 32767:
        values = values.astype(np.int16, copy=False)
    if values.dtype != np.int16:
        values = values.astype(np.float32, copy=False)
    _warn_unless_hu(values, geometry.path)
    return Volume(values, *geometry[1:3], path=geometry.path, has_affine=geometry.has_affine)


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
    values, geometry = _read(Path(path))
    if like is not None:
        _check_grid(geometry, like if isinstance(like, Geometry) else like.geometry)
    if not _is_whole(values):
        odd = values[values != np.rint(values)]
        raise ValueError(
            f"{path}: labels must be whole numbers, got {float(odd[0]):g} ({odd.size} such "
            "voxels); store the mask without interpolation (nearest neighbour when resampling)"
        )
    low, high = values.min(), values.max()
    if not np.iinfo(np.int32).min <= low <= high <= np.iinfo(np.int32).max:
        raise ValueError(f"{path}: labels must fit 32 bits, got {low:g}..{high:g}; renumber them")
    return values.astype(np.uint8 if low >= 0 and high <= 255 else np.int32, copy=False)


def _read_bytes(path: Path, *, limit: int = -1) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check the path")
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            return file.read(limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: the compressed data are truncated or corrupt ({error}); copy or download "
            "the file again"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


def _header(raw: bytes, path: Path) -> nibabel.Nifti1Header:
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


def _read(path: Path) -> tuple[Num[np.ndarray, "d h w"], Geometry]:
    """Returns finite values with slope and intercept applied, and the grid."""
    raw = _read_bytes(path)
    header = _header(raw, path)
    geometry = _geometry(header, path)
    # Some writers leave the offset at 0; the voxels never start before the header's end.
    dtype = header.get_data_dtype()
    offset = max(int(header.get_data_offset()), int(header.single_vox_offset))
    if dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected one number per voxel, got {dtype}; convert to int16")
    count = int(np.prod(geometry.shape))
    need = offset + count * dtype.itemsize
    if len(raw) < need:
        raise ValueError(
            f"{path}: truncated: expected {need} bytes of voxels and header, got {len(raw)}; copy "
            "or download the file again"
        )
    values = np.frombuffer(raw, dtype, count, offset).reshape(geometry.shape, order="F")
    values = values.astype(dtype.newbyteorder("="), copy=False)
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        # 16 bits and fewer are exact in float32; a whole CT in float64 would fill the memory.
        wide = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
        values = values.astype(wide) * wide.type(slope) + wide.type(intercept)
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ValueError(
            f"{path}: {bad} of {count} voxels are NaN or infinite; replace them (air is -1000 HU, "
            "background label 0)"
        )
    return values, geometry


def _is_whole(values: Num[np.ndarray, "d h w"]) -> bool:
    return values.dtype.kind in "iu" or bool(np.array_equal(values, np.rint(values)))


def _warn_unless_hu(values: Num[np.ndarray, "d h w"], path: Path) -> None:
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return
    if high <= 1:
        what = "look scaled to 0..1"
    elif high <= 255:
        what = "look like 8-bit grey values"
    else:
        what = "hold no negative number, perhaps HU + 1024 without the intercept"
    warnings.warn(
        f"{path}: values {low:g}..{high:g} {what}, not Hounsfield units (air -1000, water 0); "
        "rescale the file to HU, or set data.window_hu to its range",
        stacklevel=3,
    )


def _check_grid(label: Geometry, image: Geometry) -> None:
    if label.shape != image.shape:
        raise ValueError(
            f"{label.path}: label shape {label.shape} differs from image shape {image.shape} of "
            f"{image.path}; resample the label onto the image's grid"
        )
    corners = np.indices((2, 2, 2)).reshape(3, 8) * (np.asarray(image.shape)[:, None] - 1)
    corners = np.concatenate([corners, np.ones((1, 8))])
    moved = np.linalg.norm(((label.affine - image.affine) @ corners)[:3], axis=0).max()
    if moved <= MAX_OFFSET_VOXELS * min(image.spacing_mm):
        return
    if label.has_affine and image.has_affine:
        raise ValueError(
            f"{label.path}: its affine places corners {moved:.1f} mm from those of {image.path}; "
            "resample the label onto the image's grid (or copy the image's header if the voxels "
            "do correspond)"
        )
    bare = label if not label.has_affine else image
    warnings.warn(
        f"{bare.path}: its header holds no orientation; voxels of image and label are matched by "
        "index",
        stacklevel=3,
    )
