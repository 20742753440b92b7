"""Rows that a network must be read against: blind to the image, untrained, or human."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from ecc_jax.classical import flooding
from ecc_jax.clicks.user import Style
from ecc_jax.data import pipeline
from ecc_jax.report.dataset import drawn_masks
from ecc_jax.evaluation.rollouts import CompiledRollout, Work, run_rollouts
from ecc_jax.report.methods import Row

# Radius weights that the painter is tuned over.
WEIGHTS = tuple(round(0.1 * i, 1) for i in range(11))


class TunedPainter(NamedTuple):
    """The disk radii that serve the painter best on training slices.

    Attributes:
      style: Its radii.
      first_iou: Mean IoU at click 1 for each of `WEIGHTS` as first weight.
      later_iou: Mean IoU over all clicks for each of `WEIGHTS` as later weight.
    """

    style: Style
    first_iou: Float[np.ndarray, " w"]
    later_iou: Float[np.ndarray, " w"]


def tune_painter(
    painter: CompiledRollout, work: Work, *, mesh: Mesh, on_batch: Callable[[int], Any]
) -> TunedPainter:
    """Finds the radii with which painting disks, blind to the image, is best.

    The first click's weight is the one of the highest mean IoU after it; with that, the weight of
    all later clicks is the one of the highest mean IoU over all clicks. Ties: the smaller weight.

    Args:
      painter: A rollout compiled without a network, radius rule "weighted".
      work: Training slices.
      mesh: The devices.
      on_batch: Called with the number of slices after each batch.
    """

    def score(style: Style, clicks: int) -> float:
        part = work._replace(num_clicks=clicks)
        results = run_rollouts(painter, (), part, mesh=mesh, style=style, on_batch=on_batch)
        return float(results.row.scores["iou"].mean())

    first_iou = np.array([score(Style(first_weight=w), 1) for w in WEIGHTS])
    first = WEIGHTS[int(np.argmax(first_iou))]
    later_iou = np.array([score(Style(first, w), work.num_clicks) for w in WEIGHTS])
    later = WEIGHTS[int(np.argmax(later_iou))]
    return TunedPainter(Style(first, later), first_iou, later_iou)


def tuning_passes() -> int:
    """Returns how often `tune_painter` goes through its slices, for progress bars."""
    return 2 * len(WEIGHTS)


def flood_rows(
    train: Work,
    train_yx: Float[np.ndarray, "t 2"],
    work: Work,
    first_yx: Float[np.ndarray, "m 2"],
    *,
    num_tolerances: int,
    score: Callable[[int, Bool[np.ndarray, "h w"]], dict[str, float]],
) -> tuple[Row, float]:
    """Floods from each first click, with the tolerance that is best on training slices.

    Args:
      train: Training slices.
      train_yx: Their first clicks.
      work: Slices to evaluate.
      first_yx: Their first clicks.
      num_tolerances: Tolerances tried.
      score: (place in `work`, mask) -> scores.

    Returns:
      The row and the tolerance, HU.
    """
    rows = [_read(train, place) for place in range(len(train.positions))]
    widest = max((row.window_hu for row in rows), key=lambda window: window[1] - window[0])
    best, _ = flooding.search_tolerance(
        np.stack([flooding_image(row) for row in rows]),
        np.stack([row.target for row in rows]),
        [_pixel(yx) for yx in train_yx],
        flooding.default_tolerances((float(widest[0]), float(widest[1])), count=num_tolerances),
    )
    scores = []
    for place, yx in enumerate(first_yx):
        image = flooding_image(_read(work, place))
        scores.append(score(place, flooding.flood(image, _pixel(yx), best)))
    return one_column(scores), best


def best_reader_row(
    work: Work, *, score: Callable[[int, Bool[np.ndarray, "h w"]], dict[str, float]]
) -> Row | None:
    """Returns each slice's best reader against the ground truth; None without readers' masks.

    The ground truth is the consensus of the same readers, which favours every one of them.

    Args:
      work: Slices to evaluate.
      score: (place in `work`, mask) -> scores.
    """
    scores = []
    for place, position in enumerate(work.positions):
        record = work.slices.records[int(position)]
        if "reader_masks" not in record:
            return None
        answers = [score(place, mask) for mask in drawn_masks(record["reader_masks"])]
        if not answers:
            return None
        scores.append(max(answers, key=lambda values: values["iou"]))
    return one_column(scores)


def one_column(scores: Sequence[dict[str, float]]) -> Row:
    """Returns the row of a method that answers once."""
    names = scores[0]
    return Row({n: np.array([[entry[n]] for entry in scores], np.float32) for n in names})


def scores_on_host(
    work: Work, measure: Callable[[Any, Any, Any], dict[str, Any]]
) -> Callable[[int, Bool[np.ndarray, "h w"]], dict[str, float]]:
    """Returns (place in `work`, mask) -> scores, surface measures in pixels.

    Args:
      work: The slices.
      measure: Jitted (mask [1 h w], target [1 h w], pixel_mm [1]) -> scores [1].
    """

    def score(place: int, mask: Bool[np.ndarray, "h w"]) -> dict[str, float]:
        row = _read(work, place)
        values = measure(mask[None], (row.target > 0)[None], row.pixel_mm[None])
        return {name: float(value[0]) for name, value in values.items()}

    return score


def flooding_image(row: Any) -> Float[np.ndarray, "h w"]:
    """Returns the slice in HU, clipped to its window: what the network sees too."""
    low, high = row.window_hu
    return np.clip(row.image_hu.astype(np.float32), low, high)


def _read(work: Work, place: int) -> Any:
    position = int(work.positions[place])
    return pipeline.read_row(work.slices, position, window_hu=work.window_hu)


def _pixel(yx: np.ndarray) -> tuple[int, int]:
    return int(round(float(yx[0]))), int(round(float(yx[1])))
