"""The files of a raw folder: which are volumes, and which only look like some."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ecc_jax.volumes import files_of, is_nifti_name, is_second_half
from tfds_builders.words import short

# Raw folders are searched this deep, so that batch folders and unpacked archives are found.
SEARCH_DEPTH = 4
MAX_IGNORED = 5
# Volumes in formats that are not read.
FOREIGN_SUFFIXES = (
    ".nii.bz2",
    ".nii.xz",
    ".nii.zst",
    ".nii.zip",
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
    ".mgz",
    ".mgh",
    ".dcm",
    ".dicom",
    ".ima",
)


def is_foreign_name(name: str) -> bool:
    """Returns whether a file's name promises a volume in a format that is not read."""
    return name.lower().endswith(FOREIGN_SUFFIXES)


def volume_files(folder: Path) -> Iterator[Path]:
    """Yields what looks like a volume in a folder and its subfolders, whatever its format.

    Links are followed, hidden files are not seen, of a pair the header stands for both. A folder
    that lies too deep to be searched is yielded itself, if such files lie in it.
    """
    for directory, subfolders, names in os.walk(folder, followlinks=True):
        here = Path(directory)
        depth = len(here.relative_to(folder).parts)
        shown = sorted(name for name in subfolders if not name.startswith("."))
        subfolders[:] = shown if depth + 1 < SEARCH_DEPTH else []
        for name in sorted(names):
            path = here / name
            if _is_volume(name) and not is_second_half(path):
                yield path
        if not subfolders:
            yield from (here / name for name in shown if _holds_volume(here / name))


def why_missing(path: Path) -> str:
    """Returns that a file or a part of it is a link to nowhere, or nothing."""
    for part in files_of(path):
        if part.is_symlink() and not part.exists():
            return (
                f"{part}: a link to {os.readlink(part)}, which is not there; restore that file, or "
                "remove the link"
            )
    return ""


def states(folder: Path, paths: list[Path]) -> list[tuple[str, int, int]]:
    """Returns name, bytes and time of change of files, both parts of a pair, sorted.

    Args:
      folder: Where they are; names begin below it.
      paths: The files.
    """
    parts = sorted({part for path in paths for part in files_of(path) if part.exists()})
    found = [(part, part.stat()) for part in parts]
    return [
        (str(part.relative_to(folder)), state.st_size, state.st_mtime_ns) for part, state in found
    ]


def ignored_text(name: str, ignored: Mapping[str, str], hint: str) -> str:
    """Returns a line on the files of a raw folder that are not used.

    Args:
      name: Of the dataset, or its folder.
      ignored: Why, by the path in the folder.
      hint: What would be used.
    """
    listed = [f"{path} ({why})" for path, why in ignored.items()]
    return (
        f"{name}: {len(listed)} files or folders are ignored: {short(listed, MAX_IGNORED)}; {hint}"
    )


def _is_volume(name: str) -> bool:
    return not name.startswith(".") and (is_nifti_name(name) or is_foreign_name(name))


def _holds_volume(folder: Path) -> bool:
    try:
        return any(_is_volume(name) for name in os.listdir(folder))
    except OSError:
        return False


def check_names(paths: Iterable[Path]) -> None:
    """Refuses files whose names are no text: records and reports could not name them.

    Raises:
      ValueError: A name is not in UTF-8, as of archives packed on another system.
    """
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{path.parent}: the name of {os.fsencode(path.name)!r} is not in UTF-8; rename it"
            ) from error
