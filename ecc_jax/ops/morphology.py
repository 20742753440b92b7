"""Masks grown and shrunk by whole pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def dilate(mask: Bool[Array, "b h w"], steps: Int[Array, " b"]) -> Bool[Array, "b h w"]:
    """Returns each mask grown by some pixels in all eight directions.

    Args:
      mask: One mask per row.
      steps: How often a 3 x 3 square is applied, at least 0; one number per row. May be traced.

    Returns:
      True within a square of 2 * steps + 1 pixels around any pixel of the mask. Nothing comes in
      from outside the image.

    >>> dilate(jnp.array([[[0, 0, 0, 0, 1]]], bool), jnp.array([2])).astype(int).tolist()
    [[[0, 0, 1, 1, 1]]]
    """
    # A square is a column of rows, and either needs no more than running sums.
    return _dilate_rows(_dilate_rows(mask, steps).swapaxes(1, 2), steps).swapaxes(1, 2)


def erode(mask: Bool[Array, "b h w"], steps: Int[Array, " b"]) -> Bool[Array, "b h w"]:
    """Returns each mask shrunk by some pixels in all eight directions.

    Args:
      mask: One mask per row.
      steps: How often a 3 x 3 square is applied, at least 0; one number per row. May be traced.

    Returns:
      True where the square of 2 * steps + 1 pixels around a pixel holds nothing but the mask. What
      lies outside the image does not count, so a mask that fills the image stays.

    >>> erode(jnp.array([[[1, 1, 1, 0, 1]]], bool), jnp.array([1])).astype(int).tolist()
    [[[1, 1, 0, 0, 0]]]
    """
    return ~dilate(~mask, steps)


def _dilate_rows(mask: Bool[Array, "b h w"], steps: Int[Array, " b"]) -> Bool[Array, "b h w"]:
    """Returns each mask grown along its last axis."""
    width = mask.shape[2]
    sums = jnp.pad(jnp.cumsum(mask.astype(jnp.int32), axis=2), ((0, 0), (0, 0), (1, 0)))
    place = jnp.arange(width, dtype=jnp.int32)[None, :]
    low = jnp.maximum(place - steps[:, None], 0)
    high = jnp.minimum(place + steps[:, None] + 1, width)
    before, after = (jnp.take_along_axis(sums, end[:, None, :], axis=2) for end in (low, high))
    return after > before
