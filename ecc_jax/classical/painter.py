"""Baselines that never look at the image: how far the disks alone carry, with radii tuned.

A dynamic disk holds much of the answer by itself. A network under dynamic clicks is worth what
it adds to these two.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ecc_jax.ops.disks import disk
from ecc_jax.types import Clicks

# Radius weights that the painter is tuned over, and how often it runs for that.
WEIGHTS = tuple(round(0.1 * i, 1) for i in range(11))
NUM_TRIES = 2 * len(WEIGHTS)


def best_weights(
    first_iou: Callable[[float], float], mean_iou: Callable[[float, float], float]
) -> tuple[float, float]:
    """Returns the weights of the first and of later radii that serve the painter best.

    The first click's weight is the one of the highest mean IoU after it; with that, the weight of
    all later clicks is the one of the highest mean IoU over all clicks. Ties: the smaller weight.

    Args:
      first_iou: (weight of the first radius) -> mean IoU after the first click.
      mean_iou: (weight of the first radius, of later ones) -> mean IoU over slices and clicks.
    """
    first = max(WEIGHTS, key=first_iou)
    return first, max(WEIGHTS, key=lambda later: mean_iou(first, later))


def paint_predict(
    image: Float[Array, "b h w 1"], clicks: Clicks, prev_mask: Float[Array, "b h w 1"]
) -> Float[Array, "b h w 1"]:
    """Returns the previous mask with the newest disk painted (positive) or erased (negative).

    A `Predict`, so it takes part in the click loop like a network. Pixels at a distance below the
    radius belong to the disk: a tight disk touches no pixel outside its region.

    Args:
      image: Only its size counts.
      clicks: All clicks so far; rows without any keep their mask.
      prev_mask: Lesion probability before the newest click.

    Returns:
      Lesion probability, 0 or 1 under the disk.
    """
    newest = jnp.maximum(clicks.count - 1, 0)
    inside = _disk_of_slot(clicks, newest, (image.shape[1], image.shape[2]), closed=False)
    positive = jnp.take_along_axis(clicks.is_positive, newest[:, None], axis=1)
    paint = positive[:, :, None, None].astype(prev_mask.dtype)
    return jnp.where(inside[..., None], paint, prev_mask)


def disk_mask(clicks: Clicks, shape: tuple[int, int]) -> Bool[Array, "b h w"]:
    """Returns the first disk of each row taken as the mask.

    Args:
      clicks: Clicks so far; rows without any give an empty mask.
      shape: Height and width of the mask.

    Returns:
      True where the distance to the first click is at most its radius, as a network sees it.
    """
    return _disk_of_slot(clicks, jnp.zeros_like(clicks.count), shape, closed=True)


def _disk_of_slot(
    clicks: Clicks, slot: Array, shape: tuple[int, int], *, closed: bool
) -> Bool[Array, "b h w"]:
    """Returns the disk of one click per row; nothing in rows without clicks."""
    yx = jnp.take_along_axis(clicks.yx, slot[:, None, None], axis=1)[:, 0]
    radius = jnp.take_along_axis(clicks.radius, slot[:, None], axis=1)[:, 0]
    return disk(yx, radius, shape, closed=closed) & (clicks.count > 0)[:, None, None]
