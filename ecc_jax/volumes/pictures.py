"""Grey pictures from files, with errors that say which file and what is wrong."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer
from skimage import io

PICTURE_SUFFIX = ".png"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_picture(path: str | Path) -> Integer[np.ndarray, "h w"]:
    """Reads a grey PNG picture of 8 or 16 bits: one channel, or equal ones.

    Raises:
      ValueError: No PNG picture, in colour, of another depth, or several pictures in one file.
    """
    try:
        # Other formats under this name would be read too, lossy ones among them.
        with Path(path).open("rb") as file:
            if file.read(len(_SIGNATURE)) != _SIGNATURE:
                raise ValueError("not a PNG file, whatever its name says")
        picture = np.asarray(io.imread(path))
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise ValueError(f"{path}: cannot be read as a picture: {error}") from None
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: expected 8 or 16 bits of grey, got {picture.dtype}")
    if picture.ndim == 3:
        colours = picture[..., :3] if picture.shape[2] in (3, 4) else picture[..., :1]
        if not _is_grey(colours):
            raise ValueError(f"{path}: is a colour picture; expected grey, or values of labels")
        picture = colours[..., 0]
    if picture.ndim != 2:
        raise ValueError(f"{path}: expected one picture, got shape {picture.shape}")
    return picture


def _is_grey(colours: Integer[np.ndarray, "h w c"]) -> bool:
    equal: Bool[np.ndarray, "h w c"] = colours == colours[..., :1]
    return bool(equal.all())
