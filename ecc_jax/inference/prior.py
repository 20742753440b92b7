"""What is known before the network looks: the previous mask with the newest disk painted on it.

Scores of the network are added to the painter's, so an untrained network answers as a painter whose
disks are somewhat smaller than they were dragged. Learned numbers weigh the painter and correct the
radii: two for the first disk, which holds the lesion, and two for later ones, which reach over what
they correct.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.clicks.surroundings import distance_in_radii, newest_disk, signed_distance
from ecc_jax.ops.disks import squared_distance_to
from ecc_jax.types import Clicks

PRIORS = ("none", "painter")
EDITS = ("everywhere", "local")
# The collection of the learned numbers among a network's parameters.
PARAMS = "painter_prior"
# Edge of a painted disk: this share of its radius, at least so many pixels of the network's grid.
_EDGE, _LEAST_EDGE = 0.15, 0.7
# The painter is never surer than this, so that the image can overrule it.
_LEAST_PROB = 0.03
# About so many radii from a later click's centre its answer fades into the previous mask, with this
# steepness, and so many radii from it nothing changes at all.
_REACH, _REACH_EDGE, _REACH_END = 3.0, 6.0, 5.0
# Logits of a previous mask are finite.
_LEAST_PREV = 1e-4
# Probability at the pixel of a click at least (lesion), or at most its complement (background).
_HELD = 0.75


def initial_params() -> dict[str, Any]:
    """Returns the learned numbers before training, of the first and of the later disks.

    First disks are painted 10 % smaller than dragged; later ones 60 %, for a disk half way between
    tight and enclosing covers more that was right than it corrects. Weights below 1 let
    the image overrule the painter sooner. All are near where training ends.
    """
    values = {"weight": (0.65, 0.65), "log_radius": (-0.1, -0.9)}
    # With a type of their own: weak ones would compile the train step twice.
    return {name: jnp.array(pair, jnp.float32) for name, pair in values.items()}


def painted(
    prev_mask: Float[Array, "b h w 1"],
    clicks: Clicks,
    *,
    log_radius: Float[Array, "*b"] | float = 0.0,
    pixels: Float[Array, " b"] | float = 1.0,
) -> Float[Array, "b h w 1"]:
    """Returns the previous mask with the newest disk painted on it, or cut out of it, softly.

    Args:
      prev_mask: Lesion probability before the newest click.
      clicks: All clicks; rows without any keep their mask.
      log_radius: Logarithm of the factor of the radius, one or one per row.
      pixels: Side of a pixel of the network's grid, in pixels of the mask.

    Returns:
      Probability in 0.03..0.97.
    """
    disks = newest_disk(clicks)
    radius = disks.radius * jnp.exp(log_radius)
    distance = jnp.sqrt(squared_distance_to(disks.yx, (prev_mask.shape[1], prev_mask.shape[2])))
    edge = jnp.maximum(_EDGE * disks.radius, _LEAST_EDGE * pixels)
    inside = jax.nn.sigmoid(2.0 * (_column(radius) - distance) / _column(edge))[..., None]
    sign = disks.sign[:, None, None, None]
    united = jnp.maximum(prev_mask, inside)
    cut = jnp.minimum(prev_mask, 1.0 - inside)
    mask = jnp.where(sign > 0, united, jnp.where(sign < 0, cut, prev_mask))
    return jnp.clip(mask, _LEAST_PROB, 1.0 - _LEAST_PROB)


def maps_of(prev_mask: Float[Array, "b h w 1"], clicks: Clicks) -> Float[Array, "b h w 2"]:
    """Returns what a network with this prior is told besides the disks.

    Args:
      prev_mask: Lesion probability before the newest click.
      clicks: All clicks.

    Returns:
      The painted mask, and the newest disk as a cone, see `surroundings.signed_distance`.
    """
    shape = (prev_mask.shape[1], prev_mask.shape[2])
    cone = signed_distance(newest_disk(clicks), shape)
    return jnp.concatenate([painted(prev_mask, clicks), cone], axis=-1)


def with_prior(
    params: Any,
    scores: Float[Array, "b h w 1"],
    prev_mask: Float[Array, "b h w 1"],
    clicks: Clicks,
    *,
    pixels: Float[Array, " b"] | float = 1.0,
) -> Float[Array, "b h w 1"]:
    """Returns the scores of the network added to those of the painter.

    Args:
      params: The learned numbers, see `initial_params`. The first are for a first click on an empty
        mask.
      scores: Of the network.
      prev_mask: Lesion probability before the newest click.
      clicks: All clicks.
      pixels: See `painted`.
    """
    # What corrects an initial mask is no first disk.
    is_later = (clicks.count > 1) | jnp.any(prev_mask > 0.5, axis=(1, 2, 3))
    log_radius, weight = (
        jnp.where(is_later, params[name][1], params[name][0]) for name in ("log_radius", "weight")
    )
    mask = painted(prev_mask, clicks, log_radius=log_radius, pixels=pixels)
    return scores + weight[:, None, None, None] * logit_of(mask)


def edited(
    logits: Float[Array, "b h w 1"], prev_mask: Float[Array, "b h w 1"], clicks: Clicks
) -> Float[Array, "b h w 1"]:
    """Returns logits that keep the previous mask far from the newest disk.

    Args:
      logits: The answer to the newest click.
      prev_mask: Lesion probability before it.
      clicks: All clicks.

    Returns:
      The answer within about 3 radii of the newest disk, the previous mask from 5 radii on. Where
      no pixel was lesion before, nothing is to be kept, and the answer counts everywhere. A
      background click makes no pixel likelier to be lesion: the simulated user only ever places
      one on a surplus, so networks learn to find lesion beside it.
    """
    shape = (prev_mask.shape[1], prev_mask.shape[2])
    distance = distance_in_radii(newest_disk(clicks), shape)
    near = jax.nn.sigmoid(_REACH_EDGE * (_REACH - distance))
    near = jnp.where(distance < _REACH_END, near, 0.0)
    is_first = ~jnp.any(prev_mask > 0.5, axis=(1, 2, 3), keepdims=True)
    before = logit_of(prev_mask)
    after = jnp.where(is_first, logits, near * logits + (1.0 - near) * before)
    is_background = (newest_disk(clicks).sign < 0)[:, None, None, None]
    return jnp.where(is_background, jnp.minimum(after, before), after)


def obeyed(prob: Float[Array, "b h w 1"], clicks: Clicks) -> Float[Array, "b h w 1"]:
    """Returns probabilities that agree with every click at its own pixel.

    Args:
      prob: Lesion probability.
      clicks: All clicks; of several at one pixel the newest counts.

    Returns:
      At least 0.75 at the pixels of lesion clicks, at most 0.25 at those of background clicks.
    """
    newest = _newest_at_pixel(clicks, (prob.shape[1], prob.shape[2]))
    is_lesion, is_background = newest > 0, newest < 0
    held = jnp.where(is_lesion, jnp.maximum(prob[..., 0], _HELD), prob[..., 0])
    return jnp.where(is_background, jnp.minimum(held, 1.0 - _HELD), held)[..., None]


def _newest_at_pixel(clicks: Clicks, shape: tuple[int, int]) -> Array:
    """Returns at each pixel the number of its newest click, from 1, negative for background."""
    number = jnp.arange(1, clicks.radius.shape[1] + 1, dtype=jnp.int32)
    height, width = shape

    def one(yx: Array, is_positive: Array, count: Array) -> Array:
        pixel = jnp.round(yx).astype(jnp.int32)
        # Empty slots, and clicks outside, go to a row that is cut off.
        is_inside = jnp.all((pixel >= 0) & (pixel < jnp.array([shape])), axis=1)
        row = jnp.where((number <= count) & is_inside, pixel[:, 0], height)
        blank = jnp.zeros((height + 1, width), jnp.int32)
        column = jnp.clip(pixel[:, 1], 0, width - 1)
        # Odd codes are background: the largest is the newest, whatever its sign.
        coded = blank.at[row, column].max(2 * number + (~is_positive).astype(jnp.int32))[:height]
        return jnp.where(coded % 2 == 0, coded // 2, -(coded // 2))

    return jax.vmap(one)(clicks.yx, clicks.is_positive, clicks.count)


def logit_of(prob: Float[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
    """Returns the logits of probabilities, finite ones where they are 0 or 1."""
    cut = jnp.clip(prob, _LEAST_PREV, 1.0 - _LEAST_PREV)
    return jnp.log(cut) - jnp.log1p(-cut)


def _column(values: Array) -> Array:
    """Returns one number per row, ready to meet maps [b h w]."""
    return jnp.asarray(values)[:, None, None]
