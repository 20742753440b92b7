import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.clicks.user import CLICK_RULES, HABITS, RobotUser, next_click
from ecc_jax.types import Click

SHAPE = (9, 12)


@functools.partial(jax.jit, static_argnames=("rule", "radius"))
def jitted(keys, pred, target, clicks, rule, radius="tight"):
    return next_click(keys, pred, target, clicks, user=RobotUser(rule, radius))


def ask(target, pred=None, clicked=(), rule="largest_component"):
    """The next click on one hand-made image, after clicks at the pixels `clicked`."""
    clicks = empty_clicks(1, 4)
    for pixel in clicked:
        yx = jnp.asarray([pixel], jnp.float32)
        one = Click(yx, jnp.ones(1), jnp.ones(1, bool), jnp.ones(1, bool))
        clicks = append_click(clicks, one)
    pred = np.zeros(SHAPE, bool) if pred is None else pred
    keys = jax.random.split(jax.random.key(0), 1)
    click = jitted(keys, jnp.asarray(pred[None]), jnp.asarray(target[None]), clicks, rule)
    return jax.tree.map(lambda field: np.asarray(field)[0].tolist(), click)


def boxes(*slices):
    mask = np.zeros(SHAPE, bool)
    for y0, x0, y1, x1 in slices:
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("rule", CLICK_RULES)
def test_first_click_is_the_deepest_pixel_of_the_target(rule):
    click = ask(boxes((2, 3, 7, 8)), rule=rule)
    assert click == Click([4.0, 5.0], 3.0, True, True)


@pytest.mark.parametrize("rule", CLICK_RULES)
def test_nothing_left_to_click(rule):
    mask = boxes((2, 3, 7, 8))
    assert ask(mask, mask, rule=rule) == Click([0.0, 0.0], 0.0, False, False)
    assert ask(boxes(), rule=rule) == Click([0.0, 0.0], 0.0, False, False)
    assert ask(boxes((4, 4, 5, 5)), clicked=[(4, 4)], rule=rule).exists is False


def test_rules_differ_between_a_long_thin_and_a_small_thick_error():
    target = boxes((0, 0, 1, 12), (3, 3, 6, 6))
    assert ask(target).yx == [0.0, 0.0]
    assert ask(target, rule="deepest").yx == [4.0, 4.0]


def test_surplus_gives_a_negative_click():
    pred = boxes((2, 3, 7, 8))
    for rule in CLICK_RULES:
        assert ask(boxes(), pred, rule=rule) == Click([4.0, 5.0], 3.0, False, True)


def test_adjacent_false_negatives_and_positives_are_apart():
    # Side by side 3 x 4 and 3 x 3: as one component the deepest pixel would lie at column 4 or 5.
    click = ask(boxes((3, 1, 6, 5)), boxes((3, 5, 6, 8)))
    assert click == Click([4.0, 2.0], 2.0, True, True)


def test_equal_sizes_prefer_missing_lesion_and_equal_depths_prefer_surplus():
    # The surplus comes first in row-major order.
    target, pred = boxes((5, 5, 8, 8)), boxes((0, 0, 3, 3))
    assert ask(target, pred) == Click([6.0, 6.0], 2.0, True, True)
    assert ask(target, pred, rule="deepest") == Click([1.0, 1.0], 2.0, False, True)
    # The other way round.
    target, pred = pred, target
    assert ask(target, pred) == Click([1.0, 1.0], 2.0, True, True)
    assert ask(target, pred, rule="deepest") == Click([6.0, 6.0], 2.0, False, True)


def test_equal_components_go_by_first_pixel_not_by_deepest_pixel():
    # Equal areas of 12. The right one starts a row earlier, but its deepest pixel lies lower.
    left = boxes((1, 0, 5, 3))
    right = boxes((0, 9, 4, 10), (4, 8, 7, 11))
    right[6, 8] = False
    assert left.sum() == right.sum() == 12
    assert ask(left | right).yx == [4.0, 9.0]


@pytest.mark.parametrize("rule", CLICK_RULES)
def test_clicked_pixels_are_no_candidates(rule):
    target = boxes((2, 3, 5, 6), (7, 0, 8, 1))
    assert ask(target, rule=rule).yx == [3.0, 4.0]
    # All eight others are at depth 1: the first of them follows.
    assert ask(target, clicked=[(3, 4)], rule=rule).yx == [2.0, 3.0]
    assert ask(target, clicked=[(3, 4), (2, 3)], rule=rule).yx == [2.0, 4.0]


def test_a_component_without_free_pixels_yields_to_a_smaller_one():
    target = boxes((0, 0, 1, 2), (5, 5, 6, 6))
    assert ask(target, clicked=[(0, 0)]).yx == [0.0, 1.0]
    assert ask(target, clicked=[(0, 0), (0, 1)]).yx == [5.0, 5.0]


def test_clicks_between_pixels_block_the_nearest():
    target = boxes((4, 4, 5, 6))
    assert ask(target, clicked=[(4.4, 3.6)]).yx == [4.0, 5.0]


def test_diagonal_neighbours_are_one_component():
    target = boxes((0, 0, 1, 2), (1, 2, 2, 4), (5, 5, 6, 8))
    assert ask(target).yx == [0.0, 0.0]


@pytest.mark.parametrize("rule", CLICK_RULES)
def test_radius_is_of_the_clicked_component_only(rule):
    target = jnp.asarray(boxes((1, 1, 4, 4), (6, 9, 8, 11)))[None]
    keys = jax.random.split(jax.random.key(0), 1)
    args = keys, jnp.zeros_like(target), target, empty_clicks(1, 1)
    click = jitted(*args, rule, "enclosing")
    # Corners of the 3 x 3 square are nearer than its border is.
    assert click.radius.item() == 2.0


def random_errors(batch, seed=0):
    rng = np.random.default_rng(seed)
    target, pred = rng.random((2, batch, *SHAPE)) < 0.6
    return jnp.asarray(pred), jnp.asarray(target)


@pytest.mark.parametrize("rule", CLICK_RULES)
def test_row_alone_equals_row_in_batch(rule):
    pred, target = random_errors(8)
    keys = jax.random.split(jax.random.key(1), 8)
    clicks = empty_clicks(8, 4)
    together = jitted(keys, pred, target, clicks, rule, "normal")
    for row in range(3):
        one = slice(row, row + 1)
        alone = jitted(keys[one], pred[one], target[one], empty_clicks(1, 4), rule, "normal")
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x: x[one], together), alone)


@pytest.mark.slow
@pytest.mark.parametrize("rule", CLICK_RULES)
def test_jit_equals_eager(rule):
    pred, target = random_errors(3)
    keys = jax.random.split(jax.random.key(1), 3)
    args = keys, pred, target, empty_clicks(3, 4)
    eager = next_click(*args, user=RobotUser(rule, "normal"))
    equal = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(equal, eager, jitted(*args, rule, "normal"))


@pytest.mark.parametrize(
    "rule", ["largest_component", pytest.param("deepest", marks=pytest.mark.slow)]
)
def test_batch_sharded_over_devices_equals_one_device(rule):
    pred, target = random_errors(8)
    clicks = empty_clicks(8, 4)
    keys = jax.random.split(jax.random.key(2), 8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    args = jax.device_put((keys, pred, target, clicks), NamedSharding(mesh, PartitionSpec("data")))
    spread = jitted(*args, rule, "normal")
    assert len(spread.yx.sharding.device_set) == 8
    single = jitted(keys, pred, target, clicks, rule, "normal")
    jax.tree.map(np.testing.assert_array_equal, spread, single)


def test_unknown_rules_are_refused():
    pred, target = random_errors(1)
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(ValueError, match="largest_component, deepest, got 'centre'"):
        next_click(keys, pred, target, empty_clicks(1, 1), user=RobotUser("centre"))


handled = jax.jit(next_click)


def _handled(rows=1, clicked=False, radius="weighted", **numbers):
    """The click of some user on a 5 x 5 square (tight 3, enclosing 2 sqrt 2)."""
    target = np.repeat(boxes((2, 3, 7, 8))[None], rows, axis=0)
    pred = np.zeros_like(target)
    clicks = empty_clicks(rows, 4)
    if clicked:
        pixel = jnp.zeros((rows, 2))
        one = Click(pixel, jnp.ones(rows), jnp.ones(rows, bool), jnp.ones(rows, bool))
        clicks = append_click(clicks, one)
    keys = jax.random.split(jax.random.key(0), rows)
    user = RobotUser(radius=radius, **numbers)
    return handled(keys, jnp.asarray(pred), jnp.asarray(target), clicks, user=user)


def test_equal_weights_are_the_average_radius():
    target = jnp.asarray(boxes((2, 3, 7, 8), (0, 0, 1, 12))[None])
    args = jax.random.split(jax.random.key(0), 1), jnp.zeros_like(target), target
    plain = next_click(*args, empty_clicks(1, 4), user=RobotUser(radius="average"))
    weighted = next_click(*args, empty_clicks(1, 4), user=RobotUser(radius="weighted"))
    jax.tree.map(np.testing.assert_array_equal, plain, weighted)


@pytest.mark.parametrize(("clicked", "radius"), [(False, 6.0), (True, 3.0)])
def test_first_and_later_clicks_have_weights_of_their_own(clicked, radius):
    # A line of 11 pixels: tight 1, enclosing 5; doubled.
    line = np.zeros((1, *SHAPE), bool)
    line[0, 4, :11] = True
    clicks = empty_clicks(1, 4)
    if clicked:
        one = Click(jnp.zeros((1, 2)), jnp.ones(1), jnp.ones(1, bool), jnp.ones(1, bool))
        clicks = append_click(clicks, one)
    # Every pixel of the line is as deep as the first, which is therefore clicked.
    click = handled(
        jax.random.split(jax.random.key(0), 1),
        jnp.zeros_like(line),
        jnp.asarray(line),
        clicks,
        user=RobotUser(
            radius="weighted", first_weight=2 / 9, later_weight=0.5 / 9, radius_scale=2.0
        ),
    )
    assert click.yx[0].tolist() == [4.0, 0.0]
    assert float(click.radius[0]) == pytest.approx(radius, rel=1e-5)


def test_fixed_radii_do_not_scale():
    click = _handled(radius="fixed", fixed_radius=4.0, radius_scale=2.0)
    assert float(click.radius[0]) == 4.0


def test_an_unsteady_hand_errs_by_its_deviation_and_stays_inside():
    steady = _handled(rows=512)
    np.testing.assert_array_equal(steady.yx, [[4.0, 5.0]] * 512)
    unsteady = _handled(rows=512, jitter=1.5)
    error = np.asarray(unsteady.yx - steady.yx)
    # sd of a rounded normal: sqrt(1.5 ** 2 + 1 / 12) = 1.53, less what the border cuts off.
    assert error.std(axis=0) == pytest.approx([1.53, 1.53], abs=0.15)
    assert abs(error.mean()) < 0.15
    np.testing.assert_array_equal(unsteady.radius, steady.radius)
    wild = np.asarray(_handled(rows=512, jitter=50.0).yx)
    assert wild.min() == 0 and (wild.max(axis=0) == [SHAPE[0] - 1, SHAPE[1] - 1]).all()
    assert (wild == np.round(wild)).all()


@pytest.mark.parametrize(("name", "radius"), [("tight", 3.0), ("average_then_tight", 3.0)])
def test_habits_size_the_first_and_the_later_disks(name, radius):
    user = RobotUser(rule="deepest", jitter=0.5).with_habit(name)
    assert (user.rule, user.jitter, user.radius) == ("deepest", 0.5, "weighted")
    assert HABITS[name] == (user.first_weight, user.later_weight)
    # Enclosing is never below tight, so every habit gives a compact square its tight radius.
    assert float(_handled(first_weight=user.first_weight).radius[0]) == radius


def test_users_that_differ_in_numbers_share_a_compilation():
    fresh = jax.jit(lambda *args, user: next_click(*args, user=user))
    target = jnp.asarray(boxes((2, 3, 7, 8))[None])
    args = jax.random.split(jax.random.key(0), 1), jnp.zeros_like(target), target
    for user in (
        RobotUser(radius="weighted", jitter=1.0),
        RobotUser(radius="weighted", first_weight=0.1, threshold=0.3),
        RobotUser(radius="weighted", radius_scale=2.0, fixed_radius=1.0),
    ):
        fresh(*args, empty_clicks(1, 4), user=user)
    assert fresh._cache_size() == 1
    fresh(*args, empty_clicks(1, 4), user=RobotUser(radius="tight"))
    assert fresh._cache_size() == 2
