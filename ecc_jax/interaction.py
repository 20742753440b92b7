"""THE click loop: the one place where a click becomes a mask.

Training (`simulate`), evaluation (`rollout`) and the interactive predictor (`interact`, one jitted
call per click) share one transition, so they cannot drift apart.

`Predict` is called for all rows of a batch at once, also for those that have nothing left to
click; the results of those rows are discarded.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.clicks.user import DEFAULT_USER, RobotUser, next_click
from ecc_jax.metrics import iou
from ecc_jax.types import Click, Clicks, Predict

# What is measured after every click: (mask, target) -> one value per row, by name.
Measure = Callable[[Bool[Array, "b h w"], Bool[Array, "b h w"]], dict[str, Float[Array, " b"]]]
TRAINING_USER = RobotUser(radius="normal")


class Scene(NamedTuple):
    """What a simulated user looks at: one row per slice.

    Attributes:
      keys: One PRNG key per row; click i draws from fold_in(key, i).
      image: Windowed image in [0, 1].
      target: Ground truth.
      first_mask: A mask to correct; None starts from nothing.
      first_click: The first click, where it was placed on a finer grid than that of the scene;
        None lets the user place it here.
    """

    keys: Key[Array, " b"]
    image: Float[Array, "b h w c"]
    target: Bool[Array, "b h w"]
    first_mask: Bool[Array, "b h w"] | None = None
    first_click: Click | None = None


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
      scores: By measure, its value after each click; where a row had nothing left to click, its
        last value again.
      clicks: The clicks, in a buffer of capacity k.
      clicked: Whether the row had anything left to click at each turn.
      masks: The mask after each click number that was to be kept.
      session: The final state; its clicks are `clicks`.
    """

    scores: dict[str, Float[Array, "b k"]]
    clicks: Clicks
    clicked: Bool[Array, "b k"]
    masks: Bool[Array, "b m h w"]
    session: Session

    @property
    def iou(self) -> Float[Array, "b k"]:
        """IoU after each click."""
        return self.scores["iou"]


class Replay(NamedTuple):
    """The scores of recorded clicks, answered again.

    Attributes:
      scores: By measure, its value after each click; rows without a click keep their last value.
      agrees: Whether the simulated user, before the same mask, clicks as recorded: same pixel and
        sign, radius within a thousandth; or neither clicks.
    """

    scores: dict[str, Float[Array, "b k"]]
    agrees: Bool[Array, "b k"]


def iou_only(
    mask: Bool[Array, "b h w"], target: Bool[Array, "b h w"]
) -> dict[str, Float[Array, " b"]]:
    """The measure that every rollout has."""
    return {"iou": iou(mask, target)}


def start(
    image: Float[Array, "b h w c"],
    *,
    capacity: int,
    first_mask: Bool[Array, "b h w"] | None = None,
) -> Session:
    """Returns the state before the first click.

    Args:
      image: Windowed image in [0, 1]; only its shape counts.
      capacity: The largest number of clicks to come.
      first_mask: A mask to correct; None starts from nothing.
    """
    prob = jnp.zeros((*image.shape[:3], 1), jnp.float32)
    if first_mask is not None:
        prob = first_mask[..., None].astype(jnp.float32)
    return Session(empty_clicks(image.shape[0], capacity), prob)


def interact(
    predict: Predict, image: Float[Array, "b h w c"], session: Session, click: Click
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
    scene: Scene,
    predict: Predict,
    user: RobotUser = TRAINING_USER,
    *,
    num_clicks: Int[Array, ""] | Int[Array, " b"] | int,
    capacity: int,
    earlier: Clicks | None = None,
) -> tuple[Clicks, Float[Array, "b h w 1"]]:
    """Returns the input of a training step: num_clicks clicks, the last one not yet answered.

    The simulated user places num_clicks - 1 clicks, each answered by `predict`, and then the last
    one on what remains wrong. Nothing here carries a gradient.

    Args:
      scene: The slices.
      predict: The segmenter in evaluation mode (running BatchNorm statistics).
      user: Who clicks.
      num_clicks: Clicks per row, at least 1 and at most `capacity`; one number for all rows, or
        one for each. May be traced: one compilation serves all counts. Rows of fewer clicks wait
        for the others.
      capacity: Slots of the click buffer.
      earlier: Clicks that were placed before the first one and are answered together with it, in a
        buffer of `capacity` slots; None for none.

    Returns:
      The clicks, and the probability after all but the last of them. Rows that had nothing left
      to click hold fewer clicks.

    Source: thesis 3.3.2, iterative training (RITM, section 3.2).
    """
    frozen = jax.lax.stop_gradient(scene.image)
    last = jnp.asarray(num_clicks, jnp.int32) - 1

    def turn(index: Array, session: Session) -> Session:
        click = scene_click(scene, index, session, user=user)
        click = click._replace(exists=click.exists & (index < last))
        # Inside the loop: reverse-mode derivatives cannot pass a loop of unknown length.
        return jax.lax.stop_gradient(interact(predict, frozen, session, click))

    first = start(frozen, capacity=capacity, first_mask=scene.first_mask)
    if earlier is not None:
        first = first._replace(clicks=earlier)
    session = jax.lax.fori_loop(0, jnp.max(last), turn, first)
    newest = scene_click(scene, last, session, user=user)
    return append_click(session.clicks, newest), session.prob


def rollout(
    scene: Scene,
    predict: Predict,
    user: RobotUser = DEFAULT_USER,
    *,
    num_clicks: Int[Array, ""] | int,
    capacity: int | None = None,
    keep: tuple[int, ...] = (),
    measure: Measure = iou_only,
) -> Rollout:
    """Returns what happens in `num_clicks` simulated clicks, all of them answered.

    Args:
      scene: The slices.
      predict: The segmenter in evaluation mode.
      user: Who clicks.
      num_clicks: Number of clicks, at least 1 and at most `capacity`. May be traced.
      capacity: Length k of the record; default `num_clicks`, which is then a Python int. Turns
        beyond `num_clicks` repeat the last scores and count as not clicked.
      keep: Click numbers, from 1 and at most `num_clicks`, whose masks are returned.
      measure: What is recorded after every click.

    Returns:
      The scores after every click, the clicks, and the final state.
    """
    length = int(num_clicks) if capacity is None else capacity

    def turn(index: Array, record: Rollout) -> Rollout:
        click = simulated_click(scene.keys, index, record.session, scene.target, user=user)
        session = interact(predict, scene.image, record.session, click)
        mask = mask_of(session, user.threshold)
        is_kept = jnp.asarray([k - 1 for k in keep], jnp.int32) == index
        return Rollout(
            scores=_with_column(record.scores, index, measure(mask, scene.target)),
            clicks=session.clicks,
            clicked=record.clicked.at[:, index].set(click.exists),
            masks=jnp.where(is_kept[None, :, None, None], mask[:, None], record.masks),
            session=session,
        )

    first = start(scene.image, capacity=length, first_mask=scene.first_mask)
    count = jnp.asarray(num_clicks, jnp.int32)
    blank = _blank_record(first, scene.target, measure, length, len(keep))
    record = jax.lax.fori_loop(0, count, turn, blank)
    last = jnp.minimum(jnp.arange(length, dtype=jnp.int32), count - 1)
    return record._replace(scores={name: v[:, last] for name, v in record.scores.items()})


def replay(
    scene: Scene,
    predict: Predict,
    user: RobotUser,
    recorded: Clicks,
    *,
    measure: Measure = iou_only,
) -> Replay:
    """Answers recorded clicks again, and asks the simulated user whether it would place them.

    A difference of one pixel makes two rollouts part for good; recorded clicks keep them together,
    so that scores of another machine or version can be compared click by click.

    Args:
      scene: The slices of the recorded rollout, with its keys.
      predict: The segmenter in evaluation mode.
      user: Who clicked.
      recorded: The clicks of a rollout; turn i answers slot i, rows with fewer clicks stop.
      measure: What is recorded after every click.
    """
    length = recorded.radius.shape[1]

    def turn(index: Array, carry: tuple[Session, Replay]) -> tuple[Session, Replay]:
        session, record = carry
        expected = simulated_click(scene.keys, index, session, scene.target, user=user)
        click = Click(
            yx=recorded.yx[:, index],
            radius=recorded.radius[:, index],
            is_positive=recorded.is_positive[:, index],
            exists=index < recorded.count,
        )
        session = interact(predict, scene.image, session, click)
        scores = measure(mask_of(session, user.threshold), scene.target)
        return session, Replay(
            scores=_with_column(record.scores, index, scores),
            agrees=record.agrees.at[:, index].set(_agree(expected, click)),
        )

    blank = Replay(
        scores=_blank_scores(measure, scene.target, length),
        agrees=jnp.zeros((scene.target.shape[0], length), bool),
    )
    first = start(scene.image, capacity=length, first_mask=scene.first_mask)
    return jax.lax.fori_loop(0, length, turn, (first, blank))[1]


def scene_click(
    scene: Scene, index: Int[Array, "*b"], session: Session, *, user: RobotUser
) -> Click:
    """Returns the user's click number `index` on a scene: the given first one, then its own."""
    click = simulated_click(scene.keys, index, session, scene.target, user=user)
    if scene.first_click is None:
        return click
    is_first = jnp.broadcast_to(index == 0, click.exists.shape)
    return jax.tree.map(
        lambda given, own: jnp.where(is_first.reshape(-1, *[1] * (own.ndim - 1)), given, own),
        scene.first_click,
        click,
    )


def simulated_click(
    keys: Key[Array, " b"],
    index: Int[Array, "*b"] | int,
    session: Session,
    target: Bool[Array, "b h w"],
    *,
    user: RobotUser = DEFAULT_USER,
) -> Click:
    """Returns the click that answers the current mask.

    Args:
      keys: One PRNG key per row; click i draws from fold_in(key, i).
      index: Number of the click, from 0; one for all rows, or one for each.
      session: The state before it.
      target: Ground truth.
      user: Who clicks, and above which probability a pixel is lesion.
    """
    own = jax.vmap(jax.random.fold_in)(keys, jnp.broadcast_to(index, keys.shape))
    mask = mask_of(session, user.threshold)
    return next_click(own, mask, target, session.clicks, user=user)


def mask_of(session: Session, threshold: Float[Array, ""] | float) -> Bool[Array, "b h w"]:
    """Returns the current binary mask."""
    return session.prob[..., 0] > threshold


def _blank_record(
    first: Session, target: Array, measure: Measure, length: int, num_kept: int
) -> Rollout:
    """Returns the record before the first click."""
    batch, *shape = target.shape
    return Rollout(
        scores=_blank_scores(measure, target, length),
        clicks=first.clicks,
        clicked=jnp.zeros((batch, length), bool),
        masks=jnp.zeros((batch, num_kept, *shape), bool),
        session=first,
    )


def _blank_scores(measure: Measure, target: Array, length: int) -> dict[str, Array]:
    """Returns scores of 0 for every measure and turn."""
    shapes = jax.eval_shape(measure, target, target)
    return {name: jnp.zeros((target.shape[0], length)) for name in shapes}


def _with_column(
    scores: dict[str, Array], index: Array, values: dict[str, Array]
) -> dict[str, Array]:
    """Returns the scores with the values of one turn put in."""
    return {name: scores[name].at[:, index].set(values[name]) for name in scores}


def _agree(left: Click, right: Click) -> Bool[Array, " b"]:
    """Whether two clicks are the same, or both are none."""
    same = (
        jnp.all(left.yx == right.yx, axis=1)
        & (left.is_positive == right.is_positive)
        & (jnp.abs(left.radius - right.radius) <= 1e-3 * jnp.maximum(1.0, right.radius))
    )
    return jnp.where(left.exists & right.exists, same, left.exists == right.exists)
