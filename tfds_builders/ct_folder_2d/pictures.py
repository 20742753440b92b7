"""Grey PNG slices with PNG masks as a folder of NIfTI volumes, so that ct_folder_2d reads them.

Public sets and exports of viewers often hold windowed 8-bit pictures. Their grey values are put
back on the window's HU scale; what the window cut off stays cut off.
"""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Integer

from ecc_jax.volumes import PICTURE_SUFFIX, read_picture
from tfds_builders.ct_folder_2d.whole_folder import check_free, made_whole
from tfds_builders.options import check_window
from tfds_builders.words import short


def convert(
    source: Path,
    out: Path,
    *,
    window_hu: tuple[float, float],
    lesion: Sequence[int] = (),
    spacing_mm: float | None = None,
) -> list[str]:
    """Writes one volume of one slice for every picture, and a mask with 1 where the lesion is.

    Names are kept, so the expression that finds the patient in a name still does. Nothing is
    written before every picture was read.

    Args:
      source: Holds images/NAME.png and labels/NAME.png of the same shape.
      out: Folder to make; must be empty or not there.
      window_hu: HU of black and of white.
      lesion: Values of the label pictures that are lesion; may be left out if all of them together
        have one value besides 0.
      spacing_mm: Side of a pixel. None leaves it unknown: distances are then in pixels.

    Returns:
      Names of the volumes.

    Raises:
      ValueError: No such folder, a picture without partner, not grey or of another shape than its
        partner, lossy labels, an unknown lesion value, `out` holds something.
      OSError: A file cannot be written.
    """
    low, high = check_window(window_hu, where="the window of the pictures")
    if spacing_mm is not None and not (np.isfinite(spacing_mm) and spacing_mm > 0):
        raise ValueError(f"the side of a pixel must be positive, in mm; got {spacing_mm:g}")
    check_free(out)
    pairs = _pairs(source)
    found: set[int] = set()
    for image, label in pairs.values():
        picture, marks = read_picture(image), read_picture(label)
        if picture.shape != marks.shape:
            raise ValueError(
                f"{label}: its shape is {marks.shape}, that of its image {picture.shape}"
            )
        found.update(np.unique(marks).tolist())
    values = _lesion_values(sorted(found - {0}), lesion)
    with made_whole(out) as folder:
        for name, (image, label) in pairs.items():
            _write(folder / "images", name, _hu(read_picture(image), low, high), spacing_mm)
            mask = np.isin(read_picture(label), values).astype(np.uint8)
            _write(folder / "labels", name, mask, spacing_mm)
    return list(pairs)


def _lesion_values(found: list[int], chosen: Sequence[int]) -> list[int]:
    """Returns the values that are lesion among those found; without a choice there must be one."""
    listed = short([str(value) for value in found]) if found else "none"
    if chosen:
        strange = sorted(set(chosen) - set(found))
        if strange:
            raise ValueError(
                f"lesion value {strange[0]} is in no label picture; their values besides 0 are "
                f"{listed}"
            )
        return sorted(set(chosen))
    if len(found) != 1:
        raise ValueError(
            f"name the values that are lesion with --lesion; those of the label pictures besides 0 "
            f"are {listed}"
        )
    return found


def _pairs(source: Path) -> dict[str, tuple[Path, Path]]:
    """Returns image and label of every name, sorted."""
    files = {}
    for part in ("images", "labels"):
        folder = source / part
        if not folder.is_dir():
            raise ValueError(f"{folder}: is not a folder; expected one with *{PICTURE_SUFFIX}")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == PICTURE_SUFFIX)
        files[part] = {path.stem: path for path in paths}
        if not paths:
            raise ValueError(
                f"{folder}: holds no *{PICTURE_SUFFIX}; lossy formats change grey values"
            )
    images, labels = files["images"], files["labels"]
    alone = sorted(set(images) ^ set(labels))
    if alone:
        part = "labels" if alone[0] in images else "images"
        raise ValueError(
            f"{source}: {short(alone)} {'has' if len(alone) == 1 else 'have'} no picture of that "
            f"name in {part}/; add it, or take the other away"
        )
    return {name: (images[name], labels[name]) for name in images}


def _hu(picture: Integer[np.ndarray, "h w"], low: float, high: float) -> Integer[np.ndarray, "h w"]:
    white = np.iinfo(picture.dtype).max
    return np.rint(picture / white * (high - low) + low).astype(np.int16)


def _write(
    folder: Path, name: str, picture: Integer[np.ndarray, "h w"], spacing_mm: float | None
) -> None:
    """Writes a picture as a volume; its left is the patient's right, its top anterior."""
    folder.mkdir(parents=True, exist_ok=True)
    if spacing_mm is None:
        # An identity is what the reader takes for a header that knows nothing: the order stays.
        image = nib.Nifti1Image(picture[..., None], np.eye(4))
    else:
        affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
        image = nib.Nifti1Image(picture.T[..., None], affine)
        image.header.set_xyzt_units("mm")
    nib.save(image, folder / f"{name}.nii.gz")
