"""The mask as a file that other programs read."""

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from ecc_jax import atomic, places
from ecc_jax.notebook.clicking import Clicker


def save_mask(path: str | Path, clicker: Clicker) -> Path:
    """Writes the mask; returns its path.

    Args:
      path: `.png`: the slice as it is shown, 255 where lesion is. `.nii` or `.nii.gz`: a volume on
        the grid of the file that was read, 1 where lesion is, 0 in all other slices.
      clicker: Slice and mask.

    Raises:
      ValueError: Another suffix.
      OSError: It cannot be written; what was there before stays.
    """
    path = places.expanded(path)
    name = path.name.lower()
    if name.endswith(".png"):
        buffer = io.BytesIO()
        Image.fromarray(clicker.mask.astype(np.uint8) * 255).save(buffer, "PNG")
        atomic.write_bytes(path, buffer.getvalue())
    elif name.endswith((".nii", ".nii.gz")):
        content = _nifti(clicker)
        # Without a time in it, equal masks are equal files.
        packed = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
        atomic.write_bytes(path, packed)
    else:
        raise ValueError(f"{path}: expected a name ending in .png, .nii or .nii.gz")
    return path


def _nifti(clicker: Clicker) -> bytes:
    geometry = clicker.ct.geometry
    image = nibabel.Nifti1Image(clicker.ct.in_volume(clicker.mask), geometry.affine)
    if not geometry.has_affine:
        # The affine is made up: what is written is the size of the voxels, and no orientation.
        image.set_sform(None, code=0)
        image.set_qform(geometry.affine, code=0)
    is_known = np.isfinite(geometry.spacing_mm).all()
    image.header.set_xyzt_units("mm" if is_known else "unknown")
    return image.to_bytes()
