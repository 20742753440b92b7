"""One number of a classical method, searched over slices: every value, every slice, its IoU."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Num


class Case(NamedTuple):
    """A slice and its first click, for methods on the host that answer once.

    Attributes:
      image_hu: The slice in HU, what lies outside its window clipped.
      yx: Where the click is (row, column), pixels, pixel centres at integers.
      radius: Of the dragged disk, pixels. Methods that start from a point ignore it.
    """

    image_hu: Num[np.ndarray, "h w"]
    yx: tuple[float, float]
    radius: float


# A lesion, not 0 or True.
Mask = Bool[np.ndarray, "h w"] | Num[np.ndarray, "h w"]
Values = Float[np.ndarray, " v"] | Sequence[float]
# Radii come in float32, and may be the distance of a pixel.
_MARGIN = 2e-7
# The masks that a method makes of a case with each value of its one parameter.
Segment = Callable[[Case, Float[np.ndarray, " v"]], Bool[np.ndarray, "v h w"]]


def pixel_of(case: Case) -> tuple[int, int]:
    """Returns the pixel (row, column) of a case's click.

    Raises:
      ValueError: It lies outside the slice.
    """
    height, width = case.image_hu.shape
    y, x = (int(round(float(value))) for value in case.yx)
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(
            f"seed_yx must lie inside the slice of {height} x {width} pixels, got {(y, x)}; "
            "pass (row, column)"
        )
    return y, x


def disk_around(case: Case, radius: float) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels whose centres are at most a radius (pixels) from the click."""
    height, width = case.image_hu.shape
    y, x = np.ogrid[:height, :width]
    return np.hypot(y - case.yx[0], x - case.yx[1]) <= radius * (1 + _MARGIN)


def iou_of(
    masks: Bool[np.ndarray, "v h w"], target: Bool[np.ndarray, "h w"]
) -> Float64[np.ndarray, " v"]:
    """Returns the IoU of each mask with the target; 1 where both are empty."""
    overlap = np.count_nonzero(masks & target, axis=(1, 2))
    union = np.count_nonzero(masks | target, axis=(1, 2))
    return np.where(union > 0, overlap / np.maximum(union, 1), 1.0)


def score(segment: Segment, case: Case, target: Mask, values: Values) -> Float64[np.ndarray, " v"]:
    """Returns the IoU that a method reaches on one slice with each value of its parameter.

    Args:
      segment: The method.
      case: The slice and its click.
      target: The lesion; not 0 means lesion.
      values: Of the parameter, in any order.
    """
    return iou_of(segment(case, np.asarray(values, np.float64)), np.asarray(target) != 0)


def score_all(
    segment: Segment,
    slices: Iterable[tuple[Case, Mask]],
    values: Values,
) -> Float64[np.ndarray, "m v"]:
    """Returns the IoU that a method reaches on each slice with each value, see `score`.

    Args:
      segment: The method.
      slices: Each with its click, and its lesion.
      values: Of the parameter, in any order.

    Raises:
      ValueError: There is no slice.
    """
    rows = [score(segment, case, target, values) for case, target in slices]
    if not rows:
        raise ValueError("a search needs at least one slice, got none")
    return np.stack(rows)


def best_value(iou: Float[np.ndarray, "m v"], values: Values) -> float:
    """Returns the value of the highest mean IoU over the slices; of several, the smallest.

    Args:
      iou: One row per slice, one column per value.
      values: Of the parameter, in any order.

    Raises:
      ValueError: There is no slice or no value, or not one column per value.
    """
    table, grid = np.asarray(iou), np.asarray(values, np.float64)
    if table.ndim != 2 or 0 in table.shape or table.shape[1] != grid.size:
        raise ValueError(
            "a search needs at least one slice, and one column of IoU for each value; got "
            f"{table.shape} for {grid.size} values"
        )
    mean = table.mean(axis=0)
    return float(grid[mean == mean.max()].min())
