"""The measures that are taken after every click: what each is called, how it is read and shown.

One entry of `MEASURES` is all that the report needs of a measure; `evaluation.step` takes it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Unit of a length, where pixel sizes are not known.
PIXELS = "px"


class Measure(NamedTuple):
    """A measure of how well a mask agrees with the ground truth.

    Attributes:
      name: In files and on command lines.
      label: In tables and figures.
      unit: "px" for lengths, empty for shares.
      better: Whether "higher" or "lower" is better. The mean height of its curve is reported where
        higher is.
      form: Format of its numbers in the tables.
      definition: What it is, for the text of a report.
      in_mm: Whether it takes the size of a pixel where that is known. Where it is for some slices,
        the others have no value, so that units do not mix in a mean; lengths are in mm then.
      has_tolerance: Whether it accepts distances up to the tolerance of the evaluation.
      long_name: What the label stands for, where the definition needs it.
    """

    name: str
    label: str
    unit: str
    better: str
    form: str
    definition: str
    in_mm: bool
    has_tolerance: bool = False
    long_name: str = ""


# In the order of the tables; the first is the one that clicks, gains and intervals are taken of.
MEASURES = (
    Measure(
        "iou",
        "IoU",
        unit="",
        better="higher",
        form=".3f",
        definition="intersection over union. Both masks empty: 1; one empty: 0.",
        in_mm=False,
    ),
    Measure(
        "dice",
        "Dice",
        unit="",
        better="higher",
        form=".3f",
        definition="twice the intersection over the sum of the areas. Both masks empty: 1; one "
        "empty: 0.",
        in_mm=False,
    ),
    Measure(
        "nsd",
        "NSD",
        unit="",
        better="higher",
        form=".3f",
        definition="share of both outlines that lies within the tolerance of the other one. Both "
        "masks empty: 1; one empty: 0.",
        in_mm=True,
        has_tolerance=True,
        long_name="normalised surface Dice",
    ),
    Measure(
        "hd95",
        "HD95",
        unit=PIXELS,
        better="lower",
        form=".2f",
        definition="95th percentile of the distances between the outlines, the larger of the two "
        "directions; smaller is better. Both masks empty: 0; one empty: the diagonal of the image.",
        in_mm=True,
    ),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


def physical(
    scores: dict[str, Float[np.ndarray, "m _"]], pixel_mm: Float[np.ndarray, " m"]
) -> dict[str, Float[np.ndarray, "m _"]]:
    """Returns scores taken in pixels with lengths in mm, if the size of any pixel is known.

    Args:
      scores: By measure, one row per slice.
      pixel_mm: Side of a pixel of each slice; NaN where it is unknown.

    Returns:
      The scores as they are where no size is known. Else lengths in mm, and NaN in the measures
      that take the size of a pixel for slices whose size is not known.
    """
    is_known = np.isfinite(pixel_mm)
    if not is_known.any():
        return scores
    size = np.where(is_known, pixel_mm, np.nan)[:, None].astype(np.float32)
    return {name: score * _factor(name, size) for name, score in scores.items()}


def _factor(name: str, size: np.ndarray) -> np.ndarray | np.float32:
    """Returns what turns a score in pixels into one in mm, by slice."""
    measure = BY_NAME.get(name)
    if measure is None or not measure.in_mm:
        return np.float32(1)
    # A share has no unit, but where sizes are known its tolerance is in mm.
    return size if measure.unit == PIXELS else size * 0 + 1
