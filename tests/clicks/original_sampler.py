"""The originals' random clicks for one lesion, written anew in NumPy and SciPy: an oracle."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

SQUARE = np.ones((3, 3), bool)
STRATEGIES, PROBABILITIES = ("bg", "other", "border"), (0.1, 0.4, 0.5)


class Drawn(NamedTuple):
    """Clicks of one slice: pixels (row, column), the first positive one first."""

    positive: list[tuple[int, int]]
    negative: list[tuple[int, int]]


def decaying(count: int, gamma: float) -> np.ndarray:
    weights = gamma ** np.arange(count)
    return weights / weights.sum()


def eroded(mask: np.ndarray) -> np.ndarray:
    """Three times a 3 x 3 square; beyond the image nothing erodes; kept above 10 pixels."""
    small = ndimage.binary_erosion(mask, SQUARE, iterations=3, border_value=1)
    return small if small.sum() > 10 else mask


def inner(mask: np.ndarray) -> np.ndarray:
    """What lies deeper than the deepest pixel's depth / 1.7; here the image's border counts."""
    if not mask.any():
        return mask
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth > depth.max() / 1.7


def border(mask: np.ndarray) -> np.ndarray:
    """The ring around a mask, as wide as a tenth of the root of its area, rounded up."""
    steps = int(np.ceil(np.sqrt(mask.sum()) / 10))
    if not steps:
        return np.zeros_like(mask)
    return ndimage.binary_dilation(mask, SQUARE, iterations=steps) & ~mask


def regions_of(mask: np.ndarray) -> dict[str, np.ndarray]:
    """What each strategy of negative clicks draws from; no slice holds another object."""
    anywhere = ~mask
    ring = border(mask) if mask.any() else anywhere
    return {"bg": anywhere, "other": anywhere, "border": ring}


def draw(rng: np.random.Generator, mask: np.ndarray, max_points: int, gamma: float) -> Drawn:
    """One slice's clicks, one after the other."""
    num_positive = 1 + rng.choice(max_points, p=decaying(max_points, gamma))
    num_negative = rng.choice(max_points + 1, p=decaying(max_points + 1, gamma))
    lesion = eroded(mask) if rng.random() <= 0.9 else mask
    positive, negative = [], []
    for number in range(num_positive):
        _append(rng, positive, inner(lesion) if number == 0 else lesion)
    regions = regions_of(mask)
    for _ in range(num_negative):
        _append(rng, negative, regions[rng.choice(STRATEGIES, p=PROBABILITIES)])
    return Drawn(positive, negative)


def _append(rng: np.random.Generator, clicks: list, region: np.ndarray) -> None:
    pixels = np.argwhere(region)
    if len(pixels):
        clicks.append(tuple(pixels[rng.integers(len(pixels))].tolist()))


def place_probabilities(mask: np.ndarray) -> dict[str, np.ndarray]:
    """The probability of every pixel, of the first positive, other positive and negative clicks."""
    parts = {"first": [], "others": []}
    for share, lesion in ((0.9, eroded(mask)), (0.1, mask)):
        parts["first"].append(share * _uniform(inner(lesion)))
        parts["others"].append(share * _uniform(lesion))
    negative = [
        share * _uniform(regions_of(mask)[name])
        for name, share in zip(STRATEGIES, PROBABILITIES, strict=True)
    ]
    return {**{name: sum(values) for name, values in parts.items()}, "negative": sum(negative)}


def _uniform(region: np.ndarray) -> np.ndarray:
    return region / max(region.sum(), 1)
