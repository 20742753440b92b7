"""Clicks at random places, all at once, as networks were trained before clicks answered errors.

Where they go is the original's. It gives all of them one static radius; here the same user drags
them as in every other way of training, so that how clicks are placed and how they are drawn for a
network can be changed apart from each other.

Source: `MultiPointSampler` of RITM and of the thesis code (isegm/data/points_sampler.py), for one
lesion per slice, with the options of the thesis's static models.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ecc_jax.clicks.sampling import sample_num_clicks
from ecc_jax.clicks.user import DEFAULT_USER, RobotUser, drag
from ecc_jax.ops.components import label_components
from ecc_jax.ops.disks import squared_distance_to
from ecc_jax.ops.distance import squared_distance_transform
from ecc_jax.ops.morphology import dilate, erode
from ecc_jax.types import Click, Clicks

# Where each background click goes, with its probability: anywhere outside the lesion, on another
# object, which a slice does not have and which then is anywhere too, or into a ring around it.
STRATEGIES = {"background": 0.1, "other": 0.4, "ring": 0.5}
# Lesion clicks keep away from its outline with this probability, by so many pixels, where more
# than the last number of pixels remain.
ERODE_PROB, ERODE_STEPS, LEAST_LEFT = 0.9, 3, 10
# The first one lies deeper than the deepest pixel's depth divided by 1.7: squared, so whole.
_INNER = (289, 100)
# The ring is a tenth of the square root of the lesion's area wide: a hundredth, squared.
_RING = 100
# Folded into a row's key: places, and disks, which fold in their number.
_PLACE_KEY, _DISK_KEY = 2**20, 2**20 + 1


class Places(NamedTuple):
    """Where random clicks go: first those on the lesion, then those on the background.

    Attributes:
      yx: Pixels.
      is_positive: Whether each is on the lesion.
      exists: Whether each was placed.
    """

    yx: Float[Array, "b n 2"]
    is_positive: Bool[Array, "b n"]
    exists: Bool[Array, "b n"]


class _Regions(NamedTuple):
    """What clicks are drawn from."""

    inner: Bool[Array, "b h w"]
    positive: Bool[Array, "b h w"]
    background: Bool[Array, "b h w"]
    ring: Bool[Array, "b h w"]


def random_places(
    keys: Key[Array, " b"],
    target: Bool[Array, "b h w"],
    *,
    max_each: int = 24,
    gamma: float = 0.8,
) -> Places:
    """Returns random pixels of the lesion and of its surroundings.

    One to `max_each` of the lesion, 0 to `max_each` of the background; k more than the least with
    probability proportional to gamma ** k. A pixel may come up twice. With probability 0.9 the
    lesion is first shrunk by 3 pixels in all eight directions, where more than 10 pixels remain of
    it; the image's border shrinks nothing. The first click goes to its inner part, deeper than
    1 / 1.7 of the deepest pixel (here the border counts), the other ones anywhere in it. Background
    clicks go anywhere outside the lesion or, one in two, into a ring around it, ceil(0.1
    sqrt(area)) pixels wide in all eight directions.

    Args:
      keys: One PRNG key per row.
      target: Ground truth.
      max_each: Most clicks of either sign.
      gamma: In (0, 1].

    Returns:
      2 * max_each places. Rows without lesion get background clicks only, those without background
      lesion clicks only.

    Raises:
      ValueError: If `max_each` is below 1 or `gamma` outside (0, 1].

    >>> lesion = jnp.zeros((1, 5, 5), bool).at[0, 2, 2].set(True)
    >>> places = random_places(jax.random.split(jax.random.key(0), 1), lesion, max_each=2)
    >>> places.yx.shape, places.yx[0, 0].tolist(), places.exists[0, 0].tolist()
    ((1, 4, 2), [2.0, 2.0], True)
    """
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _PLACE_KEY)
    both = jax.vmap(jax.random.split)(own)
    regions = _regions(both[:, 0], target)

    def of_row(key: Array, row: _Regions) -> tuple[Array, Array, Array]:
        return _row_places(key, row, max_each=max_each, gamma=gamma)

    flat = jax.tree.map(lambda mask: mask.reshape(mask.shape[0], -1), regions)
    pixel, is_positive, exists = jax.vmap(of_row)(both[:, 1], flat)
    width = target.shape[2]
    yx = jnp.stack([pixel // width, pixel % width], axis=-1).astype(jnp.float32)
    # The order of what was placed stays.
    order = jnp.argsort(~exists, axis=1, stable=True)
    exists, is_positive = (
        jnp.take_along_axis(values, order, axis=1) for values in (exists, is_positive & exists)
    )
    yx = jnp.take_along_axis(yx, order[..., None], axis=1)
    return Places(jnp.where(exists[..., None], yx, 0.0), is_positive, exists)


def random_clicks(
    keys: Key[Array, " b"],
    target: Bool[Array, "b h w"],
    *,
    user: RobotUser = DEFAULT_USER,
    max_each: int = 24,
    gamma: float = 0.8,
    capacity: int | None = None,
) -> Clicks:
    """Returns clicks at random places of the lesion and of its surroundings, with their disks.

    A lesion click is measured on the component of the lesion that it lies in. A background click
    marks a surplus, and as nothing has been predicted yet it is imagined: the background within
    reach of the click, as far as the radius of a disk of the lesion's area.

    Args:
      keys: One PRNG key per row, for places, random radii and an unsteady hand.
      target: Ground truth.
      user: Its radius rule sizes the disks, its hand may miss. The rule where to click is not read.
      max_each: See `random_places`.
      gamma: See `random_places`.
      capacity: Slots of the buffer, at least 2 * max_each, the default.

    Returns:
      The lesion clicks, the first of them near its middle, then the background clicks. The network
      sees them together: nothing was answered in between.

    Raises:
      ValueError: As `random_places`, if `capacity` is too small, or the radius rule is unknown.

    Source: as for the module; which surplus a background click marks is ours.

    >>> lesion = jnp.zeros((1, 9, 9), bool).at[0, 3:6, 3:6].set(True)
    >>> clicks = random_clicks(jax.random.split(jax.random.key(1), 1), lesion, max_each=2)
    >>> clicks.yx[0, 0].tolist(), clicks.radius[0, 0].tolist(), clicks.is_positive[0, 0].tolist()
    ([4.0, 4.0], 2.0, True)
    """
    slots = 2 * max_each if capacity is None else capacity
    if slots < 2 * max_each:
        raise ValueError(f"capacity must be at least 2 * max_each = {2 * max_each}, got {slots}")
    places = random_places(keys, target, max_each=max_each, gamma=gamma)
    yx, radius = _dragged(keys, places, target, user)
    more = slots - 2 * max_each
    yx = jnp.where(places.exists[..., None], yx, 0.0)
    return Clicks(
        yx=jnp.pad(yx, ((0, 0), (0, more), (0, 0))),
        radius=jnp.pad(jnp.where(places.exists, radius, 0.0), ((0, 0), (0, more))),
        is_positive=jnp.pad(places.is_positive, ((0, 0), (0, more))),
        count=jnp.sum(places.exists, axis=1, dtype=jnp.int32),
    )


def without_newest(clicks: Clicks) -> tuple[Clicks, Click]:
    """Returns the clicks without the newest of each row, and that one.

    So that clicks placed at once can be answered as any other: by the newest of them.

    >>> clicks = Clicks(jnp.ones((1, 2, 2)), jnp.array([[3.0, 4.0]]),
    ...                 jnp.array([[True, False]]), jnp.array([2]))
    >>> rest, newest = without_newest(clicks)
    >>> rest.count.tolist(), newest.radius.tolist(), newest.exists.tolist()
    ([1], [4.0], [True])
    """
    exists = clicks.count > 0
    slot = jnp.maximum(clicks.count - 1, 0)[:, None]
    radius, is_positive = (
        jnp.take_along_axis(values, slot, axis=1)[:, 0]
        for values in (clicks.radius, clicks.is_positive)
    )
    newest = Click(
        yx=jnp.where(
            exists[:, None], jnp.take_along_axis(clicks.yx, slot[..., None], axis=1)[:, 0], 0.0
        ),
        radius=jnp.where(exists, radius, 0.0),
        is_positive=is_positive & exists,
        exists=exists,
    )
    return clicks._replace(count=jnp.maximum(clicks.count - 1, 0)), newest


def _regions(keys: Key[Array, " b"], target: Bool[Array, "b h w"]) -> _Regions:
    """Returns what the clicks of each row are drawn from."""
    area = jnp.sum(target, axis=(1, 2), dtype=jnp.int32)
    eroded = erode(target, jnp.full_like(area, ERODE_STEPS))
    is_left = jnp.sum(eroded, axis=(1, 2), dtype=jnp.int32) > LEAST_LEFT
    is_eroded = is_left & (jax.vmap(jax.random.uniform)(keys) < ERODE_PROB)
    positive = jnp.where(is_eroded[:, None, None], eroded, target)
    depth = squared_distance_transform(positive)
    deepest = jnp.max(depth, axis=(1, 2), keepdims=True)
    inner = positive & (_INNER[0] * depth > _INNER[1] * deepest)
    ring = dilate(target, _ring_width(area, target.shape[1] * target.shape[2])) & ~target
    # Without a lesion there is no ring, and every click may go anywhere.
    ring = jnp.where((area == 0)[:, None, None], ~target, ring)
    return _Regions(inner, positive, ~target, ring)


def _ring_width(area: Int[Array, " b"], most: int) -> Int[Array, " b"]:
    """Returns the width of the ring rounded up, in whole numbers, as roots may err upwards."""
    steps = jnp.arange(math.isqrt(most // _RING) + 1, dtype=jnp.int32)
    return jnp.sum(_RING * jnp.square(steps)[None, :] < area[:, None], axis=1, dtype=jnp.int32)


def _row_places(
    key: Key[Array, ""], row: _Regions, *, max_each: int, gamma: float
) -> tuple[Int[Array, " n"], Bool[Array, " n"], Bool[Array, " n"]]:
    """Returns pixel, sign and existence of the clicks of one row, whose regions are flat."""
    keys = jax.random.split(key, 7)
    num_positive = sample_num_clicks(keys[0], max_clicks=max_each, gamma=gamma)
    num_negative = sample_num_clicks(keys[1], max_clicks=max_each + 1, gamma=gamma) - 1
    slot = jnp.arange(max_each, dtype=jnp.int32)
    first, others = _pixels(keys[2], row.inner, 1), _pixels(keys[3], row.positive, max_each)
    positive = jnp.where(slot == 0, first, others)
    in_ring = jax.random.uniform(keys[4], (max_each,)) < STRATEGIES["ring"]
    negative = jnp.where(
        in_ring,
        _pixels(keys[5], row.ring, max_each),
        _pixels(keys[6], row.background, max_each),
    )
    is_there = jnp.where(in_ring, jnp.any(row.ring), jnp.any(row.background))
    return (
        jnp.concatenate([positive, negative]),
        jnp.concatenate([jnp.ones(max_each, bool), jnp.zeros(max_each, bool)]),
        jnp.concatenate(
            [(slot < num_positive) & jnp.any(row.positive), (slot < num_negative) & is_there]
        ),
    )


def _pixels(key: Key[Array, ""], region: Bool[Array, " p"], count: int) -> Int[Array, " n"]:
    """Returns pixels of a region, each drawn from all of it; pixel 0 where it is empty."""
    rank = jnp.cumsum(region.astype(jnp.int32))
    wanted = jax.random.randint(key, (count,), 1, jnp.maximum(rank[-1], 1) + 1)
    pixel = jnp.searchsorted(rank, wanted).astype(jnp.int32)
    return jnp.where(rank[-1] > 0, pixel, 0)


def _dragged(
    keys: Key[Array, " b"], places: Places, target: Bool[Array, "b h w"], user: RobotUser
) -> tuple[Float[Array, "b n 2"], Float[Array, "b n"]]:
    """Returns centre and radius of every disk; slot after slot, which spares memory."""
    batch, height, width = target.shape
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, _DISK_KEY)
    labels = label_components(target)
    reach = jnp.sum(target, axis=(1, 2)).astype(jnp.float32) / jnp.pi

    def one(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        slot, yx, is_positive = inputs
        pixel = (yx[:, 0] * width + yx[:, 1]).astype(jnp.int32)
        label = jnp.take_along_axis(labels.reshape(batch, -1), pixel[:, None], axis=1)
        component = labels == label[..., None]
        near = squared_distance_to(yx, (height, width)) <= reach[:, None, None]
        region = jnp.where(is_positive[:, None, None], component, near & ~target)
        weight = jnp.where(slot == 0, user.first_weight, user.later_weight)
        slot_keys = jax.vmap(jax.random.fold_in, (0, None))(own, slot)
        return drag(slot_keys, region, yx, weight, user=user)

    slots = jnp.arange(places.exists.shape[1], dtype=jnp.int32)
    each = (slots, places.yx.swapaxes(0, 1), places.is_positive.swapaxes(0, 1))
    yx, radius = jax.lax.map(one, each)
    return yx.swapaxes(0, 1), radius.swapaxes(0, 1)
