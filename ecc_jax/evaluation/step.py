"""The compiled evaluation step: a batch of slices, clicked `num_clicks` times on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ecc_jax import metrics
from ecc_jax.classical.painter import disk_mask, paint_predict
from ecc_jax.clicks.user import DEFAULT_USER, RobotUser
from ecc_jax.data.window import apply_window
from ecc_jax.evaluation.masks import mean_image
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions, make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Measure, Replay, Scene, replay, rollout
from ecc_jax.ops.damage import damaged
from ecc_jax.types import Batch, Clicks, Predict

# Folded into a slice's key for its initial mask; clicks fold in their number.
_MASK_KEY = 2**20


class RolloutOptions(NamedTuple):
    """How the robot user clicks and is answered; static for a compilation.

    Attributes:
      capacity: Most clicks per image.
      keep: Click numbers (from 1) whose masks are returned.
      user: Who clicks; a call may bring another one that differs in numbers.
      seed: Seed of what is random: radii, the hand's error, shifted masks.
      inference: How the network answers.
      initial_mask: What is there before the first click: empty, a kind of `damage.KINDS`, or file
        (the masks of the situation).
      damage: How damaged it is, see `ops.damage`.
      tolerance_mm: Of the normalised surface distance, where the pixel size is known.
      tolerance_px: The same where it is not.
    """

    capacity: int
    keep: tuple[int, ...] = ()
    user: RobotUser = DEFAULT_USER
    seed: int = 0
    inference: InferenceOptions = FULL_FRAME
    initial_mask: str = "empty"
    damage: float = 0.2
    tolerance_mm: float = 2.0
    tolerance_px: float = 2.0


class Situation(NamedTuple):
    """What may change from call to call of one compilation.

    Attributes:
      user: Who clicks; of the compiled user only numbers may differ.
      is_blank: Whether the network sees its slices without content.
      first_mask: Masks to begin with, for the initial mask "file".
    """

    user: RobotUser
    is_blank: Bool[Array, ""] | bool = False
    first_mask: Bool[Array, "b h w"] | None = None


class Outcome(NamedTuple):
    """Scores, clicks and masks of a batch of rollouts.

    Attributes:
      scores: After each click: iou, dice, nsd, and hd95 in pixels.
      disk_scores: The same of the first click's disk taken as the mask.
      initial_scores: The same before the first click.
      clicks: The clicks placed.
      clicked: False once nothing was left to click.
      masks: The mask after each click of `keep`.
    """

    scores: dict[str, Float[Array, "b k"]]
    disk_scores: dict[str, Float[Array, " b"]]
    initial_scores: dict[str, Float[Array, " b"]]
    clicks: Clicks
    clicked: Bool[Array, "b k"]
    masks: Bool[Array, "b m h w"]


RolloutStep = Callable[[Any, Batch, Any, Situation], Outcome]
ReplayStep = Callable[[Any, Batch, Clicks, Situation], Replay]


def make_rollout_step(segmenter: Segmenter | None, options: RolloutOptions) -> RolloutStep:
    """Returns `step(variables, batch, num_clicks, situation) -> Outcome`, ready for `jax.jit`.

    Args:
      segmenter: The network and its encoding; None lets the image-blind disk painter answer.
      options: See `RolloutOptions`.

    The number of clicks is traced, so validation and final evaluation share one compilation.
    Scores beyond `num_clicks` repeat the last value. What is random in a row depends on its slice
    (`batch.position`), not on its place in the batch.
    """

    def step(variables: Any, batch: Batch, num_clicks: Any, situation: Situation) -> Outcome:
        scene = scene_of(batch, situation, options)
        measure = measure_against(scene.target, batch.pixel_mm, options)
        result = rollout(
            scene,
            predict_of(segmenter, variables, options),
            situation.user,
            num_clicks=num_clicks,
            capacity=options.capacity,
            keep=options.keep,
            measure=measure,
        )
        disk = disk_mask(result.clicks, (scene.target.shape[1], scene.target.shape[2]))
        first = jnp.zeros_like(scene.target) if scene.first_mask is None else scene.first_mask
        return Outcome(
            scores=result.scores,
            disk_scores=measure(disk, scene.target),
            initial_scores=measure(first, scene.target),
            clicks=result.clicks,
            clicked=result.clicked,
            masks=result.masks,
        )

    return step


def make_replay_step(segmenter: Segmenter | None, options: RolloutOptions) -> ReplayStep:
    """Returns `step(variables, batch, recorded, situation) -> Replay`, ready for `jax.jit`."""

    def step(variables: Any, batch: Batch, recorded: Clicks, situation: Situation) -> Replay:
        scene = scene_of(batch, situation, options)
        measure = measure_against(scene.target, batch.pixel_mm, options)
        predict = predict_of(segmenter, variables, options)
        return replay(scene, predict, situation.user, recorded, measure=measure)

    return step


def measure_against(
    target: Bool[Array, "b h w"], pixel_mm: Float[Array, " b"], options: RolloutOptions
) -> Measure:
    """Returns what is recorded after every click: iou, dice, nsd and hd95 (pixels).

    Args:
      target: Ground truth; its surface is found once.
      pixel_mm: Side of a pixel; NaN takes the tolerance in pixels.
      options: The tolerances.
    """
    own = metrics.surface(target)
    is_known = jnp.isfinite(pixel_mm)
    size = jnp.where(is_known, pixel_mm, 1.0)
    tolerance = jnp.where(is_known, options.tolerance_mm / size, options.tolerance_px)

    def measure(mask: Array, truth: Array) -> dict[str, Array]:
        surface = metrics.surface_scores(mask, own, tolerance=tolerance)
        return {
            "iou": metrics.iou(mask, truth),
            "dice": metrics.dice(mask, truth),
            "nsd": surface.nsd,
            "hd95": surface.hd95,
        }

    return measure


def scores_of(options: RolloutOptions) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """Returns a compiled (mask, target, pixel_mm) -> scores, for masks made on the host."""
    return jax.jit(
        lambda mask, target, pixel_mm: measure_against(target, pixel_mm, options)(mask, target)
    )


def row_keys(batch: Batch, seed: int) -> Key[Array, " b"]:
    """Returns one PRNG key per row, which depends on its slice only."""
    return jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(seed), jnp.maximum(batch.position, 0)
    )


def first_mask_of(
    keys: Key[Array, " b"],
    target: Bool[Array, "b h w"],
    situation: Situation,
    options: RolloutOptions,
) -> Bool[Array, "b h w"] | None:
    """Returns the masks to begin with; None starts from nothing."""
    if options.initial_mask == "empty":
        return None
    if options.initial_mask == "file":
        return situation.first_mask
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _MASK_KEY)
    return damaged(own, target, kind=options.initial_mask, amount=options.damage)


def scene_of(batch: Batch, situation: Situation, options: RolloutOptions) -> Scene:
    """Returns a batch, ready to be clicked through."""
    image = apply_window(batch.image_hu, batch.window_hu)[..., None]
    image = jnp.where(situation.is_blank, mean_image(image), image)
    target = batch.target > 0
    keys = row_keys(batch, options.seed)
    return Scene(keys, image, target, first_mask_of(keys, target, situation, options))


def predict_of(segmenter: Segmenter | None, variables: Any, options: RolloutOptions) -> Predict:
    """Returns what answers clicks: the network, or without one the image-blind disk painter."""
    if segmenter is None:
        return paint_predict
    return make_predict(segmenter, variables, options.inference)
