"""Disks drawn on the pixel grid."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# A radius is often the float32 root of a whole number; its square misses that number by up to
# 1.8e-7 of it, either way. The margin is above that, and below the gap to the next whole number
# (relative 4.8e-7 across a 1024 x 1024 image).
_MARGIN = 3e-7


def disk(
    yx: Float[Array, "*b 2"],
    radius: Float[Array, "*b"],
    shape: tuple[int, int],
    *,
    closed: bool = True,
) -> Bool[Array, "*b h w"]:
    """Returns the pixels of each disk.

    Args:
      yx: Disk centres, pixels; sub-pixel positions and centres outside the image are allowed.
      radius: Disk radii, pixels, not negative.
      shape: Height and width of the image.
      closed: Whether pixels exactly at distance `radius` belong to the disk.

    Returns:
      True where the pixel centre's distance to `yx` is at most (closed) or below `radius`. A
      closed disk of radius 0 is one pixel if centred on it, else nothing; an open one is nothing.

    >>> disk(jnp.array([1.0, 1.0]), jnp.array(1.0), (3, 4)).astype(int).tolist()
    [[0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    """
    squared = squared_distance_to(yx, shape)
    limit = jnp.square(radius)[..., None, None]
    return squared <= limit * (1 + _MARGIN) if closed else squared < limit * (1 - _MARGIN)


def squared_distance_to(yx: Float[Array, "*b 2"], shape: tuple[int, int]) -> Float[Array, "*b h w"]:
    """Returns the squared distance, pixels, of every pixel centre to the point `yx`.

    Args:
      yx: Points, pixels; they may lie outside the image.
      shape: Height and width of the image.

    >>> squared_distance_to(jnp.array([0.0, 1.0]), (2, 3)).tolist()
    [[1.0, 0.0, 1.0], [2.0, 1.0, 2.0]]
    """
    height, width = shape
    y, x = yx[..., 0, None], yx[..., 1, None]
    lead = (1,) * (yx.ndim - 1)
    dy = jnp.arange(height, dtype=jnp.float32).reshape(*lead, height) - y
    dx = jnp.arange(width, dtype=jnp.float32).reshape(*lead, width) - x
    return jnp.square(dy)[..., :, None] + jnp.square(dx)[..., None, :]
