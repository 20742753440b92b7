"""The focus crop of FocalClick: where its refiner looks, after the coarse answer to a click.

Source: FocalClick (Chen et al. 2022, section 3.2); thesis section 2; the original's
isegm/utils/crop_local.py (`get_focus_cropv1`).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.inference.merge import change_at_click, newest_pixel
from ecc_jax.ops.boxes import mask_box
from ecc_jax.types import Clicks

# Half a side of the box around a click, relative to the longest side of the whole answer.
_AROUND_CLICK = 0.2
# The least side before the box is cut at the target crop, pixels: smaller ones lose their own
# last row, for the original counts from pixel centres and then cuts as if from edges.
_LEAST_SIDE = 4.0


def focus_box(
    after: Bool[Array, "b h w"],
    before: Bool[Array, "b h w"],
    clicks: Clicks,
    target: Int[Array, "b 4"],
    *,
    expansion: float = 1.4,
) -> Int[Array, "b 4"]:
    """Returns the box that the refiner looks at, inside the target crop.

    The box of the change that holds the newest click, expanded about its centre. Where a side of
    that change is shorter than a third of the whole answer's, or the click changed nothing at its
    own pixel: a square around the click, two fifths of the answer's longest side, expanded too.
    Where nothing was lesion before: the box of the whole answer.

    Args:
      after: The coarse answer to the newest click.
      before: The mask before it.
      clicks: All clicks; a newest one outside the target crop counts at its border.
      target: The target crop (y0, x0, y1, x1), not empty.
      expansion: Sides of the box relative to what it is drawn around.

    Returns:
      Half-open boxes, never empty. The whole target crop where the coarse answer is empty and the
      click changed nothing.

    Source: `get_focus_cropv1`; its ends are cut down to whole pixels, which moves boxes half a
    pixel up and left on average. Deviations: the answer is cut at a probability (the original
    cuts logits at 0.49, a probability of 0.62); a click outside the change gets the square around
    it (the original takes all that did not change for the change, hence almost the whole target
    crop); masks below 10 pixels have a box like others (there the whole image), of at least 4
    pixels.
    """
    change = change_at_click(before, after, clicks)
    whole, part = mask_box(after), mask_box(change)
    whole_sides, part_sides = _steps(whole), _steps(part)
    is_small = jnp.any(3 * part_sides < whole_sides, axis=1)
    is_small |= ~jnp.any(change, axis=(1, 2))
    is_first = ~jnp.any(before, axis=(1, 2))
    # Ends are the first and the last pixel, as in the original.
    longest = jnp.max(whole_sides, axis=1, keepdims=True).astype(jnp.float32)
    pixel = newest_pixel(clicks, (after.shape[1], after.shape[2]))
    pixel = jnp.clip(pixel, target[:, :2], target[:, 2:] - 1)
    pick = (is_first[:, None], is_small[:, None])
    first = _chosen(pick, whole[:, :2], pixel - _AROUND_CLICK * longest, part[:, :2])
    last = _chosen(pick, whole[:, 2:] - 1, pixel + _AROUND_CLICK * longest, part[:, 2:] - 1)
    side = jnp.maximum(expansion * (last - first + 1), _LEAST_SIDE)
    centre = 0.5 * (first + last)
    low = jnp.maximum((centre - 0.5 * side).astype(jnp.int32), target[:, :2])
    high = jnp.minimum((centre + 0.5 * side).astype(jnp.int32), target[:, 2:])
    box = jnp.concatenate([low, high], axis=1)
    is_nowhere = ~jnp.any(after, axis=(1, 2)) & ~jnp.any(change, axis=(1, 2))
    return jnp.where(is_nowhere[:, None], target, box)


def box_on_grid(
    box: Int[Array, "b 4"], frame: Int[Array, "b 4"], shape: tuple[int, int]
) -> Float[Array, "b 4"]:
    """Returns boxes of the image as they lie on the grid of a crop that holds them.

    Args:
      box: Boxes in image pixels.
      frame: The crop of each row, not empty.
      shape: Rows and columns of the crop's grid.
    """
    grid = jnp.array(shape, jnp.float32)[None, :]
    scale = grid / (frame[:, 2:] - frame[:, :2]).astype(jnp.float32)
    low, high = ((box[:, i : i + 2] - frame[:, :2]) * scale for i in (0, 2))
    return jnp.concatenate([jnp.clip(low, 0, grid), jnp.clip(high, 0, grid)], axis=1)


def _steps(box: Int[Array, "b 4"]) -> Int[Array, "b 2"]:
    """Returns the steps from the first to the last pixel of each axis; 0 of an empty box."""
    return jnp.maximum(box[:, 2:] - box[:, :2] - 1, 0)


def _chosen(
    pick: tuple[Bool[Array, "b 1"], Bool[Array, "b 1"]],
    whole: Array,
    around: Array,
    part: Array,
) -> Float[Array, "b 2"]:
    """Returns the ends of the whole answer, else those around the click, else of the change."""
    is_first, is_small = pick
    ends = jnp.where(is_small, around, part.astype(jnp.float32))
    return jnp.where(is_first, whole.astype(jnp.float32), ends)
