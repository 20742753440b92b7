"""Names and bytes of NIfTI files: one file, or a header (.hdr) beside its voxels (.img)."""

import gzip
import zlib
from pathlib import Path

# Longest first, so that a name is cut at the right place.
NIFTI_SUFFIXES = (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img")
CHUNK_BYTES = 1 << 20


def is_nifti_name(name: str) -> bool:
    """Returns whether a file's name promises NIfTI, whatever its letters' case."""
    return name.lower().endswith(NIFTI_SUFFIXES)


def stem(name: str) -> str:
    """Returns a file's name without the suffix of NIfTI."""
    return name[: len(name) - len(_suffix(name))]


def files_of(path: Path) -> tuple[Path, ...]:
    """Returns the files that belong to a volume: itself, or header and voxels of a pair.

    Args:
      path: The file, or either half of a pair; the other half need not be there.
    """
    suffix = _suffix(path.name)
    for own, other in ((".hdr", ".img"), (".img", ".hdr")):
        if suffix.lower().startswith(own):
            partner = _partner(path, suffix, other)
            return (path, partner) if own == ".hdr" else (partner, path)
    return (path,)


def is_second_half(path: Path) -> bool:
    """Returns whether a file holds the voxels of a header that lies beside it.

    Who lists the volumes of a folder leaves such files out, since their headers stand for them.
    """
    files = files_of(path)
    return len(files) == 2 and path == files[1] and files[0].is_file()


def read_bytes(path: Path, *, limit: int, to_end: bool = False) -> bytes | bytearray:
    """Returns the first bytes of a file, unpacked if it is zipped; fewer if it has no more.

    Args:
      path: The file.
      limit: How many bytes.
      to_end: Read on to the checksum at the end of a .gz file without keeping what is read.

    Raises:
      ValueError: Missing, not readable, or its compressed data are truncated or corrupt.
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
            # In pieces: gzip unpacks as much as is asked for into a copy of its own.
            while part := file.readinto(view[filled : filled + CHUNK_BYTES]):
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


def _suffix(name: str) -> str:
    for suffix in NIFTI_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[-len(suffix) :]
    return ""


def _partner(path: Path, suffix: str, other: str) -> Path:
    """Returns the other half of a pair; if none is there, the name that it should have."""
    base = path.name[: -len(suffix)]
    zipped = suffix[len(other) :].lower()
    endings = [other + zipped, other + (".gz" if not zipped else "")]
    if suffix.isupper():
        endings = [*(ending.upper() for ending in endings), *endings]
    else:
        endings += [ending.upper() for ending in endings]
    names = [path.with_name(base + ending) for ending in endings]
    return next((name for name in names if name.is_file()), names[0])
