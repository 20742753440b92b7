"""Masks as short texts, for JSON and the log."""

import base64
import binascii
import math
import zlib

import numpy as np
from jaxtyping import Bool


def bits_of(mask: Bool[np.ndarray, "h w"]) -> str:
    """Returns a mask as base64 of its bits, row by row, the first pixel in the highest bit."""
    return base64.b64encode(np.packbits(mask).tobytes()).decode("ascii")


def pack(mask: Bool[np.ndarray, "h w"]) -> str:
    """Returns a mask as a text that `unpack` turns back; never empty."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 6)).decode("ascii")


def unpack(text: str, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Returns a mask from its text.

    Args:
      text: From `pack`.
      shape: Of the mask.

    Raises:
      ValueError: It is not the text of a mask of this shape.
    """
    need = -(-math.prod(shape) // 8)
    try:
        packed = base64.b64decode(text, validate=True)
        # One byte more than needed, so that a longer one is noticed but never unpacked.
        raw = zlib.decompressobj().decompress(packed, need + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"expected a packed mask, got {text[:20]!r}: {error}") from error
    if len(raw) != need:
        raise ValueError(
            f"expected a packed mask of {shape[0]} x {shape[1]}, got {len(raw)} bytes of bits "
            f"where {need} are needed"
        )
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=math.prod(shape))
    return bits.reshape(shape).astype(bool)
