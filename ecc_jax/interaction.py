"""THE click loop: the one place where a click becomes a mask.

Training (`simulate`), evaluation (`rollout`) and the interactive predictor (`interact`, one jitted
call per click) share one transition, so they cannot drift apart.

`Predict` is called for all rows of a batch at once, also for those that have nothing left to
click; the results of those rows are discarded.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.clicks.simulation import next_click
from ecc_jax.metrics import iou
from ecc_jax.types import Click, Clicks, Predict


class Session(NamedTuple):
    """The state between two clicks.

    Attributes:
      clicks: The clicks so far.
      prob: Lesion probability after them; 0 before the first click.
    """

    clicks: Clicks
    prob: Float[Array, "b h w 1"]


class Rollout(NamedTuple):
    """The record of k simulated clicks.

    Attributes:
      iou: IoU after each click; where a row had nothing left to click, its last IoU again.
      clicks: The clicks, in a buffer of capacity k.
      clicked: Whether the row had anything left to click at each turn.
      masks: The mask after each click number that was to be kept.
      session: The final state; its clicks are `clicks`.
    """

    iou: Float[Array, "b k"]
    clicks: Clicks
    clicked: Bool[Array, "b k"]
    masks: Bool[Array, "b m h w"]
    session: Session


def start(image: Float[Array, "b h w 1"], *, capacity: int) -> Session:
    """Returns the state before the first click.

    Args:
      image: Windowed image in [0, 1]; only its shape counts.
      capacity: The largest number of clicks to come.
    """
    return Session(empty_clicks(image.shape[0], capacity), jnp.zeros(image.shape, jnp.float32))


def interact(
    predict: Predict, image: Float[Array, "b h w 1"], session: Session, click: Click
) -> Session:
    """Returns the state after one more click.

    Args:
      predict: The segmenter; called once, for all rows.
      image: Windowed image in [0, 1].
      session: The state before the click.
      click: The newest click of each row.

    Returns:
      The next state. Rows where `click.exists` is False do not change.
    """
    clicks = append_click(session.clicks, click)
    prob = predict(image, clicks, session.prob)
    return Session(clicks, jnp.where(click.exists[:, None, None, None], prob, session.prob))


def simulate(
    predict: Predict,
    keys: Key[Array, " b"],
    image: Float[Array, "b h w 1"],
    target: Bool[Array, "b h w"],
    num_clicks: Int[Array, ""] | int,
    *,
    capacity: int,
    threshold: float = 0.5,
    rule: str = "largest_component",
    radius: str = "normal",
    fixed_radius: float = 5.0,
) -> tuple[Clicks, Float[Array, "b h w 1"]]:
    """Returns the input of a training step: num_clicks clicks, the last one not yet answered.

    The simulated user places num_clicks - 1 clicks, each answered by `predict`, and then the last
    one on what remains wrong. Nothing here carries a gradient.

    Args:
      predict: The segmenter in evaluation mode (running BatchNorm statistics).
      keys: One PRNG key per row; click i draws from fold_in(key, i).
      image: Windowed image in [0, 1].
      target: Ground truth.
      num_clicks: Clicks per row, at least 1 and at most `capacity`. May be traced: one
        compilation serves all counts.
      capacity: Slots of the click buffer.
      threshold: A pixel is lesion where its probability is above.
      rule: Where clicks go, see `next_click`.
      radius: How large the disks are, see `disk_radius`.
      fixed_radius: Radius of the rule "fixed", pixels.

    Returns:
      The clicks, and the probability after all but the last of them. Rows that had nothing left
      to click hold fewer clicks.

    Source: thesis 3.3.2, iterative training (RITM, section 3.2).
    """
    user = _User(target, threshold, rule, radius, fixed_radius)
    frozen = jax.lax.stop_gradient(image)

    def turn(index: Array, session: Session) -> Session:
        click = _simulated_click(user, _turn_keys(keys, index), session)
        # Inside the loop: reverse-mode derivatives cannot pass a loop of unknown length.
        return jax.lax.stop_gradient(interact(predict, frozen, session, click))

    last = jnp.asarray(num_clicks, jnp.int32) - 1
    session = jax.lax.fori_loop(0, last, turn, start(frozen, capacity=capacity))
    click = _simulated_click(user, _turn_keys(keys, last), session)
    return append_click(session.clicks, click), session.prob


def rollout(
    predict: Predict,
    keys: Key[Array, " b"],
    image: Float[Array, "b h w 1"],
    target: Bool[Array, "b h w"],
    *,
    num_clicks: Int[Array, ""] | int,
    capacity: int | None = None,
    keep: tuple[int, ...] = (),
    threshold: float = 0.5,
    rule: str = "largest_component",
    radius: str = "average",
    fixed_radius: float = 5.0,
) -> Rollout:
    """Returns what happens in `num_clicks` simulated clicks, all of them answered.

    Args:
      predict: The segmenter in evaluation mode.
      keys: One PRNG key per row; click i draws from fold_in(key, i).
      image: Windowed image in [0, 1].
      target: Ground truth.
      num_clicks: Number of clicks, at least 1 and at most `capacity`. May be traced.
      capacity: Length k of the record; default `num_clicks`, which is then a Python int. Turns
        beyond `num_clicks` repeat the last IoU and count as not clicked.
      keep: Click numbers, from 1 and at most `num_clicks`, whose masks are returned.
      threshold: A pixel is lesion where its probability is above.
      rule: Where clicks go, see `next_click`.
      radius: How large the disks are, see `disk_radius`.
      fixed_radius: Radius of the rule "fixed", pixels.

    Returns:
      IoU after every click (1 where both masks are empty), the clicks, and the final state.
    """
    user = _User(target, threshold, rule, radius, fixed_radius)
    batch = target.shape[0]
    length = int(num_clicks) if capacity is None else capacity

    def turn(index: Array, record: Rollout) -> Rollout:
        click = _simulated_click(user, _turn_keys(keys, index), record.session)
        session = interact(predict, image, record.session, click)
        mask = _mask(session, threshold)
        is_kept = jnp.asarray([k - 1 for k in keep], jnp.int32) == index
        ious = record.iou.at[:, index].set(iou(mask, target))
        clicked = record.clicked.at[:, index].set(click.exists)
        masks = jnp.where(is_kept[None, :, None, None], mask[:, None], record.masks)
        return Rollout(ious, session.clicks, clicked, masks, session)

    first = start(image, capacity=length)
    blank = jnp.zeros((batch, len(keep), *target.shape[1:]), bool)
    per_turn = jnp.zeros((batch, length))
    record = Rollout(per_turn, first.clicks, per_turn > 0, blank, first)
    count = jnp.asarray(num_clicks, jnp.int32)
    record = jax.lax.fori_loop(0, count, turn, record)
    last = jnp.minimum(jnp.arange(length, dtype=jnp.int32), count - 1)
    return record._replace(iou=record.iou[:, last])


class _User(NamedTuple):
    """What the simulated user knows and how it clicks; see `next_click`."""

    target: Bool[Array, "b h w"]
    threshold: float
    rule: str
    radius: str
    fixed_radius: float


def _simulated_click(user: _User, keys: Key[Array, " b"], session: Session) -> Click:
    """Returns the click that answers the current mask."""
    return next_click(
        keys,
        _mask(session, user.threshold),
        user.target,
        session.clicks,
        rule=user.rule,
        radius=user.radius,
        fixed_radius=user.fixed_radius,
    )


def _mask(session: Session, threshold: float) -> Bool[Array, "b h w"]:
    """Returns the current binary mask."""
    return session.prob[..., 0] > threshold


def _turn_keys(keys: Key[Array, " b"], index: Int[Array, ""]) -> Key[Array, " b"]:
    """Returns the keys of the click with this index, one per row."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, index)
