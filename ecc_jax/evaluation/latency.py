"""How long a person waits for the answer to one click."""

import time
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from ecc_jax.evaluation.rollouts import EvalSet
from ecc_jax.inference.pipelines import InferenceOptions
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.predictor import InteractivePredictor
from ecc_jax.report.results import ClickRecord


def measure_latency(
    segmenter: Segmenter,
    variables: Any,
    data: EvalSet,
    clicks: ClickRecord,
    *,
    options: InferenceOptions,
    threshold: float,
    count: int,
) -> dict[str, Any] | None:
    """Times single clicks through the interactive predictor, mask on the host included.

    The recorded clicks are placed again, slice after slice, so that early and late clicks occur as
    in the evaluation. Compilation and the first click of all are left out.

    Args:
      segmenter: The network and its encoding.
      variables: Its variables.
      data: The slices.
      clicks: The clicks recorded on them.
      options: How the network is run.
      threshold: A pixel is lesion where its probability is above.
      count: Clicks to time.

    Returns:
      See `latency_of`; None with several hosts, where no single
      process holds the network, or without any click.
    """
    if jax.process_count() > 1 or not clicks.clicked.any():
        return None
    predictor = InteractivePredictor(
        segmenter, variables, options=options, threshold=threshold, capacity=clicks.clicked.shape[1]
    )
    seconds: list[float] = []
    while len(seconds) <= count:
        before = len(seconds)
        for place in range(len(data.positions)):
            row = data.read(place)
            low, high = (float(value) for value in row.window_hu)
            predictor.set_image(np.asarray(row.image_hu), window_hu=(low, high))
            seconds += _timed(predictor, clicks, place, at_most=count + 1 - len(seconds))
            if len(seconds) > count:
                break
        if len(seconds) == before:
            break
    return latency_of(np.asarray(seconds[1:]))


def latency_of(seconds: Float[np.ndarray, " c"]) -> dict[str, Any] | None:
    """Returns p50_s, p95_s (nearest rank) and num_clicks of single clicks; None without any."""
    if not seconds.size:
        return None
    p50, p95 = np.percentile(seconds, (50, 95), method="inverted_cdf")
    return {"p50_s": float(p50), "p95_s": float(p95), "num_clicks": int(seconds.size)}


def _timed(
    predictor: InteractivePredictor, clicks: ClickRecord, place: int, *, at_most: int
) -> list[float]:
    """Places the recorded clicks of one slice and returns the seconds of each."""
    seconds = []
    for turn in np.flatnonzero(clicks.clicked[place])[:at_most]:
        y, x = clicks.yx[place, turn]
        start = time.perf_counter()
        # A radius of 0 cannot be dragged; the disk of the smallest one is the same pixel.
        radius = max(float(clicks.radius[place, turn]), 1e-3)
        predictor.add_click(y, x, radius, bool(clicks.is_positive[place, turn]))
        seconds.append(time.perf_counter() - start)
    return seconds
