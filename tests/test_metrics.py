from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy.spatial.distance import dice as dice_distance
from scipy.spatial.distance import jaccard

from ecc_jax import metrics


def _masks(seed: int, density: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((4, 6, 5)) < density, rng.random((4, 6, 5)) < density


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.4, 0.95]))
def test_iou_matches_scipy(seed, density):
    pred, target = _masks(seed, density)
    # SciPy calls two empty masks identical: distance 0, IoU 1.
    expected = [1 - jaccard(p.ravel(), t.ravel()) for p, t in zip(pred, target, strict=True)]
    got = metrics.iou(pred, target)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert np.all((got >= 0) & (got <= 1))
    np.testing.assert_array_equal(metrics.iou(target, pred), got)


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.4, 0.95]))
def test_dice_matches_scipy_and_iou(seed, density):
    pred, target = _masks(seed, density)
    pairs = [(p.ravel(), t.ravel()) for p, t in zip(pred, target, strict=True)]
    expected = [1 - dice_distance(p, t) if (p | t).any() else 1 for p, t in pairs]
    got = metrics.dice(pred, target)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)
    overlap = metrics.iou(pred, target)
    np.testing.assert_allclose(got, 2 * overlap / (1 + overlap), atol=1e-6)
    np.testing.assert_array_equal(metrics.dice(target, pred), got)


def test_dice_edge_cases_and_nested_batches():
    empty, full = jnp.zeros((1, 3, 3), bool), jnp.ones((1, 3, 3), bool)
    pairs = [(empty, empty), (full, empty), (empty, full), (full, full)]
    assert [metrics.dice(*pair).item() for pair in pairs] == [1, 0, 0, 1]
    pred, target = _masks(0)
    flat = metrics.dice(pred, target)
    assert metrics.dice(pred[0], target[0]) == flat[0]
    nested = metrics.dice(pred.reshape(2, 2, 6, 5), target.reshape(2, 2, 6, 5))
    np.testing.assert_array_equal(nested, flat.reshape(2, 2))


def test_iou_edge_cases():
    empty, full = jnp.zeros((1, 3, 3), bool), jnp.ones((1, 3, 3), bool)
    assert metrics.iou(empty, empty)[0] == 1
    assert metrics.iou(full, empty)[0] == 0
    assert metrics.iou(empty, full)[0] == 0
    assert metrics.iou(full, full)[0] == 1


def test_iou_of_single_and_nested_batches():
    pred, target = _masks(0)
    flat = metrics.iou(pred, target)
    assert metrics.iou(pred[0], target[0]) == flat[0]
    nested = metrics.iou(pred.reshape(2, 2, 6, 5), target.reshape(2, 2, 6, 5))
    np.testing.assert_array_equal(nested, flat.reshape(2, 2))


def test_noc_and_nof_by_hand():
    iou = np.array(
        [
            [0.9, 0.2, 0.3],  # at once, though it falls off again
            [0.1, 0.8, 0.9],  # equality counts
            [0.1, 0.2, 0.8],  # at the very last click: a success
            [0.1, 0.2, 0.3],  # never
        ]
    )
    np.testing.assert_array_equal(metrics.num_clicks_to_reach(iou, 0.8), [1, 2, 3, 3])
    np.testing.assert_array_equal(metrics.never_reached(iou, 0.8), [False, False, False, True])
    by_name = [metrics.never_reached(iou, 0.8, convention=name) for name in ("success", "ritm")]
    np.testing.assert_array_equal(by_name[0], [False, False, False, True])
    np.testing.assert_array_equal(by_name[1], [False, False, True, True])
    one_click = metrics.never_reached(np.array([[0.9], [0.1]]), 0.8, convention="ritm")
    np.testing.assert_array_equal(one_click, [True, True])


def test_unknown_failure_conventions_are_refused():
    assert metrics.FAILURE_CONVENTIONS == ("success", "ritm")
    with pytest.raises(ValueError, match="one of success, ritm, got 'strict'"):
        metrics.never_reached(np.zeros((1, 2)), 0.8, convention="strict")


@pytest.mark.parametrize("threshold", [0.8, 0.85, 0.9, 0.95])
def test_a_ratio_equal_to_the_threshold_reaches_it(threshold):
    # 17 of 20 pixels is exactly 0.85; rounding of the division must not lose it.
    pred = np.zeros((1, 1, 20), bool)
    pred[0, 0, : round(20 * threshold)] = True
    iou = metrics.iou(pred, np.ones((1, 1, 20), bool))[:, None]
    assert not metrics.never_reached(iou, threshold)[0]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_noc_matches_a_loop(seed, threshold):
    iou = np.random.default_rng(seed).random((5, 7), np.float32)
    clicks, failed = [], []
    for row in iou:
        hits = [i + 1 for i, value in enumerate(row) if value >= np.float32(threshold)]
        clicks.append(hits[0] if hits else 7)
        failed.append(not hits)
    np.testing.assert_array_equal(metrics.num_clicks_to_reach(iou, threshold), clicks)
    np.testing.assert_array_equal(metrics.never_reached(iou, threshold), failed)
    at_last = [number == 7 for number in clicks]
    got = metrics.never_reached(iou, threshold, convention="ritm")
    np.testing.assert_array_equal(got, at_last)


def test_iterative_iou_error_by_hand():
    # Errors 0.5, 0.25 and 0 with weights 1, 1.1 and 1.2.
    got = metrics.iterative_iou_error(np.array([0.5, 0.75, 1.0]))
    np.testing.assert_allclose(got, 0.775 / 3.3, rtol=1e-6)


def test_iterative_iou_error_weights_of_twenty_clicks_sum_to_39():
    curve = np.ones(20)
    curve[19] = 0.0
    np.testing.assert_allclose(metrics.iterative_iou_error(curve), 2.9 / 39.0, rtol=1e-5)
    curve[:] = 0.0
    np.testing.assert_allclose(metrics.iterative_iou_error(curve), 1.0, rtol=1e-6)
    assert metrics.iterative_iou_error(np.ones(20)) == 0


@given(st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20))
def test_iterative_iou_error_is_equation_5_with_denominator_39(curve):
    total = sum((1.0 - value) * (1.0 + 0.1 * i) for i, value in enumerate(curve))
    got = metrics.iterative_iou_error(np.array(curve, np.float32))
    np.testing.assert_allclose(got, total / 39.0, rtol=1e-5, atol=1e-6)


def test_area_under_curve_by_hand():
    curve = np.array([0.0, 0.5, 1.0, 1.0, 0.5])
    got = metrics.area_under_curve(curve)
    assert got.dtype == jnp.float32 and got.shape == ()
    np.testing.assert_allclose(got, (0.25 + 0.75 + 1.0 + 0.75) / 4, rtol=1e-6)
    # The challenge's own sum over 5 clicks, at most 4.
    np.testing.assert_allclose(got * 4, np.trapezoid(curve), rtol=1e-6)
    assert metrics.area_under_curve(np.ones((3, 5))).tolist() == [1.0, 1.0, 1.0]
    assert metrics.area_under_curve(np.array([[0.25], [0.75]])).tolist() == [0.25, 0.75]
    with pytest.raises(ValueError, match="at least one click"):
        metrics.area_under_curve(np.ones((3, 0)))


@given(st.integers(0, 10_000))
def test_area_under_curve_matches_numpy(seed):
    curves = np.random.default_rng(seed).random((2, 3, 7), np.float32)
    got = metrics.area_under_curve(curves)
    np.testing.assert_allclose(got, np.trapezoid(curves, axis=-1) / 6, rtol=1e-5)
    assert (got >= curves.min(-1) - 1e-6).all() and (got <= curves.max(-1) + 1e-6).all()


@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
def test_iterative_iou_error_is_bounded_and_late_clicks_weigh_more(values):
    curve = np.array(values, np.float32)
    error = metrics.iterative_iou_error(curve)
    assert -1e-6 <= error <= 1 + 1e-6
    assert metrics.iterative_iou_error(np.sort(curve)) <= error + 1e-6


def test_masked_sum_ignores_padding_and_adds_up():
    values = np.array([[0.5, 1.0], [0.25, 0.0], [np.nan, 7.0]])
    valid = np.array([True, True, False])
    whole = metrics.masked_sum(values, valid)
    np.testing.assert_allclose(whole.total, [0.75, 1.0])
    assert whole.num_rows == 2
    parts = metrics.merge(
        metrics.masked_sum(values[:1], valid[:1]), metrics.masked_sum(values[1:], valid[1:])
    )
    np.testing.assert_allclose(metrics.compute(parts), metrics.compute(whole))
    np.testing.assert_allclose(metrics.compute(whole), [0.375, 0.5])


def test_masked_sum_of_scalars_per_row_and_of_nothing():
    running = metrics.masked_sum(np.array([True, False, True]), np.array([True, True, False]))
    np.testing.assert_allclose(metrics.compute(running), 0.5)
    nothing = metrics.masked_sum(np.ones((2, 3)), np.zeros(2, bool))
    assert np.isnan(metrics.compute(nothing)).all()


def test_masked_sum_of_a_sharded_batch_is_global():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    values = np.arange(16, dtype=np.float32).reshape(16, 1)
    valid = np.arange(16) < 13
    running = jax.jit(metrics.masked_sum)(
        jax.device_put(values, sharding), jax.device_put(valid, sharding)
    )
    np.testing.assert_allclose(running.total, [78.0])
    assert running.num_rows == 13


def test_jit_equals_eager():
    pred, target = _masks(3)
    np.testing.assert_array_equal(jax.jit(metrics.iou)(pred, target), metrics.iou(pred, target))
    np.testing.assert_array_equal(jax.jit(metrics.dice)(pred, target), metrics.dice(pred, target))
    curves = np.random.default_rng(0).random((5, 7), np.float32)
    for measure in (metrics.num_clicks_to_reach, metrics.never_reached):
        np.testing.assert_array_equal(jax.jit(measure)(curves, 0.6), measure(curves, 0.6))
    ritm = partial(metrics.never_reached, convention="ritm")
    np.testing.assert_array_equal(jax.jit(ritm)(curves, 0.6), ritm(curves, 0.6))
    area = metrics.area_under_curve
    np.testing.assert_allclose(jax.jit(area)(curves), area(curves), rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(metrics.iterative_iou_error)(curves[0]),
        metrics.iterative_iou_error(curves[0]),
        rtol=1e-6,
    )
