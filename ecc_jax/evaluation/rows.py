"""What an evaluation knows of one row of its table: a method, clicked through every slice."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


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
