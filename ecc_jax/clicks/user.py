"""The robot user: finds the worst error of a mask and places the next click on it."""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ecc_jax.clicks.hand import is_drawn, unsteady_centre, unsteady_factor
from ecc_jax.clicks.radius import RADIUS_RULES, disk_radius
from ecc_jax.ops.components import component_areas, label_components
from ecc_jax.ops.distance import squared_distance_transform
from ecc_jax.types import Click, Clicks

ClickRule = Literal["largest_component", "deepest"]
CLICK_RULES: tuple[str, ...] = get_args(ClickRule)


def _name(default: str) -> Any:
    """Returns a field that is part of a compilation and not of its data."""
    return dataclasses.field(default=default, metadata={"static": True})


# How a user sizes the disks of the first click and of the later ones, as weights between the tight
# (0) and the enclosing radius (1).
HABITS = {
    "tight": (0.0, 0.0),
    "average": (0.5, 0.5),
    "enclosing": (1.0, 1.0),
    "average_then_tight": (0.5, 0.0),
}
# Training's radii: every session has a habit of its own between these.
RANDOM_HABITS = "habits"
# Folded into a row's key; clicks fold in their number.
_HABIT_KEY, _HAND_KEY = 2**21, 2**21 + 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RobotUser:
    """Who clicks: names are fixed for a compilation, numbers may be traced.

    So one compilation serves every user that differs in numbers only.

    Attributes:
      rule: Where clicks go, see `next_click`.
      radius: How large the disks are, see `disk_radius`.
      enclosing: How the enclosing radius is measured, see `disk_radius`.
      fixed_radius: Radius of the rule "fixed", pixels.
      first_weight: For the radius rule "weighted": 0 drags to the tight, 1 to the enclosing radius;
        at a row's first click.
      later_weight: The same at its other clicks.
      radius_scale: Every radius is multiplied by this, except those of the rule "fixed".
      radius_noise: The hand's error in it: each radius is off by at most this share of it, drawn
        uniformly.
      jitter: The hand's error: standard deviation, pixels, of the disk's centre along each axis.
      jitter_share: The same as a share of the disk's radius, added to it. Of a user in training:
        the largest, see `of_rows`.
      radius_spread: Of a user in training: standard deviation of the logarithm of the factor that
        unsteady sessions have in all their radii, before its tails beyond 2 are cut.
      habit_share: Of a user in training with `RANDOM_HABITS`: share of the sessions with a habit of
        their own; the others drag to the average radius.
      threshold: Probability above which the user takes a pixel for lesion.
    """

    # The numbers are Any: tracers and shapes stand in their place while a function is compiled.
    rule: str = _name("largest_component")
    radius: str = _name("average")
    enclosing: str = _name("click")
    fixed_radius: Any = 5.0
    first_weight: Any = 0.5
    later_weight: Any = 0.5
    radius_scale: Any = 1.0
    radius_noise: Any = 0.0
    jitter: Any = 0.0
    jitter_share: Any = 0.0
    radius_spread: Any = 0.0
    habit_share: Any = 1.0
    threshold: Any = 0.5

    def with_habit(self, name: str) -> "RobotUser":
        """Returns the same user with the radii of one of `HABITS`.

        >>> user = RobotUser(jitter=1.0).with_habit("average_then_tight")
        >>> user.radius, user.first_weight, user.later_weight, user.jitter
        ('weighted', 0.5, 0.0, 1.0)
        """
        first, later = HABITS[name]
        return dataclasses.replace(self, radius="weighted", first_weight=first, later_weight=later)

    def of_rows(self, keys: Key[Array, " b"]) -> "RobotUser":
        """Returns one user per row: where radii follow `RANDOM_HABITS`, each with a habit drawn.

        Args:
          keys: One per row; a row keeps its habit and its hand from click to click.

        Returns:
          Users whose first disk lies between a tenth and four fifths of the way from tight to
          enclosing, later ones between tight and four fifths, or half the way all of them if they
          are not among `habit_share`; each radius 8 % off at most. Where `jitter_share` or
          `radius_spread` are above 0, half of the users have an unsteady hand: a share of their own
          between 0 and `jitter_share`, and a factor of their own in all radii, within two standard
          deviations.
        """
        if self.radius != RANDOM_HABITS:
            return self._with_hands(keys)
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, _HABIT_KEY)
        draws = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(own)
        has_own = draws[:, 2] < self.habit_share
        habits = dataclasses.replace(
            self,
            radius="weighted",
            first_weight=jnp.where(has_own, 0.1 + 0.7 * draws[:, 0], 0.5),
            later_weight=jnp.where(has_own, 0.8 * draws[:, 1], 0.5),
            radius_noise=0.08,
        )
        return habits._with_hands(keys)

    def _with_hands(self, keys: Key[Array, " b"]) -> "RobotUser":
        """Returns one user per row, half of them with an unsteady hand; see `of_rows`."""
        if not any(is_drawn(value) for value in (self.jitter_share, self.radius_spread)):
            return self
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, _HAND_KEY)
        pairs = jax.vmap(jax.random.split)(own)
        draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(pairs[:, 0])
        normal = jax.vmap(lambda key: jax.random.truncated_normal(key, -2.0, 2.0))(pairs[:, 1])
        is_unsteady = draws[:, 0] < 0.5
        spread = jnp.where(is_unsteady, self.radius_spread * normal, 0.0)
        return dataclasses.replace(
            self,
            jitter_share=jnp.where(is_unsteady, self.jitter_share * draws[:, 1], 0.0),
            radius_scale=self.radius_scale * jnp.exp(spread),
            radius_spread=0.0,
        )


DEFAULT_USER = RobotUser()
# What a configuration may ask for: random radii are for training, habits for evaluation.
TRAINING_RADII = (*(rule for rule in RADIUS_RULES if rule != "weighted"), RANDOM_HABITS)
EVALUATION_RADII = (*HABITS, "fixed")


class _Choice(NamedTuple):
    """The clicked error component of each row.

    Attributes:
      region: Its pixels; none where nothing is left to click.
      is_positive: Whether it is missing from the mask (and not a surplus).
      depth: Squared distance to its border, -1 where no click may go.
    """

    region: Bool[Array, "b h w"]
    is_positive: Bool[Array, " b"]
    depth: Int[Array, "b h w"]


def next_click(
    keys: Key[Array, " b"],
    pred_mask: Bool[Array, "b h w"],
    target: Bool[Array, "b h w"],
    clicks: Clicks,
    *,
    user: RobotUser = DEFAULT_USER,
) -> Click:
    """Returns the click that corrects the worst error.

    False negatives (positive clicks) and false positives (negative clicks) form 8-connected
    components apart from each other. A pixel clicked before is no candidate. The image border
    counts as border of a component.

    Args:
      keys: One PRNG key per row, for random radii and an unsteady hand.
      pred_mask: The mask so far; empty before the first click.
      target: Ground truth.
      clicks: The clicks so far; their centres are rounded to the nearest pixel.
      user: Its `rule` says where the click goes. "largest_component": the largest component with a
        candidate, false negatives before false positives, then the one whose first pixel comes
        first; in it the candidate farthest from its border. "deepest": the candidate farthest from
        the border of its component, false positives before false negatives. Pixels that tie go in
        row-major order. Its radius is measured in the clicked component, see `disk_radius`. The
        hand's error moves the disk after that, to a pixel centre inside the image.

    Returns:
      The click, at a pixel centre. Rows without a candidate (the mask is right, or all its errors
      were clicked) have `exists` False and zeros elsewhere.

    Raises:
      ValueError: If the rule or the radius is unknown.

    Source: thesis 3.2 ("largest_component"); RITM, `Clicker._get_next_click` ("deepest", which
    the thesis code uses too). Degenerate rows are marked instead of clicked at (0, 0) or (-1, -1).

    >>> from ecc_jax.clicks.encoding import empty_clicks
    >>> keys, target = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 3, 3), bool)
    >>> click = next_click(keys, ~target, target, empty_clicks(1, 20))
    >>> click.yx.tolist(), click.radius.tolist(), click.is_positive.tolist()
    ([[1.0, 1.0]], [2.0], [True])
    """
    errors = jnp.stack([target & ~pred_mask, pred_mask & ~target], axis=1)
    free = ~_clicked_pixels(clicks, (target.shape[1], target.shape[2]))
    choice = _choose(errors, free, user.rule)
    yx, exists = _deepest_pixel(choice.depth)
    weight = jnp.where(clicks.count == 0, user.first_weight, user.later_weight)
    yx, radius = drag(keys, choice.region, yx, weight, user=user)
    return Click(
        yx=jnp.where(exists[:, None], yx, 0.0),
        radius=jnp.where(exists, radius, 0.0),
        is_positive=choice.is_positive & exists,
        exists=exists,
    )


def first_clicks(
    keys: Key[Array, " b"], target: Bool[Array, "b h w"], *, count: int, user: RobotUser
) -> Click:
    """Returns first clicks at several places of the same lesion.

    Place 0 is that of `next_click`: the deepest pixel. The others are drawn, all different, from
    the pixels of the same component that are at least half as deep, so that the largest disk
    around them that stays in the lesion has at least half the radius of the deepest one: places
    that a person who means the lesion's middle may hit. The radius is measured at each place. The
    hand is steady.

    Args:
      keys: One PRNG key per row, for the places and random radii.
      target: Ground truth.
      count: Number of places, at least 1.
      user: Its `rule` chooses the component, its radius rule sizes the disks.

    Returns:
      Clicks with the number of the place as a leading axis in every field. `exists` is False, and
      the other fields are 0, for all places of a row whose component has fewer pixels to draw from.

    Raises:
      ValueError: If the rule or the radius is unknown.

    Source: the segmentation consistency of the ULS23 challenge (Dice between the answers to three
    click positions). Its positions are sampled in 3-D; the rule of half the depth is ours.

    >>> keys, target = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 3, 4), bool)
    >>> clicks = first_clicks(keys, target, count=2, user=DEFAULT_USER)
    >>> clicks.yx.shape, clicks.yx[0].tolist()
    ((2, 1, 2), [[1.0, 1.0]])
    """
    batch, height, width = target.shape
    empty = jnp.zeros_like(target)
    choice = _choose(jnp.stack([target, empty], axis=1), ~empty, user.rule)
    depth = jnp.where(choice.region, choice.depth, 0).reshape(batch, height * width)
    deepest = jnp.max(depth, axis=1, keepdims=True)
    # Depths are squared: half of the distance is a quarter.
    is_candidate = (4 * depth >= deepest) & (depth > 0)
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, 2)
    score = jax.vmap(lambda key: jax.random.uniform(key, (height * width,)))(own)
    is_first = jnp.arange(height * width)[None, :] == jnp.argmax(depth, axis=1)[:, None]
    score = jnp.where(is_first & (depth > 0), 2.0, jnp.where(is_candidate, score, -1.0))
    best, pixel = jax.lax.top_k(score, count)
    exists = best[:, -1] >= 0
    clicks = []
    for place in pixel.T:
        yx = jnp.stack([place // width, place % width], axis=1).astype(jnp.float32)
        radius = _radius(keys, choice.region, yx, user.first_weight, user)
        clicks.append(
            Click(
                yx=jnp.where(exists[:, None], yx, 0.0),
                radius=jnp.where(exists, radius, 0.0),
                is_positive=exists,
                exists=exists,
            )
        )
    return jax.tree.map(lambda *places: jnp.stack(places), *clicks)


def drag(
    keys: Key[Array, " b"],
    region: Bool[Array, "b h w"],
    yx: Float[Array, "b 2"],
    weight: Float[Array, "*b"] | float,
    *,
    user: RobotUser,
) -> tuple[Float[Array, "b 2"], Float[Array, " b"]]:
    """Returns the disk that a user drags in a region: its centre and its radius.

    Args:
      keys: One PRNG key per row, for random radii and an unsteady hand.
      region: What the disk is measured on.
      yx: Where the user means to press, pixels.
      weight: For the radius rule "weighted", see `disk_radius`.
      user: Whose radius and whose hand; the centre moves after the radius was measured.

    Returns:
      The centre, at `yx` but for the hand's error, and the radius, pixels.

    >>> keys, bar = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 1, 5), bool)
    >>> yx, radius = drag(keys, bar, jnp.array([[0.0, 2.0]]), 0.5, user=DEFAULT_USER)
    >>> yx.tolist(), radius.tolist()
    ([[0.0, 2.0]], [1.5])
    """
    radius = _radius(keys, region, yx, weight, user)
    shape = (region.shape[1], region.shape[2])
    return unsteady_centre(keys, yx, _hand_error(user, radius), shape), radius


def _choose(errors: Bool[Array, "b 2 h w"], free: Bool[Array, "b h w"], rule: str) -> _Choice:
    """Chooses the component to click."""
    if rule not in CLICK_RULES:
        raise ValueError(f"click rule must be one of {', '.join(CLICK_RULES)}, got {rule!r}")
    return (_largest_component if rule == "largest_component" else _deepest)(errors, free)


def _deepest_pixel(depth: Int[Array, "b h w"]) -> tuple[Float[Array, "b 2"], Bool[Array, " b"]]:
    """Returns the first of the deepest pixels, and whether it may be clicked."""
    batch, height, width = depth.shape
    flat = depth.reshape(batch, height * width)
    pixel = jnp.argmax(flat, axis=1).astype(jnp.int32)
    yx = jnp.stack([pixel // width, pixel % width], axis=1).astype(jnp.float32)
    return yx, jnp.max(flat, axis=1) > 0


def _radius(
    keys: Key[Array, " b"],
    region: Bool[Array, "b h w"],
    yx: Float[Array, "b 2"],
    weight: Float[Array, "*b"] | float,
    user: RobotUser,
) -> Float[Array, " b"]:
    """Returns the radius that the user drags."""
    radius = disk_radius(
        keys,
        region,
        yx,
        rule=user.radius,
        fixed_radius=user.fixed_radius,
        enclosing=user.enclosing,
        weight=weight,
    )
    if user.radius == "fixed":
        return radius
    return radius * user.radius_scale * unsteady_factor(keys, user.radius_noise)


def _hand_error(user: RobotUser, radius: Float[Array, " b"]) -> Any:
    """Returns the standard deviation of the disks' centres along each axis, pixels."""
    if not is_drawn(user.jitter_share):
        return user.jitter
    return user.jitter + user.jitter_share * radius


def _largest_component(errors: Bool[Array, "b 2 h w"], free: Bool[Array, "b h w"]) -> _Choice:
    """Chooses the largest component, and in it its deepest free pixels."""
    batch, signs, height, width = errors.shape
    labels = label_components(errors.reshape(batch * signs, height, width))
    areas = component_areas(labels).reshape(errors.shape)
    labels = labels.reshape(errors.shape)
    areas = jnp.where(free[:, None], areas, 0)
    largest = jnp.max(areas, axis=(2, 3))
    is_positive = (largest[:, 0] >= largest[:, 1]) & (largest[:, 0] > 0)
    size = jnp.max(largest, axis=1)[:, None, None]
    own_labels, own_areas = _of_sign(labels, is_positive), _of_sign(areas, is_positive)
    # Labels follow the first pixel of the component.
    candidates = jnp.where((own_areas == size) & (size > 0), own_labels, height * width + 1)
    label = jnp.min(candidates, axis=(1, 2))[:, None, None]
    region = own_labels == label
    depth = squared_distance_transform(region)
    return _Choice(region, is_positive, jnp.where(free, depth, -1))


def _deepest(errors: Bool[Array, "b 2 h w"], free: Bool[Array, "b h w"]) -> _Choice:
    """Chooses the deepest free pixels of all, and the component they lie in."""
    batch, signs, height, width = errors.shape
    depths = squared_distance_transform(errors.reshape(batch * signs, height, width))
    depths = jnp.where(free[:, None], depths.reshape(errors.shape), -1)
    deepest = jnp.max(depths, axis=(2, 3))
    is_positive = deepest[:, 0] > deepest[:, 1]
    depth = _of_sign(depths, is_positive)
    labels = label_components(_of_sign(errors, is_positive)).reshape(batch, height * width)
    pixel = jnp.argmax(depth.reshape(batch, height * width), axis=1)
    label = jnp.take_along_axis(labels, pixel[:, None], axis=1)
    region = (labels == label) & (label > 0)
    return _Choice(region.reshape(free.shape), is_positive, depth)


def _of_sign(maps: Array, is_positive: Bool[Array, " b"]) -> Array:
    """Returns the map of false negatives where `is_positive`, of false positives elsewhere."""
    return jnp.where(is_positive[:, None, None], maps[:, 0], maps[:, 1])


def _clicked_pixels(clicks: Clicks, shape: tuple[int, int]) -> Bool[Array, "b h w"]:
    """Returns the pixels nearest to the clicks so far (halves round to even)."""
    used = jnp.arange(clicks.radius.shape[1])[None, :] < clicks.count[:, None]
    pixel = jnp.round(clicks.yx).astype(jnp.int32)
    in_row = (pixel[:, :, :1] == jnp.arange(shape[0])[None, None, :]) & used[:, :, None]
    in_column = pixel[:, :, 1:] == jnp.arange(shape[1])[None, None, :]
    hits = jnp.einsum("bnh,bnw->bhw", in_row.astype(jnp.float32), in_column.astype(jnp.float32))
    return hits > 0
