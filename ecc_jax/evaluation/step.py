"""The compiled evaluation step: a batch of slices, clicked `num_clicks` times on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ecc_jax import metrics
from ecc_jax.classical.painter import disk_mask, paint_predict
from ecc_jax.data.window import apply_window
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions, make_predict
from ecc_jax.interaction import rollout
from ecc_jax.types import Batch, Clicks, InteractiveModel, Predict


class RolloutOptions(NamedTuple):
    """How the robot user clicks and is answered; static for a compilation.

    Attributes:
      capacity: Most clicks per image.
      keep: Click numbers (from 1) whose masks are returned.
      threshold: Probability above which a pixel is lesion.
      rule: Where the next click goes.
      radius: Which radius it gets.
      fixed_radius: Radius of the rule `fixed`, pixels.
      seed: Seed of the radii that are random.
      inference: How the network answers.
    """

    capacity: int
    keep: tuple[int, ...]
    threshold: float
    rule: str
    radius: str
    fixed_radius: float
    seed: int
    inference: InferenceOptions = FULL_FRAME


class Outcome(NamedTuple):
    """What happened to every row.

    Attributes:
      iou: IoU after each click.
      disk_iou: IoU of the first click's disk taken as the mask.
      clicks: The clicks placed.
      clicked: False once nothing was left to click.
      masks: The mask after each click of `keep`.
    """

    iou: Float[Array, "b k"]
    disk_iou: Float[Array, " b"]
    clicks: Clicks
    clicked: Bool[Array, "b k"]
    masks: Bool[Array, "b m h w"]


RolloutStep = Callable[[Any, Batch, Any], Outcome]


def make_rollout_step(model: InteractiveModel | None, options: RolloutOptions) -> RolloutStep:
    """Returns `step(variables, batch, num_clicks) -> Outcome`, ready for `jax.jit`.

    Args:
      model: The network; None lets the image-blind disk painter answer the clicks instead.
      options: See `RolloutOptions`.

    The number of clicks is traced, so validation and final evaluation share one compilation.
    IoU beyond `num_clicks` repeats the last value. A row's random radii depend on its slice
    (`batch.position`), not on its place in the batch.
    """

    def step(variables: Any, batch: Batch, num_clicks: Any) -> Outcome:
        image = apply_window(batch.image_hu, batch.window_hu)[..., None]
        target = batch.target > 0
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.key(options.seed), jnp.maximum(batch.position, 0)
        )
        predict: Predict = paint_predict
        if model is not None:
            predict = make_predict(model, variables, options.inference)
        result = rollout(
            predict,
            keys,
            image,
            target,
            num_clicks=num_clicks,
            capacity=options.capacity,
            keep=options.keep,
            threshold=options.threshold,
            rule=options.rule,
            radius=options.radius,
            fixed_radius=options.fixed_radius,
        )
        disk = disk_mask(result.clicks, (target.shape[1], target.shape[2]))
        return Outcome(
            iou=result.iou,
            disk_iou=metrics.iou(disk, target),
            clicks=result.clicks,
            clicked=result.clicked,
            masks=result.masks,
        )

    return step
