"""Named protocols: who clicks, how often, and what counts.

`eval.protocol` chooses one. It decides over the keys that it names; all others stay as they are
configured, the radius above all, for a network is trained with one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecc_jax import metrics
from ecc_jax.clicks.user import Style
from ecc_jax.report.methods import Row

# Disk radii of the user, as weights: 0 is the tight, 1 the enclosing radius.
STYLES = {
    "tight": Style(0.0, 0.0),
    "average": Style(0.5, 0.5),
    "enclosing": Style(1.0, 1.0),
    "average_then_tight": Style(0.5, 0.0),
}
# The painters whose radii are not tuned.
PAINTERS = {"disk_painter_average": STYLES["average"], "disk_painter_tight": STYLES["tight"]}
_STYLE_LABELS = {
    "tight": "tight radii",
    "average": "average radii",
    "enclosing": "enclosing radii",
    "average_then_tight": "average radius first, then tight",
}
# Below this Dice the challenge counts the surface as missed.
_CVPR25_DICE_FLOOR = 0.2


class Protocol(NamedTuple):
    """What a protocol fixes.

    Attributes:
      description: One sentence for the report.
      next_click: Where clicks go; None keeps `clicks.next_click`.
      num_clicks: Clicks per image; None keeps `eval.num_clicks`.
      threshold: Probability above which a pixel is lesion; None keeps `inference.threshold`.
      nof_convention: What counts as a failure, see `metrics.never_reached`.
    """

    description: str
    next_click: str | None = None
    num_clicks: int | None = None
    threshold: float | None = None
    nof_convention: str = "success"


PROTOCOLS = {
    "thesis": Protocol(
        "the configured user (by default the thesis's: deepest point of the largest error)"
    ),
    "ritm": Protocol(
        "deepest error pixel of all; a success exactly at the last click counts as failure",
        next_click="deepest",
        threshold=0.49,
        nof_convention="ritm",
    ),
    "cvpr25": Protocol(
        "largest error component; a first disk in place of the challenge's box, then five clicks",
        next_click="largest_component",
        num_clicks=6,
    ),
    "robustness": Protocol(
        "the configured user, then the same user with an unsteady hand, other radii, other habits"
    ),
}


class Variant(NamedTuple):
    """A user of the robustness protocol."""

    name: str
    label: str
    style: Style


def robustness_variants(
    radius: str, *, jitters: Sequence[float], scales: Sequence[float]
) -> list[Variant]:
    """Returns the users of the robustness protocol, the configured one first.

    Args:
      radius: The configured evaluation radius; with "fixed" only the hand can err.
      jitters: Standard deviations of the hand's error along each axis, pixels.
      scales: Factors of the radius.
    """
    style = STYLES.get(radius, Style())
    nominal = _STYLE_LABELS.get(radius, f"{radius} radius")
    variants = [Variant("nominal", f"as configured: {nominal}", style)]
    variants += [
        Variant(f"jitter_{sd:g}", f"unsteady hand, sd {sd:g} px", style._replace(jitter=sd))
        for sd in jitters
    ]
    if radius == "fixed":
        return variants
    variants += [
        Variant(f"radius_x{scale:g}", f"radius × {scale:g}", style._replace(radius_scale=scale))
        for scale in scales
    ]
    return variants + [
        Variant(name, _STYLE_LABELS[name], other)
        for name, other in STYLES.items()
        if name != radius
    ]


def cvpr25_scores(row: Row) -> dict[str, float]:
    """Returns the figures of the CVPR 2025 challenge from the answers to a disk and five clicks.

    Args:
      row: Scores of at least two clicks; the first stands for the challenge's box and does not
        count.

    Returns:
      dsc_auc and nsd_auc (area by trapezoid over the clicks after the first, at most 4.0 with
      five), dsc_final and nsd_final, means over the slices where they are defined. NSD is 0 where
      Dice is 0.2 or less.

    Source: evaluation script of "Foundation Models for Interactive 3D Biomedical Image
    Segmentation" (CVPR 2025); there in 3-D, with boxes, and NSD over surface elements.
    """
    dice = row.scores["dice"][:, 1:]
    nsd = np.where(
        dice > _CVPR25_DICE_FLOOR, row.scores["nsd"][:, 1:], 0.0 * row.scores["nsd"][:, 1:]
    )
    steps = dice.shape[1] - 1
    return {
        "dsc_auc": float(np.nanmean(metrics.area_under_curve(dice)) * steps),
        "nsd_auc": float(np.nanmean(metrics.area_under_curve(nsd)) * steps),
        "dsc_final": float(np.nanmean(dice[:, -1])),
        "nsd_final": float(np.nanmean(nsd[:, -1])),
    }
