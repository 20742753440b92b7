import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
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


def test_jit_equals_eager():
    pred, target = _masks(3)
    np.testing.assert_array_equal(jax.jit(metrics.iou)(pred, target), metrics.iou(pred, target))
    np.testing.assert_array_equal(jax.jit(metrics.dice)(pred, target), metrics.dice(pred, target))
