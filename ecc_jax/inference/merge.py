"""What the newest click has changed of a mask, and how to let nothing else change.

Source: FocalClick (Chen et al. 2022, "Progressive Merge"); thesis section 2; the original's
isegm/inference/evaluation.py and isegm/utils/crop_local.py, but for the defects named here.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.clicks.surroundings import newest_disk
from ecc_jax.ops.components import component_at
from ecc_jax.types import Clicks


def newest_pixel(clicks: Clicks, shape: tuple[int, int]) -> Int[Array, "b 2"]:
    """Returns the pixel (row, column) nearest to the newest click of each row, inside the image."""
    last = jnp.array([shape], jnp.int32) - 1
    return jnp.clip(jnp.round(newest_disk(clicks).yx).astype(jnp.int32), 0, last)


def change_at_click(
    before: Bool[Array, "b h w"], after: Bool[Array, "b h w"], clicks: Clicks
) -> Bool[Array, "b h w"]:
    """Returns the part of the change between two masks that holds the newest click.

    Args:
      before: The mask before the newest click.
      after: The answer to it.
      clicks: All clicks.

    Returns:
      One component, pixels touching at corners included; none where the mask did not change at
      the click, or where a row has no click. The original takes everything that did not change
      for the component there.
    """
    changed = component_at(before ^ after, newest_pixel(clicks, (before.shape[1], before.shape[2])))
    return changed & (clicks.count > 0)[:, None, None]


def progressive_merge(
    prev_mask: Float[Array, "b h w 1"],
    prob: Float[Array, "b h w 1"],
    clicks: Clicks,
    *,
    threshold: float = 0.5,
) -> Float[Array, "b h w 1"]:
    """Returns the former probabilities with the change that the newest click asked for.

    Args:
      prev_mask: Lesion probability before the newest click.
      prob: The answer to it.
      clicks: All clicks.
      threshold: A pixel is lesion where its probability is above.

    Returns:
      The answer in the component of the change that holds the newest click, elsewhere what was
      before, bit for bit. A click that changed nothing at its own pixel changes nothing at all;
      nor does a change against the click: a background click never adds, a lesion click never
      takes away.

    Source: `Progressive_Merge`. Deviations: the original merges everything that did not change
    where the click lies in it, so a click on background fills almost the whole image and a click
    inside the lesion empties it; and it never asks for the click's sign.
    """
    before, after = prev_mask[..., 0] > threshold, prob[..., 0] > threshold
    is_lesion = (newest_disk(clicks).sign > 0)[:, None, None]
    # A component may hold both what was added and what was taken away, side by side.
    is_wanted = change_at_click(before, after, clicks) & (after == is_lesion)
    pixel = newest_pixel(clicks, (before.shape[1], before.shape[2]))
    holds_click = jnp.any(is_wanted & _only(pixel, before.shape), axis=(1, 2), keepdims=True)
    return jnp.where((is_wanted & holds_click)[..., None], prob, prev_mask)


def _only(pixel: Int[Array, "b 2"], shape: tuple[int, ...]) -> Bool[Array, "b h w"]:
    """Returns masks of one pixel."""
    in_row = jnp.arange(shape[1])[None, :] == pixel[:, :1]
    in_column = jnp.arange(shape[2])[None, :] == pixel[:, 1:]
    return in_row[:, :, None] & in_column[:, None, :]
