"""What part of a slice the network is shown: all of it, or a square around the first disk.

In a square whose side is a multiple of the disk's radius, a lesion of 5 pixels and one of 80 look
alike, and a small grid holds it. Squares are traced, one per row; the grid is fixed, so that one
compilation serves every disk.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.clicks.surroundings import first_disk
from ecc_jax.ops.affine import resample_affine, turned
from ecc_jax.types import Click, Clicks

VIEWS = ("slice", "disk")
# Half the side of a square is at least so many pixels.
_LEAST_HALF = 6.0
# A later lesion disk is held with so many radii around it, a background click with this margin.
_LATER = 1.3
_MARGIN = 2.0


class DiskView(NamedTuple):
    """The square around the first disk; static for a compilation.

    Attributes:
      grid: Pixels per side of the square as the network sees it.
      factor: Half the side of the square, in radii of the first disk.
    """

    grid: int = 64
    factor: float = 2.6


class Square(NamedTuple):
    """A square of each slice.

    Attributes:
      yx: Its corner of least row and column, pixels; pixel i covers [i, i + 1) here.
      side: Its side, pixels.
    """

    yx: Float[Array, "b 2"]
    side: Float[Array, " b"]


def square_around(
    clicks: Clicks, view: DiskView, *, zoom: Float[Array, " b"] | float = 1.0
) -> Square:
    """Returns the square that is shown of each slice; it may reach beyond the slice.

    Args:
      clicks: The clicks so far.
      view: See `DiskView`.
      zoom: Factor of the side of the first disk's square, varied in training.

    Returns:
      The square around the first lesion disk, grown to hold 1.3 radii around every other lesion
      disk and the centre of every background disk, and then to be square again. Something small
      around pixel (0, 0) in rows without a click.
    """
    first = first_disk(clicks)
    half = jnp.maximum(view.factor * first.radius, _LEAST_HALF) * zoom
    used = jnp.arange(clicks.radius.shape[1])[None, :] < clicks.count[:, None]
    reach = jnp.where(clicks.is_positive, _LATER * clicks.radius, 0.0) + _MARGIN
    low = jnp.where(used[..., None], clicks.yx - reach[..., None], jnp.inf)
    high = jnp.where(used[..., None], clicks.yx + reach[..., None], -jnp.inf)
    low = jnp.minimum(jnp.min(low, axis=1), first.yx - half[:, None])
    high = jnp.maximum(jnp.max(high, axis=1), first.yx + half[:, None])
    side = jnp.max(high - low, axis=1)
    return Square(0.5 * (low + high) + 0.5 - 0.5 * side[:, None], side)


def cut(
    image: Float[Array, "b h w 1"],
    square: Square,
    grid: int,
    *,
    angles: Float[Array, " b"] | None = None,
) -> Float[Array, "b g g 1"]:
    """Returns what lies in each square on a grid; 0 outside the slice.

    Args:
      image: Slices.
      square: One of each slice.
      grid: Pixels per side of the answer.
      angles: Radians by which each square is turned about its centre; None turns none.
    """
    scale = grid / square.side
    # A turned square reaches beyond its own corners.
    margin = 0 if angles is None else math.ceil(0.5 * (math.sqrt(2.0) - 1.0) * grid)
    shift = margin - square.yx * scale[:, None]
    wide = grid + 2 * margin
    patch = resample_affine(image[..., 0], shape=(wide, wide), scale=scale, translation=shift)
    if angles is not None:
        patch = turned(patch, angles)[:, margin:-margin, margin:-margin]
    return patch[..., None]


def put_back(
    patch: Float[Array, "b g g 1"], square: Square, shape: tuple[int, int]
) -> Float[Array, "b h w 1"]:
    """Returns the values of a grid at the pixels of the slice; 0 outside each square."""
    scale = square.side / patch.shape[1]
    values = resample_affine(patch[..., 0], shape=shape, scale=scale, translation=square.yx)
    return values[..., None]


def moved(clicks: Clicks, square: Square, grid: int) -> Clicks:
    """Returns the clicks as they lie on the grid of each square."""
    scale = (grid / square.side)[:, None]
    yx = _on_grid(clicks.yx, square.yx[:, None], scale[..., None])
    return clicks._replace(yx=yx, radius=clicks.radius * scale)


def moved_click(click: Click, square: Square, grid: int) -> Click:
    """Returns one click per row as it lies on the grid of each square."""
    scale = grid / square.side
    yx = _on_grid(click.yx, square.yx, scale[:, None])
    return click._replace(yx=yx, radius=click.radius * scale)


def _on_grid(yx: Array, corner: Array, scale: Array) -> Array:
    """Returns pixel centres on the grid: pixel i of either covers [i, i + 1)."""
    return (yx + 0.5 - corner) * scale - 0.5
