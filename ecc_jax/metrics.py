"""Measures of interactive segmentation, in float32, under `jit` or on plain NumPy arrays.

Nothing here averages over a batch on its own: `masked_sum` gives total and number of the
valid rows, and those add up over batches and devices.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

AnyArray = Array | np.ndarray


class RunningMean(NamedTuple):
    """A mean in the making: `merge` adds two of them up, `compute` divides.

    Attributes:
      total: Sum over the valid rows, one entry per measured quantity.
      num_rows: Number of valid rows.
    """

    total: Float[AnyArray, "*k"]
    num_rows: Float[AnyArray, ""]


def iou(pred: Bool[AnyArray, "*b h w"], target: Bool[AnyArray, "*b h w"]) -> Float[Array, "*b"]:
    """Returns intersection over union of two masks; 1 where both are empty.

    Args:
      pred: Predicted mask.
      target: Ground truth.

    Returns:
      IoU in [0, 1] per row.
    """
    intersection = jnp.sum(jnp.logical_and(pred, target), axis=(-2, -1), dtype=jnp.float32)
    union = jnp.sum(jnp.logical_or(pred, target), axis=(-2, -1), dtype=jnp.float32)
    return jnp.where(union > 0, intersection / jnp.maximum(union, 1.0), 1.0)


def num_clicks_to_reach(
    iou: Float[AnyArray, "m k"], threshold: float | Float[Array, ""]
) -> Int[Array, " m"]:
    """Returns the number of clicks (NoC) after which the IoU first is `threshold` or more.

    Args:
      iou: IoU after each of k clicks.
      threshold: IoU to reach, 0..1.

    Returns:
      1-based click number; k where the threshold is never reached (see `never_reached`).

    Source: RITM (Sofiiuk et al. 2021), section 4.
    """
    reached = jnp.asarray(iou, jnp.float32) >= jnp.asarray(threshold, jnp.float32)
    first = jnp.argmax(reached, axis=1).astype(jnp.int32) + 1
    return jnp.where(jnp.any(reached, axis=1), first, jnp.int32(reached.shape[1]))


def never_reached(
    iou: Float[AnyArray, "m k"], threshold: float | Float[Array, ""]
) -> Bool[Array, " m"]:
    """Returns where no click reaches `threshold`; its mean is the share of failures (NoF).

    Args:
      iou: IoU after each of k clicks.
      threshold: IoU to reach, 0..1.

    Returns:
      True for a failure.

    Source: thesis section 3.2. RITM counts NoC == k, and so also the rows that succeed exactly at
      the last click; here those are successes.
    """
    return jnp.logical_not(
        jnp.any(jnp.asarray(iou, jnp.float32) >= jnp.asarray(threshold, jnp.float32), axis=1)
    )


def iterative_iou_error(mean_iou: Float[AnyArray, " k"]) -> Float[Array, ""]:
    """Returns the weighted area above the IoU-per-click curve; late clicks weigh more.

    Computes sum (1 - IoU_i)(1 + 0.1 i) / sum (1 + 0.1 i) over i = 0..k-1; with 20 clicks the
    weights sum to 39.

    Args:
      mean_iou: Mean IoU over the images after each click.

    Returns:
      Error in [0, 1]: 0 when every click is perfect, 1 when none overlaps.

    Source: thesis equation 5.
    """
    curve = jnp.asarray(mean_iou, jnp.float32)
    weights = 1.0 + 0.1 * jnp.arange(curve.shape[0], dtype=jnp.float32)
    return jnp.sum((1.0 - curve) * weights) / jnp.sum(weights)


def masked_sum(values: Shaped[AnyArray, "b *k"], valid: Bool[AnyArray, " b"]) -> RunningMean:
    """Returns the sum and number of the valid rows.

    Args:
      values: One row per image, numbers or bool; rows that are not valid may hold anything, NaN
        included.
      valid: False for rows that only pad the last batch.

    Returns:
      Total of shape k and the count. Under `jit` on a sharded batch both are global.
    """
    rows = jnp.asarray(values, jnp.float32)
    keep = jnp.reshape(jnp.asarray(valid), (rows.shape[0],) + (1,) * (rows.ndim - 1))
    total = jnp.sum(jnp.where(keep, rows, jnp.zeros_like(rows)), axis=0)
    return RunningMean(total, jnp.sum(jnp.asarray(valid), dtype=jnp.float32))


def merge(left: RunningMean, right: RunningMean) -> RunningMean:
    """Returns the running mean over the rows of both."""
    return RunningMean(left.total + right.total, left.num_rows + right.num_rows)


def compute(running: RunningMean) -> Float[AnyArray, "*k"]:
    """Returns total / num_rows; NaN without a single valid row, for nothing has no mean."""
    mean = running.total / jnp.maximum(running.num_rows, 1.0)
    return jnp.where(running.num_rows > 0, mean, jnp.float32(jnp.nan))
