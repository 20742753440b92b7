"""Lesions -> label maps on the grid of the source: NIfTI, and NRRD as 3D Slicer reads it."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ecc_jax.annotator.save_lesions import Lesion, check_lesions, layers
from ecc_jax.annotator.save_target import SOFTWARE, VERSION, check_target, is_own, write
from ecc_jax.volumes import Geometry, is_nifti_name
from ecc_jax.volumes.nifti_header import read_header

NIFTI_SUFFIX, NRRD_SUFFIX = ".nii.gz", ".seg.nrrd"
FORMAT = f"{SOFTWARE}.labels"
FORMAT_VERSION = 1
# What of a header says where its voxels lie; all else may hold names and is not copied.
GRID_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip


def write_nifti(
    target: Path, lesions: Sequence[Lesion], geometry: Geometry, *, replace: bool = False
) -> list[Path]:
    """Writes a label map voxel for voxel on the source's grid, and a JSON with the names.

    Values are uint8: 0 is background, 1, 2, ... the lesions in order. A label map holds one label
    per voxel, so lesions that overlap go to further files (`name.2.nii.gz`, ...), each lesion
    whole; the JSON says which label of which file is which lesion. Nothing of the source's header
    is copied but where its voxels lie. A file is the same, byte for byte, whenever it is written.

    Args:
      target: Its name ends in .nii.gz; the JSON takes .json instead.
      lesions: At least one; none empty.
      geometry: The grid of the source, as its reader gave it.
      replace: Whether files that this package wrote may be replaced. Further files of a former
        version that are needed no more are then removed.

    Returns:
      The files written, the JSON last.

    Raises:
      ValueError: Another suffix; lesions that cannot be saved; a target that may not be written.
      OSError: A file cannot be written.
    """
    if not target.name.endswith(NIFTI_SUFFIX) or target.name == NIFTI_SUFFIX:
        raise ValueError(f"{target}: expected a name that ends in {NIFTI_SUFFIX}")
    check_lesions(lesions, geometry)
    stem = target.name.removesuffix(NIFTI_SUFFIX)
    maps = layers(lesions, geometry)
    files = [target, *(_further(target, stem, n) for n in range(2, len(maps) + 1))]
    names = target.with_name(f"{stem}.json")
    # All are checked before the first is written.
    for file in (*files, names):
        check_target(file, geometry.path, replace=replace)
    header = _header(geometry)
    for file, (_, labels) in zip(files, maps, strict=True):
        write(file, _nifti_bytes(labels, header), geometry.path, replace=replace)
    listed = [
        {"file": file.name, "label": label + 1, **_named(lesions[member])}
        for file, (members, _) in zip(files, maps, strict=True)
        for label, member in enumerate(members)
    ]
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "software": f"{SOFTWARE} {VERSION}",
        "labels": listed,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write(names, text.encode(), geometry.path, replace=replace)
    if replace:
        _remove_older(target, stem, len(maps) + 1)
    return [*files, names]


def _further(target: Path, stem: str, number: int) -> Path:
    return target.with_name(f"{stem}.{number}{NIFTI_SUFFIX}")


def _remove_older(target: Path, stem: str, number: int) -> None:
    """Removes label maps that a former version needed for its overlaps, from a number on.

    Nobody lists them any more, and a person would take them for valid.
    """
    while (file := _further(target, stem, number)).is_file() and is_own(file):
        file.unlink()
        number += 1


def _named(lesion: Lesion) -> dict[str, Any]:
    return {
        "name": lesion.name,
        "finding": lesion.finding,
        "tracking_uid": lesion.tracking_uid,
        "voxels": sum(int(np.count_nonzero(mask)) for mask in lesion.slices.values()),
    }


def _header(geometry: Geometry) -> nibabel.Nifti1Header:
    """Returns a header whose affines and codes are those of the source."""
    # NIfTI-1 has no room for more than 32767 voxels along an axis.
    large = max(geometry.shape) > np.iinfo(np.int16).max
    # A folder of DICOM files may be called anything.
    if geometry.path.is_dir() or not is_nifti_name(geometry.path.name):
        header = nibabel.Nifti2Header() if large else nibabel.Nifti1Header()
        header.set_data_shape(geometry.shape)
        code = "scanner" if geometry.has_affine else "unknown"
        header.set_sform(geometry.affine, code=code)
        header["pixdim"][1:4] = np.nan_to_num(geometry.spacing_mm, nan=1.0)
        header.set_xyzt_units("mm")
        return header
    source = read_header(geometry.path).fields
    double = large or isinstance(source, nibabel.Nifti2Header)
    header = nibabel.Nifti2Header() if double else nibabel.Nifti1Header()
    header.set_data_shape(geometry.shape)
    for field in GRID_FIELDS:
        header[field] = source[field]
    header["pixdim"][:4] = source["pixdim"][:4]
    return header


def _nifti_bytes(labels: np.ndarray, header: nibabel.Nifti1Header) -> bytes:
    header = header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["descrip"] = f"{SOFTWARE} {VERSION} labels".encode()
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    # With an affine of its own nibabel would write other codes.
    image = kind(labels, None, header)
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


def write_nrrd(
    target: Path, lesions: Sequence[Lesion], geometry: Geometry, *, replace: bool = False
) -> Path:
    """Writes a segmentation as 3D Slicer reads it: one file, overlapping lesions in layers.

    A file is the same, byte for byte, whenever it is written.

    Args:
      target: Its name ends in .seg.nrrd.
      lesions: At least one; none empty.
      geometry: The grid of the source, as its reader gave it.
      replace: Whether a file that this package wrote may be replaced.

    Raises:
      ValueError: Another suffix; lesions that cannot be saved; a target that may not be written.
      OSError: The file cannot be written.

    Source: the NRRD format, version 5, and the keys of 3D Slicer's .seg.nrrd. The header is written
    here because pynrrd takes no names beyond ASCII.
    """
    if not target.name.endswith(NRRD_SUFFIX) or target.name == NRRD_SUFFIX:
        raise ValueError(f"{target}: expected a name that ends in {NRRD_SUFFIX}")
    check_lesions(lesions, geometry)
    maps = layers(lesions, geometry)
    voxels = maps[0][1] if len(maps) == 1 else np.stack([labels for _, labels in maps])
    fields = _nrrd_grid(geometry, num_layers=len(maps))
    fields.append(f"Segmentation_Software:={SOFTWARE} {VERSION}")
    fields.append("Segmentation_SourceRepresentation:=Binary labelmap")
    extent = " ".join(f"0 {n - 1}" for n in geometry.shape)
    number = 0
    for layer, (members, _) in enumerate(maps):
        for label, member in enumerate(members, start=1):
            fields += [
                f"Segment{number}_ID:=Segment_{member + 1}",
                f"Segment{number}_Name:={lesions[member].name}",
                f"Segment{number}_LabelValue:={label}",
                f"Segment{number}_Layer:={layer}",
                f"Segment{number}_Extent:={extent}",
            ]
            number += 1
    # The first axis runs fastest; the axis of layers stands before those of space.
    packed = gzip.compress(voxels.tobytes(order="F"), compresslevel=4, mtime=0)
    content = "\n".join(["NRRD0005", *fields, "", ""]).encode() + packed
    return write(target, content, geometry.path, replace=replace)


def _nrrd_grid(geometry: Geometry, *, num_layers: int) -> list[str]:
    """Returns the fields of a NRRD header that say how voxels are stored and where they lie."""
    # The convention of Slicer's own files: to the left, posterior, head.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine
    directions = [_nrrd_vector(column) for column in affine[:3, :3].T]
    sizes, kinds = [str(n) for n in geometry.shape], ["domain"] * 3
    if num_layers > 1:
        sizes, kinds = [str(num_layers), *sizes], ["list", *kinds]
        directions = ["none", *directions]
    return [
        "type: uint8",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "encoding: gzip",
        f"space origin: {_nrrd_vector(affine[:3, 3])}",
    ]


def _nrrd_vector(values: np.ndarray) -> str:
    # Adding 0 turns -0 into 0.
    return f"({','.join(repr(float(value) + 0.0) for value in values)})"
