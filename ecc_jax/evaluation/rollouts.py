"""Running compiled rollouts over a split, and gathering what they say."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from ecc_jax import parallel
from ecc_jax.clicks.user import Style
from ecc_jax.data import pipeline
from ecc_jax.report.methods import ClickRecord, Row
from ecc_jax.evaluation.masks import MaskFile
from ecc_jax.evaluation.step import Outcome, RolloutOptions, RolloutStep, Situation
from ecc_jax.types import Batch, Clicks

STEADY = Style()


class Results(NamedTuple):
    """Rollouts of a whole split, NumPy, one entry per slice in the order asked for.

    Attributes:
      row: Scores after each click and the clicks.
      disk: Scores of the first disk taken as the mask.
      start: Scores before the first click.
      pixel_mm: [m] side of a pixel, NaN where unknown.
      final_mask: [m h w] the mask after the last click; None unless asked for.
      seconds: Device time of all batches, compilation excluded.
      clicks_computed: Clicks that this time paid for, padding included.
    """

    row: Row
    disk: Row
    start: Row
    pixel_mm: Float[np.ndarray, " m"]
    final_mask: Bool[np.ndarray, "m h w"] | None
    seconds: float
    clicks_computed: int


class CompiledRollout(NamedTuple):
    """A compiled rollout step and what it was compiled for."""

    run: Callable[..., Outcome]
    options: RolloutOptions
    batch_size: int
    memory_bytes: int
    compile_seconds: float


class Work(NamedTuple):
    """The slices to click through, and how.

    Attributes:
      slices: The split.
      positions: Which of its slices, in this order.
      num_clicks: Clicks per image, at most the compiled capacity.
      window_hu: Overrides the stored window.
      first_masks: Masks to begin with, for rollouts compiled with start="file".
    """

    slices: pipeline.SliceSet
    positions: np.ndarray
    num_clicks: int
    window_hu: tuple[float, ...] = ()
    first_masks: MaskFile | None = None


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
    lowered = jax.jit(
        step, in_shardings=(everywhere, rows, everywhere, _situation_sharding(options, mesh))
    ).lower(
        variables,
        abstract_batch(batch_size, size),
        jax.ShapeDtypeStruct((), np.int32),
        _abstract_situation(options, batch_size, size),
    )
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return CompiledRollout(compiled, options, batch_size, parallel.memory_needed(compiled), seconds)


def _abstract_situation(options: RolloutOptions, batch_size: int, size: int) -> Situation:
    number: Any = jax.ShapeDtypeStruct((), np.float32)
    mask: Any = jax.ShapeDtypeStruct((batch_size, size, size), np.bool_)
    return Situation(
        style=Style(*[number] * len(Style._fields)),
        is_blank=jax.ShapeDtypeStruct((), np.bool_),  # type: ignore[arg-type]
        first_mask=mask if options.start == "file" else None,
    )


def _situation_sharding(options: RolloutOptions, mesh: Mesh) -> Any:
    everywhere: Any = parallel.replicated(mesh)
    rows: Any = parallel.batch_sharding(mesh)
    return Situation(
        style=Style(*[everywhere] * len(Style._fields)),
        is_blank=everywhere,
        first_mask=rows if options.start == "file" else None,
    )


def abstract_batch(batch_size: int, size: int) -> Any:
    """Returns the shapes and dtypes of a `Batch` as the pipeline delivers it."""
    slice_shape = (size, size)
    row: dict[str, Any] = {
        "image_hu": np.zeros(slice_shape, np.int16),
        "window_hu": np.zeros(2, np.float32),
        "target": np.zeros(slice_shape, np.uint8),
        "valid": np.zeros((), np.bool_),
        "position": np.zeros((), np.int32),
        "pixel_mm": np.zeros((), np.float32),
    }
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape), x.dtype), Batch(**row)
    )


def run_rollouts(
    compiled: CompiledRollout,
    variables: Any,
    work: Work,
    *,
    mesh: Mesh,
    style: Style = STEADY,
    is_blank: bool = False,
    with_masks: bool = False,
    on_batch: Callable[[int], Any] | None = None,
) -> Results:
    """Clicks through the slices of `work`; rows that only pad are left out.

    Args:
      compiled: From `compile_rollout`.
      variables: Network variables on the devices.
      work: The slices.
      mesh: The devices.
      style: How the user handles the disk.
      is_blank: Whether the network sees the slices without content.
      with_masks: Whether to return the final masks.
      on_batch: Called with the number of slices after each batch, for progress bars.
    """
    parts: list[dict[str, Any]] = []
    seconds, computed = 0.0, 0
    for batch in _batches(compiled, work):
        placed = parallel.to_global(batch, mesh)
        situation = situation_for(compiled.options, work, batch, style, is_blank, mesh)
        start = time.perf_counter()
        outcome = compiled.run(variables, placed, np.int32(work.num_clicks), situation)
        outcome = jax.block_until_ready(outcome)
        seconds += time.perf_counter() - start
        computed += compiled.batch_size * work.num_clicks
        values = _kept(outcome, placed, work.num_clicks, with_masks=with_masks)
        host = parallel.to_host(values)
        parts.append(jax.tree.map(lambda v, keep=host["valid"]: v[keep], host))
        if on_batch:
            on_batch(int(host["valid"].sum()))
    whole = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
    pixel_mm = whole["pixel_mm"]
    return Results(
        row=Row(physical(whole["scores"], pixel_mm), ClickRecord(**whole["clicks"])),
        disk=Row(physical(whole["disk"], pixel_mm)),
        start=Row(physical(whole["start"], pixel_mm)),
        pixel_mm=pixel_mm,
        final_mask=whole.get("final_mask"),
        seconds=seconds,
        clicks_computed=computed,
    )


def _batches(compiled: CompiledRollout, work: Work) -> Any:
    return pipeline.eval_batches(
        work.slices, work.positions, batch_size=compiled.batch_size, window_hu=work.window_hu
    )


def _kept(outcome: Outcome, batch: Batch, num_clicks: int, *, with_masks: bool) -> dict[str, Any]:
    """Returns what leaves the devices."""
    clicks = outcome.clicks
    values: dict[str, Any] = {
        "scores": {name: score[:, :num_clicks] for name, score in outcome.scores.items()},
        "disk": {name: score[:, None] for name, score in outcome.disk_scores.items()},
        "start": {name: score[:, None] for name, score in outcome.start_scores.items()},
        "clicks": {
            "yx": clicks.yx[:, :num_clicks],
            "radius": clicks.radius[:, :num_clicks],
            "is_positive": clicks.is_positive[:, :num_clicks],
            "clicked": outcome.clicked[:, :num_clicks],
        },
        "valid": batch.valid,
        "pixel_mm": batch.pixel_mm,
    }
    if with_masks:
        values["final_mask"] = outcome.final_mask
    return values


def situation_for(
    options: RolloutOptions,
    work: Work,
    batch: Batch,
    style: Style,
    is_blank: bool,
    mesh: Mesh,
) -> Situation:
    """Returns the situation of one batch of this host, on the devices."""
    numbers: list[Any] = [np.float32(value) for value in style]
    masks: Any = None
    if options.start == "file":
        if work.first_masks is None:
            raise ValueError("rollouts compiled with start='file' need Work.first_masks")
        # Padding repeats the last slice of all.
        chosen = [int(p) if p >= 0 else int(work.positions[-1]) for p in batch.position]
        masks = np.stack([work.first_masks.of(work.slices.rows[p]) for p in chosen])
        masks = parallel.to_global(masks, mesh)
    return Situation(Style(*numbers), bool(is_blank), masks)


def physical(scores: dict[str, np.ndarray], pixel_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Returns scores with surface measures in mm if any pixel size is known, else in pixels.

    Where some are known, slices whose pixel size is not have no surface measures (NaN), so that
    units do not mix in a mean.
    """
    is_known = np.isfinite(pixel_mm)
    if not is_known.any():
        return scores
    size = np.where(is_known, pixel_mm, np.nan)[:, None].astype(np.float32)
    factors = {"nsd": size * 0 + 1, "hd95": size}
    return {name: score * factors.get(name, np.float32(1)) for name, score in scores.items()}


def outcome_of(
    compiled: CompiledRollout, variables: Any, work: Work, *, mesh: Mesh, style: Style = STEADY
) -> tuple[Any, Any]:
    """Returns the first `Batch` of `work` and its `Outcome`, masks included, as NumPy."""
    batch = next(_batches(compiled, work))
    placed = parallel.to_global(batch, mesh)
    situation = situation_for(compiled.options, work, batch, style, False, mesh)
    outcome = compiled.run(variables, placed, np.int32(work.num_clicks), situation)
    return parallel.to_host(placed), parallel.to_host(outcome)


def recorded_clicks(record: ClickRecord) -> Clicks:
    """Returns recorded clicks as a click buffer; rows stop at their first turn without a click."""
    values: dict[str, Any] = {
        "yx": record.yx.astype(np.float32),
        "radius": record.radius.astype(np.float32),
        "is_positive": record.is_positive,
        "count": record.clicked.sum(axis=1).astype(np.int32),
    }
    return Clicks(**values)
