import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax import metrics
from ecc_jax.report import curves


def test_noc_and_nof_by_hand():
    iou = np.array(
        [
            [0.9, 0.2, 0.3],  # at once, though it falls off again
            [0.1, 0.8, 0.9],  # equality counts
            [0.1, 0.2, 0.8],  # at the very last click: a success
            [0.1, 0.2, 0.3],  # never
        ]
    )
    np.testing.assert_array_equal(curves.num_clicks_to_reach(iou, 0.8), [1, 2, 3, 3])
    np.testing.assert_array_equal(curves.never_reached(iou, 0.8), [False, False, False, True])
    by_name = [curves.never_reached(iou, 0.8, convention=name) for name in ("success", "ritm")]
    np.testing.assert_array_equal(by_name[0], [False, False, False, True])
    np.testing.assert_array_equal(by_name[1], [False, False, True, True])
    one_click = curves.never_reached(np.array([[0.9], [0.1]]), 0.8, convention="ritm")
    np.testing.assert_array_equal(one_click, [True, True])


def test_unknown_failure_conventions_are_refused():
    assert curves.FAILURE_CONVENTIONS == ("success", "ritm")
    with pytest.raises(ValueError, match="one of success, ritm, got 'strict'"):
        curves.never_reached(np.zeros((1, 2)), 0.8, convention="strict")


@pytest.mark.parametrize("threshold", [0.8, 0.85, 0.9, 0.95])
def test_a_ratio_equal_to_the_threshold_reaches_it(threshold):
    # 17 of 20 pixels is exactly 0.85; rounding of the division must not lose it.
    pred = np.zeros((1, 1, 20), bool)
    pred[0, 0, : round(20 * threshold)] = True
    iou = np.asarray(metrics.iou(pred, np.ones((1, 1, 20), bool)))[:, None]
    assert not curves.never_reached(iou, threshold)[0]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_noc_matches_a_loop(seed, threshold):
    iou = np.random.default_rng(seed).random((5, 7), np.float32)
    clicks, failed = [], []
    for row in iou:
        hits = [i + 1 for i, value in enumerate(row) if value >= np.float32(threshold)]
        clicks.append(hits[0] if hits else 7)
        failed.append(not hits)
    np.testing.assert_array_equal(curves.num_clicks_to_reach(iou, threshold), clicks)
    np.testing.assert_array_equal(curves.never_reached(iou, threshold), failed)
    at_last = [number == 7 for number in clicks]
    got = curves.never_reached(iou, threshold, convention="ritm")
    np.testing.assert_array_equal(got, at_last)


def test_iterative_iou_error_by_hand():
    # Errors 0.5, 0.25 and 0 with weights 1, 1.1 and 1.2.
    got = curves.iterative_iou_error(np.array([0.5, 0.75, 1.0]))
    np.testing.assert_allclose(got, 0.775 / 3.3, rtol=1e-6)


def test_iterative_iou_error_weights_of_twenty_clicks_sum_to_39():
    curve = np.ones(20)
    curve[19] = 0.0
    np.testing.assert_allclose(curves.iterative_iou_error(curve), 2.9 / 39.0, rtol=1e-5)
    curve[:] = 0.0
    np.testing.assert_allclose(curves.iterative_iou_error(curve), 1.0, rtol=1e-6)
    assert curves.iterative_iou_error(np.ones(20)) == 0


@given(st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20))
def test_iterative_iou_error_is_equation_5_with_denominator_39(curve):
    total = sum((1.0 - value) * (1.0 + 0.1 * i) for i, value in enumerate(curve))
    got = curves.iterative_iou_error(np.array(curve, np.float32))
    np.testing.assert_allclose(got, total / 39.0, rtol=1e-5, atol=1e-6)


def test_area_under_curve_by_hand():
    curve = np.array([0.0, 0.5, 1.0, 1.0, 0.5])
    got = curves.area_under_curve(curve)
    assert got.dtype == np.float32 and got.shape == ()
    np.testing.assert_allclose(got, (0.25 + 0.75 + 1.0 + 0.75) / 4, rtol=1e-6)
    # The challenge's own sum over 5 clicks, at most 4.
    np.testing.assert_allclose(got * 4, np.trapezoid(curve), rtol=1e-6)
    assert curves.area_under_curve(np.ones((3, 5))).tolist() == [1.0, 1.0, 1.0]
    assert curves.area_under_curve(np.array([[0.25], [0.75]])).tolist() == [0.25, 0.75]
    with pytest.raises(ValueError, match="at least one click"):
        curves.area_under_curve(np.ones((3, 0)))


@given(st.integers(0, 10_000))
def test_area_under_curve_matches_numpy(seed):
    scores = np.random.default_rng(seed).random((2, 3, 7), np.float32)
    got = curves.area_under_curve(scores)
    np.testing.assert_allclose(got, np.trapezoid(scores, axis=-1) / 6, rtol=1e-5)
    assert (got >= scores.min(-1) - 1e-6).all() and (got <= scores.max(-1) + 1e-6).all()


@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
def test_iterative_iou_error_is_bounded_and_late_clicks_weigh_more(values):
    curve = np.array(values, np.float32)
    error = curves.iterative_iou_error(curve)
    assert -1e-6 <= error <= 1 + 1e-6
    assert curves.iterative_iou_error(np.sort(curve)) <= error + 1e-6


def _in_order(values) -> np.float32:
    """Returns the sum that a loop over float32 numbers gives."""
    total = np.float32(0)
    for value in np.asarray(values, np.float32):
        total = np.float32(total + value)
    return total


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=24))
def test_sums_run_in_order_so_figures_are_the_same_to_the_last_bit(scores):
    curve = np.array(scores, np.float32)
    heights = [np.float32(np.float32(a + b) / 2) for a, b in zip(curve, curve[1:], strict=False)]
    share = np.float32(1) / np.float32(len(heights))
    assert curves.area_under_curve(curve) == np.float32(_in_order(heights) * share)
    weights = [
        np.float32(1 + np.float32(np.float32(0.1) * np.float32(i))) for i in range(len(curve))
    ]
    above = [np.float32(np.float32(1 - v) * w) for v, w in zip(curve, weights, strict=True)]
    expected = np.float32(_in_order(above) / _in_order(weights))
    assert curves.iterative_iou_error(curve) == expected


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_figures_are_those_of_xla_on_a_cpu(k):
    """Earlier versions took them there; up to 4096 values XLA adds in order as well."""
    scores = np.random.default_rng(k).random((64, k), np.float32)
    mean = jnp.mean((scores[:, :-1] + scores[:, 1:]) / 2, axis=-1) if k > 1 else scores[:, 0]
    np.testing.assert_array_equal(curves.area_under_curve(scores), mean)
    weights = 1.0 + 0.1 * jnp.arange(k, dtype=jnp.float32)
    error = jnp.sum((1.0 - scores[0]) * weights) / jnp.sum(weights)
    assert curves.iterative_iou_error(scores[0]) == error
