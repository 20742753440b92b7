"""Training augmentation on the device: one scale, a flip and a crop that keeps the lesion.

Every step is traced and every row has its own key, so one compilation serves all draws and a row
alone comes out as it does within a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ecc_jax.data.intensity import vary_intensity
from ecc_jax.ops.affine import resample_affine

NAMES = ("ritm", "orient", "none")


class Augmentation(NamedTuple):
    """How training slices are varied; the arguments of `augment` and of `vary_intensity`.

    Without a crop slices are turned over and keep their pixels.
    """

    crop: tuple[int, int] | None = (320, 480)
    scale: tuple[float, float] = (0.75, 1.40)
    flip_prob: float = 0.5
    vertical_flip_prob: float = 0.0
    transpose_prob: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    invert_prob: float = 0.0


class _Placement(NamedTuple):
    """Where the crop of one row lies: flip first, then scale, then cut at `offset`."""

    flip: Bool[Array, ""]
    scale: Float[Array, ""]
    offset: Int[Array, " 2"]


def augment_slices(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    options: Augmentation,
) -> tuple[Float[Array, "b H W"], Bool[Array, "b H W"]]:
    """Returns windowed images and their masks, varied first in place, then in grey values."""
    both = jax.vmap(jax.random.split)(keys)
    flips = (options.vertical_flip_prob, options.transpose_prob)
    if options.crop is None:
        image, target = _reorient(both[:, 0], image, target, *flips)
        own = jax.vmap(jax.random.fold_in, (0, None))(both[:, 0], 0)
        is_mirrored = _draw_rows(own, options.flip_prob)
        image = jnp.where(is_mirrored, image[:, :, ::-1], image)
        target = jnp.where(is_mirrored, target[:, :, ::-1], target)
    else:
        image, target = augment(
            both[:, 0],
            image,
            target,
            crop=options.crop,
            scale=options.scale,
            flip_prob=options.flip_prob,
            vertical_flip_prob=flips[0],
            transpose_prob=flips[1],
        )
    varied = vary_intensity(
        both[:, 1],
        image,
        contrast=options.contrast,
        brightness=options.brightness,
        gamma=options.gamma,
        noise=options.noise,
        invert_prob=options.invert_prob,
    )
    return varied, target


def augment(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    *,
    crop: tuple[int, int] = (320, 480),
    scale: tuple[float, float] = (0.75, 1.40),
    flip_prob: float = 0.5,
    vertical_flip_prob: float = 0.0,
    transpose_prob: float = 0.0,
) -> tuple[Float[Array, "b H W"], Bool[Array, "b H W"]]:
    """Returns randomly scaled, flipped and cropped images with their masks.

    One scale serves both axes, drawn uniformly and rounded so that the rows become a whole number
    of pixels. A scaled image smaller than the crop is centred in zeros, the low end of the HU
    window. A larger one is cropped so that one lesion pixel, drawn uniformly, stays inside; the
    offset is uniform among those that keep it. An empty target is cropped uniformly.

    Image and mask are resampled with the same weights; the mask is then cut above 0.5. Should
    nothing be left of a lesion (a few pixels, shrunk), its pixel of largest resampled value is
    kept, which always lies in the crop. So a lesion never disappears.

    Args:
      keys: One PRNG key per row.
      image: Windowed images in [0, 1].
      target: Ground-truth masks.
      crop: Output rows and columns (H, W).
      scale: Lowest and highest scale.
      flip_prob: Probability of a left-right flip.
      vertical_flip_prob: Probability of a top-bottom flip.
      transpose_prob: Probability that rows and columns are swapped, for square images; with both
        flips at one half, 0.5 draws all eight orientations alike.

    Returns:
      Images in [0, 1] and masks, both of size `crop`.

    Raises:
      ValueError: If an option is out of range.

    Source: thesis section 3.1, "RITM-based" (scale 0.75..1.40, flip, zero-pad, crop 320 x 480). The
      original resamples the mask by nearest neighbour, which drops small lesions when shrinking,
      does not antialias the image, and redraws another sample when the crop lost the lesion.
    """
    _check_options(crop, scale, flip_prob)
    both = jax.vmap(jax.random.split)(keys)
    image, target = _reorient(both[:, 0], image, target, vertical_flip_prob, transpose_prob)

    def place(key: Array, mask: Array) -> _Placement:
        return _draw_placement(key, mask, crop, scale, flip_prob)

    flip, factor, offset = jax.vmap(place)(both[:, 1], target)
    mirrored = flip[:, None, None]
    image = jnp.where(mirrored, image[:, :, ::-1], image)
    target = jnp.where(mirrored, target[:, :, ::-1], target)
    shift = -offset.astype(jnp.float32)
    new_image = resample_affine(image, shape=crop, scale=factor, translation=shift)
    coverage = resample_affine(
        target.astype(jnp.float32), shape=crop, scale=factor, translation=shift
    )
    return jnp.clip(new_image, 0.0, 1.0), _to_mask(coverage)


def _check_options(crop: tuple[int, int], scale: tuple[float, float], flip_prob: float) -> None:
    """Refuses crops, scales and probabilities out of range."""
    if min(crop) < 1:
        raise ValueError(f"crop must be two sizes of at least 1 pixel, got {crop}")
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"scale must satisfy 0 < low <= high, got {scale}; swap the two ends?")
    if not 0 <= flip_prob <= 1:
        raise ValueError(f"flip_prob must be a probability in [0, 1], got {flip_prob}")


def _reorient(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    vertical_flip_prob: float,
    transpose_prob: float,
) -> tuple[Float[Array, "b h w"], Bool[Array, "b h w"]]:
    """Swaps and reverses axes at random; free of resampling, and of cost where it is switched off.

    Raises:
      ValueError: If an option is no probability, or images that are not square are to be swapped.
    """
    for name, prob in (
        ("vertical_flip_prob", vertical_flip_prob),
        ("transpose_prob", transpose_prob),
    ):
        if not 0 <= prob <= 1:
            raise ValueError(f"{name} must be a probability in [0, 1], got {prob}")
    both = jax.vmap(jax.random.split)(keys)
    if transpose_prob > 0:
        if image.shape[1] != image.shape[2]:
            raise ValueError(
                f"transpose_prob needs square images, got {image.shape[1:]}; set it to 0"
            )
        swap = _draw_rows(both[:, 0], transpose_prob)
        image = jnp.where(swap, image.swapaxes(1, 2), image)
        target = jnp.where(swap, target.swapaxes(1, 2), target)
    if vertical_flip_prob > 0:
        reverse = _draw_rows(both[:, 1], vertical_flip_prob)
        image = jnp.where(reverse, image[:, ::-1], image)
        target = jnp.where(reverse, target[:, ::-1], target)
    return image, target


def _draw_rows(keys: Key[Array, " b"], prob: float) -> Bool[Array, "b 1 1"]:
    """Draws yes or no for every row."""
    return jax.vmap(lambda key: jax.random.bernoulli(key, prob))(keys)[:, None, None]


def _draw_placement(
    key: Array,
    mask: Bool[Array, "h w"],
    crop: tuple[int, int],
    scale: tuple[float, float],
    flip_prob: float,
) -> _Placement:
    """Draws flip, scale and crop offset of one row."""
    flip_key, scale_key, pixel_key, y_key, x_key = jax.random.split(key, 5)
    height, width = mask.shape
    flip = jax.random.bernoulli(flip_key, flip_prob)
    wanted = jax.random.uniform(scale_key, minval=scale[0], maxval=scale[1])
    rows = jnp.maximum(jnp.round(height * wanted), 1.0)
    factor = rows / height
    columns = jnp.maximum(jnp.round(width * factor), 1.0)
    pixel = _draw_lesion_pixel(pixel_key, mask)
    y, x = pixel[0], jnp.where(flip, width - 1 - pixel[1], pixel[1])
    has_lesion = jnp.any(mask)
    offset = [
        _draw_offset(axis_key, size.astype(jnp.int32), length, position, factor, has_lesion)
        for axis_key, size, length, position in (
            (y_key, rows, crop[0], y),
            (x_key, columns, crop[1], x),
        )
    ]
    return _Placement(flip, factor, jnp.stack(offset))


def _draw_lesion_pixel(key: Array, mask: Bool[Array, "h w"]) -> Int[Array, " 2"]:
    """Draws a pixel of the mask uniformly; (0, 0) or another arbitrary pixel if it is empty."""
    per_row = jnp.cumsum(jnp.sum(mask, axis=1, dtype=jnp.int32))
    rank = jax.random.randint(key, (), 0, jnp.maximum(per_row[-1], 1))
    y = jnp.sum(per_row <= rank, dtype=jnp.int32).clip(0, mask.shape[0] - 1)
    before = jnp.where(y > 0, per_row[jnp.maximum(y - 1, 0)], 0)
    per_column = jnp.cumsum(mask[y].astype(jnp.int32))
    x = jnp.sum(per_column <= rank - before, dtype=jnp.int32).clip(0, mask.shape[1] - 1)
    return jnp.stack([y, x])


def _draw_offset(
    key: Array,
    size: Int[Array, ""],
    length: int,
    position: Int[Array, ""],
    factor: Float[Array, ""],
    has_lesion: Bool[Array, ""],
) -> Int[Array, ""]:
    """Draws where a crop of `length` starts in a scaled axis of `size`; below 0 when padded."""
    scaled = jnp.floor((position.astype(jnp.float32) + 0.5) * factor).astype(jnp.int32)
    scaled = jnp.clip(scaled, 0, size - 1)
    last = size - length
    low = jnp.where(has_lesion, jnp.maximum(scaled - length + 1, 0), 0)
    high = jnp.where(has_lesion, jnp.minimum(scaled, last), last)
    drawn = jax.random.randint(key, (), low, jnp.maximum(high, low) + 1)
    return jnp.where(last < 0, -((-last) // 2), drawn)


def _to_mask(coverage: Float[Array, "b H W"]) -> Bool[Array, "b H W"]:
    """Cuts resampled masks at one half; keeps the largest pixel of a lesion that would vanish."""
    mask = coverage > 0.5
    flat = coverage.reshape(coverage.shape[0], -1)
    largest = jnp.argmax(flat, axis=1)
    pixels = jnp.arange(flat.shape[1])[None, :] == largest[:, None]
    rescued = jnp.logical_and(pixels, flat > 0).reshape(coverage.shape)
    vanished = jnp.logical_not(jnp.any(mask, axis=(1, 2)))[:, None, None]
    return jnp.where(vanished, rescued, mask)
