"""Answering the clicks of a log again: does a report hold what its run does?"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data import pipeline
from ecc_jax.evaluation.rollouts import Advance, EvalSet, recorded_clicks, situation_for
from ecc_jax.evaluation.step import RolloutOptions, make_replay_step
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.report.measures import physical
from ecc_jax.report.results import ClickRecord, MethodResult


class Replayed(NamedTuple):
    """What became of a log.

    Attributes:
      scores: By measure, the scores now, in the log's units.
      agrees: Whether the simulated user would click as logged.
      difference: By measure, the largest absolute difference to the log; infinite where only one
        of the two is defined, 0 where neither ever is.
    """

    scores: dict[str, Float[np.ndarray, "m k"]]
    agrees: Bool[np.ndarray, "m k"]
    difference: dict[str, float]


def replay_method(
    segmenter: Segmenter | None,
    variables: Any,
    data: EvalSet,
    logged: MethodResult,
    options: RolloutOptions,
    *,
    is_blank: bool,
    batch_size: int,
    mesh: Mesh,
    on_batch: Advance | None = None,
) -> Replayed:
    """Answers the logged clicks again, in batches of the shape that the log was made with.

    Args:
      segmenter: The network and its encoding; None is the painter.
      variables: Its variables.
      data: The slices of the log, in its order.
      logged: The method's scores and clicks.
      options: The rollout's options; its user is who clicked.
      is_blank: Whether the network saw the slices without content.
      batch_size: Slices per call.
      mesh: The devices.
      on_batch: Called with the number of slices after each batch.
    """
    assert logged.clicks is not None
    step = jax.jit(make_replay_step(segmenter, options))
    batches = pipeline.eval_batches(
        data.slices, data.positions, batch_size=batch_size, window_hu=data.window_hu
    )
    parts = []
    for number, batch in enumerate(batches):
        wanted = np.minimum(number * batch_size + np.arange(batch_size), len(data.positions) - 1)
        record = ClickRecord(*(field[wanted] for field in logged.clicks))
        situation = situation_for(options, data, batch, options.user, is_blank, mesh)
        placed, clicks = (parallel.to_global(x, mesh) for x in (batch, recorded_clicks(record)))
        result = parallel.to_host(step(variables, placed, clicks, situation))
        values = {"scores": result.scores, "agrees": result.agrees, "mm": batch.pixel_mm}
        parts.append(jax.tree.map(lambda v, keep=batch.valid: np.asarray(v)[keep], values))
        if on_batch:
            on_batch(int(np.count_nonzero(batch.valid)))
    whole = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
    scores = physical(whole["scores"], whole["mm"])
    return Replayed(
        scores=scores,
        agrees=whole["agrees"],
        difference={name: _largest(scores[name], logged.scores[name]) for name in logged.scores},
    )


def _largest(now: np.ndarray, then: np.ndarray) -> float:
    if (np.isnan(now) != np.isnan(then)).any():
        return float("inf")
    return float(np.nan_to_num(np.abs(now.astype(np.float64) - then)).max())
