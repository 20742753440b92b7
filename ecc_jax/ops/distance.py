"""Exact Euclidean distance transform of batches of masks."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Column offsets tried between two tests for the early stop. Few waste tests, many waste offsets.
_OFFSETS_PER_STEP = 8


def distance_transform(mask: Bool[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Returns each pixel's distance to the nearest background pixel.

    Args:
      mask: True on foreground.

    Returns:
      Pixels between pixel centres, exact: 0 on background, at least 1 on foreground. Pixels
      outside the image count as background, so an all-foreground 1x1 image gives 1.

    Source: the two passes (columns, then lower envelope along rows) of Saito and Toriwaki,
    "New algorithms for Euclidean distance transformation" (1994); the row pass is a direct
    minimum over offsets, which has no data-dependent indexing and so suits accelerators.

    >>> distance_transform(jnp.array([[[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 1]]], bool)).tolist()
    [[[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]]
    """
    return jnp.sqrt(squared_distance_transform(mask).astype(jnp.float32))


def squared_distance_transform(
    mask: Bool[Array, "b h w"],
    *,
    border_is_background: bool = True,
    needed: Bool[Array, "b h w"] | None = None,
) -> Int[Array, "b h w"]:
    """Returns each pixel's squared distance to the nearest background pixel, as whole numbers.

    Ties between pixels are exact here, as they are not after the root.

    Args:
      mask: True on foreground.
      border_is_background: Whether pixels outside the image count as background. Without them,
        `~points` as mask gives the distance to the nearest of some points.
      needed: Where the caller reads the result; None for everywhere. The nearer the background
        is to these pixels, the sooner the search over offsets ends.

    Returns:
      int32 squared pixels; 0 on background. With the border, the largest value is
      ((min(h, w) + 1) // 2) ** 2, so int32 holds it at any size that fits in memory. Without it
      the largest distance is that of two corners; (h + w) ** 2, more than any distance, stands
      in rows without background, and h + w must stay below 32000. Where not `needed` the
      value is an upper bound.

    >>> points = jnp.array([[[1, 0, 0, 0]]], bool)
    >>> squared_distance_transform(~points, border_is_background=False).tolist()
    [[[0, 1, 4, 9]]]
    """
    height, width = mask.shape[1:]
    # Squared, this exceeds every distance in the image, and int32 holds it plus a squared offset.
    far = height + width
    outside = 1 if border_is_background else far
    # Beyond half the width a pixel outside the image, if it counts, is nearer than the one reached.
    furthest = (width + 1) // 2 if border_is_background else width - 1
    margin = furthest + _OFFSETS_PER_STEP
    to_column = jnp.square(jnp.minimum(_column_distance(mask, outside), far))
    beyond = 0 if border_is_background else far**2
    padded = jnp.pad(to_column, ((0, 0), (0, 0), (margin, margin)), constant_values=beyond)

    def unfinished(carry: tuple[Array, Array]) -> Array:
        offset, best = carry
        worst = jnp.max(best, initial=0, where=needed)
        return jnp.logical_and(offset <= furthest, jnp.square(offset) < worst)

    def try_offsets(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        offset, best = carry
        for step in range(_OFFSETS_PER_STEP):
            shift = offset + step
            left = jax.lax.dynamic_slice_in_dim(padded, margin - shift, width, axis=2)
            right = jax.lax.dynamic_slice_in_dim(padded, margin + shift, width, axis=2)
            best = jnp.minimum(best, jnp.minimum(left, right) + jnp.square(shift))
        return offset + _OFFSETS_PER_STEP, best

    _, best = jax.lax.while_loop(unfinished, try_offsets, (jnp.int32(1), to_column))
    return best


def _column_distance(mask: Bool[Array, "b h w"], outside: int) -> Int[Array, "b h w"]:
    """Returns the distance to the nearest background pixel of the same column, 0 on background.

    Beyond either end of a column lies one more such pixel, `outside` pixels from the end.
    """
    # Row after row takes the fewest operations; accelerators want few steps in a row instead.
    return jax.lax.platform_dependent(
        mask,
        cpu=partial(_column_distance_by_rows, outside=outside),
        default=partial(_column_distance_by_scan, outside=outside),
    )


def _column_distance_by_rows(mask: Bool[Array, "b h w"], outside: int) -> Int[Array, "b h w"]:
    """Counts down the columns, then up, one row at a time."""
    rows = jnp.moveaxis(mask, 1, 0)

    def count(distance: Array, row: Array) -> tuple[Array, Array]:
        distance = jnp.where(row, distance + 1, 0)
        return distance, distance

    before = jnp.full(rows.shape[1:], outside - 1, jnp.int32)
    _, above = jax.lax.scan(count, before, rows)
    _, below = jax.lax.scan(count, before, rows, reverse=True)
    return jnp.moveaxis(jnp.minimum(above, below), 0, 1)


def _column_distance_by_scan(mask: Bool[Array, "b h w"], outside: int) -> Int[Array, "b h w"]:
    """Finds the last background row above and the first below by parallel prefix scans."""
    height = mask.shape[1]
    row = jax.lax.broadcasted_iota(jnp.int32, mask.shape, 1)
    above = jax.lax.cummax(jnp.where(mask, -outside, row), axis=1)
    below = jax.lax.cummin(jnp.where(mask, height - 1 + outside, row), axis=1, reverse=True)
    return jnp.minimum(row - above, below - row)
