"""Segmentation losses, one value per row of the batch, in float32.

The caller takes the mean over valid rows, so padding never enters a loss.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

_DICE_SMOOTH = 1.0


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
