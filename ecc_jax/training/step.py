"""THE train step: window, augment, simulate clicks, predict, loss, update, in one compiled call.

Source: thesis sections 3.3 and 4 (iterative training, radius disks, BCE + Dice, Adam);
isegm/engine/common_trainer/iterative_ritm_trainer.py for the order of operations. The click count
is traced, so the step compiles once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ecc_jax import metrics
from ecc_jax.clicks.sampling import sample_num_clicks
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data.augment import Augmentation, augment_slices
from ecc_jax.data.window import apply_window
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene
from ecc_jax.models.layers import BATCH_NORM_MOMENTUM
from ecc_jax.training.inputs import ClickSource, shown_scene
from ecc_jax.training.objective import Inputs, Objective
from ecc_jax.training.state import TrainState, moved_average
from ecc_jax.types import Batch

TrainStep = Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, Any]]]


class StepOptions(NamedTuple):
    """Numbers that shape the step and never change during a run.

    Attributes:
      seed: Everything random derives from it and the step.
      augmentation: How slices are varied; None uses them as stored.
      max_clicks: Most clicks of a batch.
      click_gamma: p(n clicks) is proportional to click_gamma ** (n - 1).
      has_own_counts: Whether each row of a batch draws its own count, where clicks are iterative.
      zoom_spread: Of the size of the square that is shown, see `inputs.shown_scene`.
      turn_prob: Probability that it is turned.
      threshold: Probability above which a pixel counts as lesion in the IoU that is logged.
      microbatches: Forward passes of a step.
      stats_momentum: Of the running batch statistics, per microbatch.
      average_decay: Of the running average of the weights.
      is_pretrained: Whether the first batch statistics are worth keeping.
    """

    seed: int
    augmentation: Augmentation | None
    max_clicks: int
    click_gamma: float
    threshold: float
    microbatches: int
    stats_momentum: float
    average_decay: float
    is_pretrained: bool
    has_own_counts: bool = False
    zoom_spread: float = 0.0
    turn_prob: float = 0.0


class Task(NamedTuple):
    """What a step trains, and on what.

    Attributes:
      segmenter: The network and what surrounds it; only its view counts here.
      objective: What is minimised, see `objective`.
      click_source: Where the clicks come from, see `inputs` and `sessions`.
      user: Who clicks.
    """

    segmenter: Segmenter
    objective: Objective
    click_source: ClickSource
    user: RobotUser


def make_train_step(
    task: Task, optimizer: optax.GradientTransformation, multipliers: Any, options: StepOptions
) -> TrainStep:
    """Returns `step(state, batch, learning_rate) -> (state, metrics)`, ready for `jax.jit`.

    Every random number derives from `fold_in(seed, state.step)`, so a resumed run repeats an
    uninterrupted one. Metrics are scalars: loss, iou, num_clicks, learning_rate.

    Args:
      task: What is trained.
      optimizer: Without a learning rate, which the step applies itself.
      multipliers: Learning-rate factor of every parameter.
      options: See `StepOptions`.
    """

    def step(
        state: TrainState, batch: Batch, learning_rate: Float[Array, ""]
    ) -> tuple[TrainState, dict[str, Any]]:
        count_key, row_key, dropout_key = _step_keys(options, state.step)
        num_rows = batch.image_hu.shape[0]
        row_keys = jax.vmap(jax.random.fold_in, (None, 0))(row_key, jnp.arange(num_rows))
        counts = _counts(count_key, num_rows, options)

        def gradients(batch_stats: Any, part: Any, key: Any) -> Any:
            return _forward(task, state, batch_stats, part, counts, key, options)

        own_counts = counts if options.has_own_counts else None
        part = (batch, row_keys, own_counts, state.pool)
        (stats, grads, loss, iou, num_clicks), pool = _accumulate(
            gradients, state, part, dropout_key, options.microbatches
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u, m: -learning_rate * m * u, updates, multipliers)
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=stats,
            opt_state=opt_state,
            average=state.average,
            pool=pool,
        )
        new_state = new_state._replace(average=moved_average(new_state, options.average_decay))
        return new_state, {
            "loss": loss,
            "iou": iou,
            "num_clicks": num_clicks if task.click_source.has_own_counts else jnp.mean(counts),
            "learning_rate": learning_rate,
        }

    return step


def _forward(
    task: Task,
    state: TrainState,
    batch_stats: Any,
    part: Any,
    counts: Any,
    key: Any,
    options: StepOptions,
) -> tuple[tuple[Any, Any, Any, Any, Any], Any]:
    """Clicks and answers one part of a batch; see `_gradients`, and what the source then keeps."""
    rows, row_keys, own_counts, pool = part
    scene = _scene(rows, row_keys, task, options)
    num_clicks = counts if own_counts is None else own_counts
    source_key = jax.random.fold_in(key, 0)
    inputs, pool = task.click_source.inputs(state.variables, scene, source_key, num_clicks, pool)
    result, logits = _gradients(task.objective, state, batch_stats, inputs, key, options)
    return result, task.click_source.answered(pool, inputs, logits)


def _gradients(
    objective: Objective,
    state: TrainState,
    batch_stats: Any,
    inputs: Inputs,
    dropout_key: Any,
    options: StepOptions,
) -> tuple[tuple[Any, Any, Any, Any, Any], Any]:
    """Returns statistics, gradients, loss, mean IoU and clicks of one forward pass, and logits."""
    (loss, (new_stats, logits)), grads = jax.value_and_grad(objective, has_aux=True)(
        state.params, batch_stats, inputs, dropout_key
    )
    mask = jax.nn.sigmoid(logits[..., 0]) > options.threshold
    iou = inputs.mean(metrics.iou(mask, inputs.target))
    gain = _stats_gain(state.step, options)
    stats = jax.tree.map(lambda old, new: old + gain * (new - old), batch_stats, new_stats)
    num_clicks = inputs.mean(inputs.clicks.count.astype(jnp.float32))
    return (stats, grads, loss, iou, num_clicks), logits


def _stats_gain(step: Any, options: StepOptions) -> Any:
    """Returns the factor that turns the network's own running average into the wanted one.

    The layers move their statistics by 1 - BATCH_NORM_MOMENTUM towards those of the batch. From
    random weights the first steps average all batches so far instead: the simulated user needs
    usable statistics at once, and the layers' first values (0 and 1) are no data.
    """
    momentum = jnp.float32(options.stats_momentum)
    if not options.is_pretrained:
        momentum = jnp.minimum(momentum, step / (step + 1))
    return (1 - momentum) / (1 - BATCH_NORM_MOMENTUM)


def first_step_with(options: StepOptions, num_clicks: int) -> int:
    """Returns the first step number at which the step draws `num_clicks` clicks.

    For benchmarks and tests that need a certain count without compiling another step.

    Raises:
      ValueError: None of the first 100000 steps does.
    """
    keys = jax.vmap(lambda step: _step_keys(options, step)[0])(jnp.arange(100_000))
    counts = jax.vmap(
        lambda key: sample_num_clicks(key, max_clicks=options.max_clicks, gamma=options.click_gamma)
    )(keys)
    if not bool(jnp.any(counts == num_clicks)):
        raise ValueError(f"no step of this seed draws {num_clicks} clicks; choose fewer")
    return int(jnp.argmax(counts == num_clicks))


def _step_keys(options: StepOptions, step: Any) -> Any:
    """The keys for the click count, the rows and the dropout of one step."""
    return jax.random.split(jax.random.fold_in(jax.random.key(options.seed), step), 3)


def _counts(key: Any, num_rows: int, options: StepOptions) -> Any:
    """Returns how many clicks a batch, or each of its rows, gets."""
    keys = jax.random.split(key, num_rows) if options.has_own_counts else key[None]
    counts = jax.vmap(
        lambda one: sample_num_clicks(one, max_clicks=options.max_clicks, gamma=options.click_gamma)
    )(keys)
    return counts if options.has_own_counts else counts[0]


def _scene(rows: Batch, keys: Any, task: Task, options: StepOptions) -> Scene:
    """Windows and augments a batch, and cuts it to what is shown; nothing carries a gradient."""
    both = jax.vmap(jax.random.split)(keys)
    windowed, target = apply_window(rows.image_hu, rows.window_hu), rows.target > 0
    image = windowed[..., None]
    if options.augmentation is not None:
        image, target = augment_slices(both[:, 0], windowed, target, options.augmentation)
    return shown_scene(
        both[:, 1],
        image,
        target,
        view=task.segmenter.view,
        user=task.user,
        zoom_spread=options.zoom_spread,
        turn_prob=options.turn_prob,
    )


def _accumulate(
    gradients: Callable[..., Any], state: TrainState, part: Any, dropout_key: Any, count: int
) -> tuple[tuple[Any, Any, Any, Any, Any], Any]:
    """Averages gradients, loss, IoU and clicks over `count` microbatches, in turn.

    Microbatches count alike, whatever rows of theirs have something left to click. Batch
    statistics are those of a microbatch, updated one after the other. Microbatch i takes the rows
    i, i + count, ...: each device then keeps the rows it already holds.
    """
    if count == 1:
        return gradients(state.batch_stats, part, dropout_key)
    parts = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1), part
    )

    def body(carry: Any, xs: Any) -> tuple[Any, Any]:
        (stats, *sums), (rows, dropout) = carry, xs
        (stats, *new), kept = gradients(stats, rows, dropout)
        return (stats, *jax.tree.map(lambda a, b: a + b / count, sums, new)), kept

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    start = (state.batch_stats, zeros, *[jnp.zeros(())] * 3)
    carry, kept = jax.lax.scan(body, start, (parts, jax.random.split(dropout_key, count)))
    pool = jax.tree.map(
        lambda x: x.swapaxes(0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:]), kept
    )
    return carry, pool
