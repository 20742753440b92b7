"""Answering the clicks of a log again: does a report hold what its run does?"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data import pipeline
from ecc_jax.evaluation.rollouts import Advance, EvalSet, recorded_clicks, situation_for
from ecc_jax.evaluation.step import RolloutOptions, make_replay_step
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.report.measures import physical
from ecc_jax.report.methods import BY_NAME, CONTROLS, PAINTERS, SUBJECTS
from ecc_jax.report.results import ClickRecord, MethodFacts, MethodResult

# Methods that clicks alone can be answered for: a network, with or without its image, and painters.
REPLAYABLE = (SUBJECTS[0], *CONTROLS)


class Replayed(NamedTuple):
    """The scores of a log answered again, beside those that were logged.

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


def user_of(name: str, user: RobotUser, facts: MethodFacts) -> RobotUser:
    """Returns who clicked for a method.

    Args:
      name: One of `REPLAYABLE`.
      user: The configured user.
      facts: What the report says of the method: the tuned painter's weights.
    """
    if name not in PAINTERS:
        return user
    if BY_NAME[name].habit:
        return user.with_habit(BY_NAME[name].habit)
    return dataclasses.replace(
        user,
        radius="weighted",
        first_weight=facts.first_weight,
        later_weight=facts.later_weight,
    )


def places_of(
    log: Sequence[Mapping[str, Any]], index: Sequence[Mapping[str, Any]]
) -> Int[np.ndarray, " m"]:
    """Returns where the slices of a log are in a dataset.

    Raises:
      ValueError: The dataset no longer has one of them, or another lesion there.
    """
    place = {
        (entry["volume"], entry["slice_index"]): (i, entry["lesion_area"])
        for i, entry in enumerate(index)
    }
    positions = []
    for entry in log:
        key = (entry["volume"], entry["slice_index"])
        position, area = place.get(key, (-1, -1))
        if area != entry["lesion_area"]:
            raise ValueError(
                f"volume {key[0]!r}, slice {key[1]}: the log knows a lesion of "
                f"{entry['lesion_area']} pixels, the dataset {'none' if area < 0 else area}; "
                "the report was made on other data"
            )
        positions.append(position)
    return np.asarray(positions)


def check_log(name: str, logged: MethodResult, stated: Sequence[float], folder: Path) -> None:
    """Refuses a log that is not the one that summary.json was made from.

    Raises:
      ValueError: The method's mean IoU differs.
    """
    mean = logged.scores["iou"].mean(axis=0, dtype=np.float64)
    if np.shape(stated) != mean.shape or np.abs(np.asarray(stated) - mean).max() > 1e-5:
        raise ValueError(
            f"{folder}: summary.json states other IoUs for {name} than per_click.csv gives; one of "
            "them was changed"
        )


def _largest(now: np.ndarray, then: np.ndarray) -> float:
    if (np.isnan(now) != np.isnan(then)).any():
        return float("inf")
    return float(np.nan_to_num(np.abs(now.astype(np.float64) - then)).max())
