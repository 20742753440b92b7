"""What can be opened: the volumes of a file or folder, under ids that say nothing of paths."""

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecc_jax.annotator.readers import check_voxels, read_nrrd, read_picture
from ecc_jax.phantom.volumes import generate_volume
from ecc_jax.volumes import (
    Volume,
    is_nifti_name,
    is_second_half,
    read_geometry,
    read_series,
    read_volume,
)
from ecc_jax.volumes.dicom_files import is_listed, read_header

MAX_FILES = 20_000
MAX_SOURCES = 2_000
MAX_REMARKS = 5
DIGITS = 16
SYNTHETIC = "synthetic"
# A liver with a lesion of 9 mm, in the middle slices.
PHANTOM = {"seed": 0, "patient": 1, "kind": "liver", "size": 512, "num_slices": 20}


class Source(NamedTuple):
    """One volume that can be opened.

    Attributes:
      id: What a client calls it; neither path nor name can be read from it.
      name: What a person calls it: the file's name without folders.
      kind: "nifti", "nrrd", "png", "dicom" or "synthetic".
      path: The file, or the folder that holds the series alone or with others; none of the
        synthetic volume.
      series_uid: Of a DICOM series.
      detail: What else tells it from its neighbours, such as its number of files.
    """

    id: str
    name: str
    kind: str
    path: Path | None
    series_uid: str = ""
    detail: str = ""


def synthetic() -> Source:
    """Returns the built-in synthetic volume, for trying without data."""
    return Source(_id(SYNTHETIC, ""), "synthetic liver", SYNTHETIC, None, detail="20 slices")


def sources_of(
    path: Path, *, workdir: Path | None = None, say: Callable[[str], object] = warnings.warn
) -> tuple[Source, ...]:
    """Lists what can be opened in a file or folder, without reading voxels.

    Hidden files are left out, and files that links out of the folder lead to, except those of
    DICOM series: archives such as git-annex keep each slice behind such a link.

    Args:
      path: A NIfTI, NRRD or PNG file, or a folder with such files and DICOM series.
      workdir: Folder of the sessions; if it lies in the folder, its files are left out.
      say: Takes a line about each damaged DICOM file, which is left out; the first ones.

    Raises:
      ValueError: No such file or folder, nothing in it that can be opened, or too many files.
    """
    if path.is_file():
        kind = _kind(path)
        if not kind:
            raise ValueError(
                f"{path}: expected a NIfTI (.nii, .nii.gz, .hdr), NRRD (.nrrd) or PNG file, or a "
                "folder with a DICOM series"
            )
        return (_of_file(path, kind),)
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or folder; check the path")
    root = path.resolve()
    entries = _entries(root, workdir)
    found = [
        _of_file(file, kind)
        for file in entries
        if (kind := _kind(file)) and _is_within(file, root) and not is_second_half(file)
    ]
    series, damaged = _series(root, entries)
    found += series
    if not found:
        raise ValueError(
            damaged[0]
            if damaged
            else f"{path}: holds no NIfTI, NRRD or PNG file and no DICOM series; check the path"
        )
    if len(found) > MAX_SOURCES:
        raise ValueError(f"{path}: holds {len(found)} volumes, expected at most {MAX_SOURCES}")
    for text in damaged[:MAX_REMARKS]:
        say(f"left out: {text}")
    if len(damaged) > MAX_REMARKS:
        say(f"left out: {len(damaged) - MAX_REMARKS} more DICOM files or series")
    return tuple(found)


def check_workdir(workdir: Path, opened: Path, found: tuple[Source, ...]) -> None:
    """Refuses a folder of sessions in which nothing could be saved, or is taken for volumes.

    Args:
      workdir: The folder; need not exist.
      opened: The file or folder whose volumes are open.
      found: These volumes.

    Raises:
      ValueError: It is the opened folder, or lies in the folder of a DICOM series.
    """
    place = workdir.resolve()
    if place == opened.resolve():
        raise ValueError(f"--workdir {workdir} is the folder that is opened; choose another one")
    for source in found:
        if source.kind == "dicom" and source.path and place.is_relative_to(source.path.resolve()):
            raise ValueError(
                f"--workdir {workdir} lies in the folder of a DICOM series, which is never written "
                "to; choose a folder outside of it"
            )


def read(source: Source) -> Volume:
    """Reads the voxels of a source.

    Raises:
      ValueError: See the reader of its kind; or more voxels than can be handled, by the header.
    """
    if source.path is None:
        phantom = generate_volume(**PHANTOM)  # type: ignore[arg-type]
        # Slices run from feet to head, rows from front to back, columns from right to left.
        z, y, x = phantom.spacing_mm
        affine = np.array([[0, 0, -x, 0], [0, -y, 0, 0], [z, 0, 0, 0], [0, 0, 0, 1]], float)
        return Volume(phantom.image_hu, phantom.spacing_mm, affine, path=Path(SYNTHETIC))
    if source.kind == "dicom":
        return read_series(source.path, series_uid=source.series_uid)
    if source.kind == "nrrd":
        return read_nrrd(source.path)
    if source.kind == "png":
        return read_picture(source.path)
    check_voxels(read_geometry(source.path).shape, source.path)
    return read_volume(source.path)


def _entries(root: Path, workdir: Path | None) -> list[Path]:
    """Returns the visible files below a folder, and links to nothing, sorted.

    Raises:
      ValueError: More than `MAX_FILES`.
    """
    own = None if workdir is None else workdir.resolve()
    # Who opens a folder among the sessions means it.
    if own is not None and root.is_relative_to(own):
        own = None
    entries: list[Path] = []
    for path in root.rglob("*"):
        if path.name.startswith(".") or path.is_dir():
            continue
        if own is None or not path.is_relative_to(own):
            entries.append(path)
        if len(entries) > MAX_FILES:
            raise ValueError(f"{root}: holds more than {MAX_FILES} files; open a folder in it")
    return sorted(entries)


def _is_within(path: Path, root: Path) -> bool:
    """Returns whether a file is there and does not lie outside of a folder."""
    return path.is_file() and path.resolve().is_relative_to(root)


def _kind(path: Path) -> str:
    """Returns the kind of a file that promises a volume by its name; empty for others."""
    if is_nifti_name(path.name):
        return "nifti"
    return {".nrrd": "nrrd", ".png": "png"}.get(path.suffix.lower(), "")


def _of_file(path: Path, kind: str) -> Source:
    return Source(_id(kind, str(path.resolve())), path.name, kind, path)


def _series(root: Path, entries: list[Path]) -> tuple[list[Source], list[str]]:
    """Returns the DICOM series among files, by their headers, and what is wrong with others."""
    folders: dict[str, list[Path]] = {}
    sizes: dict[str, list[int]] = {}
    damaged = []
    for file in entries:
        try:
            if not is_listed(file):
                continue
            header = read_header(file)
        except ValueError as error:
            damaged.append(str(error))
            continue
        voxels = int(header.tags.get("Rows") or 0) * int(header.tags.get("Columns") or 0)
        folders.setdefault(header.series_uid, []).append(file.parent)
        sizes.setdefault(header.series_uid, []).append(voxels)
    found = []
    for number, uid in enumerate(sorted(sizes), 1):
        if max(sizes[uid]) < 1:
            continue
        try:
            check_voxels((sum(sizes[uid]),), root)
        except ValueError as error:
            damaged.append(str(error))
            continue
        name = root.name if len(sizes) == 1 else f"{root.name}, series {number}"
        # Read from its own folder, so that damaged files elsewhere are no matter.
        folder = Path(os.path.commonpath(folders[uid]))
        source_id = _id("dicom", f"{root}\0{uid}")
        found.append(Source(source_id, name, "dicom", folder, uid, f"{len(sizes[uid])} files"))
    return found, damaged


def _id(kind: str, place: str) -> str:
    """Returns the same opaque id for the same place at every start, so that links stay valid."""
    return hashlib.sha256(f"{kind}\0{place}".encode("utf-8", "surrogateescape")).hexdigest()[
        :DIGITS
    ]
