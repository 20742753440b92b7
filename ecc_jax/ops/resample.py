"""Bilinear resizing whose corner pixels stay on the corners."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


@functools.cache
def align_corners_matrix(size_in: int, size_out: int) -> Float[np.ndarray, "size_out size_in"]:
    """Returns the weights that resize one axis, for `out = matrix @ in`.

    Args:
      size_in: Pixels before, at least 1.
      size_out: Pixels after, at least 1.

    Returns:
      Read-only float32 matrix; every row sums to 1. Output pixel i reads input position
      i * (size_in - 1) / (size_out - 1), or 0 when there is one output pixel.

    Raises:
      ValueError: A size is below 1.

    Source: PyTorch `interpolate(mode="bilinear", align_corners=True)`.
    """
    if size_in < 1 or size_out < 1:
        raise ValueError(
            f"sizes must be at least 1, got {size_in} -> {size_out}; check the image for empty axes"
        )
    position = np.arange(size_out) * ((size_in - 1) / max(size_out - 1, 1))
    below = np.minimum(position.astype(np.int64), max(size_in - 2, 0))
    weight = position - below
    rows = np.arange(size_out)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (rows, below), 1.0 - weight)
    np.add.at(matrix, (rows, np.minimum(below + 1, size_in - 1)), weight)
    matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def resize_align_corners(
    x: Float[Array, "b h w c"], shape: tuple[int, int]
) -> Float[Array, "b height width c"]:
    """Resizes images bilinearly so that corner pixel centres map to corner pixel centres.

    Two small matrix products with constant matrices: the gradient is two products as well, where
    an indexed read would need a scattered sum. Computed in float32 whatever the input type.

    Args:
      x: Images or feature maps.
      shape: Height and width of the result, each at least 1.

    Returns:
      The resized maps, of the type of `x`; `x` itself when the size does not change. Enlarging
      never leaves the range of the input. Shrinking does not smooth first.

    Raises:
      ValueError: A size is below 1.

    Source: every resize in HRNet and OCR is align_corners=True
    (isegm/model/modeling/hrnet_ocr.py). `jax.image.resize` aligns pixel edges instead.
    """
    b, h, w, c = x.shape
    height, width = shape
    if (h, w) == (height, width):
        return x
    y = x.astype(jnp.float32)
    if width != w:
        y = _multiply(align_corners_matrix(w, width), y.reshape(b * h, w, c))
    if height != h:
        y = _multiply(align_corners_matrix(h, height), y.reshape(b, h, width * c))
    return y.reshape(b, height, width, c).astype(x.dtype)


def _multiply(matrix: Float[np.ndarray, "m k"], x: Float[Array, "n k c"]) -> Float[Array, "n m c"]:
    """Returns `matrix @ x[i]` for every i; the matrix is repeated so that nothing is transposed."""
    repeated = jnp.broadcast_to(jnp.asarray(matrix)[None], (x.shape[0], *matrix.shape))
    return jnp.matmul(repeated, x, precision=lax.Precision.HIGHEST)
