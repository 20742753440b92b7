"""What FocalClick's refiner is trained on: a box of each row, and what is true inside it.

Source: FocalClick (Chen et al. 2022, section 3.3); thesis section 2; the original's
isegm/data/base.py:71-101, 165-202 and isegm/utils/crop_local.py.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ecc_jax.inference.crops import crop, move_clicks
from ecc_jax.ops.boxes import mask_box
from ecc_jax.ops.components import largest_component
from ecc_jax.ops.morphology import dilate
from ecc_jax.ops.resample import resize_half_pixel
from ecc_jax.types import Clicks

# Lesions below so many pixels have a box of all of them, larger ones with this probability a box
# on their outline instead.
_LARGE, _OUTLINE_PROB = 3600, 0.4
# Boxes of a lesion: its sides times 1.1, 1.2, ..., 1.6, at least 32 pixels, moved by at most 0.3.
_SCALES = (1.1, 0.1, 6)
_LEAST_SIDE, _MOVED = 32.0, 0.3
# Boxes on an outline: the image's sides divided by 1.5, 1.6, ..., 3.9.
_DIVISORS = (1.5, 0.1, 25)
# Pixels: the ring outside a lesion on which boxes are centred, and the growth of what its outline
# loses when it is shrunk by this factor and enlarged again.
_RING, _GROWTH, _COARSENESS = 2, 2, 8


class Focus(NamedTuple):
    """One box of each row, resampled to the shape of the image.

    Attributes:
      box: Half-open (y0, x0, y1, x1), image pixels.
      image: What lies in the box.
      clicks: The clicks as they lie there.
      target: Ground truth in the box.
      boundary: Whether a pixel of the box is near the lesion's outline.
    """

    box: Int[Array, "b 4"]
    image: Float[Array, "b h w 1"]
    clicks: Clicks
    target: Bool[Array, "b h w"]
    boundary: Bool[Array, "b h w"]


def draw_focus(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w 1"],
    target: Bool[Array, "b h w"],
    clicks: Clicks,
    *,
    scales_radius: bool,
) -> Focus:
    """Returns what the refiner learns on, for a box of `training_boxes` in each row.

    Args:
      keys: One per row.
      image: What the coarse stage is shown.
      target: Ground truth.
      clicks: The clicks so far.
      scales_radius: Whether disks grow with the box, as in use: dynamic ones do, static ones do
        not.

    Source: `get_sample` of the original. Deviations: it resamples with pixel edges aligned, here
    corner pixels are, as in use; its code for dynamic disks leaves their radii as they are.
    """
    box, shape = training_boxes(keys, target), (image.shape[1], image.shape[2])
    truths = jnp.stack([target, boundary_map(target)], axis=-1).astype(jnp.float32)
    inside = crop(truths, box, shape) > 0.5
    return Focus(
        box=box,
        image=crop(image, box, shape),
        clicks=move_clicks(clicks, box, shape, scales_radius=scales_radius),
        target=inside[..., 0],
        boundary=inside[..., 1],
    )


def training_boxes(keys: Key[Array, " b"], target: Bool[Array, "b h w"]) -> Int[Array, "b 4"]:
    """Returns a box for the refiner in each row.

    A lesion of at least 3600 pixels has with probability 0.4 a box on its outline, see
    `outline_boxes`; else a box has all of its largest component, see `lesion_boxes`.

    Args:
      keys: One per row.
      target: Ground truth; an empty one has the whole image.
    """
    parts = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    is_large = jnp.sum(target, axis=(1, 2)) >= _LARGE
    on_outline = is_large & (jax.vmap(jax.random.uniform)(parts[:, 0]) < _OUTLINE_PROB)
    both = outline_boxes(parts[:, 1], target), lesion_boxes(parts[:, 2], target)
    return jnp.where(on_outline[:, None], *both)


def lesion_boxes(keys: Key[Array, " b"], target: Bool[Array, "b h w"]) -> Int[Array, "b 4"]:
    """Returns boxes around the largest component, expanded and moved at random.

    Args:
      keys: One per row.
      target: Ground truth.

    Returns:
      Boxes of 1.1 to 1.6 times the lesion's sides and at least 32 pixels, moved along each axis by
      up to 0.3 of their side, cut at the border. The whole image where the target is empty.

    Source: `expand_bbox_with_bias`. Deviation: it takes the whole image below 10 pixels.
    """
    height, width = target.shape[1:]
    box = mask_box(largest_component(target))
    first, last = box[:, :2].astype(jnp.float32), box[:, 2:].astype(jnp.float32) - 1.0

    def draw(key: Any) -> tuple[Array, Array]:
        scale_key, move_key = jax.random.split(key)
        return _step_of(scale_key, _SCALES), jax.random.uniform(move_key, (2,))

    scale, share = jax.vmap(draw)(keys)
    side = jnp.maximum(scale[:, None] * (last - first + 1.0), _LEAST_SIDE)
    most = jnp.floor(_MOVED * side)
    move = jnp.floor(share * (2.0 * most + 1.0)) - most  # whole pixels, all alike
    middle = 0.5 * (first + last)
    low, high = (jnp.trunc(middle + end * side) + move for end in (-0.5, 0.5))
    size = jnp.array([[height, width]], jnp.float32)
    cut = [jnp.clip(end, 0.0, size) for end in (low, high)]
    whole = jnp.array([[0, 0, height, width]], jnp.int32)
    is_empty = ~jnp.any(target, axis=(1, 2))
    return jnp.where(is_empty[:, None], whole, jnp.concatenate(cut, axis=1).astype(jnp.int32))


def outline_boxes(keys: Key[Array, " b"], target: Bool[Array, "b h w"]) -> Int[Array, "b 4"]:
    """Returns boxes of a share of the image, centred on the outlines of lesions.

    Args:
      keys: One per row.
      target: Ground truth.

    Returns:
      Boxes whose sides are those of the image divided by 1.5 to 3.9, each axis for itself. The
      centre is a pixel at most 2 outside a lesion, one around which the box lies inside the image
      if there is any; else the box is moved inside. In the corner where there is no such pixel.

    Source: `random_choose_target`.
    """
    height, width = target.shape[1:]
    ring = dilate(target, jnp.full(target.shape[0], _RING)) & ~target

    def draw(key: Any, ring: Array) -> Array:
        size_key, place_key = jax.random.split(key)
        divisors = jax.vmap(lambda k: _step_of(k, _DIVISORS))(jax.random.split(size_key))
        size = jnp.floor(jnp.array([height, width]) / divisors).astype(jnp.int32)
        half = size // 2
        rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
        fits = (rows >= half[0]) & (rows < height - half[0])
        fits &= (columns >= half[1]) & (columns < width - half[1])
        places = jnp.where(jnp.any(ring & fits), ring & fits, ring)
        # The place of the largest of random numbers is any place, all alike.
        value = jnp.where(places, jax.random.uniform(place_key, places.shape), -1.0)
        centre = jnp.array(jnp.unravel_index(jnp.argmax(value), value.shape))
        low = jnp.clip(centre - half, 0, jnp.array([height, width]) - size)
        return jnp.concatenate([low, low + size]).astype(jnp.int32)

    return jax.vmap(draw)(keys, ring)


def boundary_map(target: Bool[Array, "b h w"]) -> Bool[Array, "b h w"]:
    """Returns where a lesion's outline would be lost at an eighth of the resolution.

    Args:
      target: Ground truth.

    Returns:
      Pixels that differ once the mask was shrunk to an eighth and enlarged again, both bilinearly
      and cut at one half, and all within 2 pixels of them. Lesions that vanish are all boundary.

    Source: thesis section 2; `get_trimap` of the original, whose 8-bit images round at one half.
    """
    height, width = target.shape[1:]
    small = (max(1, height // _COARSENESS), max(1, width // _COARSENESS))
    coarse = resize_half_pixel(target[..., None].astype(jnp.float32), small) > 0.5
    back = resize_half_pixel(coarse.astype(jnp.float32), (height, width)) > 0.5
    return dilate(back[..., 0] ^ target, jnp.full(target.shape[0], _GROWTH))


def _step_of(key: Any, steps: tuple[float, float, int]) -> Float[Array, ""]:
    """Returns one of `number` values from `start` on, all alike."""
    start, step, number = steps
    return start + step * jax.random.randint(key, (), 0, number)
