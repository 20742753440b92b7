"""A pool of click sessions: every step gives each of them one more click and learns from it.

A session is the clicks on one slice. Rows of a batch stand at different clicks, so the batch
statistics of the network are those that it meets in use, and every forward pass carries a gradient
(the iterative scheme spends all but the last of n passes without one). The network's answer becomes
the previous mask of the session's next click.

The rows form groups of equal size. At every step one row of each group ends, one with nothing
left to click if there is any, else one drawn at random, and a fresh slice takes its place. So
sessions have a geometric length, as the click counts of iterative training have, and a step reads
few slices.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.clicks.sampling import group_size
from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.prior import obeyed
from ecc_jax.interaction import Scene, Session, scene_click, start
from ecc_jax.training.inputs import ClickSource
from ecc_jax.training.objective import Inputs
from ecc_jax.types import Click, Clicks


class Pool(NamedTuple):
    """The sessions between two steps; every array has two leading axes, group and row in it.

    Attributes:
      key_data: The key of each session, as numbers, which checkpoints can hold.
      image: What the network is shown, in [0, 1].
      target: Ground truth.
      first_click: The first click, which was placed on the whole slice.
      clicks: The clicks so far, all answered.
      prob: Lesion probability after them.
      is_open: Whether anything may be left to click.
    """

    key_data: Int[Array, "m g k"]
    image: Float[Array, "m g h w 1"]
    target: Bool[Array, "m g h w"]
    first_click: Click
    clicks: Clicks
    prob: Float[Array, "m g h w 1"]
    is_open: Bool[Array, "m g"]


def session_clicks(
    user: RobotUser, *, max_clicks: int, gamma: float, holds_clicks: bool = False
) -> ClickSource:
    """Returns the clicks of a pool of sessions.

    Args:
      user: Who clicks.
      max_clicks: A session ends after so many.
      gamma: A session goes on with this probability, see `group_size`.
      holds_clicks: Whether answers hold at the pixels of the clicks, as they do in use.
    """
    size = group_size(gamma)

    def begin(rows: int, height: int, width: int) -> Pool:
        return empty_pool(rows // size, size, (height, width), capacity=max_clicks)

    def inputs(variables: Any, scene: Scene, key: Any, num_clicks: Any, pool: Pool) -> Any:
        if scene.first_click is None:
            first = start(scene.image, capacity=1)
            click = scene_click(scene, jnp.int32(0), first, user=user.of_rows(scene.keys))
            scene = scene._replace(first_click=click)
        pool = renewed(key, pool, scene)
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), pool)
        keys = jax.random.wrap_key_data(rows.key_data)
        there = Scene(keys, rows.image, rows.target, first_click=rows.first_click)
        session = Session(rows.clicks, rows.prob)
        click = scene_click(there, rows.clicks.count, session, user=user.of_rows(keys))
        exists = click.exists & rows.is_open
        clicks = append_click(rows.clicks, click._replace(exists=exists))
        weight = exists.astype(jnp.float32)
        return Inputs(rows.image, rows.target, clicks, rows.prob, weight), pool

    def answered(pool: Pool, inputs: Inputs, logits: Array) -> Pool:
        prob = jax.nn.sigmoid(logits)
        return _answered(pool, inputs, obeyed(prob, inputs.clicks) if holds_clicks else prob)

    return ClickSource(begin, inputs, answered, size, has_own_counts=True)


def empty_pool(groups: int, size: int, shape: tuple[int, int], *, capacity: int) -> Pool:
    """Returns a pool in which every session has ended."""
    rows = groups * size
    nothing = jnp.zeros(rows, bool)
    flat = Pool(
        key_data=jax.random.key_data(jax.random.split(jax.random.key(0), rows)),
        image=jnp.zeros((rows, *shape, 1)),
        target=jnp.zeros((rows, *shape), bool),
        first_click=Click(jnp.zeros((rows, 2)), jnp.zeros(rows), nothing, nothing),
        clicks=empty_clicks(rows, capacity),
        prob=jnp.zeros((rows, *shape, 1)),
        is_open=nothing,
    )
    # Copies: the step donates its state, and a buffer cannot be given away twice.
    return jax.tree.map(lambda x: jnp.array(x.reshape(groups, size, *x.shape[1:])), flat)


def renewed(key: Any, pool: Pool, scene: Scene) -> Pool:
    """Returns the pool with one session of each group replaced by a fresh one.

    Args:
      key: Draws the sessions that end.
      pool: m groups.
      scene: m fresh slices with their first clicks.
    """
    groups, size = pool.is_open.shape
    # Ended ones first, see the module.
    order = jax.random.uniform(key, (groups, size)) + (~pool.is_open).astype(jnp.float32)
    is_replaced = jnp.arange(size)[None, :] == jnp.argmax(order, axis=1)[:, None]
    capacity = pool.clicks.radius.shape[2]
    fresh: Any = Pool(
        key_data=jax.random.key_data(scene.keys),
        image=scene.image,
        target=scene.target,
        first_click=scene.first_click,  # type: ignore[arg-type]
        clicks=empty_clicks(groups, capacity),
        prob=jnp.zeros_like(scene.image),
        is_open=jnp.ones(groups, bool),
    )

    def put(old: Array, new: Array) -> Array:
        here = is_replaced.reshape(groups, size, *[1] * (new.ndim - 1))
        return jnp.where(here, new[:, None], old)

    return jax.tree.map(put, pool, fresh)


def _answered(pool: Pool, inputs: Inputs, prob: Float[Array, "b h w 1"]) -> Pool:
    """Returns the pool after the network's answer."""
    exists: Any = inputs.weight > 0  # type: ignore[operator]  # sessions always weigh their rows
    prob = jnp.where(exists[:, None, None, None], prob, inputs.prev_mask)
    is_open = exists & (inputs.clicks.count < inputs.clicks.radius.shape[1])
    groups, size = pool.is_open.shape
    clicks, prob, is_open = jax.tree.map(
        lambda x: x.reshape(groups, size, *x.shape[1:]), (inputs.clicks, prob, is_open)
    )
    return pool._replace(clicks=clicks, prob=jax.lax.stop_gradient(prob), is_open=is_open)
