"""Segmentation losses in float32.

`bce_loss`, `dice_loss`, `bce_dice` and `normalised_focal_loss` give one value per row of the batch;
the caller takes the mean over valid rows, so padding never enters a loss. `bce_dice_batch` and
`boundary_focal_loss` give one value for the whole batch, as the originals define them: padding
must be cut off before.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

_DICE_SMOOTH = 1.0
# The original keeps probabilities inside [1e-7, 1 - 1e-7]; this is the logit of the upper end.
_CLAMP_LOGIT = math.log((1 - 1e-7) / 1e-7)
_EPS = 1e-12


def bce_loss(
    logits: Float[Array, "b h w 1"], target: Bool[Array, "b h w"] | Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Returns the binary cross-entropy of each row, averaged over its pixels.

    Args:
      logits: Unbounded scores; any finite magnitude is safe.
      target: Ground truth, bool or 0..1.

    Returns:
      Loss in nats, at least 0; log(2) for zero logits.
    """
    scores = logits[..., 0].astype(jnp.float32)
    losses = optax.sigmoid_binary_cross_entropy(scores, target.astype(jnp.float32))
    return jnp.mean(losses, axis=(1, 2))


def dice_loss(
    logits: Float[Array, "b h w 1"], target: Bool[Array, "b h w"] | Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Returns 1 - soft Dice of each row: 1 - (2 sum(p t) + 1) / (sum p + sum t + 1).

    Args:
      logits: Unbounded scores; p is their sigmoid.
      target: Ground truth t, bool or 0..1. An empty target is defined: the loss falls to 0 as the
        probabilities do.

    Returns:
      Loss in [0, 1).

    Source: thesis section 4.1 (BCE + Dice, equal weights). The thesis code takes one Dice over the
      flattened batch, in which a large lesion hides a small one; here every slice has its own.
    """
    prob = jax.nn.sigmoid(logits[..., 0].astype(jnp.float32))
    truth = target.astype(jnp.float32)
    overlap = jnp.sum(prob * truth, axis=(1, 2))
    total = jnp.sum(prob, axis=(1, 2)) + jnp.sum(truth, axis=(1, 2))
    return 1.0 - (2.0 * overlap + _DICE_SMOOTH) / (total + _DICE_SMOOTH)


def bce_dice(
    logits: Float[Array, "b h w 1"], target: Bool[Array, "b h w"] | Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Returns half the binary cross-entropy plus half the Dice loss of each row.

    Args:
      logits: Unbounded scores.
      target: Ground truth, bool or 0..1.

    Returns:
      Loss of each row, at least 0.
    """
    return 0.5 * bce_loss(logits, target) + 0.5 * dice_loss(logits, target)


def bce_dice_batch(
    logits: Float[Array, "b h w 1"], target: Bool[Array, "b h w"] | Float[Array, "b h w"]
) -> Float[Array, ""]:
    """Returns half the cross-entropy plus half a Dice loss taken over the batch as one image.

    Args:
      logits: Unbounded scores. Beyond +-16.1 they cost no more and have no gradient.
      target: Ground truth, bool or 0..1.

    Returns:
      One loss for the batch, at least 0.

    Source: isegm/model/losses.py:145-175 (BceDiceLoss). `bce_dice` is the default here: in this one
      a large lesion hides a small one.
    """
    size = target.size
    truth = target.reshape(1, size, 1)
    flat = logits.reshape(1, size, 1, 1)
    clamped = jnp.clip(flat.astype(jnp.float32), -_CLAMP_LOGIT, _CLAMP_LOGIT)
    return 0.5 * bce_loss(clamped, truth)[0] + 0.5 * dice_loss(flat, truth)[0]


def normalised_focal_loss(
    logits: Float[Array, "b h w 1"],
    target: Bool[Array, "b h w"] | Float[Array, "b h w"],
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
) -> Float[Array, " b"]:
    """Returns the focal loss of each row, its pixel weights scaled to a mean of 1.

    With p_t the probability of the true class, a pixel costs -a (1 - p_t)^gamma log(p_t) times
    n / sum((1 - p_t)^gamma) over the n pixels of its row. No gradient passes through the factor.

    Args:
      logits: Unbounded scores; any finite magnitude is safe.
      target: Ground truth; above 0.5 is lesion. There are no ignored pixels.
      alpha: Weight of lesion pixels; background has 1 - alpha.
      gamma: How strongly well classified pixels are discounted, at least 0.

    Returns:
      Loss of each row, at least 0; alpha log(2) for zero logits and alpha = 0.5.

    Source: isegm/model/losses.py:9-72 (NormalizedFocalLossSigmoid; with alpha 0.5, gamma 2 what
      the thesis code trained with, where its text says BCE + Dice).
    """
    return jnp.mean(_focal_terms(logits, target, alpha, gamma), axis=(1, 2))


def boundary_focal_loss(
    logits: Float[Array, "b h w 1"],
    target: Bool[Array, "b h w"] | Float[Array, "b h w"],
    boundary: Bool[Array, "b h w"] | Float[Array, "b h w"],
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
) -> Float[Array, ""]:
    """Returns the normalised focal loss, averaged over the batch with the outline counted double.

    Args:
      logits: Unbounded scores of FocalClick's refiner.
      target: Ground truth; above 0.5 is lesion.
      boundary: 1 near the lesion's outline; weights are 0.5 + 0.5 * boundary.
      alpha: Weight of lesion pixels; background has 1 - alpha.
      gamma: How strongly well classified pixels are discounted.

    Returns:
      One loss for the batch, at least 0: rows with a long outline weigh more.

    Source: isegm/model/losses.py:201-263 (WFNL).
    """
    weight = 0.5 + 0.5 * boundary.astype(jnp.float32)
    terms = _focal_terms(logits, target, alpha, gamma)
    return jnp.sum(terms * weight) / jnp.sum(weight)


def _focal_terms(
    logits: Float[Array, "b h w 1"],
    target: Bool[Array, "b h w"] | Float[Array, "b h w"],
    alpha: float,
    gamma: float,
) -> Float[Array, "b h w"]:
    """Returns the normalised focal loss of every pixel."""
    is_lesion = target > 0.5
    scores = logits[..., 0].astype(jnp.float32)
    # Score of the true class: its sigmoid is p_t, without the rounding of 1 - p.
    true_score = jnp.where(is_lesion, scores, -scores)
    beta = jax.nn.sigmoid(-true_score) ** gamma
    total = jnp.sum(beta, axis=(1, 2), keepdims=True)
    factor = jax.lax.stop_gradient(beta[0].size / (total + _EPS))
    weight = jnp.where(is_lesion, alpha, 1.0 - alpha)
    return -weight * factor * beta * jax.nn.log_sigmoid(true_score)


# The main losses by their configured names; a new one is an entry here.
MAIN = {"bce_dice": bce_dice, "nfl": normalised_focal_loss, "bce": bce_loss}
# Losses that may take one Dice over the whole batch.
_OVER_BATCH = {"bce_dice": bce_dice_batch}
# Losses on refined scores by their configured names: (logits, target, boundary) -> loss.
REFINED: dict[str, Callable[[Array, Array, Array], Array]] = {
    "bce_dice": lambda logits, target, boundary: bce_dice(logits, target),
    "boundary_nfl": boundary_focal_loss,
}
# Losses of one value for the whole batch, that leave no row out.
REFINED_OVER_BATCH = ("boundary_nfl",)
MAIN_LOSSES = tuple(MAIN)
REFINED_LOSSES = tuple(REFINED)
BATCH_DICE_LOSSES = tuple(_OVER_BATCH)
DICE_SCOPES = ("sample", "batch")


def main_loss(name: str, *, dice: str = "sample") -> Callable[[Array, Array], Array]:
    """Returns (logits, target) -> loss, one value per row or one for the batch.

    Args:
      name: "bce_dice", half cross-entropy and half Dice; "nfl", the normalised focal loss; "bce".
      dice: For a loss with a Dice part: one per "sample", or one over the whole "batch".

    Raises:
      ValueError: Unknown name or scope, or the batch's Dice of a loss that has no Dice part.
    """
    if name not in MAIN_LOSSES:
        raise ValueError(f"main loss must be one of {', '.join(MAIN_LOSSES)}, got {name!r}")
    if dice not in DICE_SCOPES:
        raise ValueError(f"dice must be one of {', '.join(DICE_SCOPES)}, got {dice!r}")
    if dice == "batch" and name not in _OVER_BATCH:
        raise ValueError(f"dice='batch' is for {', '.join(_OVER_BATCH)}; {name} has no Dice part")
    return {**MAIN, **(_OVER_BATCH if dice == "batch" else {})}[name]
