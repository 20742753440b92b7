"""What can be opened: the volumes of a file or folder, under ids that say nothing of paths."""

import hashlib
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
from ecc_jax.volumes.dicom_files import dicom_files, read_header

MAX_FILES = 20_000
MAX_SOURCES = 2_000
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
      path: The file, or the folder of the series; none of the synthetic volume.
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


def sources_of(path: Path) -> tuple[Source, ...]:
    """Lists what can be opened in a file or folder, without reading voxels.

    Links that lead out of the folder are left out, as are hidden files.

    Args:
      path: A NIfTI, NRRD or PNG file, or a folder with such files and DICOM series.

    Raises:
      ValueError: No such file or folder, nothing in it, too many files, or a damaged DICOM file.
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
    found = [
        _of_file(file, kind)
        for file in _files(root)
        if (kind := _kind(file)) and not is_second_half(file)
    ]
    found += _series(root)
    if not found:
        raise ValueError(
            f"{path}: holds no NIfTI, NRRD or PNG file and no DICOM series; check the path"
        )
    if len(found) > MAX_SOURCES:
        raise ValueError(f"{path}: holds {len(found)} volumes, expected at most {MAX_SOURCES}")
    return tuple(found)


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


def _files(root: Path) -> list[Path]:
    """Returns the visible files below a folder that do not lie elsewhere, sorted.

    Raises:
      ValueError: More than `MAX_FILES`.
    """
    files: list[Path] = []
    for path in root.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.resolve().is_relative_to(root):
            files.append(path)
        if len(files) > MAX_FILES:
            raise ValueError(f"{root}: holds more than {MAX_FILES} files; open a folder in it")
    return sorted(files)


def _kind(path: Path) -> str:
    """Returns the kind of a file that promises a volume by its name; empty for others."""
    if is_nifti_name(path.name):
        return "nifti"
    return {".nrrd": "nrrd", ".png": "png"}.get(path.suffix.lower(), "")


def _of_file(path: Path, kind: str) -> Source:
    return Source(_id(kind, str(path.resolve())), path.name, kind, path)


def _series(root: Path) -> list[Source]:
    """Returns the DICOM series below a folder, by its headers."""
    counts: dict[str, list[int]] = {}
    for file in dicom_files(root):
        header = read_header(file)
        voxels = int(header.tags.get("Rows") or 0) * int(header.tags.get("Columns") or 0)
        counts.setdefault(header.series_uid, []).append(voxels)
    found = []
    for number, (uid, sizes) in enumerate(sorted(counts.items()), 1):
        if sum(sizes) < 1 or max(sizes) < 1:
            continue
        check_voxels((sum(sizes),), root)
        name = root.name if len(counts) == 1 else f"{root.name}, series {number}"
        source_id = _id("dicom", f"{root}\0{uid}")
        found.append(Source(source_id, name, "dicom", root, uid, f"{len(sizes)} files"))
    return found


def _id(kind: str, place: str) -> str:
    """Returns the same opaque id for the same place at every start, so that links stay valid."""
    return hashlib.sha256(f"{kind}\0{place}".encode("utf-8", "surrogateescape")).hexdigest()[
        :DIGITS
    ]
