"""What a train step minimises: one forward pass in training mode and its loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ecc_jax import losses
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.training.refiner import draw_focus
from ecc_jax.types import Clicks, Prediction


class Inputs(NamedTuple):
    """What a network is trained on.

    Attributes:
      image: Windowed, augmented image in [0, 1], grey or in three channels.
      target: Ground truth.
      clicks: The clicks so far, the newest not yet answered.
      prev_mask: Lesion probability before the newest click.
      weight: Of each row in the loss: 0 where nothing was left to click; None counts all alike.
    """

    image: Float[Array, "b h w c"]
    target: Bool[Array, "b h w"]
    clicks: Clicks
    prev_mask: Float[Array, "b h w 1"]
    weight: Float[Array, " b"] | None = None

    def mean(self, values: Float[Array, "*b"]) -> Float[Array, ""]:
        """Returns the weighted mean of one value per row; 0 where no row counts."""
        if self.weight is None:
            return jnp.mean(values)
        total = jnp.maximum(jnp.sum(self.weight), 1.0)
        return jnp.sum(self.weight * values) / total


# Folded into a step's dropout key for the boxes of the refiner; 0 is for the source of clicks.
_FOCUS_KEY = 1

# (params, batch statistics, inputs, dropout key) -> (loss, (new batch statistics, logits)).
Objective = Callable[[Any, Any, Inputs, Any], tuple[Float[Array, ""], tuple[Any, Array]]]


class LossOptions(NamedTuple):
    """Which losses, and how they weigh.

    Attributes:
      main: A name of `losses.MAIN_LOSSES`, on the main head.
      dice: A name of `losses.DICE_SCOPES`, for losses with a Dice part.
      main_weight: Weight of the main loss.
      aux_weight: Weight of the cross-entropy on the auxiliary head; networks without such a head
        have the main loss alone.
      refine: A name of `losses.REFINED_LOSSES`, on the refined scores of networks with a refiner.
      refine_weight: Its weight.
      boundary_weight: Weight of the cross-entropy on the refiner's boundary scores. With both at 0
        the refiner stays as it is.
    """

    main: str = "bce_dice"
    dice: str = "sample"
    main_weight: float = 1.0
    aux_weight: float = 0.4
    refine: str = "bce_dice"
    refine_weight: float = 1.0
    boundary_weight: float = 1.0


def make_objective(
    segmenter: Segmenter, options: LossOptions, *, scales_radius: bool = True
) -> Objective:
    """Returns the objective of a network with a main and perhaps an auxiliary head and a refiner.

    Args:
      segmenter: The network and its encoding.
      options: The losses.
      scales_radius: Whether disks grow with the box that a refiner looks at: dynamic ones do.

    Source: thesis section 4.1; the weights of auxiliary head and refiner are the originals'.
    """
    main_loss = losses.main_loss(options.main, dice=options.dice)

    refines = segmenter.has_refiner and options.refine_weight + options.boundary_weight > 0

    def objective(params: Any, batch_stats: Any, inputs: Inputs, key: Any) -> Any:
        prediction, new_stats = segmenter.train_apply(
            {"params": params, "batch_stats": batch_stats},
            inputs.image,
            inputs.clicks,
            inputs.prev_mask,
            rngs={"dropout": key},
        )
        loss = options.main_weight * main_loss(prediction.logits, inputs.target)
        if prediction.aux_logits is not None:
            aux = losses.bce_loss(prediction.aux_logits, inputs.target)
            loss = loss + options.aux_weight * aux
        if refines:
            refined, new_stats = _refiner_loss(
                segmenter,
                {"params": params, "batch_stats": new_stats},
                inputs,
                prediction,
                jax.random.fold_in(key, _FOCUS_KEY),
                options,
                scales_radius,
            )
            loss = loss + refined
        return inputs.mean(loss), (new_stats, prediction.logits)

    return objective


def _refiner_loss(
    segmenter: Segmenter,
    variables: Any,
    inputs: Inputs,
    prediction: Prediction,
    key: Any,
    options: LossOptions,
    scales_radius: bool,
) -> tuple[Float[Array, "*b"], Any]:
    """Returns the refiner's loss on a box of every row, and the updated batch statistics.

    The gradient passes to the coarse stage, as in the original.
    """
    keys = jax.random.split(key, inputs.image.shape[0])
    focus = draw_focus(
        keys, inputs.image, inputs.target, inputs.clicks, scales_radius=scales_radius
    )
    refinement, stats = segmenter.train_refine(
        variables, focus.image, focus.clicks, prediction, focus.box.astype(jnp.float32)
    )
    refine_loss = losses.REFINED[options.refine]
    refined = refine_loss(refinement.logits, focus.target, focus.boundary)
    boundary = losses.bce_loss(refinement.boundary_logits, focus.boundary)
    return options.refine_weight * refined + options.boundary_weight * boundary, stats
