"""Resampling with a scale, a shift or an angle of its own for every row."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from ecc_jax.ops import separable


def resample_affine(
    image: Float[Array, "b h w"],
    *,
    shape: tuple[int, int],
    scale: Float[Array, " b"] | Float[Array, "b 2"],
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
      scale: Output pixels per input pixel, above 0; may be traced. One for both axes, or one for
        rows and one for columns. Flip apart from this.
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
    scales = (scale, scale) if scale.ndim == 1 else (scale[:, 0], scale[:, 1])
    rows, columns = (
        _weights(image.shape[axis + 1], shape[axis], scales[axis], translation[:, axis])
        for axis in (0, 1)
    )
    return separable.apply(rows, image, columns)


def turned(image: Float[Array, "b h w"], angle: Float[Array, " b"]) -> Float[Array, "b h w"]:
    """Returns each image turned about its centre, linearly interpolated; 0 outside.

    Args:
      image: Images, one per row.
      angle: Radians, from the first axis towards the second: a quarter moves what lay below the
        centre to its right.

    >>> image = jnp.array([[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    >>> turned(image, jnp.array([jnp.pi / 2])).round(3)[0, 1].tolist()
    [1.0, 0.0, 2.0]
    """
    height, width = image.shape[1:]
    middle = 0.5 * (height - 1), 0.5 * (width - 1)
    y, x = jnp.arange(height)[:, None] - middle[0], jnp.arange(width)[None, :] - middle[1]

    def one(row: Float[Array, "h w"], radians: Float[Array, ""]) -> Float[Array, "h w"]:
        sine, cosine = jnp.sin(radians), jnp.cos(radians)
        source = (cosine * y + sine * x, cosine * x - sine * y)
        places = [source[0] + middle[0], source[1] + middle[1]]
        return map_coordinates(row, places, order=1, mode="constant", cval=0.0)

    return jax.vmap(one)(image, angle)


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
