"""Running compiled rollouts over a split, and gathering what they say."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data import pipeline
from ecc_jax.evaluation.masks import MaskFile
from ecc_jax.evaluation.step import Outcome, RolloutOptions, RolloutStep, Situation
from ecc_jax.report.measures import physical
from ecc_jax.report.results import ClickRecord, MethodResult
from ecc_jax.types import Batch, Clicks

Advance = Callable[[int], Any]


class EvalSet(NamedTuple):
    """The slices to click through, and how.

    Attributes:
      slices: The split.
      positions: Which of its slices, in this order.
      num_clicks: Clicks per image, at most the compiled capacity.
      window_hu: Overrides the stored window.
      first_masks: Masks to begin with, for rollouts compiled with the initial mask "file".
    """

    slices: pipeline.SliceSet
    positions: np.ndarray
    num_clicks: int
    window_hu: tuple[float, ...] = ()
    first_masks: MaskFile | None = None

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What the index says of each slice, in order."""
        return [self.slices.index[int(position)] for position in self.positions]

    def read(self, place: int) -> Any:
        """Returns one slice as a `Batch` row of NumPy arrays without batch axis."""
        position = int(self.positions[place])
        return pipeline.read_row(self.slices, position, window_hu=self.window_hu)

    def only(self, places: np.ndarray) -> "EvalSet":
        """Returns the set cut to some of its slices."""
        return self._replace(positions=self.positions[places])


class Results(NamedTuple):
    """Scores, clicks and masks of a method on every slice, NumPy, in the order asked for.

    Attributes:
      method: Scores after each click and the clicks.
      disk: Scores of the first disk taken as the mask; None of a method that runs on the host.
      initial: Scores before the first click; None of a method that runs on the host.
      pixel_mm: Side of a pixel, NaN where unknown.
      masks: By click number, [m h w] the mask after it, of those asked for.
      call_seconds: Of every call of the method, compilation excluded.
      clicks_per_call: Clicks of slices that a call answers, padding included.
    """

    method: MethodResult
    disk: MethodResult | None
    initial: MethodResult | None
    pixel_mm: Float[np.ndarray, " m"]
    masks: dict[int, Bool[np.ndarray, "m h w"]]
    call_seconds: Float[np.ndarray, " c"]
    clicks_per_call: int

    @property
    def seconds_per_click(self) -> float:
        """Time of one click of one slice in a batch."""
        return float(self.call_seconds.sum()) / (self.clicks_per_call * self.call_seconds.size)


class CompiledRollout(NamedTuple):
    """A compiled rollout step and what it was compiled for."""

    run: Callable[..., Outcome]
    options: RolloutOptions
    batch_size: int
    compile_seconds: float


def compile_rollout(
    step: RolloutStep,
    variables: Any,
    options: RolloutOptions,
    *,
    size: int,
    batch_size: int,
    mesh: Mesh,
) -> CompiledRollout:
    """Compiles a rollout step for slices of `size` x `size` pixels.

    Args:
      step: From `make_rollout_step`.
      variables: Network variables, or their shapes.
      options: The options that the step was made with.
      size: Side of the slices, pixels.
      batch_size: Slices per call, over all devices.
      mesh: The devices.

    Raises:
      ValueError: The batch does not split over the devices.
    """
    parallel.check_divisible("eval.batch_size", batch_size, mesh)
    rows, everywhere = parallel.batch_sharding(mesh), parallel.replicated(mesh)
    start = time.perf_counter()
    situation = _situation(options, everywhere, everywhere, rows)
    lowered = jax.jit(step, in_shardings=(everywhere, rows, everywhere, situation)).lower(
        variables,
        pipeline.abstract_batch(batch_size, size),
        jax.ShapeDtypeStruct((), np.int32),
        _situation(
            options,
            jax.ShapeDtypeStruct((), np.float32),
            jax.ShapeDtypeStruct((), np.bool_),
            jax.ShapeDtypeStruct((batch_size, size, size), np.bool_),
        ),
    )
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return CompiledRollout(compiled, options, batch_size, seconds)


def _situation(options: RolloutOptions, number: Any, flag: Any, mask: Any) -> Situation:
    """Returns a situation with one thing in place of each number, flag and mask."""
    user = jax.tree.map(lambda _: number, options.user)
    return Situation(user, flag, mask if options.initial_mask == "file" else None)


def run_rollouts(
    compiled: CompiledRollout,
    variables: Any,
    data: EvalSet,
    *,
    mesh: Mesh,
    user: RobotUser | None = None,
    is_blank: bool = False,
    keep: tuple[int, ...] = (),
    on_batch: Advance | None = None,
) -> Results:
    """Clicks through the slices of `data`; rows that only pad are left out.

    Args:
      compiled: From `compile_rollout`.
      variables: Network variables on the devices.
      data: The slices.
      mesh: The devices.
      user: Who clicks; None is the user that the rollout was compiled for.
      is_blank: Whether the network sees the slices without content.
      keep: Clicks whose masks to return, of those that were compiled to be kept.
      on_batch: Called with the number of slices after each batch, for progress bars.
    """
    parts: list[dict[str, Any]] = []
    seconds: list[float] = []
    clicker = user or compiled.options.user
    batches = pipeline.eval_batches(
        data.slices, data.positions, batch_size=compiled.batch_size, window_hu=data.window_hu
    )
    for batch in batches:
        placed = parallel.to_global(batch, mesh)
        situation = situation_for(compiled.options, data, batch, clicker, is_blank, mesh)
        start = time.perf_counter()
        outcome = compiled.run(variables, placed, np.int32(data.num_clicks), situation)
        outcome = jax.block_until_ready(outcome)
        seconds.append(time.perf_counter() - start)
        slots = {click: compiled.options.keep.index(click) for click in keep}
        host = parallel.to_host(_kept(outcome, placed, data.num_clicks, slots))
        parts.append(jax.tree.map(lambda v, keep=host["valid"]: v[keep], host))
        if on_batch:
            on_batch(int(host["valid"].sum()))
    whole = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
    pixel_mm = whole["pixel_mm"]
    clicks = ClickRecord(**whole["clicks"])
    return Results(
        method=MethodResult(physical(whole["scores"], pixel_mm), clicks),
        disk=MethodResult(physical(whole["disk"], pixel_mm)),
        initial=MethodResult(physical(whole["initial"], pixel_mm)),
        pixel_mm=pixel_mm,
        masks=whole["masks"],
        call_seconds=np.asarray(seconds),
        clicks_per_call=compiled.batch_size * data.num_clicks,
    )


def _kept(outcome: Outcome, batch: Batch, num_clicks: int, slots: dict[int, int]) -> dict[str, Any]:
    """Returns what leaves the devices."""
    clicks = outcome.clicks
    return {
        "scores": {name: score[:, :num_clicks] for name, score in outcome.scores.items()},
        "disk": {name: score[:, None] for name, score in outcome.disk_scores.items()},
        "initial": {name: score[:, None] for name, score in outcome.initial_scores.items()},
        "clicks": {
            "yx": clicks.yx[:, :num_clicks],
            "radius": clicks.radius[:, :num_clicks],
            "is_positive": clicks.is_positive[:, :num_clicks],
            "clicked": outcome.clicked[:, :num_clicks],
        },
        "valid": batch.valid,
        "pixel_mm": batch.pixel_mm,
        "masks": {click: outcome.masks[:, slot] for click, slot in slots.items()},
    }


def situation_for(
    options: RolloutOptions,
    data: EvalSet,
    batch: Batch,
    user: RobotUser,
    is_blank: bool,
    mesh: Mesh,
) -> Situation:
    """Returns the situation of one batch of this host, on the devices."""
    masks: Any = None
    if options.initial_mask == "file":
        if data.first_masks is None:
            raise ValueError("rollouts compiled with initial_mask='file' need EvalSet.first_masks")
        # Padding repeats the last slice of all.
        chosen = [int(p) if p >= 0 else int(data.positions[-1]) for p in batch.position]
        masks = np.stack([data.first_masks.of(data.slices.index[p]) for p in chosen])
        masks = parallel.to_global(masks, mesh)
    return Situation(jax.tree.map(np.float32, user), bool(is_blank), masks)


def painter_options(options: RolloutOptions) -> RolloutOptions:
    """Returns the options under which the painter is compiled: it always has dynamic disks."""
    return options._replace(user=dataclasses.replace(options.user, radius="weighted"))


def recorded_clicks(record: ClickRecord) -> Clicks:
    """Returns recorded clicks as a click buffer; rows stop at their first turn without a click."""
    values: dict[str, Any] = {
        "yx": record.yx.astype(np.float32),
        "radius": record.radius.astype(np.float32),
        "is_positive": record.is_positive,
        "count": record.clicked.sum(axis=1).astype(np.int32),
    }
    return Clicks(**values)
