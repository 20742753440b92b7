"""Where the crop of a training slice lies: drawn for one row, all of it traced.

Both ways to draw keep a lesion pixel in the crop. Lengths and offsets are whole pixels: of the
enlarged slice where it is zoomed, of the slice itself where a crop of it is stretched.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

RULES = ("uniform", "normal")
# Of the rule "normal": isegm/data/aligned_augmentation.py.
_MEAN, _SPREAD = 1.0, 0.4


class Placement(NamedTuple):
    """Where the crop of one row lies: mirror first, then scale, then shift.

    Attributes:
      is_mirrored: Whether left and right change places.
      scale: Output pixels per pixel of the slice, of rows and of columns.
      shift: Where the slice's top left corner comes to lie, output pixels.
    """

    is_mirrored: Bool[Array, ""]
    scale: Float[Array, " 2"]
    shift: Float[Array, " 2"]


def draw_zoom(
    key: Key[Array, ""],
    mask: Bool[Array, "h w"],
    *,
    crop: tuple[int, int],
    scale: tuple[float, float],
    flip_prob: float,
) -> Placement:
    """Draws a zoom, the same for both axes, and a crop of the zoomed slice.

    Args:
      key: Of this row.
      mask: Its ground truth, of which one pixel stays in the crop.
      crop: Rows and columns of the crop, pixels.
      scale: Lowest and highest zoom.
      flip_prob: Probability of a left-right flip.

    Source: thesis section 3.1, "RITM-based".
    """
    flip_key, scale_key, pixel_key, y_key, x_key = jax.random.split(key, 5)
    height, width = mask.shape
    is_mirrored = jax.random.bernoulli(flip_key, flip_prob)
    wanted = jax.random.uniform(scale_key, minval=scale[0], maxval=scale[1])
    rows = jnp.maximum(jnp.round(height * wanted), 1.0)
    factor = rows / height
    columns = jnp.maximum(jnp.round(width * factor), 1.0)
    pixel = _draw_lesion_pixel(pixel_key, mask)
    y, x = pixel[0], jnp.where(is_mirrored, width - 1 - pixel[1], pixel[1])
    has_lesion = jnp.any(mask)
    offset = []
    for axis_key, size, length, position in (
        (y_key, rows.astype(jnp.int32), crop[0], y),
        (x_key, columns.astype(jnp.int32), crop[1], x),
    ):
        scaled = jnp.floor((position.astype(jnp.float32) + 0.5) * factor).astype(jnp.int32)
        low, high = _offsets(size, length, jnp.clip(scaled, 0, size - 1), has_lesion)
        drawn = jax.random.randint(axis_key, (), low, high + 1)
        spare = length - size
        offset.append(jnp.where(spare > 0, -(spare // 2), drawn))
    shift = -jnp.stack(offset).astype(jnp.float32)
    return Placement(is_mirrored, jnp.stack([factor, factor]), shift)


def draw_crop(
    key: Key[Array, ""],
    mask: Bool[Array, "h w"],
    *,
    crop: tuple[int, int],
    bounds: tuple[float, ...],
    crop_prob: float,
    crop_sizes: str,
    flip_prob: float,
) -> Placement:
    """Draws a crop of the slice, its height and width apart, to be stretched to one shape.

    A crop larger than the slice holds it anywhere, with zeros around it.

    Args:
      key: Of this row.
      mask: Its ground truth, of which one pixel stays in the crop.
      crop: Rows and columns that every crop is stretched to, pixels.
      bounds: Smallest and largest height and width of a crop, shares of the slice's.
      crop_prob: Probability of a crop; otherwise the whole slice is stretched.
      crop_sizes: How the shares are drawn: a name of `RULES`.
      flip_prob: Probability of a left-right flip.

    Source: thesis section 3.1, "FocalClick-based" and "Optimal Crop". The text does not say how
      sizes are drawn; "normal" is the code's way (about 1, standard deviation 0.4, cut to the
      bounds). Crops keep a lesion pixel drawn uniformly; those of the original reach FocalClick's
      lesions by chance, and of Optimal Crop's overlap a lesion's box by a tenth of their size.
    """
    whole_key, size_key, pixel_key, place_key, flip_key = jax.random.split(key, 5)
    is_mirrored = jax.random.bernoulli(flip_key, flip_prob)
    is_crop = jax.random.bernoulli(whole_key, crop_prob)
    sides = jnp.array(mask.shape, jnp.int32)
    shares = _draw_shares(size_key, bounds, crop_sizes)
    wanted = jnp.maximum(jnp.round(shares * sides.astype(jnp.float32)), 1.0).astype(jnp.int32)
    lengths = jnp.where(is_crop, wanted, sides)
    y, x = _draw_lesion_pixel(pixel_key, mask)
    pixel = jnp.stack([y, jnp.where(is_mirrored, sides[1] - 1 - x, x)])
    low, high = _offsets(sides, lengths, pixel, jnp.any(mask))
    origin = jax.random.randint(place_key, (2,), low, high + 1)
    scale = jnp.array(crop, jnp.float32) / lengths.astype(jnp.float32)
    return Placement(is_mirrored, scale, -origin.astype(jnp.float32) * scale)


def _draw_shares(
    key: Key[Array, ""], bounds: tuple[float, ...], crop_sizes: str
) -> Float[Array, " 2"]:
    """Draws the height and width of a crop as shares of the slice's."""
    low, high = bounds
    if crop_sizes == "uniform":
        return jax.random.uniform(key, (2,), minval=low, maxval=high)
    ends = (low - _MEAN) / _SPREAD, (high - _MEAN) / _SPREAD
    drawn = _MEAN + _SPREAD * jax.random.truncated_normal(key, *ends, (2,))
    return jnp.clip(drawn, low, high)


def _draw_lesion_pixel(key: Key[Array, ""], mask: Bool[Array, "h w"]) -> Int[Array, " 2"]:
    """Draws a pixel of the mask uniformly; (0, 0) or another arbitrary pixel if it is empty."""
    per_row = jnp.cumsum(jnp.sum(mask, axis=1, dtype=jnp.int32))
    rank = jax.random.randint(key, (), 0, jnp.maximum(per_row[-1], 1))
    y = jnp.sum(per_row <= rank, dtype=jnp.int32).clip(0, mask.shape[0] - 1)
    before = jnp.where(y > 0, per_row[jnp.maximum(y - 1, 0)], 0)
    per_column = jnp.cumsum(mask[y].astype(jnp.int32))
    x = jnp.sum(per_column <= rank - before, dtype=jnp.int32).clip(0, mask.shape[1] - 1)
    return jnp.stack([y, x])


def _offsets(
    size: Int[Array, "*a"],
    length: Int[Array, "*a"] | int,
    position: Int[Array, "*a"],
    has_lesion: Bool[Array, ""],
) -> tuple[Int[Array, "*a"], Int[Array, "*a"]]:
    """Returns the first and last place where a crop may start: below 0 where it is larger.

    Args:
      size: Of the axis.
      length: Of the crop.
      position: The pixel to keep.
      has_lesion: Whether there is one.
    """
    last = size - length
    low = jnp.where(has_lesion, jnp.maximum(position - length + 1, 0), 0)
    high = jnp.where(has_lesion, jnp.minimum(position, last), last)
    return jnp.where(last < 0, last, low), jnp.where(last < 0, 0, high)
