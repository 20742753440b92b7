"""Running compiled rollouts over a split, and gathering what they say."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from ecc_jax import parallel
from ecc_jax.data import pipeline
from ecc_jax.evaluation.step import Outcome, RolloutStep
from ecc_jax.types import Batch


class Results(NamedTuple):
    """Rollouts of a whole split, NumPy, one row per slice in the order asked for.

    Attributes:
      iou: [m k] IoU after each click.
      disk_iou: [m] IoU of the first disk taken as the mask.
      first_yx: [m 2] where the first click went.
      clicked: [m k] whether the click took place.
      seconds: Device time of all batches, compilation excluded.
      clicks_computed: Clicks that this time paid for, padding included.
    """

    iou: np.ndarray
    disk_iou: np.ndarray
    first_yx: np.ndarray
    clicked: np.ndarray
    seconds: float
    clicks_computed: int


class CompiledRollout(NamedTuple):
    """A compiled rollout step and what it was compiled for."""

    run: Callable[..., Outcome]
    batch_size: int
    capacity: int
    memory_bytes: int
    compile_seconds: float


def compile_rollout(
    step: RolloutStep,
    variables: Any,
    *,
    size: int,
    batch_size: int,
    capacity: int,
    mesh: Mesh,
) -> CompiledRollout:
    """Compiles a rollout step for slices of `size` x `size` pixels.

    Raises:
      ValueError: The batch does not split over the devices.
    """
    parallel.check_divisible("eval.batch_size", batch_size, mesh)
    rows, all_devices = parallel.batch_sharding(mesh), parallel.replicated(mesh)
    batch = abstract_batch(batch_size, size)
    start = time.perf_counter()
    lowered = jax.jit(step, in_shardings=(all_devices, rows, all_devices)).lower(
        variables, batch, jax.ShapeDtypeStruct((), np.int32)
    )
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return CompiledRollout(
        compiled, batch_size, capacity, parallel.memory_needed(compiled), seconds
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
    }
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape), x.dtype), Batch(**row)
    )


def run_rollouts(
    compiled: CompiledRollout,
    variables: Any,
    slices: pipeline.SliceSet,
    positions: np.ndarray,
    *,
    num_clicks: int,
    mesh: Mesh,
    window_hu: tuple[float, ...] = (),
    on_batch: Callable[[int], None] | None = None,
) -> Results:
    """Clicks through the slices at `positions`; rows that only pad are left out.

    Args:
      compiled: From `compile_rollout`.
      variables: Network variables on the devices.
      slices: The split.
      positions: Which of its slices, in this order.
      num_clicks: Clicks per image, at most the compiled capacity.
      mesh: The devices.
      window_hu: Overrides the stored window.
      on_batch: Called with the number of slices after each batch, for progress bars.
    """
    parts: list[dict[str, np.ndarray]] = []
    seconds, computed = 0.0, 0
    batches = pipeline.eval_batches(
        slices, positions, batch_size=compiled.batch_size, window_hu=window_hu
    )
    for batch in batches:
        placed = parallel.to_global(batch, mesh)
        start = time.perf_counter()
        outcome = jax.block_until_ready(compiled.run(variables, placed, np.int32(num_clicks)))
        seconds += time.perf_counter() - start
        computed += compiled.batch_size * num_clicks
        values = {
            "iou": outcome.iou[:, :num_clicks],
            "disk_iou": outcome.disk_iou,
            "first_yx": outcome.clicks.yx[:, 0],
            "clicked": outcome.clicked[:, :num_clicks],
            "valid": placed.valid,
        }
        host = parallel.to_host(values)
        parts.append({name: value[host["valid"]] for name, value in host.items()})
        if on_batch:
            on_batch(int(host["valid"].sum()))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    del joined["valid"]
    return Results(**joined, seconds=seconds, clicks_computed=computed)


def outcome_of(
    compiled: CompiledRollout,
    variables: Any,
    slices: pipeline.SliceSet,
    positions: np.ndarray,
    *,
    num_clicks: int,
    mesh: Mesh,
    window_hu: tuple[float, ...] = (),
) -> tuple[Any, Any]:
    """Returns a `Batch` and its `Outcome`, masks included, as NumPy."""
    batch = next(
        pipeline.eval_batches(
            slices, positions, batch_size=compiled.batch_size, window_hu=window_hu
        )
    )
    placed = parallel.to_global(batch, mesh)
    outcome = compiled.run(variables, placed, np.int32(num_clicks))
    return parallel.to_host(placed), parallel.to_host(outcome)
