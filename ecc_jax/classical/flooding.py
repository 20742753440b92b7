"""Flooding, the simplest classical baseline: grow from the click while values stay similar."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Num
from skimage import segmentation


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

    Source: thesis, classical baselines, flooding (`skimage.segmentation.flood`). Values stay in
    HU; the original floods a normalised image, whose tolerances depend on the slice's range.
    """
    height, width = image_hu.shape
    y, x = int(seed_yx[0]), int(seed_yx[1])
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(
            f"seed_yx must lie inside the slice of {height} x {width} pixels, got {(y, x)}; "
            "pass (row, column)"
        )
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


def search_tolerance(
    images_hu: Num[np.ndarray, "b h w"],
    targets: Bool[np.ndarray, "b h w"] | Num[np.ndarray, "b h w"],
    seeds: Sequence[tuple[int, int]],
    tolerances: Float[np.ndarray, " t"] | Sequence[float],
) -> tuple[float, Float64[np.ndarray, " t"]]:
    """Finds the one tolerance that floods a set of slices best.

    Args:
      images_hu: Slices.
      targets: Lesion masks; not 0 means lesion.
      seeds: First click (row, column) of each slice.
      tolerances: Tolerances to try, HU, in any order.

    Returns:
      The tolerance of the highest mean IoU (of several, the smallest), and the mean IoU of each
      tolerance in the order given. An empty target counts as IoU 0, the flood is never empty.

    Raises:
      ValueError: If there is no slice or tolerance, or not one seed per slice.

    Source: thesis, classical baselines: exhaustive search on the training set.
    """
    tolerances = np.asarray(tolerances, np.float64)
    if len(images_hu) == 0 or tolerances.size == 0:
        raise ValueError(
            "search_tolerance needs at least one slice and one tolerance, got "
            f"{len(images_hu)} slices and {tolerances.size} tolerances"
        )
    if len(seeds) != len(images_hu):
        raise ValueError(f"expected one seed per slice, got {len(seeds)} for {len(images_hu)}")
    total = np.zeros(tolerances.size)
    for image, target, seed in zip(images_hu, targets, seeds, strict=True):
        lesion = target != 0
        area = int(lesion.sum())
        values = np.asarray(image, np.float64)
        for index, tolerance in enumerate(tolerances):
            filled = flood(values, seed, tolerance)
            overlap = int(np.count_nonzero(filled & lesion))
            total[index] += overlap / (area + int(np.count_nonzero(filled)) - overlap)
    mean = total / len(images_hu)
    best = tolerances[mean == mean.max()].min()
    return float(best), mean
