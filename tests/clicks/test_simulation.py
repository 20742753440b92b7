import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.clicks.simulation import CLICK_RULES, next_click
from ecc_jax.types import Click

SHAPE = (9, 12)


@functools.partial(jax.jit, static_argnames=("rule", "radius"))
def jitted(keys, pred, target, clicks, rule, radius="tight"):
    return next_click(keys, pred, target, clicks, rule=rule, radius=radius)


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
    eager = next_click(*args, rule=rule, radius="normal")
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
        next_click(keys, pred, target, empty_clicks(1, 1), rule="centre")
