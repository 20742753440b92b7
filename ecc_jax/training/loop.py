"""The training loop: compile once, step, validate, save, resume.

Order within an epoch's end (do not change it): record metrics, validate, update the schedule,
save. The checkpoint then holds everything that the next step depends on, and a run resumed from
it repeats an undisturbed one bit for bit.
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from ecc_jax import parallel, places, settings
from ecc_jax.data import pipeline, sampling
from ecc_jax.evaluation import loop as evaluation
from ecc_jax.evaluation import rollouts
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.report.curves import iterative_iou_error
from ecc_jax.training import checkpoints, options, plateau
from ecc_jax.training.messages import circumstances, say, say_parameters, warn_of_change
from ecc_jax.training.plateau import Plateau
from ecc_jax.training.state import TrainState, num_parameters, rate_multipliers
from ecc_jax.training.writer import MetricsWriter


class Trained(NamedTuple):
    """What training hands to the evaluation.

    Attributes:
      segmenter: The network and its encoding.
      compiled: The rollout compiled for validation, of use for evaluation too; None if there
        was nothing left to train.
    """

    segmenter: Segmenter
    compiled: rollouts.CompiledRollout | None


class Running(NamedTuple):
    """The fixed parts of a running training."""

    config: ml_collections.ConfigDict
    mesh: Mesh
    step: Any
    rollout: rollouts.CompiledRollout
    validation: rollouts.EvalSet
    store: checkpoints.Checkpoints
    writer: MetricsWriter
    steps_per_epoch: int
    total_steps: int


def check(config: ml_collections.ConfigDict, mesh: Mesh) -> None:
    """Checks what needs devices or other runs to check, before data are prepared.

    Raises:
      ValueError: Batches that do not split over the devices, or no weights to start from.
    """
    fresh = options.fresh_slices(config)
    for key, rows in (
        ("train.batch_size", config.train.batch_size),
        ("train.batch_size (divided by the rows of a session's group)", fresh),
        ("train.microbatch", config.train.microbatch),
        ("eval.batch_size", config.eval.batch_size),
    ):
        parallel.check_divisible(key, rows, mesh)
    pretrained = places.run_folder(config.model.pretrained)
    if config.model.pretrained and not checkpoints.complete_steps(pretrained / "checkpoints"):
        raise ValueError(
            f"model.pretrained: {pretrained} holds no checkpoint; expected the workdir of a run or "
            "a folder that scripts/convert_weights.py wrote"
        )


def train(config: ml_collections.ConfigDict, directory: Path, workdir: Path, mesh: Mesh) -> Trained:
    """Trains until the schedule ends, resuming from the newest checkpoint in `workdir`.

    Args:
      config: The resolved, validated configuration.
      directory: The prepared dataset.
      workdir: Receives checkpoints, metrics.jsonl and tensorboard.
      mesh: The devices.

    Raises:
      ValueError: Unusable pretrained weights, groups that fit no patient, no lesion to measure
        crops on, or too little memory.
      FloatingPointError: The loss stopped being finite.
    """
    config = options.with_measured_bounds(config, directory, workdir)
    slices = pipeline.open_split(directory, "train", folds=settings.folds_of(config))
    positions = pipeline.limit_per_patient(
        slices.index, max_slices=config.data.max_slices_per_patient
    )
    groups = settings.groups_of(config, slices.index, positions)
    segmenter = settings.segmenter_of(config)
    state = options.first_state(config, segmenter)
    say_parameters(state.params, workdir)
    _introduce(config, state, len(positions), mesh)
    say(sampling.describe(groups, len(positions)))
    store = checkpoints.Checkpoints(
        workdir / "checkpoints", keep_latest=config.checkpoint.keep_latest, warn=say
    )
    state, schedule = _restored(store, _placed(state, mesh))
    steps_per_epoch, total_steps = options.lengths(config, len(positions))
    if int(state.step) >= total_steps or plateau.should_stop(
        schedule, stop_after=config.schedule.stop_after
    ):
        say(f"training is finished: {int(state.step)} steps")
        store.close()
        return Trained(segmenter, None)
    running = Running(
        config=config,
        mesh=mesh,
        step=_compile_step(config, segmenter, state, mesh),
        rollout=_compile_validation(config, segmenter, state, mesh),
        validation=evaluation.open_split(
            config, directory, "validation", max_slices=config.validation.slices
        )._replace(num_clicks=config.validation.clicks),
        store=store,
        writer=MetricsWriter(
            workdir,
            resume_step=int(state.step) if store.steps() else -1,
            is_active=parallel.is_first_host(),
        ),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    with contextlib.closing(store), contextlib.closing(running.writer):
        batches = _batches(config, slices, positions, groups, int(state.step))
        _run(running, state, schedule, batches)
    return Trained(segmenter, running.rollout)


def _introduce(
    config: ml_collections.ConfigDict, state: TrainState, num_slices: int, mesh: Mesh
) -> None:
    """Says what is trained on what."""
    say(
        f"{config.model.name} ({num_parameters(state.params):,} parameters, {config.model.dtype}) "
        f"on {config.data.name}: {num_slices} training slices, batch "
        f"{config.train.batch_size}, {parallel.describe_devices(mesh)}"
    )


def _restored(store: checkpoints.Checkpoints, state: TrainState) -> tuple[TrainState, Plateau]:
    """Returns state and schedule of the newest checkpoint, else of a beginning."""
    restored = store.restore_latest(state)
    if restored is None:
        return state, Plateau()
    state, progress = restored
    say(f"resuming from step {int(state.step)}")
    warn_of_change(progress)
    return state, checkpoints.plateau_of(progress)


def _shardings(mesh: Mesh) -> Any:
    """Returns where the parts of a state lie: the pool by rows, all else on every device."""
    parts = dict.fromkeys(TrainState._fields, parallel.replicated(mesh))
    return TrainState(**{**parts, "pool": parallel.batch_sharding(mesh)})


def _placed(state: TrainState, mesh: Mesh) -> TrainState:
    """Returns the state on the devices."""
    hosts, host = jax.process_count(), jax.process_index()
    own = jax.tree.map(lambda x: np.split(np.asarray(x), hosts)[host], state.pool)
    pool = parallel.to_global(own, mesh)
    return parallel.replicate(state._replace(pool=None), mesh)._replace(pool=pool)


def _batches(
    config: ml_collections.ConfigDict,
    slices: pipeline.SliceSet,
    positions: Any,
    groups: list[sampling.Group],
    first_step: int,
) -> Any:
    return pipeline.train_batches(
        slices,
        positions,
        batch_size=options.fresh_slices(config),
        seed=config.seed,
        first_step=first_step,
        threads=config.data.read_threads,
        window_hu=settings.override_window(config),
        groups=groups,
    )


def _compile_validation(
    config: ml_collections.ConfigDict, segmenter: Segmenter, state: TrainState, mesh: Mesh
) -> rollouts.CompiledRollout:
    # Validation corrects no given mask, whatever the final evaluation does.
    user = settings.validation_user(config)
    options = evaluation.rollout_options(config)._replace(user=user, initial_mask="empty")
    rollout = evaluation.compile_for(config, segmenter, state.evaluated, mesh, options=options)
    say(f"compiled the evaluation rollout in {rollout.compile_seconds:.0f} s")
    return rollout


def _run(running: Running, state: TrainState, schedule: Plateau, batches: Any) -> None:
    """Steps, logs, validates and saves until the last step or the early stop."""
    config = running.config
    start = int(state.step)
    pending: list[Any] = []
    clock = time.perf_counter()
    bar = tqdm(
        total=running.total_steps,
        initial=start,
        desc="train",
        unit="step",
        file=sys.stderr,
        disable=not parallel.is_first_host(),
    )
    with bar:
        if not start and config.model.pretrained and not running.store.steps():
            # The weights to start from compete for the best: no run ends below them.
            schedule, score = _end_epoch(running, state, schedule, 0)
            _save(running, state, schedule, 0, score)
        for done in range(start + 1, running.total_steps + 1):
            if plateau.should_stop(schedule, stop_after=config.schedule.stop_after):
                say(f"no gain in {schedule.since_best} epochs: training ends at step {done - 1}")
                break
            rate = plateau.learning_rate(
                options.first_rate(config),
                schedule,
                done - 1,
                warmup_steps=config.schedule.warmup_steps,
                decay=config.schedule.decay,
                total_steps=running.total_steps,
            )
            batch = parallel.to_global(next(batches), running.mesh)
            state, values = running.step(state, batch, np.float32(rate))
            pending.append(values)
            bar.update()
            is_epoch_end = done % running.steps_per_epoch == 0 or done == running.total_steps
            every = config.checkpoint.every_steps
            is_save = bool(every) and done % every == 0
            if is_epoch_end or is_save or done % config.train.log_every == 0:
                host = jax.device_get(pending)  # waits for the device, so the clock is honest
                seconds = time.perf_counter() - clock
                bar.set_postfix(_log(running, done, host, seconds), refresh=False)
                pending = []
            score = None
            if is_epoch_end:
                schedule, score = _end_epoch(running, state, schedule, done)
            if is_epoch_end or is_save:
                _save(running, state, schedule, done, score)
            if not pending:
                clock = time.perf_counter()


def _log(running: Running, done: int, host: list[Any], seconds: float) -> dict[str, str]:
    """Records the mean of the steps since the last record; returns what the bar shows.

    Raises:
      FloatingPointError: The loss is not finite.
    """
    means = {name: float(np.mean([values[name] for values in host])) for name in host[0]}
    if not np.isfinite(means["loss"]):
        raise FloatingPointError(
            f"the loss is not finite between steps {done - len(host) + 1} and {done}; start "
            "another --workdir with a lower optimizer.learning_rate (learning_rate_pretrained with "
            "model.pretrained, which you may set to this one)"
        )
    rate = len(host) * running.config.train.batch_size / seconds
    running.writer.write(done, "train", {**means, "images_per_second": rate})
    return {
        "loss": f"{means['loss']:.3f}",
        "IoU": f"{means['iou']:.3f}",
        "images/s": f"{rate:.1f}",
    }


def _end_epoch(
    running: Running, state: TrainState, schedule: Plateau, done: int
) -> tuple[Plateau, float | None]:
    """Validates, where it is due, and returns the schedule after it with the score that counts."""
    config = running.config
    epoch = -(-done // running.steps_per_epoch)
    if epoch % config.validation.every and done != running.total_steps:
        return schedule, None
    results = rollouts.run_rollouts(
        running.rollout, state.evaluated, running.validation, mesh=running.mesh
    )
    mean_iou = results.method.scores["iou"].mean(axis=0)
    score = float(iterative_iou_error(mean_iou))
    counts = not done or done >= config.validation.select_after * running.total_steps
    if counts:
        schedule = plateau.update(
            schedule,
            score,
            epochs=config.validation.every,
            factor=config.schedule.factor,
            patience=config.schedule.patience,
        )
    ious = {f"iou_{i + 1}": float(v) for i, v in enumerate(mean_iou)}
    best = {"best": schedule.best} if counts else {}
    running.writer.write(
        done, "validation", {"epoch": epoch, "iterative_iou_error": score, **best, **ious}
    )
    is_best = counts and schedule.since_best == 0
    say(
        f"epoch {epoch}, step {done}: validation Iterative IoU Error {score:.4f}"
        f"{' (best)' if is_best else ''}, IoU@1 {mean_iou[0]:.3f}, "
        f"IoU@{len(mean_iou)} {mean_iou[-1]:.3f}"
    )
    return schedule, score if counts else None


def _save(
    running: Running, state: TrainState, schedule: Plateau, done: int, score: float | None
) -> None:
    epoch = done // running.steps_per_epoch
    progress = checkpoints.progress_values(schedule, epoch, **circumstances())
    running.store.save(done, state, progress, score)


def _compile_step(
    config: ml_collections.ConfigDict,
    segmenter: Segmenter,
    state: TrainState,
    mesh: Mesh,
) -> Any:
    """Compiles the train step ahead of time and says what memory it will take."""
    multiplier = config.optimizer.trunk_multiplier if config.model.pretrained else 1.0
    multipliers = rate_multipliers(state.params, trunk=multiplier)
    step = options.train_step_of(config, segmenter, options.optimizer_of(config), multipliers)
    everywhere, rows = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    whole = _shardings(mesh)
    compiled_from = jax.jit(
        step,
        in_shardings=(whole, rows, everywhere),
        out_shardings=(whole, everywhere),
        donate_argnums=0,
    )
    batch = pipeline.abstract_batch(options.fresh_slices(config), config.data.size)
    start = time.perf_counter()
    compiled = compiled_from.lower(state, batch, jax.ShapeDtypeStruct((), np.float32)).compile()
    needed, free = parallel.memory_needed(compiled), parallel.free_memory_bytes()
    say(
        f"compiled the train step in {time.perf_counter() - start:.0f} s; it needs "
        f"{needed / parallel.MEBIBYTE:.0f} MiB per device, "
        f"{free / parallel.MEBIBYTE:.0f} MiB are free"
    )
    parallel.check_memory(needed, free)
    return compiled
