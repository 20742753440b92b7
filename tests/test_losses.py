import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from ecc_jax.losses import bce_dice, bce_loss, dice_loss


def _random(seed: int, scale: float = 3.0) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (3, 8, 6, 1)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(rng.random((3, 8, 6)) < 0.3)


@given(st.integers(0, 10_000))
def test_match_formulas_in_numpy(seed):
    logits, target = _random(seed)
    p = expit(np.asarray(logits[..., 0], np.float64))
    t = np.asarray(target, np.float64)
    bce = -(t * np.log(p) + (1 - t) * np.log1p(-p)).mean((1, 2))
    dice = 1 - (2 * (p * t).sum((1, 2)) + 1) / (p.sum((1, 2)) + t.sum((1, 2)) + 1)
    np.testing.assert_allclose(bce_loss(logits, target), bce, rtol=1e-4)
    np.testing.assert_allclose(dice_loss(logits, target), dice, rtol=1e-4)
    np.testing.assert_allclose(bce_dice(logits, target), (bce + dice) / 2, rtol=1e-4)


def test_dice_agrees_with_optax():
    # optax adds its smoothing to overlap and half-sum, so its 0.5 is 1 in the doubled form.
    logits, target = _random(1)
    expected = optax.losses.binary_dice_loss(
        logits, target[..., None].astype(jnp.float32), smooth=0.5
    )
    np.testing.assert_allclose(dice_loss(logits, target), expected, rtol=1e-5)


def test_dice_by_hand():
    # Two lesion pixels of four, all probabilities 1/2: 1 - (2 * 1 + 1) / (2 + 2 + 1) = 0.4.
    target = jnp.array([[[True, True], [False, False]]])
    np.testing.assert_allclose(dice_loss(jnp.zeros((1, 2, 2, 1)), target), [0.4], rtol=1e-6)


def test_zero_logits_cost_log_two():
    target = jnp.ones((1, 4, 4), bool)
    np.testing.assert_allclose(bce_loss(jnp.zeros((1, 4, 4, 1)), target), np.log(2), rtol=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_huge_logits_stay_finite(size):
    target = jnp.array([[[True, False]], [[True, False]]])
    sign = jnp.array([[[[1.0], [-1.0]]], [[[-1.0], [1.0]]]])

    def total(logits):
        return jnp.sum(bce_dice(logits, target))

    value, gradient = jax.value_and_grad(total)(sign * size)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    right, wrong = bce_loss(sign * size, target)
    assert right == 0
    np.testing.assert_allclose(wrong, size, rtol=1e-6)


def test_empty_target():
    target = jnp.zeros((2, 16, 16), bool)
    logits = jnp.stack([jnp.full((16, 16, 1), -40.0), jnp.full((16, 16, 1), 40.0)])
    np.testing.assert_allclose(dice_loss(logits, target), [0.0, 1 - 1 / 257], atol=1e-6)
    np.testing.assert_allclose(bce_loss(logits, target), [0.0, 40.0], atol=1e-6)


def test_float_and_bool_targets_agree():
    logits, target = _random(2)
    np.testing.assert_array_equal(
        bce_dice(logits, target), bce_dice(logits, target.astype(jnp.float32))
    )


def test_bfloat16_logits_give_float32_losses():
    logits, target = _random(3)
    loss = bce_dice(logits.astype(jnp.bfloat16), target)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, bce_dice(logits, target), rtol=2e-2)


def test_jit_equals_eager_and_row_alone_equals_row_in_batch():
    logits, target = _random(4)
    together = bce_dice(logits, target)
    np.testing.assert_allclose(jax.jit(bce_dice)(logits, target), together, rtol=1e-6)
    for row in range(3):
        alone = bce_dice(logits[row : row + 1], target[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-6)


def test_gradient_pulls_towards_the_target():
    target = jnp.array([[[True, False]]])
    gradient = jax.grad(lambda x: jnp.sum(bce_dice(x, target)))(jnp.zeros((1, 1, 2, 1)))
    assert gradient[0, 0, 0, 0] < 0 < gradient[0, 0, 1, 0]
