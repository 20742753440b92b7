"""The errors of a hand: a centre that is missed, a radius that is not the one meant."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# Folded into a row's key; the keys themselves are spent on radii.
_CENTRE_KEY, _RADIUS_KEY = 1, 3


def is_drawn(error: Any) -> bool:
    """Returns whether something must be drawn: not where the error is the number 0, untraced.

    >>> is_drawn(0.0), is_drawn(0.1), is_drawn(jnp.zeros(()))
    (False, True, True)
    """
    return not (isinstance(error, float) and error == 0.0)


def unsteady_factor(keys: Key[Array, " b"], noise: Any) -> Any:
    """Returns by which factor the hand misses each radius.

    Args:
      keys: One PRNG key per row.
      noise: The largest error, as a share of the radius: one number, or one per row.

    >>> unsteady_factor(jax.random.split(jax.random.key(0), 2), 0.0)
    1.0
    """
    if not is_drawn(noise):
        return 1.0
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _RADIUS_KEY)
    return 1.0 + noise * jax.vmap(lambda key: jax.random.uniform(key, minval=-1.0))(own)


def unsteady_centre(
    keys: Key[Array, " b"], yx: Float[Array, "b 2"], jitter: Any, shape: tuple[int, int]
) -> Float[Array, "b 2"]:
    """Returns where the hand lands: a pixel centre inside the image.

    Args:
      keys: One PRNG key per row.
      yx: Where it means to press, pixels.
      jitter: Standard deviation of the error along each axis, pixels: one number, or one per row.
        The number 0 returns `yx` as it is.
      shape: Height and width of the image.

    >>> unsteady_centre(jax.random.split(jax.random.key(0), 1), jnp.ones((1, 2)), 0.0, (3, 3))
    Array([[1., 1.]], dtype=float32)
    """
    if not is_drawn(jitter):
        return yx
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _CENTRE_KEY)
    offset = jax.vmap(lambda key: jax.random.normal(key, (2,)))(own)
    offset = offset * jnp.broadcast_to(jitter, yx.shape[:1])[:, None]
    last = jnp.array([[shape[0] - 1, shape[1] - 1]], jnp.float32)
    return jnp.clip(jnp.round(yx + offset), 0.0, last)
