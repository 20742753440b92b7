"""Masks with a defect, as an earlier method might have left them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from ecc_jax.ops.distance import squared_distance_transform

KINDS = ("eroded", "dilated", "shifted")


def damaged(
    keys: Key[Array, " b"], target: Bool[Array, "b h w"], *, kind: str, amount: float
) -> Bool[Array, "b h w"]:
    """Returns the ground truth with a defect, as an earlier method might have left it.

    The defect is measured in the lesion's own size: reach = amount x the depth of its deepest
    pixel, but at least one pixel, so that small lesions are spoilt too. Erosion leaves the
    deepest pixels at least; only a lesion of nothing else (a single pixel) is not changed by it.

    Args:
      keys: One PRNG key per row, for the direction of a shift.
      target: Ground truth; an empty one stays empty.
      kind: "eroded": pixels no deeper than the reach are lost. "dilated": pixels up to the reach
        around it are added. "shifted": it moves by the reach in a random direction, to whole
        pixels; what leaves the image is lost.
      amount: Above 0 and below 1.

    Raises:
      ValueError: Unknown kind.

    Source: the idea of DAVIS-585 (Chen et al. 2022, FocalClick), whose initial masks are ground
    truth spoilt until an IoU of 0.75 to 0.85; here without the random search.

    >>> keys, target = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 3, 3), bool)
    >>> damaged(keys, target, kind="eroded", amount=0.5)[0].astype(int).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    depth = squared_distance_transform(target).astype(jnp.float32)
    deepest = jnp.max(depth, axis=(1, 2), keepdims=True)
    squared_reach = jnp.maximum(amount**2 * deepest, 1.0)
    if kind == "eroded":
        return target & ((depth > squared_reach) | (depth == deepest))
    if kind == "dilated":
        outside = squared_distance_transform(~target, border_is_background=False)
        return target | ((outside.astype(jnp.float32) <= squared_reach) & (deepest > 0))
    angle = jax.vmap(lambda key: jax.random.uniform(key, maxval=2 * jnp.pi))(keys)
    direction = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=1)
    offset = jnp.round(jnp.sqrt(squared_reach[:, 0]) * direction).astype(jnp.int32)
    return jax.vmap(_shift)(target, offset)


def _shift(mask: Bool[Array, "h w"], offset: Array) -> Bool[Array, "h w"]:
    """Moves a mask; what enters from outside is False."""
    height, width = mask.shape
    y = jnp.arange(height) - offset[0]
    x = jnp.arange(width) - offset[1]
    moved = mask[jnp.clip(y, 0, height - 1)][:, jnp.clip(x, 0, width - 1)]
    return moved & ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
