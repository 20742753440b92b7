"""The figures of the CVPR 2025 challenge on interactive segmentation."""

import numpy as np

from ecc_jax.report.curves import area_under_curve
from ecc_jax.report.results import MethodResult

# Below this Dice the challenge counts the surface as missed.
_DICE_FLOOR = 0.2


def cvpr25_scores(result: MethodResult) -> dict[str, float]:
    """Returns the figures of the challenge from the answers to a disk and five clicks.

    Args:
      result: Scores of at least two clicks; the first stands for the challenge's box and does not
        count.

    Returns:
      dsc_auc and nsd_auc (area by trapezoid over the clicks after the first, at most 4.0 with
      five), dsc_final and nsd_final, means over the slices where they are defined. NSD is 0 where
      Dice is 0.2 or less.

    Source: evaluation script of "Foundation Models for Interactive 3D Biomedical Image
    Segmentation" (CVPR 2025); there in 3-D, with boxes, and NSD over surface elements.
    """
    dice, nsd = (result.scores[name][:, 1:] for name in ("dice", "nsd"))
    nsd = np.where(dice > _DICE_FLOOR, nsd, 0.0 * nsd)
    steps = dice.shape[1] - 1
    return {
        "dsc_auc": float(np.nanmean(area_under_curve(dice)) * steps),
        "nsd_auc": float(np.nanmean(area_under_curve(nsd)) * steps),
        "dsc_final": float(np.nanmean(dice[:, -1])),
        "nsd_final": float(np.nanmean(nsd[:, -1])),
    }
