"""What an evaluation knows of one row of its table: a method, clicked through every slice."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

MEASURES = ("iou", "dice", "nsd", "hd95")
# In the order of the tables.
LABELS = {
    "model": "model",
    "external": "external predictor",
    "disk_as_mask": "first disk as mask",
    "disk_painter_average": "disk painter, average radius",
    "disk_painter_tight": "disk painter, tight radius",
    "disk_painter_tuned": "disk painter, radius tuned on train",
    "blank_image": "the same network, image blanked",
    "start_mask": "the initial mask, untouched",
    "flooding": "flood fill, tuned tolerance",
    "random_walker": "random walker",
    "best_reader": "best single reader",
}
# The first of these that was run is what the report is about.
METHODS = ("model", "external")
PAINTERS = ("disk_painter_average", "disk_painter_tight", "disk_painter_tuned")
# Rows that see every click but not the image: what a method must beat to have used the image.
CONTROLS = (*PAINTERS, "blank_image")
_ONE_ANSWER = ("disk_as_mask", "start_mask", "flooding", "best_reader")


class ClickRecord(NamedTuple):
    """The clicks of every slice; k turns, m slices.

    Attributes:
      yx: Disk centres, pixels.
      radius: Disk radii, pixels.
      is_positive: True marks lesion, False background.
      clicked: False at the turns where nothing was left to click.
    """

    yx: Float[np.ndarray, "m k 2"]
    radius: Float[np.ndarray, "m k"]
    is_positive: Bool[np.ndarray, "m k"]
    clicked: Bool[np.ndarray, "m k"]


class Row(NamedTuple):
    """A method's scores on every slice.

    Attributes:
      scores: By measure (`iou`, `dice`, `nsd`, `hd95`; iou at least): one column per click, one
        column in all for methods that answer the first click only. NaN where a measure is not
        defined: surface measures of slices whose pixel size is unknown.
      clicks: The clicks that were answered; None for methods that do not take part in the click
        loop.
    """

    scores: dict[str, Float[np.ndarray, "m _"]]
    clicks: ClickRecord | None = None


def ordered(names: Iterable[str]) -> list[str]:
    """Returns the known rows in the order of the tables, then any others."""
    present = list(names)
    return [name for name in LABELS if name in present] + [n for n in present if n not in LABELS]


def method_of(names: Iterable[str]) -> str:
    """Returns the row that the report is about: the model, else the external predictor.

    Raises:
      ValueError: Neither is there.
    """
    present = list(names)
    for name in METHODS:
        if name in present:
            return name
    raise ValueError(f"the rows must have one of {METHODS}, got {sorted(present)}; add it")


def clicked_rows(rows: Mapping[str, Row]) -> list[str]:
    """Returns the rows that were corrected click by click, in the order of the tables."""
    method = rows[method_of(rows)]
    shortest = min(2, method.scores["iou"].shape[1])
    return [
        name
        for name in ordered(rows)
        if name not in _ONE_ANSWER and rows[name].scores["iou"].shape[1] >= shortest
    ]
