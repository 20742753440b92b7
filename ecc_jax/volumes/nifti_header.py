"""NIfTI headers -> grids: which of its two affines to believe, and what it leaves unsaid."""

import io
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from jaxtyping import Float

from ecc_jax.volumes.geometry import Geometry, direction_of
from ecc_jax.volumes.nifti_files import files_of, read_bytes

# Length of a header -> its class in a file of its own with the voxels, and in a pair.
HEADERS = {
    348: (nibabel.Nifti1Header, nibabel.nifti1.Nifti1PairHeader),
    540: (nibabel.Nifti2Header, nibabel.nifti2.Nifti2PairHeader),
}
SINGLE_MAGIC, PAIR_MAGIC = (b"n+1", b"n+2"), (b"ni1", b"ni2")
# Two headers' length covers NIfTI-1 and NIfTI-2.
PREFIX_BYTES = 1024
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# Of the array axes as unit vectors: 1 at right angles, 0 in one plane. A tilted gantry leaves 0.8.
MIN_DETERMINANT = 1e-3
# Voxel sizes of one header that are the same but for rounding.
SIZE_TOLERANCE = 0.01
ROUNDING = 1e-6  # of a quaternion in float32
FORMS_DIFFER, SIZE_UNKNOWN = "sform and qform differ", "pixel size unknown"


class Header(NamedTuple):
    """What stands before the voxels.

    Attributes:
      fields: The header.
      voxels: The file that holds the voxels.
      offset: Their first byte in it.
    """

    fields: nibabel.Nifti1Header
    voxels: Path
    offset: int


def read_header(path: Path) -> Header:
    """Reads the header of a NIfTI file or pair, or of a plain Analyze 7.5 pair.

    Args:
      path: A .nii or .nii.gz file, or either half of a pair; told apart by content.

    Raises:
      ValueError: Missing, neither NIfTI nor Analyze, truncated or corrupt, half of a pair missing.
    """
    files = files_of(path)
    if len(files) == 2 and path == files[1]:
        # A .img file may be a whole NIfTI file under another name.
        raw = read_bytes(path, limit=PREFIX_BYTES)
        if _magic(raw) in SINGLE_MAGIC:
            return _parse(raw, path, files=(path,))
    for file, other in zip(files, reversed(files), strict=True):
        if len(files) == 2 and not file.is_file() and other.is_file():
            raise ValueError(
                f"{file}: no such file, the other half of {other.name}; put the .hdr and the .img "
                "file of a volume into one folder"
            )
    return _parse(read_bytes(files[0], limit=PREFIX_BYTES), files[0], files=files)


def _magic(raw: bytes | bytearray) -> bytes | None:
    """Returns the magic of a NIfTI header, nothing for one of Analyze; None if neither."""
    for size in HEADERS:
        # The first field is the header's own length, in either byte order; the magic follows.
        magic = bytes(raw[344:347] if size == 348 else raw[4:7])
        lengths = (size.to_bytes(4, "little"), size.to_bytes(4, "big"))
        if raw[:4] in lengths and len(raw) >= size:
            if magic in (*SINGLE_MAGIC, *PAIR_MAGIC):
                return magic
            return b"" if size == 348 else None
    return None


def _parse(raw: bytes | bytearray, path: Path, *, files: tuple[Path, ...]) -> Header:
    magic = _magic(raw)
    if magic in PAIR_MAGIC and len(files) == 1:
        raise ValueError(
            f"{path}: its header belongs to a pair of files; name it .hdr and put the .img file "
            "beside it"
        )
    if magic is None or (not magic and len(files) == 1):
        raise ValueError(
            f"{path}: expected a NIfTI file (.nii, .nii.gz or .hdr with .img), got something else "
            f"({len(raw)} bytes starting {bytes(raw[:8])!r}); convert it to NIfTI or remove it"
        )
    size = 540 if magic.endswith(b"2") else 348
    single = magic in SINGLE_MAGIC
    try:
        if magic:
            header_class = HEADERS[size][0 if single else 1]
            fields = header_class.from_fileobj(io.BytesIO(raw[:size]), check=False)
        else:
            fields = _from_analyze(raw)
        _mend_pixdim(fields)
        # Each of these raises on a field that makes no sense.
        fields.get_data_dtype(), fields.get_slope_inter(), _forms(fields)
        fields.get_xyzt_units()
        # Some writers leave the offset at 0; in one file the voxels start after the header.
        offset = max(int(fields.get_data_offset()), int(fields.single_vox_offset) if single else 0)
    except (
        nibabel.spatialimages.HeaderDataError,
        KeyError,
        ValueError,
        OverflowError,
    ) as error:
        raise ValueError(
            f"{path}: the NIfTI header is corrupt ({error}); convert the file again"
        ) from error
    return Header(fields, path if single else files[-1], offset)


def _from_analyze(raw: bytes | bytearray) -> nibabel.Nifti1Header:
    """Returns an Analyze 7.5 header as one of a NIfTI pair: no orientation, SPM's scale kept."""
    analyze = nibabel.Spm99AnalyzeHeader.from_fileobj(io.BytesIO(raw[:348]), check=False)
    fields = nibabel.nifti1.Nifti1PairHeader()
    fields.set_data_dtype(analyze.get_data_dtype())
    fields.set_data_shape(analyze.get_data_shape())
    fields["pixdim"][1:4] = analyze["pixdim"][1:4]
    fields["vox_offset"] = max(analyze.get_data_offset(), 0)
    scale = analyze.get_slope_inter()[0]
    fields.set_slope_inter(1.0 if scale is None else scale, 0.0)
    return fields.as_byteswapped(analyze.endianness)


def _mend_pixdim(fields: nibabel.Nifti1Header) -> None:
    """Reads a sign of 0 as 1, as the standard says, and sizes without their sign."""
    pixdim = fields["pixdim"]
    if pixdim[0] not in (-1, 1):
        pixdim[0] = 1
    pixdim[1:4] = np.abs(pixdim[1:4])


def geometry_of(fields: nibabel.Nifti1Header, path: Path) -> tuple[Geometry, list[tuple[str, str]]]:
    """Returns the grid that a header describes, and what is odd about it (kind, text).

    Raises:
      ValueError: Not 3-D, or no usable affine.
    """
    shape = tuple(int(n) for n in fields.get_data_shape())
    squeezed = shape[:3] if all(n == 1 for n in shape[3:]) else shape
    if len(squeezed) != 3 or min(squeezed) < 1:
        raise ValueError(
            f"{path}: expected a 3-D volume, got {len(shape)}-D of shape {shape}; split it into "
            "3-D files, one volume each"
        )
    chosen, remark = _choose(fields)
    unit = MM_PER_UNIT.get(fields.get_xyzt_units()[0], 1.0)
    affine = np.diag([unit, unit, unit, 1.0]) @ chosen.affine
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
    remarks = [(FORMS_DIFFER, remark)] if remark else []
    if not chosen.has_sizes:
        spacing = np.full(3, np.nan)
        remarks.append(
            (
                SIZE_UNKNOWN,
                "its header holds no voxel size, only an identity affine or nothing; measures are "
                "in pixels and slices keep the array order; write the affine or pixdim into it",
            )
        )
    spacing_mm = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return Geometry(squeezed, spacing_mm, affine, chosen.has_axes, path), remarks


class _Affine(NamedTuple):
    """An affine of a header.

    Attributes:
      affine: Voxel index to patient coordinates, in the header's unit.
      has_axes: Whether its directions come from the header.
      has_sizes: Whether its voxel sizes come from the header.
    """

    affine: Float[np.ndarray, "4 4"]
    has_axes: bool
    has_sizes: bool


def _choose(fields: nibabel.Nifti1Header) -> tuple[_Affine, str]:
    """Returns the affine to believe, and why not the other (empty if it says the same).

    A qform takes its voxel sizes from pixdim, so of two forms whose sizes differ the qform is the
    one that agrees with pixdim. An identity says nothing: writers put it where they know nothing.
    """
    sform, qform = _forms(fields)
    sizes = np.asarray(fields["pixdim"][1:4], np.float64)
    known = [form for form in (sform, qform) if form is not None and not _is_made_up(form)]
    if not known:
        return _without_axes(fields, sizes, sform if sform is not None else qform)
    if sform is None or qform is None:
        return _Affine(known[0], True, True), _odd_sform(known[0], sizes) if qform is None else ""
    agrees = _is_usable(sform) and _same_sizes(nibabel.affines.voxel_sizes(sform), sizes)
    chosen = known[0] if len(known) == 1 else sform if agrees else qform
    return _Affine(chosen, True, True), _difference(sform, qform, chosen)


def _without_axes(
    fields: nibabel.Nifti1Header, pixdim: Float[np.ndarray, "3"], identity: np.ndarray | None
) -> tuple[_Affine, str]:
    """Returns the affine of a header that holds at most an identity, and what to say of it."""
    if _are_ones(pixdim):
        return _Affine(fields.get_base_affine(), False, False), ""
    # Zero or NaN beside an identity is no size either.
    if identity is not None and _same_sizes(np.ones(3), pixdim):
        return _Affine(identity, False, False), ""
    remark = ""
    if identity is not None:
        remark = (
            f"its affine is an identity, its pixdim {_mm(pixdim)}; the voxel size is taken from "
            "pixdim, the orientation is unknown; write the true affine into the header"
        )
    return _Affine(fields.get_base_affine(), False, True), remark


def _forms(fields: nibabel.Nifti1Header) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns sform and qform, None where the header has none.

    Raises:
      HeaderDataError: Only a qform is there, and its quaternion makes no sense.
    """
    sform = fields.get_sform(coded=True)[0]
    try:
        qform = fields.get_qform(coded=True)[0]
    except (nibabel.spatialimages.HeaderDataError, ValueError):
        if sform is None:
            raise
        qform = None
    return sform, qform


def _is_made_up(affine: Float[np.ndarray, "4 4"]) -> bool:
    """Returns whether an affine is an identity but for the order and signs of its axes."""
    if not np.isfinite(affine).all():
        return False
    steps = np.rint(np.abs(affine[:3, :3]))
    is_permutation = bool((steps.sum(0) == 1).all() and (steps.sum(1) == 1).all())
    rest = np.column_stack([np.abs(affine[:3, :3]) - steps, affine[:3, 3]])
    return is_permutation and bool((np.abs(rest) <= ROUNDING).all())


def _are_ones(pixdim: Float[np.ndarray, "3"]) -> bool:
    return bool((np.abs(pixdim - 1) <= ROUNDING).all())


def _same_sizes(ours: Float[np.ndarray, "3"], pixdim: Float[np.ndarray, "3"]) -> bool:
    """Returns whether voxel sizes agree with pixdim; a pixdim that is no size says nothing."""
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        return True
    return bool((np.abs(ours - pixdim) <= SIZE_TOLERANCE * pixdim).all())


def _odd_sform(sform: Float[np.ndarray, "4 4"], pixdim: Float[np.ndarray, "3"]) -> str:
    """Returns what to say of a lone sform; a pixdim of ones is what is there if nobody sets it."""
    ours = nibabel.affines.voxel_sizes(sform)
    if _same_sizes(ours, pixdim) or _are_ones(pixdim):
        return ""
    return (
        f"its sform says {_mm(ours)}, its pixdim {_mm(pixdim)}; the sform is used, since there is "
        "no qform; check the voxel size and repair the header"
    )


def _difference(sform: np.ndarray, qform: np.ndarray, chosen: np.ndarray) -> str:
    """Returns what to say of two forms; nothing if sizes and directions agree."""
    name, other = ("sform", "qform") if chosen is sform else ("qform", "sform")
    sizes = [nibabel.affines.voxel_sizes(form) for form in (sform, qform)]
    said = f"its sform says {_mm(sizes[0])}, its qform and pixdim {_mm(sizes[1])}"
    if _is_usable(sform) and _is_usable(qform) and _same_sizes(*sizes):
        if np.array_equal(direction_of(sform), direction_of(qform)):
            return ""
        said = "the axes of its sform run another way than those of its qform"
    return f"{said}; the {name} is used; check the slices and set the {other} to the same"


def _is_usable(affine: Float[np.ndarray, "4 4"]) -> bool:
    """Returns whether an affine has voxel sizes at all."""
    return bool(np.isfinite(affine).all() and (nibabel.affines.voxel_sizes(affine) > 0).all())


def _mm(sizes: Float[np.ndarray, "3"]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
