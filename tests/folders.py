"""Small NIfTI folders for tests: bright balls in noise, one volume per patient."""

from pathlib import Path

import nibabel as nib
import numpy as np


def write_folder(root: Path, *, patients: int = 6, size: int = 40, slices: int = 5) -> Path:
    """Writes `images/` and `labels/` with one lesion per volume; returns `root`."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    grid = np.stack(np.mgrid[:size, :size, :slices]).astype(float)
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    for patient in range(patients):
        centre = [*rng.uniform(size * 0.3, size * 0.7, 2), slices / 2]
        scale = np.array([1, 1, 2.0])[:, None, None, None]
        offset = (grid - np.array(centre)[:, None, None, None]) * scale
        mask = np.sqrt((offset**2).sum(0)) < rng.uniform(5, 8)
        image = np.where(mask, 80, 20) + rng.normal(0, 15, mask.shape)
        name = f"case_{patient:02d}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), root / "images" / name)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), root / "labels" / name)
    return root


AFFINE = np.diag([-0.8, -0.8, 5.0, 1.0])


def scan(seed: int, shape: tuple[int, int, int] = (32, 32, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Returns soft tissue beside air in HU, and a box of label 1 in three slices."""
    image = np.random.default_rng(seed).normal(40, 60, shape).astype(np.int16)
    image[:3] = -1000
    labels = np.zeros(shape, np.uint8)
    labels[10:18, 12:20, 1:4] = 1
    return image, labels


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = AFFINE) -> Path:
    """Writes a NIfTI file (a pair if the name ends in .img) and its folder; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = nib.Nifti1Pair if path.suffix == ".img" else nib.Nifti1Image
    nib.save(kind(array, affine), path)
    return path


def write_scans(root: Path, *, count: int = 4, names: str = "case{}") -> Path:
    """Writes `images/` and `labels/` of several `scan`s; returns `root`."""
    for seed in range(count):
        for part, array in zip(("images", "labels"), scan(seed), strict=True):
            save(root / part / f"{names.format(seed)}.nii.gz", array)
    return root
