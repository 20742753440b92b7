"""scikit-image's random walker, seeded by the disks: a baseline that learns nothing.

It is also the worked example of a predictor from outside (see `ecc_jax.evaluation.host`):

  python -m ecc_jax.main --mode=evaluate --workdir=runs/... \
    --config.eval.external=ecc_jax.classical.random_walker:factory
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32
from skimage import segmentation

from ecc_jax.types import PlainClick

# From coarse grids on training slices of ct_phantom_2d (160 x 160); the optimum is flat.
SEED_SHARE = 0.6
REACH = 1.2
BETA = 500.0
_LESION, _BACKGROUND = 1, 2


def factory() -> Callable[..., Float32[np.ndarray, "h w"]]:
    """Returns the predictor, as `eval.external` wants it."""
    return predict


def predict(
    image: Float[np.ndarray, "h w"],
    clicks: Sequence[PlainClick],
    previous_mask: Float[np.ndarray, "h w"],
) -> Float32[np.ndarray, "h w"]:
    """Returns the lesion probability after the clicks so far.

    Args:
      image: Windowed slice in [0, 1].
      clicks: All clicks, the newest last.
      previous_mask: Not used: the seeds hold all that was said.
    """
    del previous_mask
    return random_walk(image, clicks)


def random_walk(
    image: Float[np.ndarray, "h w"],
    clicks: Sequence[PlainClick],
    *,
    seed_share: float = SEED_SHARE,
    reach: float = REACH,
    beta: float = BETA,
) -> Float32[np.ndarray, "h w"]:
    """Returns the probability that a random walker reaches lesion seeds before background seeds.

    The middle of every disk is a seed of its sign, newer clicks over older ones; not the whole
    disk, for a disk of average radius overlaps its surroundings. What is farther from every lesion
    click than `reach` of its radii is background (the farthest pixels, if nothing is), and so is
    everything outside the box of that.

    Args:
      image: Windowed slice in [0, 1].
      clicks: Clicks in order; without a lesion click there is no lesion.
      seed_share: Radius of a seed as a share of its disk's; its centre pixel at least.
      reach: See above, at least 1.
      beta: How much steps between different grey values are shunned: a step of d weighs
        exp(-beta d^2). Grey values are those of the window, whatever else is in the slice.

    Source: Grady 2006, "Random walks for image segmentation", by
    `skimage.segmentation.random_walker`. That divides beta by ten deviations of the image it is
    given, here undone: one more click makes a larger box, and must not change the weights in it.
    """
    prob = np.zeros(image.shape, np.float32)
    positive = [click for click in clicks if click.is_positive]
    if not positive:
        return prob
    distance = np.full(image.shape, np.inf)
    for click in positive:
        distance = np.minimum(distance, _distance(image.shape, click, reach * click.radius))
    # Disks that reach across the slice leave the farthest pixels; without any, all were lesion.
    far = distance > min(1.0, np.nextafter(distance.max(), 0.0))
    box = _box(~far)
    seeds = np.where(far, _BACKGROUND, 0)
    for click in clicks:
        inner = _distance(image.shape, click, seed_share * click.radius) <= 1
        seeds[inner] = _LESION if click.is_positive else _BACKGROUND
    prob[box] = _walk(image[box].astype(np.float64), seeds[box], beta)
    return prob


def _walk(
    data: Float[np.ndarray, "h w"], seeds: np.ndarray, beta: float
) -> Float[np.ndarray, "h w"]:
    """Solves the walk; trivial cases are answered without a solver."""
    if not (seeds == _LESION).any():
        return np.zeros(data.shape)
    if not (seeds == _BACKGROUND).any():
        return np.ones(data.shape)
    if (seeds != 0).all():
        return (seeds == _LESION).astype(np.float64)
    if np.ptp(data) == 0:
        # A deviation of 0 cannot be divided by; so faint a ramp leaves all steps alike.
        data = np.linspace(0, 1e-6, data.size).reshape(data.shape)
    # The direct solver: conjugate gradients stop early where edges are sharp, and warn.
    walked = segmentation.random_walker(
        data, seeds, beta=10 * data.std() * beta, mode="bf", return_full_prob=True, copy=True
    )
    return np.clip(walked[0], 0.0, 1.0)


def _distance(shape: tuple[int, ...], click: PlainClick, radius: float) -> Float[np.ndarray, "h w"]:
    """Returns the squared distance to a click in units of a radius: at most 1 in its closed disk.

    Radii below 0.75 pixels count as that, so that a disk has a pixel.
    """
    y = np.arange(shape[0])[:, None] - click.y
    x = np.arange(shape[1])[None, :] - click.x
    return (y**2 + x**2) / max(radius, 0.75) ** 2


def _box(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Returns the mask's box with a frame of one pixel, inside the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
    )
