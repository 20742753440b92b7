"""Resizing: bilinear with corners or with pixel edges aligned, and nearest neighbour."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ecc_jax.ops import separable


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

    >>> align_corners_matrix(2, 3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    _check_sizes(size_in, size_out)
    return _linear_matrix(np.arange(size_out) * ((size_in - 1) / max(size_out - 1, 1)), size_in)


@functools.cache
def half_pixel_matrix(size_in: int, size_out: int) -> Float[np.ndarray, "size_out size_in"]:
    """Returns the weights that resize one axis with the outer edges of the pixels aligned.

    Args:
      size_in: Pixels before, at least 1.
      size_out: Pixels after, at least 1.

    Returns:
      Read-only float32 matrix; every row sums to 1. Output pixel i reads input position
      (i + 0.5) * size_in / size_out - 0.5, moved to the border pixel's centre where it is
      outside.

    Raises:
      ValueError: A size is below 1.

    Source: PyTorch `interpolate(mode="bilinear", align_corners=False)`, OpenCV `INTER_LINEAR`.

    >>> half_pixel_matrix(2, 4).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    _check_sizes(size_in, size_out)
    position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    return _linear_matrix(np.clip(position, 0, size_in - 1), size_in)


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

    >>> row = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> resize_align_corners(row, (1, 5))[0, 0, :, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    height, width = shape
    rows = align_corners_matrix(x.shape[1], height)
    return separable.apply_shared(rows, x, align_corners_matrix(x.shape[2], width))


def resize_half_pixel(
    x: Float[Array, "b h w c"], shape: tuple[int, int]
) -> Float[Array, "b height width c"]:
    """Resizes images bilinearly so that their outer edges map to the outer edges.

    Args:
      x: Images or feature maps.
      shape: Height and width of the result, each at least 1.

    Returns:
      The resized maps, of the type of `x`, computed in float32; `x` itself when the size does not
      change. Shrinking does not smooth first, unlike `jax.image.resize` with its default.

    Raises:
      ValueError: A size is below 1.

    Source: PyTorch `interpolate(mode="bilinear", align_corners=False)`, OpenCV `INTER_LINEAR`.

    >>> row = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> resize_half_pixel(row, (1, 4))[0, 0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    height, width = shape
    rows = half_pixel_matrix(x.shape[1], height)
    return separable.apply_shared(rows, x, half_pixel_matrix(x.shape[2], width))


def resize_nearest(
    x: Num[Array, "b h w c"], shape: tuple[int, int]
) -> Num[Array, "b height width c"]:
    """Resizes images by copying: output pixel i is input pixel floor(i * size_in / size_out).

    The floor is exact. PyTorch multiplies by a float32 ratio first, which for some ratios that
    are no whole number lands one pixel lower.

    Args:
      x: Images, feature maps or labels.
      shape: Height and width of the result, each at least 1.

    Returns:
      The resized maps, of the type of `x`.

    Raises:
      ValueError: A size is below 1.

    Source: PyTorch `interpolate(mode="nearest")`, OpenCV `INTER_NEAREST`.

    >>> row = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> resize_nearest(row, (1, 4))[0, 0, :, 0].tolist()
    [0.0, 0.0, 4.0, 4.0]
    """
    for axis, size_out in zip((1, 2), shape, strict=True):
        size_in = x.shape[axis]
        _check_sizes(size_in, size_out)
        if size_out % size_in == 0:
            # A broadcast: its gradient is a plain sum, that of an indexed read a scattered one.
            x = jnp.repeat(x, size_out // size_in, axis=axis)
        else:
            x = jnp.take(x, np.arange(size_out) * size_in // size_out, axis=axis)
    return x


def _check_sizes(size_in: int, size_out: int) -> None:
    if size_in < 1 or size_out < 1:
        raise ValueError(
            f"sizes must be at least 1, got {size_in} -> {size_out}; check the image for empty axes"
        )


def _linear_matrix(
    position: Float[np.ndarray, " m"], size_in: int
) -> Float[np.ndarray, "m size_in"]:
    """Returns the weights that read one axis at positions in [0, size_in - 1]."""
    below = np.minimum(position.astype(np.int64), max(size_in - 2, 0))
    weight = position - below
    rows = np.arange(len(position))
    matrix = np.zeros((len(position), size_in))
    np.add.at(matrix, (rows, below), 1.0 - weight)
    np.add.at(matrix, (rows, np.minimum(below + 1, size_in - 1)), weight)
    matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False
    return matrix
