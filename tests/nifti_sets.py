"""Tiny raw folders in the layouts of KiTS23, LiTS17 and MSD Task07.

Each set holds what real ones hold: matrices that are not square or not of one size, unequal voxel
sizes, axes that run either way, a lesion of a single voxel, and a volume without lesion.
"""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

# Slices, rows, columns; the longest side of each divides SIDE, so masks come back exactly.
SIDE = 48
SHAPES = [(7, 48, 48), (6, 48, 36), (5, 24, 24), (9, 30, 48), (6, 16, 24), (8, 48, 48), (4, 48, 20)]
ONE_VOXEL, WITHOUT_LESION = 2, 5
SPACINGS = [(3.0, 0.8, 0.8), (1.0, 0.7, 0.7), (5.0, 0.9, 0.6), (0.5, 0.7, 0.7)]


class Raw(NamedTuple):
    """A volume as written.

    Attributes:
      image: Hounsfield units, array axes of the file.
      labels: 0 background, 1 organ, 2 lesion (KiTS: 3 cyst).
      image_path: Its file.
      label_path: Its label's file.
    """

    image: np.ndarray
    labels: np.ndarray
    image_path: Path
    label_path: Path


def brute_force(volumes: dict[str, Raw], axis: int) -> dict[tuple[str, int], np.ndarray]:
    """Returns the lesion of each slice that has one, by volume and slice, voxel by voxel."""
    found: dict[tuple[str, int], np.ndarray] = {}
    for name, raw in volumes.items():
        for position in np.ndindex(raw.labels.shape):
            if raw.labels[position] == 2:
                index = position[axis]
                key = (name, index)
                if key not in found:
                    shape = [n for i, n in enumerate(raw.labels.shape) if i != axis]
                    found[key] = np.zeros(shape, bool)
                found[key][tuple(p for i, p in enumerate(position) if i != axis)] = True
    return found


def write_kits(root: Path) -> dict[str, Raw]:
    """Writes case_xxxxx/{imaging,segmentation}.nii.gz, slices first; returns the volumes."""
    volumes = {}
    for number in range(len(SHAPES)):
        name = f"case_{number:05d}"
        image, labels = _draw(number, organ_extra=3)
        files = [root / name / f"{kind}.nii.gz" for kind in ("imaging", "segmentation")]
        volumes[name] = _save(image, labels, _affine(number, (0, 1, 2)), files)
    return volumes


def write_lits(root: Path) -> dict[str, Raw]:
    """Writes two batch folders of volume-N and segmentation-N, slices last; some unzipped.

    As in some public copies, the headers of a few segmentations say something else.
    """
    volumes = {}
    for number in range(len(SHAPES)):
        image, labels = (np.moveaxis(array, 0, 2) for array in _draw(number + 20))
        suffix = ".nii.gz" if number % 2 else ".nii"
        folder = root / f"Training Batch {1 + number // 4}"
        files = [folder / f"{kind}-{number}{suffix}" for kind in ("volume", "segmentation")]
        raw = _save(image, labels, _affine(number, (2, 1, 0)), files)
        if number == 1:
            nib.save(nib.Nifti1Image(labels, np.diag([2.0, 2.0, 9.0, 1.0])), raw.label_path)
        volumes[f"volume-{number}"] = raw
    return volumes


def write_msd(root: Path) -> dict[str, Raw]:
    """Writes Task07_Pancreas/{imagesTr,labelsTr}/pancreas_xxx.nii.gz, slices last."""
    volumes = {}
    for number in range(len(SHAPES)):
        name = f"pancreas_{number + 1:03d}"
        image, labels = (np.moveaxis(array, 0, 2) for array in _draw(number + 40))
        folders = (root / "Task07_Pancreas" / part for part in ("imagesTr", "labelsTr"))
        files = [folder / f"{name}.nii.gz" for folder in folders]
        volumes[name] = _save(image, labels, _affine(number, (2, 1, 0)), files)
    (root / "Task07_Pancreas" / "imagesTr" / "._pancreas_001.nii.gz").write_bytes(b"no volume")
    return volumes


def _draw(seed: int, organ_extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns noise with an organ and lesions, slices first."""
    rng = np.random.default_rng(seed)
    kind = seed % 20
    shape = SHAPES[kind]
    labels = np.zeros(shape, np.uint8)
    organ = tuple(slice(n // 6, n - n // 6) for n in shape)
    labels[organ] = 1
    if organ_extra:
        labels[organ][:, :2, :3] = organ_extra
    if kind == ONE_VOXEL:
        labels[3, 11, 13] = 2
    elif kind != WITHOUT_LESION:
        depth = int(rng.integers(1, shape[0] - 2))
        for z in range(1, 1 + depth):
            y, x = (int(rng.integers(2, n - 9)) for n in shape[1:])
            height, width = rng.integers(1, 8, 2)
            labels[z, y : y + height, x : x + width] = 2
    image = rng.integers(-1000, 900, shape).astype(np.int16)
    return image, labels


def _affine(number: int, axes: tuple[int, int, int]) -> np.ndarray:
    """Returns an affine with slices along z, rows along y, columns along x, either way.

    Args:
      number: Volume; chooses voxel sizes and signs.
      axes: Array axes of slices, rows and columns.
    """
    spacing, signs = SPACINGS[number % len(SPACINGS)], np.array([1, -1])[[number // 2 % 2] * 3]
    affine = np.zeros((4, 4))
    for patient_axis, axis, size, sign in zip((2, 1, 0), axes, spacing, signs, strict=True):
        affine[patient_axis, axis] = sign * size
    affine[:3, 3], affine[3, 3] = (-100.0, 50.0, 7.0), 1.0
    return affine


def _save(image: np.ndarray, labels: np.ndarray, affine: np.ndarray, files: list[Path]) -> Raw:
    for array, path in zip((image, labels), files, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
    return Raw(image, labels, files[0], files[1])


# Dataset: writer of its raw folder, slice axis, HU window.
SETS = {
    "kits_2d": (write_kits, 0, (-150, 250)),
    "lits_2d": (write_lits, 2, (-45, 105)),
    "md_panc_2d": (write_msd, 2, (-150, 250)),
}
