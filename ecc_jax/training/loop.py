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

from ecc_jax import metrics, parallel
from ecc_jax.data import pipeline
from ecc_jax.evaluation import loop as evaluation
from ecc_jax.evaluation import options as evaluation_options
from ecc_jax.evaluation import rollouts
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import checkpoints, plateau
from ecc_jax.training.options import step_options
from ecc_jax.training.plateau import Plateau
from ecc_jax.training.state import (
    TrainState,
    create,
    make_optimizer,
    num_parameters,
    rate_multipliers,
)
from ecc_jax.training.step import make_train_step
from ecc_jax.training.writer import MetricsWriter
from ecc_jax.types import InteractiveModel


class Trained(NamedTuple):
    """What training hands to the evaluation.

    Attributes:
      model: The network.
      compiled: The rollout compiled for validation, of use for evaluation too; None if there
        was nothing left to train.
    """

    model: InteractiveModel
    compiled: rollouts.CompiledRollout | None


class Session(NamedTuple):
    """The fixed parts of a running training."""

    config: ml_collections.ConfigDict
    mesh: Mesh
    model: InteractiveModel
    step: Any
    rollout: rollouts.CompiledRollout
    validation: rollouts.Work
    store: checkpoints.Checkpoints
    writer: MetricsWriter
    steps_per_epoch: int
    total_steps: int


def say(text: str) -> None:
    """Prints one line on stderr, from the first host, without breaking a progress bar."""
    if parallel.is_first_host():
        tqdm.write(text, file=sys.stderr)


def check(config: ml_collections.ConfigDict, mesh: Mesh) -> None:
    """Checks what needs devices or other runs to check, before data are prepared.

    Raises:
      ValueError: Batches that do not split over the devices, or no weights to start from.
    """
    for key, rows in (
        ("train.batch_size", config.train.batch_size),
        ("train.microbatch", config.train.microbatch),
        ("eval.batch_size", config.eval.batch_size),
    ):
        parallel.check_divisible(key, rows, mesh)
    pretrained = Path(config.model.pretrained)
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
      ValueError: Unusable pretrained weights, or too little memory.
      FloatingPointError: The loss stopped being finite.
    """
    slices = pipeline.open_split(directory, "train", folds=evaluation_options.folds_of(config))
    positions = pipeline.limit_per_patient(
        slices.rows, max_slices=config.data.max_slices_per_patient
    )
    model = build(config.model.name, dtype=config.model.dtype)
    optimizer = make_optimizer(b1=config.optimizer.b1, b2=config.optimizer.b2)
    with_average = config.train.average_decay > 0
    state = create(_first_variables(config, model), optimizer, with_average=with_average)
    say(_describe(config, len(positions), num_parameters(state.params), mesh))
    store = checkpoints.Checkpoints(
        workdir / "checkpoints", keep_latest=config.checkpoint.keep_latest, warn=say
    )
    state = parallel.replicate(state, mesh)
    restored = store.restore_latest(state)
    progress = checkpoints.progress_values(Plateau(), 0)
    if restored is not None:
        state, progress = restored
        say(f"resuming from step {int(state.step)}")
        _warn_of_change(progress)
    schedule = checkpoints.plateau_of(progress)
    steps_per_epoch, total_steps = _lengths(config, len(positions))
    if int(state.step) >= total_steps or _is_over(config, schedule):
        say(f"training is finished: {int(state.step)} steps")
        store.close()
        return Trained(model, None)
    session = Session(
        config=config,
        mesh=mesh,
        model=model,
        step=_compile_step(config, model, optimizer, state, mesh),
        rollout=_compile_validation(config, model, state, mesh),
        validation=evaluation_options.open_split(
            config, directory, "validation", max_slices=config.eval.validation_slices
        )._replace(num_clicks=config.eval.validation_clicks),
        store=store,
        writer=MetricsWriter(
            workdir, resume_step=int(state.step), is_active=parallel.is_first_host()
        ),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    with contextlib.closing(store), contextlib.closing(session.writer):
        _run(session, state, schedule, _batches(config, slices, positions, int(state.step)))
    return Trained(model, session.rollout)


def _batches(
    config: ml_collections.ConfigDict, slices: pipeline.SliceSet, positions: Any, first_step: int
) -> Any:
    return pipeline.train_batches(
        slices,
        positions,
        batch_size=config.train.batch_size,
        seed=config.seed,
        first_step=first_step,
        threads=config.data.read_threads,
        window_hu=evaluation_options.override_window(config),
    )


def _compile_validation(
    config: ml_collections.ConfigDict, model: InteractiveModel, state: TrainState, mesh: Mesh
) -> rollouts.CompiledRollout:
    # Validation corrects no given mask, whatever the final evaluation does.
    rollout = evaluation.compile_for(config, model, state.evaluated, mesh, start="empty")
    say(f"compiled the evaluation rollout in {rollout.compile_seconds:.0f} s")
    return rollout


def _run(session: Session, state: TrainState, schedule: Plateau, batches: Any) -> None:
    """Steps, logs, validates and saves until the last step or the early stop."""
    config = session.config
    start = int(state.step)
    pending: list[Any] = []
    clock = time.perf_counter()
    bar = tqdm(
        total=session.total_steps,
        initial=start,
        desc="train",
        unit="step",
        file=sys.stderr,
        disable=not parallel.is_first_host(),
    )
    with bar:
        for done in range(start + 1, session.total_steps + 1):
            if _is_over(config, schedule):
                say(f"no gain in {schedule.since_best} epochs: training ends at step {done - 1}")
                break
            rate = plateau.learning_rate(
                _first_rate(config),
                schedule,
                done - 1,
                warmup_steps=config.schedule.warmup_steps,
                decay=config.schedule.decay,
                total_steps=session.total_steps,
            )
            batch = parallel.to_global(next(batches), session.mesh)
            state, values = session.step(state, batch, np.float32(rate))
            pending.append(values)
            bar.update()
            is_epoch_end = done % session.steps_per_epoch == 0 or done == session.total_steps
            is_save = _is_multiple(done, config.checkpoint.every_steps)
            if is_epoch_end or is_save or done % config.train.log_every == 0:
                host = jax.device_get(pending)  # waits for the device, so the clock is honest
                seconds = time.perf_counter() - clock
                bar.set_postfix(_log(session, done, host, seconds), refresh=False)
                pending = []
            score = None
            if is_epoch_end:
                schedule, score = _end_epoch(session, state, schedule, done)
            if is_epoch_end or is_save:
                _save(session, state, schedule, done, score)
            if not pending:
                clock = time.perf_counter()


def _log(session: Session, done: int, host: list[Any], seconds: float) -> dict[str, str]:
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
    rate = len(host) * session.config.train.batch_size / seconds
    session.writer.write(done, "train", {**means, "images_per_second": rate})
    return {
        "loss": f"{means['loss']:.3f}",
        "IoU": f"{means['iou']:.3f}",
        "images/s": f"{rate:.1f}",
    }


def _end_epoch(
    session: Session, state: TrainState, schedule: Plateau, done: int
) -> tuple[Plateau, float | None]:
    """Validates, where it is due, and returns the schedule after it with the score that counts."""
    config = session.config
    epoch = -(-done // session.steps_per_epoch)
    if epoch % config.eval.validate_every and done != session.total_steps:
        return schedule, None
    results = rollouts.run_rollouts(
        session.rollout,
        state.evaluated,
        session.validation,
        mesh=session.mesh,
        style=evaluation_options.style_of(config),
    )
    mean_iou = results.row.scores["iou"].mean(axis=0)
    score = float(metrics.iterative_iou_error(mean_iou))
    counts = done >= config.eval.select_after * session.total_steps
    if counts:
        schedule = plateau.update(
            schedule,
            score,
            epochs=config.eval.validate_every,
            factor=config.schedule.factor,
            patience=config.schedule.patience,
        )
    ious = {f"iou_{i + 1}": float(v) for i, v in enumerate(mean_iou)}
    best = {"best": schedule.best} if counts else {}
    session.writer.write(
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
    session: Session, state: TrainState, schedule: Plateau, done: int, score: float | None
) -> None:
    facts: dict[str, Any] = {"cores": parallel.available_cores(), "devices": session.mesh.size}
    facts["jax"] = jax.__version__
    progress = checkpoints.progress_values(schedule, done // session.steps_per_epoch, **facts)
    session.store.save(done, state, progress, score)


def _first_variables(config: ml_collections.ConfigDict, model: InteractiveModel) -> dict[str, Any]:
    """Fresh variables, or those of the best checkpoint of `model.pretrained`."""
    fresh = init_variables(
        model,
        config.seed,
        fusion_scale=config.model.fusion_scale,
        lesion_prior=config.model.lesion_prior,
    )
    if not config.model.pretrained:
        return fresh
    return checkpoints.best_variables(Path(config.model.pretrained), fresh)[1]


def _lengths(config: ml_collections.ConfigDict, num_slices: int) -> tuple[int, int]:
    """Returns steps per epoch and in all."""
    one_pass = max(1, num_slices // config.train.batch_size)
    steps_per_epoch = config.train.steps_per_epoch or one_pass
    total = config.train.epochs * steps_per_epoch
    limit = config.train.max_steps or total
    return steps_per_epoch, min(total, limit)


def _first_rate(config: ml_collections.ConfigDict) -> float:
    """Returns the learning rate before warm-up, decay and plateaus."""
    optimizer = config.optimizer
    return (
        optimizer.learning_rate_pretrained if config.model.pretrained else optimizer.learning_rate
    )


def _is_over(config: ml_collections.ConfigDict, schedule: Plateau) -> bool:
    return plateau.should_stop(schedule, stop_after=config.schedule.stop_after)


def _is_multiple(done: int, every: int) -> bool:
    return bool(every) and done % every == 0


def _compile_step(
    config: ml_collections.ConfigDict,
    model: InteractiveModel,
    optimizer: Any,
    state: TrainState,
    mesh: Mesh,
) -> Any:
    """Compiles the train step ahead of time and says what memory it will take."""
    multiplier = config.optimizer.trunk_multiplier if config.model.pretrained else 1.0
    multipliers = rate_multipliers(state.params, trunk=multiplier)
    step = make_train_step(model, optimizer, multipliers, step_options(config))
    everywhere, rows = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    compiled_from = jax.jit(
        step,
        in_shardings=(everywhere, rows, everywhere),
        out_shardings=everywhere,
        donate_argnums=0,
    )
    batch = rollouts.abstract_batch(config.train.batch_size, config.data.size)
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


def _describe(
    config: ml_collections.ConfigDict, num_slices: int, parameters: int, mesh: Mesh
) -> str:
    return (
        f"{config.model.name} ({parameters:,} parameters, {config.model.dtype}) on "
        f"{config.data.name}: {num_slices} training slices, batch {config.train.batch_size}, "
        f"{parallel.describe_devices(mesh)}"
    )


def _warn_of_change(progress: dict[str, Any]) -> None:
    """Says so when a resumed run cannot repeat the bits of the one before."""
    now: dict[str, Any] = {"cores": parallel.available_cores(), "devices": jax.device_count()}
    now["jax"] = jax.__version__
    for name, value in now.items():
        if progress.get(name, value) != value:
            say(
                f"WARNING: the run was saved with {name} = {progress[name]}, now {value}; "
                "it continues, but not bit for bit"
            )
