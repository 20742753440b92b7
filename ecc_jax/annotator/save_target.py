"""Where results may be written: never over a source, never over what is not ours."""

import gzip
from pathlib import Path

import ecc_jax
from ecc_jax import atomic
from ecc_jax.volumes import files_of, is_nifti_name

SOFTWARE = "ecc_jax"
VERSION = ecc_jax.__version__
# Stands near the beginning of every file that is written here.
MARK = SOFTWARE.encode()
MARK_WITHIN = 8192
GZIP = b"\x1f\x8b"


def check_target(target: Path, source: Path, *, replace: bool) -> None:
    """Checks that a result may be written to a path.

    Args:
      target: The file to write.
      source: The volume it belongs to: a file (both of a pair count), or the folder of a series.
      replace: Whether a file that this package wrote before may be replaced.

    Raises:
      ValueError: The target is the source or lies in the source's folder of DICOM files, is a
        folder, or is there already; `replace` allows the last for what this package wrote.
    """
    place = target.resolve()
    if source.is_dir() and place.is_relative_to(source.resolve()):
        raise ValueError(
            f"{target}: lies in the folder of the source {source}, which is never written to; "
            "choose another folder"
        )
    for file in files_of(source) if is_nifti_name(source.name) else (source,):
        if place == file.resolve() or (target.exists() and file.exists() and target.samefile(file)):
            raise ValueError(
                f"{target}: is the source itself, which is never overwritten; choose another name"
            )
    if target.is_dir():
        raise ValueError(f"{target}: is a folder; choose the name of a file")
    if not target.exists():
        return
    if not replace:
        raise ValueError(f"{target}: is there already; choose another name, or allow replacing it")
    if not is_own(target):
        raise ValueError(
            f"{target}: was not written by {SOFTWARE}, so it is not replaced; choose another name"
        )


def is_own(path: Path) -> bool:
    """Returns whether a file bears the mark of what this package writes."""
    with path.open("rb") as file:
        zipped = file.read(len(GZIP)) == GZIP
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            return MARK in file.read(MARK_WITHIN)
    except (EOFError, OSError):
        return False


def write(target: Path, content: bytes, source: Path, *, replace: bool) -> Path:
    """Writes a result as a whole or not at all; returns its path.

    Args:
      target: The file.
      content: Its bytes, with the mark of the package.
      source: As in `check_target`.
      replace: As in `check_target`.

    Raises:
      ValueError: The target may not be written.
      OSError: It cannot be written; what was there before stays.
    """
    check_target(target, source, replace=replace)
    atomic.write_bytes(target, content)
    return target
