"""Grey pictures from files, with errors that say which file and what is wrong."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image

PICTURE_SUFFIX = ".png"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Signature, length and name of the first chunk, width, height, bits per channel, kind of colours.
_START = struct.Struct(">8s4x4sIIBB")
_GREY = 0
# Pillow's names of what is no plain grey, and what its channels are compared in.
_MODES = {"P": "RGB", "PA": "RGB", "LA": "L"}


def read_picture(path: str | Path, *, max_pixels: int | None = None) -> Integer[np.ndarray, "h w"]:
    """Reads a grey PNG picture of 8 or 16 bits: one channel, or equal ones.

    Args:
      path: The file; with a palette too, if its colours are grey. What is transparent is read as
        if it were not.
      max_pixels: A picture of more is refused before its pixels are unpacked.

    Returns:
      uint8 or uint16 as they stand in the file.

    Raises:
      ValueError: No PNG picture, corrupt, in colour, of a depth that would not be read exactly, too
        large, or several pictures in one file.
    """
    try:
        values = _decoded(Path(path), max_pixels)
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as a picture: {text}") from None
    if values.ndim == 3:
        colours = values[..., :3]
        if not _is_grey(colours):
            raise ValueError(f"{path}: is a colour picture; expected grey, or values of labels")
        values = colours[..., 0]
    return values


def _decoded(path: Path, max_pixels: int | None) -> np.ndarray:
    """Returns values [h w] or [h w c]; raises ValueError and others without the path."""
    with path.open("rb") as file:
        start = file.read(_START.size)
    # Other formats under this name would be read too, lossy ones among them.
    if not start.startswith(_SIGNATURE):
        raise ValueError("not a PNG file, whatever its name says")
    _, chunk, width, height, depth, kind = _START.unpack(start)
    if chunk != b"IHDR":
        raise ValueError("corrupt, or a PNG file of one maker's own kind; save it anew")
    if max_pixels is not None and width * height > max_pixels:
        raise ValueError(f"expected at most {max_pixels} pixels, got {width} x {height}; crop it")
    # Pillow cuts colours of 16 bits to 8 and stretches few bits of grey, without a word.
    if depth == 16 and kind != _GREY:
        raise ValueError("expected 16 bits of grey alone, got more channels; save it as plain grey")
    if depth < 8 and kind == _GREY:
        raise ValueError(f"expected 8 or 16 bits of grey, got {depth}; save it with 8")
    with Image.open(path, formats=("PNG",)) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise ValueError(f"expected one picture, got {frames}; save one of them")
        mode = _MODES.get(picture.mode)
        values = np.asarray(picture.convert(mode) if mode else picture)
    return values.astype(np.uint16 if depth == 16 else np.uint8, copy=False)


def _is_grey(colours: Integer[np.ndarray, "h w c"]) -> bool:
    equal: Bool[np.ndarray, "h w c"] = colours == colours[..., :1]
    return bool(equal.all())
