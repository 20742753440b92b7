"""Flooding, the simplest classical baseline: grow from the click while values stay similar.

From a point the tolerance is a number of HU, one for all lesions. From a disk it is a multiple of
what the disk shows of the lesion's own grey values, and the flood stays in it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Num
from scipy import ndimage
from skimage import morphology, segmentation

from ecc_jax.classical.search import Case, disk_around, pixel_of

# The thesis floods HU divided by this.
HU_PER_UNIT = 255.0
# Tolerances that the thesis tries: 0.05, 0.075 .. 2. A fraction of 40 is rounded only once.
THESIS_TOLERANCES = np.arange(2, 81) / 40
# Of a flood from a disk: what is lesion in any case, in its radii.
MIDDLE = 0.5
# Factors of its tolerance that are tried.
FACTORS = np.arange(1, 61) / 20
# A smaller disk counts as one of this radius, pixels, so that it has a pixel.
SMALLEST_RADIUS = 0.75
_LEAST_SPREAD_HU = 1.0
_EIGHT, _FOUR = ndimage.generate_binary_structure(2, 2), ndimage.generate_binary_structure(2, 1)


def flood(
    image_hu: Num[np.ndarray, "h w"], seed_yx: tuple[int, int], tolerance_hu: float
) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels reachable from the seed over values within a tolerance of the seed's.

    Steps go to all 8 neighbours, and a difference equal to the tolerance still counts.

    Args:
      image_hu: One slice.
      seed_yx: Pixel (row, column) where the flood starts; it is always part of the result.
      tolerance_hu: Largest absolute difference to the value of the seed, not negative.

    Raises:
      ValueError: If the seed lies outside the slice or the tolerance is negative.

    Source: thesis, classical baselines, flooding (`skimage.segmentation.flood`). The original
    floods clipped HU divided by 255; `flood_normalised` takes its tolerances.
    """
    y, x = pixel_of(Case(image_hu, seed_yx, 0.0))
    if tolerance_hu < 0:
        raise ValueError(f"tolerance_hu must be at least 0, got {tolerance_hu}")
    # In floating point, because a seed value plus a tolerance may not fit the integers of a CT.
    return segmentation.flood(
        np.asarray(image_hu, np.float64), (y, x), connectivity=2, tolerance=float(tolerance_hu)
    )


def default_tolerances(
    window_hu: tuple[float, float], *, count: int = 24
) -> Float64[np.ndarray, " t"]:
    """Returns a grid of tolerances (HU), from 1% to 60% of the window's width, geometric.

    Small steps where contrasts of soft tissue lie, larger ones up to those of air.

    Args:
      window_hu: HU window of the data set.
      count: Tolerances in the grid, at least 2.

    Raises:
      ValueError: If the window is empty or `count` below 2.
    """
    low, high = window_hu
    if not low < high:
        raise ValueError(f"window_hu must be (low, high) with low < high, got {window_hu}")
    if count < 2:
        raise ValueError(f"count must be at least 2, got {count}")
    return np.geomspace(0.01, 0.6, count) * (high - low)


def flood_each(case: Case, tolerances_hu: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the flood from the click with each tolerance, see `flood`.

    Args:
      case: The slice and its click, whose radius is ignored.
      tolerances_hu: Not negative, HU.
    """
    values, pixel = np.asarray(case.image_hu, np.float64), pixel_of(case)
    return np.stack([flood(values, pixel, tolerance) for tolerance in tolerances_hu])


def flood_normalised(case: Case, tolerances: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the flood with each tolerance of the thesis's normalised slice.

    That slice is clipped HU / 255, so a tolerance t of it is one of 255 t HU.

    Args:
      case: The slice, clipped to its window, and its click, whose radius is ignored.
      tolerances: Not negative; the thesis tries `THESIS_TOLERANCES`.

    Source: thesis, classical baselines, flooding. Its code starts at the truncated centroid of the
    component that comes first in raster order, which may lie outside it, and its IoU counts label
    1 only, though masks hold others: its figures are too low. Here the flood starts where a
    session's first click is, in the largest component.
    """
    return flood_each(case, HU_PER_UNIT * np.asarray(tolerances, np.float64))


def flood_from_disk(case: Case, factors: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the flood from the middle of the dragged disk with each factor of its tolerance.

    The middle half of the disk (by radius) is lesion, whatever its values, and the flood's
    reference is their median. The tolerance is a factor times the root mean square difference of
    all values in the disk to it: noise of a lesion as faint as its surroundings, contrast of one
    that stands out, for a disk of average radius shows some of both. Steps go to all 8 neighbours
    and stay in the disk; holes are filled.

    Args:
      case: The slice, clipped to its window, and the disk; a radius below 0.75 counts as that, so
        that a disk has a pixel.
      factors: Not negative. With 0 it is the middle and what equals its median beside it.

    Raises:
      ValueError: The click lies outside the slice, or a factor is negative.

    Source: the thesis's outlook, a classical method started by the dynamic disk; the form is ours,
    chosen on training slices of LIDC and of ct_phantom_2d.
    """
    factors = np.asarray(factors, np.float64)
    if factors.size and factors.min() < 0:
        raise ValueError(f"factors must be at least 0, got {factors.min():g}")
    needed = _factor_needed(case)
    return needed[None] <= factors[:, None, None]


class Levels(NamedTuple):
    """Grey values of a disk.

    Attributes:
      middle: Pixels within half of its radius, the pixel of the click at least.
      disk: Its pixels.
      reference: Median of the middle, HU.
      spread: Root mean square difference of the disk's values to it, at least 1 HU.
    """

    middle: Bool[np.ndarray, "h w"]
    disk: Bool[np.ndarray, "h w"]
    reference: float
    spread: float


def levels_of_disk(case: Case) -> Levels:
    """Returns what a disk shows of grey values.

    Args:
      case: The slice and the disk; a radius below 0.75 counts as that, so that a disk has a pixel.
    """
    radius, pixel = max(case.radius, SMALLEST_RADIUS), pixel_of(case)
    middle, disk = (disk_around(case, share * radius) for share in (MIDDLE, 1.0))
    middle[pixel] = disk[pixel] = True
    values = np.asarray(case.image_hu, np.float64)
    reference = float(np.median(values[middle]))
    spread = float(np.sqrt(np.mean((values[disk] - reference) ** 2)))
    return Levels(middle, disk, reference, max(spread, _LEAST_SPREAD_HU))


def _factor_needed(case: Case) -> Float64[np.ndarray, "h w"]:
    """Returns the smallest factor whose flood has a pixel; infinity outside the disk.

    A flood reaches a pixel by the path whose largest difference is smallest. That is the
    reconstruction by erosion from the middle over the differences, for all factors at once. A
    hole closes when all ways from it to the outside are flooded: by dilation, from outside.
    """
    middle, disk, reference, spread = levels_of_disk(case)
    difference = np.abs(np.asarray(case.image_hu, np.float64) - reference) / spread
    box = ndimage.find_objects(disk.astype(np.uint8))[0]
    reached = morphology.reconstruction(
        np.where(middle, 0.0, np.inf)[box],
        np.where(disk, np.where(middle, 0.0, difference), np.inf)[box],
        method="erosion",
        footprint=_EIGHT,
    )
    framed = np.pad(reached, 1, constant_values=np.inf)
    outside = np.full(framed.shape, 0.0)
    outside[[0, -1]] = outside[:, [0, -1]] = np.inf
    needed = np.full(middle.shape, np.inf)
    needed[box] = morphology.reconstruction(outside, framed, method="dilation", footprint=_FOUR)[
        1:-1, 1:-1
    ]
    return needed
