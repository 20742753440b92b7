"""How many clicks a training batch gets."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def sample_num_clicks(
    key: Key[Array, ""], *, max_clicks: int = 24, gamma: float = 0.7
) -> Int[Array, ""]:
    """Returns a random click count n with probability proportional to gamma ** (n - 1).

    Args:
      key: PRNG key.
      max_clicks: Largest count.
      gamma: Ratio of successive probabilities, in (0, 1]; 1 makes all counts alike.

    Returns:
      int32 in 1..max_clicks. With the defaults p(1) = 0.300 and the mean is 3.33.

    Raises:
      ValueError: If `max_clicks` is below 1 or `gamma` outside (0, 1].

    Source: thesis 3.3.2 says 0 to 24 clicks and gives no probabilities; its code draws from
    1 to 24 with these.

    >>> keys = jax.random.split(jax.random.key(0), 1000)
    >>> counts = jax.vmap(lambda key: sample_num_clicks(key, max_clicks=2))(keys)
    >>> sorted(set(counts.tolist()))
    [1, 2]
    """
    if max_clicks < 1:
        raise ValueError(f"max_clicks must be 1 or more, got {max_clicks}")
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"gamma must be above 0 and at most 1, got {gamma}")
    logits = math.log(gamma) * jnp.arange(max_clicks, dtype=jnp.float32)
    return 1 + jax.random.categorical(key, logits).astype(jnp.int32)


def group_size(gamma: float) -> int:
    """Returns the rows of a group of sessions, of which one ends at every step.

    A session then goes on with about probability gamma: the size is round(1 / (1 - gamma)).

    Args:
      gamma: At least 0.5 and below 1.

    >>> group_size(0.75), group_size(0.7), group_size(0.5)
    (4, 3, 2)
    """
    return round(1 / (1 - gamma))
