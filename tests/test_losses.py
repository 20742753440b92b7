import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from ecc_jax.losses import (
    bce_dice,
    bce_dice_batch,
    bce_loss,
    boundary_focal_loss,
    dice_loss,
    normalised_focal_loss,
)


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


@given(st.integers(0, 10_000))
def test_code_options_match_formulas_in_numpy(seed):
    logits, target = _random(seed)
    boundary = np.random.default_rng(seed + 1).random(target.shape) < 0.2
    p = expit(np.asarray(logits[..., 0], np.float64))
    t = np.asarray(target, np.float64)
    pt = np.where(t > 0.5, p, 1 - p)
    beta = (1 - pt) ** 3
    factor = beta[0].size / beta.sum((1, 2), keepdims=True)
    focal = -np.where(t > 0.5, 0.3, 0.7) * factor * beta * np.log(pt)
    got = normalised_focal_loss(logits, target, alpha=0.3, gamma=3.0)
    np.testing.assert_allclose(got, focal.mean((1, 2)), rtol=1e-4)
    weight = np.where(boundary, 1.0, 0.5)
    got = boundary_focal_loss(logits, target, jnp.asarray(boundary), alpha=0.3, gamma=3.0)
    np.testing.assert_allclose(got, (focal * weight).sum() / weight.sum(), rtol=1e-4)
    bce = -np.log(pt).mean()
    dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    np.testing.assert_allclose(bce_dice_batch(logits, target), (bce + dice) / 2, rtol=1e-4)


def test_focal_loss_by_hand():
    # Equal probabilities: the factor undoes the discount, half of log 2 is left.
    target = jnp.array([[[True, False]]])
    np.testing.assert_allclose(
        normalised_focal_loss(jnp.zeros((1, 1, 2, 1)), target), [0.5 * np.log(2)], rtol=1e-6
    )


def test_focal_gradient_treats_the_factor_as_constant():
    logits, target = _random(5)
    p = expit(np.asarray(logits[..., 0], np.float64))
    pt = np.where(target, p, 1 - p)
    factor = pt[0].size / ((1 - pt) ** 2).sum((1, 2), keepdims=True)
    # d/dx of -0.5 f (1 - p_t)^2 log p_t, with d p_t / dx = +-p_t (1 - p_t).
    slope = 2 * (1 - pt) * np.log(pt) - (1 - pt) ** 2 / pt
    expected = 0.5 * factor * slope * np.where(target, 1, -1) * pt * (1 - pt) / pt[0].size
    got = jax.grad(lambda x: jnp.sum(normalised_focal_loss(x, target)))(logits)
    np.testing.assert_allclose(got[..., 0], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_huge_logits_stay_finite_in_the_code_options(size):
    target = jnp.array([[[True, False]], [[True, False]]])
    logits = size * jnp.array([[[[1.0], [-1.0]]], [[[-1.0], [1.0]]]])

    def total(logits):
        focal = jnp.sum(normalised_focal_loss(logits, target))
        boundary = boundary_focal_loss(logits, target, target)
        return focal + boundary + bce_dice_batch(logits, target)

    value, gradient = jax.value_and_grad(total)(logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_dice_over_the_batch_hides_a_small_lesion():
    target = jnp.zeros((2, 8, 8)).at[0].set(1).at[1, 0, 0].set(1)
    found = jnp.where(target > 0, 20.0, -20.0)[..., None]
    missed = found.at[1].set(-20.0)
    loss = float(bce_dice_batch(missed, target) - bce_dice_batch(found, target))
    assert loss < 0.5 * float(jnp.mean(bce_dice(missed, target) - bce_dice(found, target)))
    # A probability counts as at least 1e-7, so the one missed pixel costs log(1e7).
    assert float(bce_dice_batch(missed, target)) == pytest.approx(
        0.5 * np.log(1e7) / 128 + 0.5 * (1 - (2 * 64 + 1) / (64 + 65 + 1)), rel=1e-4
    )


@pytest.mark.parametrize("loss", [bce_dice_batch, normalised_focal_loss])
def test_code_options_under_jit_and_in_other_types(loss):
    logits, target = _random(6)
    expected = loss(logits, target)
    np.testing.assert_allclose(jax.jit(loss)(logits, target), expected, rtol=1e-6)
    np.testing.assert_array_equal(loss(logits, target.astype(jnp.float32)), expected)
    low = loss(logits.astype(jnp.bfloat16), target)
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, expected, rtol=2e-2)
