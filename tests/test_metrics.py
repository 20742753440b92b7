import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
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
    curves = np.random.default_rng(0).random((5, 7), np.float32)
    for measure in (metrics.num_clicks_to_reach, metrics.never_reached):
        np.testing.assert_array_equal(jax.jit(measure)(curves, 0.6), measure(curves, 0.6))
    np.testing.assert_allclose(
        jax.jit(metrics.iterative_iou_error)(curves[0]),
        metrics.iterative_iou_error(curves[0]),
        rtol=1e-6,
    )
