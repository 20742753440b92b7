"""The classical methods with one parameter that training slices set."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from ecc_jax.classical import active_contour, flooding
from ecc_jax.classical.search import Case, Segment, disk_around

# (HU window, number of values or None for all) -> the values to try, rising.
Grid = Callable[[tuple[float, float], int | None], Float64[np.ndarray, " v"]]
# A snake takes a good part of a second: so many slices and values tune one in passing.
SLOW_SLICES, SLOW_VALUES = 24, 6


class Method(NamedTuple):
    """A classical method that answers the first click, with one parameter.

    Attributes:
      label: In tables and figures.
      parameter: What is searched.
      unit: Its unit.
      grid: The values to try.
      segment: The masks of a case with each value.
      plain: The method that it is held against: the same one without the disk.
      is_slow: Whether a mask takes more than a moment.
    """

    label: str
    parameter: str
    unit: str
    grid: Grid
    segment: Segment
    plain: str = ""
    is_slow: bool = False

    def told(self, value: float) -> str:
        """Returns the parameter with a value, for people."""
        return f"{self.parameter} {value:g} {self.unit}".strip()

    def tuning_values(self, window_hu: tuple[float, float], most: int) -> Float64[np.ndarray, " v"]:
        """Returns the values to try in passing: at most so many, and fewer of a slow method."""
        return self.grid(window_hu, SLOW_VALUES if self.is_slow else most)

    def tuning_slices(self, count: int) -> Int[np.ndarray, " m"]:
        """Returns which of some training slices tune it in passing: all, or a few if it is slow."""
        kept = min(count, SLOW_SLICES) if self.is_slow else count
        return np.linspace(0, count - 1, kept).round().astype(int)


def _fixed(values: Float64[np.ndarray, " v"]) -> Grid:
    """Returns a grid that does not depend on the window, evenly thinned to the most values."""

    def grid(window_hu: tuple[float, float], most: int | None) -> Float64[np.ndarray, " v"]:
        count = min(most or len(values), len(values))
        return values[np.linspace(0, len(values) - 1, count).round().astype(int)]

    return grid


def _disks(case: Case, scales: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the disk itself, its radius scaled."""
    return np.stack([disk_around(case, case.radius * scale) for scale in scales])


METHODS = {
    "disk": Method(
        "the disk itself",
        "scale of the radius",
        "radii",
        _fixed(np.arange(10, 31) / 20),
        _disks,
    ),
    "flooding": Method(
        "flooding, normalised slice",
        "tolerance",
        "of the normalised slice",
        _fixed(flooding.THESIS_TOLERANCES),
        flooding.flood_normalised,
    ),
    "flooding_hu": Method(
        "flooding, HU",
        "tolerance",
        "HU",
        lambda window_hu, most: flooding.default_tolerances(window_hu, count=most or 24),
        flooding.flood_each,
    ),
    "active_contour": Method(
        "active contour",
        "radius of the first circle",
        "px",
        _fixed(active_contour.THESIS_RADII),
        active_contour.contours_around,
        is_slow=True,
    ),
    "flooding_disk": Method(
        "flooding from the disk",
        "tolerance",
        "spreads in the disk",
        _fixed(flooding.FACTORS),
        flooding.flood_from_disk,
        plain="flooding",
    ),
    "active_contour_disk": Method(
        "active contour from the disk",
        "weight of the edges",
        "",
        _fixed(active_contour.FORCES),
        active_contour.contours_from_disk,
        plain="active_contour",
        is_slow=True,
    ),
    "region_disk": Method(
        "region contour from the disk",
        "radius of the first circle",
        "radii of the disk",
        _fixed(active_contour.SCALES),
        active_contour.regions_from_disk,
        plain="active_contour",
    ),
}


def values_of(
    name: str, window_hu: tuple[float, float], *, most: int | None = None
) -> Float64[np.ndarray, " v"]:
    """Returns the values of a method's parameter to try, rising.

    Args:
      name: In `METHODS`.
      window_hu: HU window of the slices, which tolerances in HU are shares of.
      most: How many, evenly chosen from the grid, which may hold fewer; a grid that is made for
        the window is made of so many. None for the whole grid.
    """
    return METHODS[name].grid(window_hu, most)


# Rows of a report and the methods that make them. Tolerances of the normalised slice are those in
# HU but for a factor; reports keep the grid in HU, which follows the window.
ROWS = {"flooding": "flooding_hu"} | {
    name: name for name in ("active_contour", "flooding_disk", "active_contour_disk")
}
