"""Where the clicks of a train step come from: from the stored slice to what the network learns on.

A click source turns a fresh batch, and what it kept from the step before, into the inputs of one
forward pass; afterwards it is told the answer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.inference.view import DiskView, cut, moved_click, square_around
from ecc_jax.interaction import Scene, simulate, simulated_click, start
from ecc_jax.training.objective import Inputs

# Folded into a row's key for the size of its view and its turn; clicks fold in their number.
_ZOOM_KEY, _TURN_KEY = 2**22, 2**22 + 1


class ClickSource(NamedTuple):
    """Where clicks come from.

    Attributes:
      begin: (rows, height, width) -> what is kept before the first step; None keeps nothing.
      inputs: (variables, scene, key, number of clicks, kept) -> (inputs, kept).
      answered: (kept, inputs, logits) -> kept, once the network has answered.
      renewal: Rows of a forward pass for each fresh slice.
      has_own_counts: Whether the source decides how many clicks a row has, whatever number it is
        given; the step then logs what it finds.
    """

    begin: Callable[[int, int, int], Any]
    inputs: Callable[[Any, Scene, Any, Any, Any], tuple[Inputs, Any]]
    answered: Callable[[Any, Inputs, Array], Any]
    renewal: int = 1
    has_own_counts: bool = False


def iterative_clicks(segmenter: Segmenter, user: RobotUser, *, max_clicks: int) -> ClickSource:
    """Returns clicks that correct the network's own answers, all but the newest answered.

    Args:
      segmenter: The network and its encoding, run in evaluation mode without gradient.
      user: Who clicks.
      max_clicks: Slots of the click buffer.

    Source: thesis 3.3.2, iterative training (RITM, section 3.2).
    """
    # The scene is already what the network is shown.
    shown = segmenter._replace(view=None)

    def inputs(variables: Any, scene: Scene, key: Any, num_clicks: Any, kept: Any) -> Any:
        clicks, prev_mask = simulate(
            scene,
            full_frame(shown, jax.lax.stop_gradient(variables)),
            user.of_rows(scene.keys),
            num_clicks=num_clicks,
            capacity=max_clicks,
        )
        return Inputs(scene.image, scene.target, clicks, prev_mask), kept

    return ClickSource(lambda rows, height, width: None, inputs, lambda kept, *_: kept)


def shown_scene(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w c"],
    target: Bool[Array, "b h w"],
    *,
    view: DiskView | None,
    user: RobotUser,
    zoom_spread: float = 0.0,
    turn_prob: float = 0.0,
) -> Scene:
    """Returns what the network is shown of each slice, ready to be clicked through.

    Args:
      keys: One per row.
      image: Windowed image in [0, 1].
      target: Ground truth.
      view: The square around the first disk; None shows the whole slice.
      user: Who places the first click, on the whole slice.
      zoom_spread: Standard deviation of the logarithm of a factor of the square's side.
      turn_prob: Probability that a square is turned about its centre, by an angle of its own.

    Returns:
      The slices themselves; or their squares, on the view's grid, with the first click.
    """
    if view is None:
        return Scene(keys, image, target)
    session = start(image, capacity=1)
    click = simulated_click(keys, 0, session, target, user=user.of_rows(keys))
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _ZOOM_KEY)
    zoom = jnp.exp(zoom_spread * jax.vmap(jax.random.normal)(own))
    clicks = append_click(empty_clicks(image.shape[0], 1), click)
    square = square_around(clicks, view, zoom=zoom)
    both = jnp.concatenate([image, target[..., None].astype(jnp.float32)], axis=0)
    squares = jax.tree.map(lambda x: jnp.concatenate([x, x]), square)
    angles = jnp.tile(_turns(keys, turn_prob), 2) if turn_prob > 0 else None
    patches = cut(both, squares, view.grid, angles=angles)
    rows = image.shape[0]
    return Scene(
        keys=keys,
        image=patches[:rows],
        target=patches[rows:, ..., 0] > 0.5,
        # The centre of the square, so that it stays where it is.
        first_click=moved_click(click, square, view.grid),
    )


def _turns(keys: Key[Array, " b"], probability: float) -> Float[Array, " b"]:
    """Returns the angle of each row's square, radians; 0 where it is not turned."""
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _TURN_KEY)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(own)
    return jnp.where(draws[:, 0] < probability, 2.0 * jnp.pi * draws[:, 1], 0.0)
