"""The configuration of a training as what the step and its state are made of."""

import json
from pathlib import Path
from typing import Any

import ml_collections
import optax

from ecc_jax import atomic, parallel, settings
from ecc_jax import config as schema
from ecc_jax.data import augment, crop_bounds, pipeline
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.places import run_folder
from ecc_jax.training import checkpoints
from ecc_jax.training.inputs import ClickSource, iterative_clicks
from ecc_jax.training.messages import say
from ecc_jax.training.objective import LossOptions, make_objective
from ecc_jax.training.random_source import random_source
from ecc_jax.training.sessions import session_clicks
from ecc_jax.training.state import TrainState, create, make_optimizer
from ecc_jax.training.step import StepOptions, Task, TrainStep, make_train_step

BOUNDS_FILE = "crop_bounds.json"


def with_measured_bounds(
    config: ml_collections.ConfigDict, directory: Path, workdir: Path
) -> ml_collections.ConfigDict:
    """Returns the configuration with the bounds of Optimal Crop where they are to be measured.

    They are measured on the validation split and recorded in the run's folder. A run that is
    resumed takes what it recorded.

    Args:
      config: A resolved configuration; returned as it is where it names bounds or needs none.
      directory: The prepared dataset.
      workdir: Of the run.

    Raises:
      ValueError: No validation slice holds a lesion, or the record is damaged.
    """
    if config.augment.name != augment.MEASURED or config.augment.bounds:
        return config
    path = workdir / BOUNDS_FILE
    if path.is_file() and checkpoints.complete_steps(workdir / "checkpoints"):
        try:
            measured = crop_bounds.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); restore it, or delete it to have the crops measured "
                "again on the same slices"
            ) from error
    else:
        folds = settings.folds_of(config)
        measured = crop_bounds.measure_bounds(
            pipeline.open_split(directory, "validation", folds=folds)
        )
        if parallel.is_first_host():
            atomic.write_text(path, json.dumps(crop_bounds.to_json(measured), indent=1))
    say(f"augment.name={config.augment.name}: {measured.describe()}; recorded in {path.name}")
    copy = schema.from_dict(schema.to_dict(config))
    copy.augment.bounds = measured.bounds
    return copy


def optimizer_of(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Returns the optimiser of a configuration, without a learning rate."""
    names = ("b1", "b2", "weight_decay", "clip_norm")
    return make_optimizer(**{name: config.optimizer[name] for name in names})


def click_source_of(config: ml_collections.ConfigDict, segmenter: Segmenter) -> ClickSource:
    """Returns where the clicks of a train step come from."""
    user, train = settings.training_user(config), config.train
    if train.source == "sessions":
        return session_clicks(
            user,
            max_clicks=train.max_clicks,
            gamma=train.click_gamma,
            holds_clicks=segmenter.edits == "local",
        )
    if train.source in schema.RANDOM_SOURCES:
        is_corrected = train.source == "random_then_iterative"
        return random_source(
            segmenter,
            user,
            max_each=train.max_clicks,
            gamma=train.random_gamma,
            max_corrections=train.random_corrections if is_corrected else 0,
        )
    return iterative_clicks(segmenter, user, max_clicks=train.max_clicks)


def first_state(config: ml_collections.ConfigDict, segmenter: Segmenter) -> TrainState:
    """Returns the state before the first step, with an empty pool where there is one.

    Raises:
      ValueError: Unusable pretrained weights.
    """
    height, width = settings.shown_shape(config)
    return create(
        first_variables(config, segmenter),
        optimizer_of(config),
        with_average=config.train.average_decay > 0,
        pool=click_source_of(config, segmenter).begin(config.train.batch_size, height, width),
    )


def fresh_slices(config: ml_collections.ConfigDict) -> int:
    """Returns how many slices each step reads: one per row, or one per group of sessions."""
    return config.train.batch_size // click_source_of(config, settings.segmenter_of(config)).renewal


def first_variables(config: ml_collections.ConfigDict, segmenter: Segmenter) -> dict[str, Any]:
    """Fresh variables, or those of the best checkpoint of `model.pretrained`."""
    fresh = segmenter.init_variables(
        config.seed,
        fusion_scale=config.model.fusion_scale,
        lesion_prior=config.model.lesion_prior,
    )
    if not config.model.pretrained:
        return fresh
    say(f"starts from model.pretrained={config.model.pretrained}, which competes for the best")
    return checkpoints.best_variables(run_folder(config.model.pretrained), fresh)[1]


def lengths(config: ml_collections.ConfigDict, num_slices: int) -> tuple[int, int]:
    """Returns steps per epoch and in all."""
    one_pass = max(1, num_slices // fresh_slices(config))
    steps_per_epoch = config.train.steps_per_epoch or one_pass
    total = config.train.epochs * steps_per_epoch
    limit = config.train.max_steps or total
    return steps_per_epoch, min(total, limit)


def first_rate(config: ml_collections.ConfigDict) -> float:
    """Returns the learning rate before warm-up, decay and plateaus."""
    optimizer = config.optimizer
    return (
        optimizer.learning_rate_pretrained if config.model.pretrained else optimizer.learning_rate
    )


def train_step_of(
    config: ml_collections.ConfigDict, segmenter: Segmenter, optimizer: Any, multipliers: Any
) -> TrainStep:
    """Returns the train step of a configuration, ready for `jax.jit`."""
    loss: dict[str, Any] = schema.to_dict(config.loss)
    task = Task(
        segmenter,
        make_objective(
            segmenter, LossOptions(**loss), scales_radius=config.train.radius != "fixed"
        ),
        click_source_of(config, segmenter),
        settings.training_user(config),
    )
    return make_train_step(
        task,
        optimizer,
        multipliers,
        step_options(config),
    )


def step_options(config: ml_collections.ConfigDict) -> StepOptions:
    """Returns the numbers of the configuration that shape the train step."""
    micro = config.train.microbatch or config.train.batch_size
    return StepOptions(
        seed=config.seed,
        augmentation=settings.augmentation(config),
        max_clicks=config.train.max_clicks,
        click_gamma=config.train.click_gamma,
        threshold=config.train.threshold,
        microbatches=config.train.batch_size // micro,
        stats_momentum=config.train.stats_momentum,
        average_decay=config.train.average_decay,
        is_pretrained=bool(config.model.pretrained),
        has_own_counts=config.train.click_counts == "rows",
        zoom_spread=config.augment.view_zoom,
        turn_prob=config.augment.view_turn,
    )
