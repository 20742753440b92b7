"""NRRD files and PNG pictures as volumes; sizes are checked before memory is taken.

NIfTI files and DICOM series have readers of their own, see `ecc_jax.volumes`.
"""

import bz2
import io
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal

import nrrd
import numpy as np
from jaxtyping import Float, Num

from ecc_jax import volumes
from ecc_jax.volumes import Volume

# 512 x 512 x 4096; in int16 that is 2 GiB.
MAX_VOXELS = 2**30
MAX_PICTURE_PIXELS = 2**26
CHUNK_BYTES = 1 << 20
# Headers take about a kilobyte; those of a series that tools have copied into it, some hundred.
MAX_HEADER_BYTES = 1 << 20
# Patient axes of NRRD -> RAS+.
SPACES = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
}
TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
ORDERS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
# The empty one means that none is known.
MILLIMETRES = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres")


def check_voxels(shape: tuple[int, ...], path: Path) -> None:
    """Refuses a volume that its header says is empty or too large.

    Raises:
      ValueError: Fewer than one or more than `MAX_VOXELS` voxels.
    """
    if min(shape, default=0) < 1 or math.prod(shape) > MAX_VOXELS:
        raise ValueError(
            f"{path.name}: expected 1 to {MAX_VOXELS} voxels, its header says "
            f"{' x '.join(map(str, shape))}; crop it, or correct the header"
        )


def read_nrrd(path: Path) -> Volume:
    """Reads a CT volume from an NRRD file with its header in it.

    Args:
      path: Raw, gzip or bzip2 encoded; three axes, none of them colours.

    Raises:
      ValueError: Not NRRD, a header of more than a MiB, one that points to other files, another
        kind of voxels or axes, units but mm, no byte order, truncated, or voxels that are not
        finite.
    """
    try:
        with path.open("rb") as file:
            header = _header(file, path)
            _check_header(header, path)
            shape = (int(header["sizes"][0]), int(header["sizes"][1]), int(header["sizes"][2]))
            check_voxels(shape, path)
            dtype = np.dtype(TYPES[header["type"]])
            if dtype.itemsize > 1:
                dtype = dtype.newbyteorder(_order(header, path))
            need = math.prod(shape) * dtype.itemsize
            raw = _read(file, header.get("encoding", "raw"), need, path)
    except (nrrd.NRRDError, KeyError, IndexError, TypeError, UnicodeError, StopIteration) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{path.name}: not an NRRD file, or corrupt ({text})") from error
    stored = np.frombuffer(raw, dtype).reshape(shape, order="F")
    image = _narrowed(stored, path)
    affine, has_affine, has_sizes = _affine(header, path)
    sizes = np.linalg.norm(affine[:3, :3], axis=0) if has_sizes else np.full(3, np.nan)
    spacing_mm = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    return Volume(image, spacing_mm, affine, path=path, has_affine=has_affine)


def read_picture(path: Path) -> Volume:
    """Reads a grey PNG picture as a volume of one slice, its values as they stand.

    Raises:
      ValueError: Too large, or see `ecc_jax.volumes.read_picture`.
    """
    values = volumes.read_picture(path, max_pixels=MAX_PICTURE_PIXELS)
    image = values.astype(np.int16 if values.max() < 2**15 else np.float32)[None]
    unknown = (math.nan, math.nan, math.nan)
    return Volume(image, unknown, np.eye(4), path=path, has_affine=False)


def _header(file: BinaryIO, path: Path) -> dict[str, Any]:
    """Returns the header of a file and leaves the file where its voxels begin.

    The header ends at the first empty line; a file without one would otherwise be read to its end.
    """
    start = file.read(MAX_HEADER_BYTES)
    head = io.BytesIO(start)
    header = nrrd.read_header(head)
    if head.tell() >= MAX_HEADER_BYTES:
        raise ValueError(
            f"{path.name}: expected a header of less than {MAX_HEADER_BYTES} bytes and an empty "
            "line after it, got none; save it anew"
        )
    file.seek(head.tell())
    return header


def _check_header(header: dict[str, Any], path: Path) -> None:
    """Refuses what is no volume of one number per voxel in this very file."""
    if any(key in header for key in ("data file", "datafile")):
        raise ValueError(
            f"{path.name}: its header points to other files, which are not followed; save it as "
            "one .nrrd file"
        )
    kinds = header.get("kinds", [])
    if int(header["dimension"]) != 3 or any("color" in k or "vector" in k for k in map(str, kinds)):
        raise ValueError(
            f"{path.name}: expected three axes of space, got {header['dimension']} of kinds "
            f"{', '.join(map(str, kinds)) or 'unknown'}; split it into volumes"
        )
    if header["type"] not in TYPES:
        raise ValueError(
            f"{path.name}: expected integers of at most 32 bits or floats, got {header['type']}"
        )
    skips = [header.get(key, 0) for key in ("line skip", "lineskip", "byte skip", "byteskip")]
    if any(int(skip) for skip in skips):
        raise ValueError(f"{path.name}: line skip and byte skip are not read; save it anew")
    units = [str(unit) for key in ("space units", "units") for unit in header.get(key, [])]
    odd = [unit for unit in units if unit.strip().lower() not in MILLIMETRES]
    if odd:
        raise ValueError(f"{path.name}: expected lengths in mm, got {odd[0]}; convert its header")


def _order(header: dict[str, Any], path: Path) -> Literal["<", ">"]:
    """Returns NumPy's sign of the byte order; guessed wrong, every value would be another."""
    found = str(header.get("endian", "")).lower()
    if found not in ORDERS:
        raise ValueError(
            f"{path.name}: expected endian little or big in its header, got {found or 'none'}; "
            "save it anew"
        )
    return ORDERS[found]


def _read(file: BinaryIO, encoding: str, need: int, path: Path) -> bytearray:
    """Returns as many bytes as the header promises, never unpacking more."""
    tools: dict[str, Any] = {
        "raw": None,
        **dict.fromkeys(("gz", "gzip"), lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
        **dict.fromkeys(("bz2", "bzip2"), bz2.BZ2Decompressor),
    }
    if encoding not in tools:
        raise ValueError(f"{path.name}: expected encoding raw, gzip or bzip2, got {encoding}")
    make = tools[encoding]
    if make is None:
        raw = bytearray()
        while part := file.read(min(CHUNK_BYTES, need - len(raw))):
            raw += part
    else:
        try:
            raw = _unpacked(file, make(), need)
        except (zlib.error, OSError, EOFError) as error:
            raise ValueError(f"{path.name}: its compressed voxels are corrupt ({error})") from error
    if len(raw) < need:
        raise ValueError(
            f"{path.name}: truncated: expected {need} bytes of voxels, got {len(raw)}; copy it"
        )
    return raw


def _unpacked(file: BinaryIO, tool: Any, need: int) -> bytearray:
    raw, packed = bytearray(), b""
    while len(raw) < need and (packed := packed or file.read(CHUNK_BYTES)):
        raw += tool.decompress(packed, min(need - len(raw), CHUNK_BYTES))
        # zlib hands back what it has not read; bz2 keeps it and wants to be called with nothing.
        packed = getattr(tool, "unconsumed_tail", b"")
        while not getattr(tool, "needs_input", True) and len(raw) < need:
            if getattr(tool, "eof", False):
                break
            raw += tool.decompress(b"", min(need - len(raw), CHUNK_BYTES))
        if getattr(tool, "eof", False):
            break
    return raw


def _narrowed(stored: Num[np.ndarray, "d h w"], path: Path) -> Num[np.ndarray, "d h w"]:
    """Returns values as int16 where they fit, else as float32."""
    low, high = float(stored.min()), float(stored.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN passes through min and max
        raise ValueError(f"{path.name}: voxels are NaN or infinite; replace them (air is -1000 HU)")
    is_whole = stored.dtype.kind in "iu" or all(
        np.array_equal(part, np.rint(part)) for part in np.moveaxis(stored, 2, 0)
    )
    fits = is_whole and -(2**15) <= low and high < 2**15
    # What is int16 already is not copied: that would take as much memory again.
    return stored.astype(np.int16 if fits else np.float32, copy=False)


def _affine(header: dict[str, Any], path: Path) -> tuple[Float[np.ndarray, "4 4"], bool, bool]:
    """Returns voxel index to RAS+ mm, and whether the header holds directions and voxel sizes."""
    affine = np.eye(4)
    directions = header.get("space directions")
    if directions is None:
        sizes = np.asarray(header.get("spacings", [np.nan] * 3), float)
        has_sizes = bool(np.isfinite(sizes).all() and (sizes > 0).all())
        if has_sizes:
            affine[:3, :3] = np.diag(sizes)
        return affine, False, has_sizes
    affine[:3, :3] = np.asarray(directions, float).T  # one row per axis in the file
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), float)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or min(sizes) <= 0:
        raise ValueError(f"{path.name}: its space directions are not finite; correct the header")
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise ValueError(f"{path.name}: its space directions lie in a plane; correct the header")
    signs = SPACES.get(str(header.get("space", "")).lower())
    if signs is None:
        return affine, False, True
    return np.diag([*signs, 1.0]) @ affine, True, True
