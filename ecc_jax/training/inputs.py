"""Where the clicks of a train step come from."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Key

from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene, simulate
from ecc_jax.types import Clicks

# (variables, keys, image, target, number of clicks) -> (clicks, probability before the newest).
ClickSource = Callable[
    [
        Any,
        Key[Array, " b"],
        Float[Array, "b h w 1"],
        Bool[Array, "b h w"],
        Any,
    ],
    tuple[Clicks, Float[Array, "b h w 1"]],
]


def iterative_clicks(segmenter: Segmenter, user: RobotUser, *, max_clicks: int) -> ClickSource:
    """Returns clicks that correct the network's own answers, all but the newest answered.

    Args:
      segmenter: The network and its encoding, run in evaluation mode without gradient.
      user: Who clicks.
      max_clicks: Slots of the click buffer.

    Source: thesis 3.3.2, iterative training (RITM, section 3.2).
    """

    def source(variables: Any, keys: Any, image: Any, target: Any, num_clicks: Any) -> Any:
        predict = full_frame(segmenter, jax.lax.stop_gradient(variables))
        scene = Scene(keys, image, target)
        return simulate(scene, predict, user, num_clicks=num_clicks, capacity=max_clicks)

    return source
