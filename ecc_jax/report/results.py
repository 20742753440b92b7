"""What an evaluation hands to its report: the scores and clicks of each method on every slice."""

from typing import Any, NamedTuple

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


class MethodFacts(NamedTuple):
    """What the scores of a method do not tell; None where it has none.

    Attributes:
      label: What the tables call it, in place of its usual name.
      seconds_per_click: Device time of one click of one slice in a batch.
      latency: Of single clicks: p50_s, p95_s, num_clicks.
      tolerance_hu: Of flooding, tuned on training slices.
      first_weight: Radius weight of the tuned painter's first click, 0 tight to 1 enclosing.
      later_weight: The same of its later clicks.
    """

    label: str | None = None
    seconds_per_click: float | None = None
    latency: dict[str, Any] | None = None
    tolerance_hu: float | None = None
    first_weight: float | None = None
    later_weight: float | None = None


NO_FACTS = MethodFacts()


class MethodResult(NamedTuple):
    """A method's scores on every slice.

    Attributes:
      scores: By name of a measure (`iou` at least): one column per click, one column in all for
        methods that answer once. NaN where a measure is not defined: surface measures of slices
        whose pixel size is unknown.
      clicks: The clicks that were answered; None for methods that do not take part in the click
        loop.
      facts: What the scores do not tell.
    """

    scores: dict[str, Float[np.ndarray, "m _"]]
    clicks: ClickRecord | None = None
    facts: MethodFacts = NO_FACTS
