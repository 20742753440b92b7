"""Axis-aligned resampling (scale and shift) with a scale and a shift of its own for every row."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.ops import separable


def resample_affine(
    image: Float[Array, "b h w"],
    *,
    shape: tuple[int, int],
    scale: Float[Array, " b"],
    translation: Float[Array, "b 2"],
) -> Float[Array, "b H W"]:
    """Returns each image scaled, shifted and cut or zero-padded to `shape`, linearly interpolated.

    Half-pixel convention: pixel i covers [i, i + 1), and a point y of the input lands on
    y * scale + translation of the output. So translation counts output pixels, scale 1 with
    translation (-3, -5) is the crop that starts at row 3, column 5, and pixel centres obey
    (out + 0.5) = (in + 0.5) * scale + translation.

    When shrinking, the triangle kernel is wider by 1 / scale, which smooths.

    The map is separable: one small weight matrix per axis and two matmuls per row, which is as
    quick as the interpolation gets on CPU and what accelerators do best.

    Args:
      image: Images, one per row.
      shape: Output rows and columns.
      scale: Output pixels per input pixel, above 0; may be traced. Flip apart from this.
      translation: Shift (rows, columns) in output pixels; may be traced.

    Returns:
      Resampled images. Pixels whose centre falls outside the input are 0; at its edge the weights
      of the missing neighbours go to the present ones.

    Source: same convention and kernel as `jax.image.scale_and_translate(method="linear")`.

    >>> image, scale = jnp.array([[[0.0, 2.0, 4.0, 6.0]]]), jnp.ones(1)
    >>> shift = jnp.array([[0.0, -1.0]])
    >>> resample_affine(image, shape=(1, 4), scale=scale, translation=shift).tolist()
    [[[2.0, 4.0, 6.0, 0.0]]]
    """
    rows, columns = (
        _weights(image.shape[axis + 1], shape[axis], scale, translation[:, axis]) for axis in (0, 1)
    )
    return separable.apply(rows, image, columns)


def _weights(
    size_in: int,
    size_out: int,
    scale: Float[Array, " b"],
    translation: Float[Array, " b"],
) -> Float[Array, "b out in"]:
    """Returns the interpolation matrix of one axis; rows sum to 1, or to 0 outside the input."""
    scale = scale.astype(jnp.float32)[:, None]
    centres_out = jnp.arange(size_out, dtype=jnp.float32)[None, :] + 0.5
    source = (centres_out - translation.astype(jnp.float32)[:, None]) / scale - 0.5
    reach = jnp.maximum(1.0 / scale, 1.0)
    distance = jnp.abs(source[:, :, None] - jnp.arange(size_in, dtype=jnp.float32)[None, None, :])
    kernel = jnp.maximum(0.0, 1.0 - distance / reach[:, :, None])
    total = jnp.sum(kernel, axis=2, keepdims=True)
    inside = jnp.logical_and(source >= -0.5, source <= size_in - 0.5)[:, :, None]
    return jnp.where(inside, kernel / jnp.maximum(total, 1e-6), jnp.zeros_like(kernel))
