"""Training on clicks at random places, and on corrections after them.

The network learns from all random clicks at once, and sees none of its own answers, or up to a few:
as the originals' static models were trained.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ecc_jax.clicks.random_clicks import random_clicks, without_newest
from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene, simulate
from ecc_jax.training.inputs import ClickSource
from ecc_jax.training.objective import Inputs


def random_source(
    segmenter: Segmenter,
    user: RobotUser,
    *,
    max_each: int = 24,
    gamma: float = 0.8,
    max_corrections: int = 0,
) -> ClickSource:
    """Returns clicks at random places, every row its own number; see `random_clicks`.

    Args:
      segmenter: The network and its encoding, run in evaluation mode without gradient.
      user: Its radius rule sizes the disks; corrections are its clicks.
      max_each: Most random clicks of either sign.
      gamma: k more of a sign than the least have a probability proportional to gamma ** k.
      max_corrections: The network answers the random clicks, then so many clicks at most on what is
        wrong, the last one unanswered: one number for all rows, uniform from 0.

    Source: RITM (isegm/engine/trainer.py:242-297) and the thesis's static models. Corrections there
    go to a pixel drawn from the deeper half of the deepest error; here to where the user clicks in
    all other ways of training.
    """
    # The scene is already what the network is shown.
    shown = segmenter._replace(view=None)
    capacity = 2 * max_each + max_corrections

    def inputs(variables: Any, scene: Scene, key: Any, num_clicks: Any, kept: Any) -> Any:
        people = user.of_rows(scene.keys)
        clicks = random_clicks(
            scene.keys,
            scene.target,
            user=people,
            max_each=max_each,
            gamma=gamma,
            capacity=capacity,
        )
        prev_mask = jnp.zeros((*scene.image.shape[:3], 1), jnp.float32)
        if max_corrections:
            earlier, newest = without_newest(clicks)
            corrections = jax.random.randint(key, (), 0, max_corrections + 1)
            clicks, prev_mask = simulate(
                scene._replace(first_click=newest),
                full_frame(shown, jax.lax.stop_gradient(variables)),
                people,
                num_clicks=corrections + 1,
                capacity=capacity,
                earlier=earlier,
            )
        return Inputs(scene.image, scene.target, clicks, prev_mask), kept

    return ClickSource(
        lambda rows, height, width: None, inputs, lambda kept, *_: kept, has_own_counts=True
    )
