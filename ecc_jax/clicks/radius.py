"""How large a disk a user drags around a click in a region."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ecc_jax.ops.circles import min_enclosing_circle
from ecc_jax.ops.disks import squared_distance_to

RadiusRule = Literal["tight", "enclosing", "average", "weighted", "fixed", "normal", "uniform"]
RADIUS_RULES: tuple[str, ...] = get_args(RadiusRule)
EnclosingRule = Literal["click", "min_circle"]
ENCLOSING_RULES: tuple[str, ...] = get_args(EnclosingRule)

# These rules are "weighted" with a weight of their own.
_WEIGHTS = {"enclosing": 1.0, "average": 0.5}

# A random radius lies between these multiples of the tight and of the enclosing radius.
_TIGHT_FACTOR = 0.9
_ENCLOSING_FACTOR = 1.1


def tight_radius(region: Bool[Array, "b h w"], yx: Float[Array, "b 2"]) -> Float[Array, " b"]:
    """Returns the distance from a point to the nearest pixel outside the region.

    Args:
      region: One region per row of the batch.
      yx: Points, pixels; usually inside the region and the image.

    Returns:
      Pixels, to the nearest pixel centre that is not in the region. Pixels outside the image
      are outside the region. At a pixel of the region this is its distance transform there, so
      at least 1; at a pixel centre outside the region it is 0.

    Source: thesis 3.3.2, "tight radius".

    >>> bar = jnp.zeros((1, 3, 7), bool).at[:, 1, 1:6].set(True)
    >>> tight_radius(bar, jnp.array([[1.0, 3.0]])).tolist()
    [1.0]
    """
    height, width = region.shape[1:]
    framed = jnp.pad(region, ((0, 0), (1, 1), (1, 1)))
    squared = squared_distance_to(yx + 1.0, (height + 2, width + 2))
    return jnp.sqrt(jnp.min(jnp.where(framed, jnp.inf, squared), axis=(1, 2)))


def enclosing_radius(region: Bool[Array, "b h w"], yx: Float[Array, "b 2"]) -> Float[Array, " b"]:
    """Returns the radius of the smallest disk around a point that covers the region.

    Args:
      region: Pixels to cover, one region per row of the batch.
      yx: Disk centres, pixels.

    Returns:
      Pixels, to the farthest pixel centre of the region: 0 for a region of one pixel clicked at
      its centre, and 0 for an empty region.

    Source: thesis 3.3.2, "enclosing radius". The thesis code takes the minimum enclosing circle
    instead, whose centre is not the click: "min_circle" of `disk_radius`.

    >>> bar = jnp.zeros((1, 3, 7), bool).at[:, 1, 1:6].set(True)
    >>> enclosing_radius(bar, jnp.array([[1.0, 3.0]])).tolist()
    [2.0]
    """
    squared = squared_distance_to(yx, (region.shape[1], region.shape[2]))
    return jnp.sqrt(jnp.max(jnp.where(region, squared, 0.0), axis=(1, 2)))


def disk_radius(
    keys: Key[Array, " b"],
    region: Bool[Array, "b h w"],
    yx: Float[Array, "b 2"],
    *,
    rule: str,
    fixed_radius: Float[Array, ""] | float = 5.0,
    weight: Float[Array, "*b"] | float = 0.5,
    enclosing: str = "click",
) -> Float[Array, " b"]:
    """Returns the radius that the simulated user gives each disk.

    Args:
      keys: One PRNG key per row, so that a row alone draws what it draws in a batch. Read by the
        rules "normal" and "uniform" only.
      region: The error component that was clicked.
      yx: Where it was clicked, pixels.
      rule: "tight"; "enclosing"; "average" of the two; "weighted": (1 - weight) tight + weight
        enclosing, so the three before are the weights 0, 1 and 0.5; "fixed"; "uniform" on
        [0.9 tight, 1.1 enclosing]; "normal" with the middle of that range as mean and a quarter
        of it as standard deviation, truncated to it.
      fixed_radius: The radius of the rule "fixed", pixels.
      weight: For the rule "weighted", 0..1, one for all rows or one per row; it may be traced, so
        it is not checked.
      enclosing: What encloses the region: "click", the smallest disk around the click, see
        `enclosing_radius`; "min_circle", the smallest circle of all. The disk of that radius can
        miss part of the region, for its centre is the click and not that of the circle: clicked
        at one end, a long region reaches up to twice as far. It is never larger than "click".

    Returns:
      Pixels. Enclosing is never below tight. So one pixel, which encloses itself with 0 either
      way, has tight, enclosing and average 1; compact regions, too, end before tight does.

    Raises:
      ValueError: If `rule` or `enclosing` is unknown.

    Source: thesis 3.3.2. The thesis gives no moments for "normal", and its code draws "uniform" and
    takes "min_circle" (`cv2.minEnclosingCircle`), not bounded by tight: 0.0001 for one pixel.

    >>> keys, bar = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 1, 5), bool)
    >>> disk_radius(keys, bar, jnp.array([[0.0, 2.0]]), rule="average").tolist()
    [1.5]
    """
    _check_name("radius rule", rule, RADIUS_RULES)
    _check_name("enclosing", enclosing, ENCLOSING_RULES)
    if rule == "fixed":
        return jnp.full(yx.shape[:1], fixed_radius, jnp.float32)
    tight = tight_radius(region, yx)
    if rule == "tight":
        return tight
    if enclosing == "min_circle":
        _, outer = min_enclosing_circle(region)
    else:
        outer = enclosing_radius(region, yx)
    outer = jnp.maximum(outer, tight)
    if rule in ("normal", "uniform"):
        return _random_radius(keys, _TIGHT_FACTOR * tight, _ENCLOSING_FACTOR * outer, rule=rule)
    weight = _WEIGHTS.get(rule, weight)
    return (1.0 - weight) * tight + weight * outer


def _check_name(topic: str, name: str, valid: tuple[str, ...]) -> None:
    """Raises ValueError if the name is none of the valid ones."""
    if name not in valid:
        raise ValueError(f"{topic} must be one of {', '.join(valid)}, got {name!r}")


def _random_radius(
    keys: Key[Array, " b"], low: Float[Array, " b"], high: Float[Array, " b"], *, rule: str
) -> Float[Array, " b"]:
    """Draws from the "uniform" or the truncated "normal" distribution on low..high."""
    if rule == "uniform":
        return low + (high - low) * jax.vmap(jax.random.uniform)(keys)
    # The range ends two standard deviations from the mean.
    deviations = jax.vmap(lambda one: jax.random.truncated_normal(one, -2.0, 2.0))(keys)
    return jnp.clip((low + high) / 2 + deviations * (high - low) / 4, low, high)
