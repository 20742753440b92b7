"""Training augmentation on the device: flips and a crop that keeps the lesion, then grey values.

Every step is traced and every row has its own key, so one compilation serves all draws and a row
alone comes out as it does within a batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ecc_jax.data.intensity import vary_colour, vary_intensity
from ecc_jax.data.placement import RULES, Placement, draw_crop, draw_zoom
from ecc_jax.ops.affine import resample_affine


class Augmentation(NamedTuple):
    """How training slices are varied; the arguments of the functions here and of `vary_intensity`.

    Without a crop slices are turned over and keep their pixels. With bounds crops of the slice are
    stretched to the shape of `crop`; without them the slice is zoomed by `scale` and cut.
    """

    crop: tuple[int, int] | None = (320, 480)
    scale: tuple[float, float] = (0.75, 1.40)
    bounds: tuple[float, ...] = ()
    crop_prob: float = 1.0
    crop_sizes: str = "uniform"
    flip_prob: float = 0.5
    vertical_flip_prob: float = 0.0
    transpose_prob: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    invert_prob: float = 0.0
    colour_prob: float = 0.0


# The strategy whose bounds are measured on the validation slices, see `crop_bounds`.
MEASURED = "optimal_crop"
STRETCHED = ("focalclick", MEASURED)
UNCROPPED = ("orient", "none")
# What a configuration may leave open, by () or -1, and what it must where nothing is stretched.
OPEN = ("crop", "bounds", "crop_prob", "flip_prob", "vertical_flip_prob")
OF_STRETCHED = ("bounds", "crop_prob", "crop_sizes")
# Of a crop, in sides of the slice: three times an object as large as the slice, see `crop_bounds`.
LARGEST_SHARE = 6.0
# Folded into a row's key.
_COLOUR_KEY = 2**23


def check_strategy(strategy: str, values: Mapping[str, Any], *, is_grey: bool) -> None:
    """Checks that what a configuration sets is there to be used by its strategy.

    Args:
      strategy: One of `NAMES`.
      values: Of the configuration's group `augment`.
      is_grey: Whether the network, or what surrounds it, takes images of one channel.

    Raises:
      ValueError: Names the key, and what to do.
    """
    own = STRATEGIES[strategy]._asdict()
    for name in OF_STRETCHED if strategy not in STRETCHED else ():
        if values[name] != own[name] and values[name] not in ((), -1):
            raise ValueError(
                f"augment.{name} is for augment.name={' or '.join(STRETCHED)}, which stretch "
                f"crops; got {values[name]} with augment.name={strategy}: leave it away"
            )
    if values["colour_prob"] and (is_grey or strategy == "none"):
        raise ValueError(
            "augment.colour_prob gives the three channels values of their own, which "
            "augment.name=none leaves alone and model.view=disk, model.intensity=core and "
            "train.source=sessions do not take; set augment.colour_prob=0.0"
        )


# What a configuration leaves open is the strategy's own. Source: thesis section 3.1.
STRATEGIES = {
    "ritm": Augmentation(),
    "focalclick": Augmentation(
        (256, 256), bounds=(0.5, 1.4), flip_prob=0.3, vertical_flip_prob=0.3
    ),
    MEASURED: Augmentation((256, 256), crop_prob=0.8, flip_prob=0.3, vertical_flip_prob=0.3),
    **dict.fromkeys(UNCROPPED, Augmentation()),
}
NAMES = tuple(STRATEGIES)


def augment_slices(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    options: Augmentation,
) -> tuple[Float[Array, "b H W c"], Bool[Array, "b H W"]]:
    """Returns windowed images and their masks, varied first in place, then in grey values.

    Images have one channel, or three where colours are varied.
    """
    both = jax.vmap(jax.random.split)(keys)
    flips = {
        "flip_prob": options.flip_prob,
        "vertical_flip_prob": options.vertical_flip_prob,
        "transpose_prob": options.transpose_prob,
    }
    if options.crop is None:
        mirror_prob = flips.pop("flip_prob")
        image, target = _reorient(both[:, 0], image, target, **flips)
        own = jax.vmap(jax.random.fold_in, (0, None))(both[:, 0], 0)
        image, target = _mirrored(_draw_rows(own, mirror_prob), image, target)
    elif options.bounds:
        image, target = crop_and_stretch(
            both[:, 0],
            image,
            target,
            crop=options.crop,
            bounds=options.bounds,
            crop_prob=options.crop_prob,
            crop_sizes=options.crop_sizes,
            **flips,
        )
    else:
        image, target = augment(
            both[:, 0], image, target, crop=options.crop, scale=options.scale, **flips
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
    if not options.colour_prob:
        return varied[..., None], target
    own = jax.vmap(jax.random.fold_in, (0, None))(both[:, 1], _COLOUR_KEY)
    return vary_colour(own, varied, colour_prob=options.colour_prob), target


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
    _check_crop(crop, flip_prob)
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"scale must satisfy 0 < low <= high, got {scale}; swap the two ends?")
    both = jax.vmap(jax.random.split)(keys)
    image, target = _reorient(
        both[:, 0],
        image,
        target,
        vertical_flip_prob=vertical_flip_prob,
        transpose_prob=transpose_prob,
    )

    def draw(key: Array, mask: Array) -> Placement:
        return draw_zoom(key, mask, crop=crop, scale=scale, flip_prob=flip_prob)

    return _placed(both[:, 1], image, target, crop, draw)


def crop_and_stretch(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    *,
    crop: tuple[int, int] = (256, 256),
    bounds: tuple[float, ...] = (0.5, 1.4),
    crop_prob: float = 1.0,
    crop_sizes: str = "uniform",
    flip_prob: float = 0.3,
    vertical_flip_prob: float = 0.3,
    transpose_prob: float = 0.0,
) -> tuple[Float[Array, "b H W"], Bool[Array, "b H W"]]:
    """Returns flipped random crops of images and their masks, stretched to one shape.

    Height and width of a crop are drawn apart, whole pixels, as shares of the image's; so a crop
    is distorted as FocalClick's Target Crop is. Lesions are kept as `augment` keeps them; where a
    crop is larger than the image, this lies anywhere in it, in zeros.

    Args:
      keys: One PRNG key per row.
      image: Windowed images in [0, 1].
      target: Ground-truth masks.
      crop: Output rows and columns (H, W).
      bounds: Smallest and largest share of the image's height, and of its width.
      crop_prob: Probability of a crop; otherwise the whole image is stretched.
      crop_sizes: How shares are drawn: uniform, or normal (about 1, sd 0.4, cut to the bounds).
      flip_prob: Probability of a left-right flip.
      vertical_flip_prob: Probability of a top-bottom flip.
      transpose_prob: Probability that rows and columns are swapped, for square images.

    Returns:
      Images in [0, 1] and masks, both of size `crop`.

    Raises:
      ValueError: If an option is out of range.

    Source: thesis section 3.1, "FocalClick-based" (the defaults here) and "Optimal Crop"; see
      `placement.draw_crop` for how the crops of the originals differ.
    """
    _check_crop(crop, flip_prob)
    _check_bounds(bounds, crop_prob, crop_sizes)
    both = jax.vmap(jax.random.split)(keys)
    turns = {"vertical_flip_prob": vertical_flip_prob, "transpose_prob": transpose_prob}
    image, target = _reorient(both[:, 0], image, target, **turns)

    def draw(key: Array, mask: Array) -> Placement:
        return draw_crop(
            key,
            mask,
            crop=crop,
            bounds=bounds,
            crop_prob=crop_prob,
            crop_sizes=crop_sizes,
            flip_prob=flip_prob,
        )

    return _placed(both[:, 1], image, target, crop, draw)


def _placed(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    crop: tuple[int, int],
    draw: Callable[[Array, Array], Placement],
) -> tuple[Float[Array, "b H W"], Bool[Array, "b H W"]]:
    """Draws where each row's crop lies, and resamples image and mask alike."""
    place = jax.vmap(draw)(keys, target)
    image, target = _mirrored(place.is_mirrored[:, None, None], image, target)
    new_image, coverage = (
        resample_affine(x, shape=crop, scale=place.scale, translation=place.shift)
        for x in (image, target.astype(jnp.float32))
    )
    return jnp.clip(new_image, 0.0, 1.0), _to_mask(coverage)


def _mirrored(
    is_mirrored: Bool[Array, "b 1 1"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
) -> tuple[Float[Array, "b h w"], Bool[Array, "b h w"]]:
    """Returns images and masks, left and right exchanged where it says so."""
    return (
        jnp.where(is_mirrored, image[:, :, ::-1], image),
        jnp.where(is_mirrored, target[:, :, ::-1], target),
    )


def _check_crop(crop: tuple[int, int], flip_prob: float) -> None:
    """Refuses crops and probabilities out of range."""
    if min(crop) < 1:
        raise ValueError(f"crop must be two sizes of at least 1 pixel, got {crop}")
    if not 0 <= flip_prob <= 1:
        raise ValueError(f"flip_prob must be a probability in [0, 1], got {flip_prob}")


def _check_bounds(bounds: tuple[float, ...], crop_prob: float, crop_sizes: str) -> None:
    """Refuses sizes of crops that cannot be drawn."""
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise ValueError(f"bounds must be two shares, 0 < low <= high, got {bounds}")
    if not 0 <= crop_prob <= 1:
        raise ValueError(f"crop_prob must be a probability in [0, 1], got {crop_prob}")
    if crop_sizes not in RULES:
        raise ValueError(f"crop_sizes must be one of {', '.join(RULES)}; got {crop_sizes!r}")


def _reorient(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    *,
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


def _to_mask(coverage: Float[Array, "b H W"]) -> Bool[Array, "b H W"]:
    """Cuts resampled masks at one half; keeps the largest pixel of a lesion that would vanish."""
    mask = coverage > 0.5
    flat = coverage.reshape(coverage.shape[0], -1)
    largest = jnp.argmax(flat, axis=1)
    pixels = jnp.arange(flat.shape[1])[None, :] == largest[:, None]
    rescued = jnp.logical_and(pixels, flat > 0).reshape(coverage.shape)
    vanished = jnp.logical_not(jnp.any(mask, axis=(1, 2)))[:, None, None]
    return jnp.where(vanished, rescued, mask)
