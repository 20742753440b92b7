"""Measures of how well masks agree, in float32, under `jit` or on plain NumPy arrays.

Nothing here averages over a batch; what a curve of measures tells is in `report.curves`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.ops.distance import squared_distance_transform
from ecc_jax.types import AnyArray

# Squared distances are whole numbers, tolerances float32: sqrt(2) squared must still accept 2.
_TOLERANCE_MARGIN = 1.0 + 1e-6


class Surface(NamedTuple):
    """The boundary of a mask, see `surface`, and how far every pixel is from it.

    Attributes:
      boundary: Pixels of the mask with one of their 4 neighbours outside it.
      squared_distance: int32 squared pixels to the nearest boundary pixel; (h + w) ** 2 without
        any.
    """

    boundary: Bool[AnyArray, "b h w"]
    squared_distance: Int[AnyArray, "b h w"]


class SurfaceScores(NamedTuple):
    """How well two boundaries agree, see `surface_scores`.

    Attributes:
      nsd: Normalised surface Dice, 0..1.
      hd95: 95 % Hausdorff distance, pixels.
    """

    nsd: Float[Array, " b"]
    hd95: Float[Array, " b"]


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


def dice(pred: Bool[AnyArray, "*b h w"], target: Bool[AnyArray, "*b h w"]) -> Float[Array, "*b"]:
    """Returns the Dice coefficient (DSC, F1) of two masks; 1 where both are empty.

    Args:
      pred: Predicted mask.
      target: Ground truth.

    Returns:
      2 |pred & target| / (|pred| + |target|) in [0, 1] per row.
    """
    intersection = jnp.sum(jnp.logical_and(pred, target), axis=(-2, -1), dtype=jnp.float32)
    total = jnp.sum(pred, axis=(-2, -1), dtype=jnp.float32)
    total = total + jnp.sum(target, axis=(-2, -1), dtype=jnp.float32)
    return jnp.where(total > 0, 2.0 * intersection / jnp.maximum(total, 1.0), 1.0)


def surface(mask: Bool[AnyArray, "b h w"]) -> Surface:
    """Returns the boundary of a mask and the distance of every pixel to it.

    A boundary pixel belongs to the mask and has at least one of its 4 neighbours outside the mask;
    pixels outside the image are outside the mask. So one pixel is its own boundary, the boundary
    of a full image is its outermost ring, and that of an empty mask is empty.

    Args:
      mask: One mask per row of the batch.

    Returns:
      Boundary and squared distances between pixel centres. For `surface_scores` the one of the
      ground truth is worked out once, however many predictions follow.
    """
    boundary = _boundary(jnp.asarray(mask))
    return Surface(boundary, squared_distance_transform(~boundary, border_is_background=False))


def surface_scores(
    pred_mask: Bool[AnyArray, "b h w"],
    target_surface: Surface,
    *,
    tolerance: Float[AnyArray, " b"],
) -> SurfaceScores:
    """Returns how well the boundary of a prediction agrees with that of the ground truth.

    Everything is in pixels, between pixel centres: `tolerance` is mm / (mm per pixel), and `hd95`
    times the mm per pixel of the slice gives mm.

    With A and B the two boundaries, as `surface` defines them:
    nsd = (|{p in A: d(p, B) <= tolerance}| + |{p in B: d(p, A) <= tolerance}|) / (|A| + |B|).
    hd95 = the larger of the two directed percentiles, and the directed one is the smallest distance
    within which at least 95 % of the pixels of the one boundary lie from the other (nearest rank,
    NumPy's method "inverted_cdf"). Both are decided on whole squared distances.

    Args:
      pred_mask: Predicted mask.
      target_surface: `surface` of the ground truth.
      tolerance: Distance up to which a boundary pixel counts as right; a distance equal to it
        does, also where the tolerance is a rounded root (one millionth of slack in the square).
        Below 0, or where it is NaN, nothing counts.

    Returns:
      Both scores per row. Two empty masks agree: nsd 1, hd95 0. One empty mask: nsd 0, and hd95 is
      the largest distance in the image, sqrt((h - 1)^2 + (w - 1)^2), so that means stay finite.

    Source: nsd: Nikolov et al. 2018, "Deep learning to achieve clinically applicable segmentation
    of head and neck anatomy", with boundary pixels in place of surface elements.
    """
    pred_boundary = _boundary(jnp.asarray(pred_mask))
    target_boundary = jnp.asarray(target_surface.boundary)
    height, width = pred_boundary.shape[1:]
    nums = (_num_pixels(pred_boundary), _num_pixels(target_boundary))
    both_exist = (nums[0] > 0) & (nums[1] > 0)
    both_empty = nums[0] + nums[1] == 0
    # Only these pixels of the transform are read.
    needed = target_boundary & both_exist[:, None, None]
    to_pred = squared_distance_transform(~pred_boundary, border_is_background=False, needed=needed)
    largest, beyond = (height - 1) ** 2 + (width - 1) ** 2, (height + width) ** 2
    directed = (
        jnp.where(pred_boundary, jnp.asarray(target_surface.squared_distance), beyond),
        jnp.where(target_boundary, to_pred, beyond),
    )
    limit = _squared_limit(tolerance)
    near = [_num_pixels((squared <= limit) & (squared < beyond)) for squared in directed]
    nsd = (near[0] + near[1]) / jnp.maximum(nums[0] + nums[1], 1)
    squared_hd95 = _smallest_reaching_95_percent(directed, nums, largest)
    squared_hd95 = jnp.where(both_exist, squared_hd95, jnp.where(both_empty, 0, largest))
    return SurfaceScores(
        nsd=jnp.where(both_exist, nsd, both_empty.astype(jnp.float32)),
        hd95=jnp.sqrt(squared_hd95.astype(jnp.float32)),
    )


def _boundary(mask: Bool[Array, "b h w"]) -> Bool[Array, "b h w"]:
    """Returns the pixels of the mask with one of their 4 neighbours outside it."""
    framed = jnp.pad(mask, ((0, 0), (1, 1), (1, 1)))
    in_column = framed[:, :-2, 1:-1] & framed[:, 2:, 1:-1]
    in_row = framed[:, 1:-1, :-2] & framed[:, 1:-1, 2:]
    return mask & ~(in_column & in_row)


def _num_pixels(mask: Bool[Array, "b h w"]) -> Int[Array, " b"]:
    """Returns how many pixels of each row are True."""
    return jnp.sum(mask, axis=(1, 2), dtype=jnp.int32)


def _squared_limit(tolerance: Float[AnyArray, " b"]) -> Float[Array, "b 1 1"]:
    """Returns the largest squared distance accepted; the sign stays, so below 0 nothing is."""
    tolerance = jnp.asarray(tolerance, jnp.float32)[:, None, None]
    return tolerance * jnp.abs(tolerance) * _TOLERANCE_MARGIN


def _smallest_reaching_95_percent(
    squared: tuple[Int[Array, "b h w"], Int[Array, "b h w"]],
    nums: tuple[Int[Array, " b"], Int[Array, " b"]],
    largest: int,
) -> Int[Array, " b"]:
    """Returns the smallest number that at least 95 % of the values of both maps stay within.

    It is the larger of the two percentiles. Bisection takes about 2 log2(size) counts, where
    sorting would move every pixel.

    Args:
      squared: Maps of whole numbers, `nums` of them in 0..largest, the others above.
      nums: How many values count, per map and row.
      largest: The upper end of the search.
    """
    # ceil(0.95 n) in whole numbers that int32 holds at every n.
    required = [num - num // 20 for num in nums]

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        reached = jnp.ones_like(middle, bool)
        for values, count in zip(squared, required, strict=True):
            reached = reached & (_num_pixels(values <= middle[:, None, None]) >= count)
        return jnp.where(reached, low, middle + 1), jnp.where(reached, middle, high)

    low = jnp.zeros_like(nums[0])
    steps = largest.bit_length()
    return jax.lax.fori_loop(0, steps, halve, (low, jnp.full_like(low, largest)))[1]
