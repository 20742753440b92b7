"""Numbers that tell a curve of scores per click: clicks needed, failures, error and area.

In NumPy, so that a report needs no jax. Everything is float32, and sums run from the first entry to
the last, one after the other: so does XLA on a CPU (up to 32 entries of 4096 values in all), where
earlier versions took them. Their figures are therefore the same to the last bit; of more values
than that a slice's area may differ by some 1e-7. `np.sum` adds in pairs and would differ always.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

FailureConvention = Literal["success", "ritm"]
FAILURE_CONVENTIONS: tuple[str, ...] = get_args(FailureConvention)


def num_clicks_to_reach(iou: Float[np.ndarray, "m k"], threshold: float) -> Int[np.ndarray, " m"]:
    """Returns the number of clicks (NoC) after which the IoU first is `threshold` or more.

    Args:
      iou: IoU after each of k clicks.
      threshold: IoU to reach, 0..1.

    Returns:
      1-based click number; k where the threshold is never reached (see `never_reached`).

    Source: RITM (Sofiiuk et al. 2021), section 4.
    """
    reached = _reached(iou, threshold)
    first = np.argmax(reached, axis=1) + 1
    return np.where(reached.any(axis=1), first, reached.shape[1]).astype(np.int32)


def never_reached(
    iou: Float[np.ndarray, "m k"], threshold: float, *, convention: str = "success"
) -> Bool[np.ndarray, " m"]:
    """Returns the failures to reach `threshold`; their mean is the share of failures (NoF).

    Args:
      iou: IoU after each of k clicks.
      threshold: IoU to reach, 0..1.
      convention: What a slice is that reaches the threshold exactly at the last click: "success",
        or "ritm", a failure as in RITM, which counts NoC == k (so all fail where k is 1).

    Returns:
      True for a failure.

    Raises:
      ValueError: If `convention` is unknown.

    Source: thesis section 3.2; "ritm": RITM's evaluation code.
    """
    if convention not in FAILURE_CONVENTIONS:
        valid = ", ".join(FAILURE_CONVENTIONS)
        raise ValueError(f"failure convention must be one of {valid}, got {convention!r}")
    if convention == "ritm":
        return np.equal(num_clicks_to_reach(iou, threshold), iou.shape[1])
    return np.logical_not(_reached(iou, threshold).any(axis=1))


def iterative_iou_error(mean_iou: Float[np.ndarray, " k"]) -> np.float32:
    """Returns the weighted area above the IoU-per-click curve; late clicks weigh more.

    Computes sum (1 - IoU_i)(1 + 0.1 i) / sum (1 + 0.1 i) over i = 0..k-1; with 20 clicks the
    weights sum to 39.

    Args:
      mean_iou: Mean IoU over the images after each click.

    Returns:
      Error in [0, 1]: 0 when every click is perfect, 1 when none overlaps.

    Source: thesis equation 5.
    """
    curve = np.asarray(mean_iou, np.float32)
    weights = 1 + np.float32(0.1) * np.arange(curve.shape[0], dtype=np.float32)
    return np.float32(_sum((1 - curve) * weights) / _sum(weights))


def area_under_curve(
    scores: Float[np.ndarray, "*b k"],
) -> Float[np.ndarray, "*b"] | np.float32:
    """Returns the normalised area under a curve of scores per click, by the trapezoidal rule.

    Args:
      scores: A score after each of k clicks, such as Dice or NSD.

    Returns:
      The area divided by its width k - 1, so it has the range of the scores; with one click the
      score itself. DSC_AUC and NSD_AUC of the CVPR 2025 challenge (MedSegFM) are this times k - 1,
      so at most 4.0 for its 5 clicks.

    Raises:
      ValueError: If there is no click.

    Source: CVPR 2025 "Foundation models for interactive 3D biomedical image segmentation".
    """
    curve = np.asarray(scores, np.float32)
    if curve.shape[-1] == 0:
        raise ValueError("expected the scores of at least one click, got none")
    if curve.shape[-1] == 1:
        return curve[..., 0]
    heights = (curve[..., :-1] + curve[..., 1:]) / 2
    # XLA divides by a constant as it multiplies by its reciprocal.
    return _sum(heights) * (np.float32(1) / np.float32(heights.shape[-1]))


def _reached(iou: np.ndarray, threshold: float) -> np.ndarray:
    """Returns where the IoU is the threshold or more, both as float32."""
    return np.asarray(iou, np.float32) >= np.float32(threshold)


def _sum(values: np.ndarray) -> np.ndarray | np.float32:
    """Returns the sum along the last axis, added up one after the other in float32."""
    return np.cumsum(values, axis=-1, dtype=np.float32)[..., -1]
