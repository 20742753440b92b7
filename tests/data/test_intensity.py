"""Random grey values: closed forms by hand, statistics, and that nothing happens by default."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.data.intensity import vary_colour, vary_intensity

ROWS, SIZE = 256, 8


def _keys(seed, rows=ROWS):
    return jax.random.split(jax.random.key(seed), rows)


def _compiled(**options):
    return jax.jit(functools.partial(vary_intensity, **options))


def _ramp(rows=ROWS):
    line = jnp.linspace(0, 1, SIZE * SIZE).reshape(1, SIZE, SIZE)
    return jnp.broadcast_to(line, (rows, SIZE, SIZE))


def test_all_strengths_zero_return_the_image_itself():
    image = _ramp(2)
    assert vary_intensity(_keys(0, 2), image) is image


def test_brightness_adds_one_number_per_image():
    image = jnp.full((ROWS, SIZE, SIZE), 0.5)
    got = np.asarray(_compiled(brightness=0.3)(_keys(1), image)) - 0.5
    np.testing.assert_allclose(got, np.broadcast_to(got[:, :1, :1], got.shape), atol=1e-6)
    shifts = got[:, 0, 0]
    assert -0.3 <= shifts.min() < -0.25 and 0.25 < shifts.max() <= 0.3
    assert abs(shifts.mean()) < 0.04


def test_contrast_keeps_mid_grey_and_multiplies_the_rest():
    image = jnp.broadcast_to(jnp.asarray([0.4, 0.5, 0.6])[None, None], (ROWS, 1, 3))
    got = np.asarray(_compiled(contrast=0.7)(_keys(2), image))[:, 0]
    np.testing.assert_allclose(got[:, 1], 0.5, atol=1e-6)
    factors = (got[:, 2] - 0.5) / 0.1
    np.testing.assert_allclose((got[:, 0] - 0.5) / -0.1, factors, atol=1e-4)
    assert np.exp(-0.7) <= factors.min() < 0.55 and 1.8 < factors.max() <= np.exp(0.7) + 1e-4
    assert abs(np.log(factors).mean()) < 0.1


def test_gamma_keeps_the_ends_and_the_order():
    got = np.asarray(_compiled(gamma=0.5)(_keys(3), _ramp())).reshape(ROWS, -1)
    np.testing.assert_allclose(got[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(got[:, -1], 1, atol=1e-6)
    assert np.all(np.diff(got, axis=1) > 0)
    powers = np.log(got[:, 20]) / np.log(20 / (SIZE * SIZE - 1))
    assert np.exp(-0.5) - 1e-4 <= powers.min() < 0.65 and 1.55 < powers.max() <= np.exp(0.5) + 1e-3


def test_noise_is_centred_and_of_every_strength_up_to_the_limit():
    image = jnp.full((ROWS, 32, 32), 0.5)
    got = np.asarray(_compiled(noise=0.05)(_keys(4), image)) - 0.5
    spread = got.std(axis=(1, 2))
    assert abs(got.mean()) < 1e-3
    assert spread.min() < 0.005 and 0.045 < spread.max() < 0.055
    assert abs(spread.mean() - 0.025) < 0.004


def test_inversion_happens_as_often_as_asked():
    got = np.asarray(_compiled(invert_prob=0.25)(_keys(7), _ramp()))
    ramp = np.asarray(_ramp())
    inverted = np.isclose(got, 1 - ramp, atol=1e-6).all(axis=(1, 2))
    same = np.isclose(got, ramp, atol=1e-6).all(axis=(1, 2))
    assert np.all(inverted ^ same)
    assert 40 <= inverted.sum() <= 90
    with pytest.raises(ValueError, match="invert_prob"):
        vary_intensity(_keys(0, 2), _ramp(2), invert_prob=1.5)


def test_results_stay_in_the_unit_interval():
    strong = _compiled(contrast=1.5, brightness=0.9, gamma=1.5, noise=0.5)
    got = np.asarray(strong(_keys(5), _ramp()))
    assert got.min() == 0 and got.max() == 1 and np.isfinite(got).all()


def test_row_alone_equals_row_in_batch_and_jit_equals_eager():
    options = {"contrast": 0.5, "brightness": 0.2, "gamma": 0.4, "noise": 0.1}
    keys, image = _keys(6, 3), _ramp(3)
    together = _compiled(**options)(keys, image)
    assert not np.allclose(together[0], together[1])
    for row in range(3):
        alone = vary_intensity(keys[row : row + 1], image[row : row + 1], **options)
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_negative_strengths_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        vary_intensity(_keys(0, 2), _ramp(2), noise=-0.1)


def test_colours_are_those_of_ritm():
    grey = jnp.full((ROWS, 1, 2), 0.5).at[:, 0, 1].set(0.4)  # nothing is clipped
    got = np.asarray(jax.jit(functools.partial(vary_colour, colour_prob=1.0))(_keys(8), grey))
    assert got.shape == (ROWS, 1, 2, 3)
    assert got.min() > 0 and got.max() < 1
    # Each channel has a shift of its own, the same at every pixel.
    shift = (got - got.mean(axis=3, keepdims=True))[:, 0]
    np.testing.assert_allclose(shift[:, 0], shift[:, 1], atol=1e-6)
    assert 15 / 255 < np.ptp(got, axis=3).max() <= 20 / 255 + 1e-6
    factor = ((got[:, 0, 0] - got[:, 0, 1]) / 0.1).mean(axis=1)
    assert 0.85 - 1e-5 <= factor.min() < 0.87 and 1.38 < factor.max() <= 1.4 + 1e-5
    offset = got[:, 0, 1].mean(axis=1) - 0.4 * factor
    assert -0.29 < offset.min() < -0.22 and 0.22 < offset.max() < 0.29


def test_colours_change_as_often_as_asked():
    ramp = _ramp()
    got = np.asarray(jax.jit(functools.partial(vary_colour, colour_prob=0.75))(_keys(9), ramp))
    is_grey = np.ptp(got, axis=3).max(axis=(1, 2)) == 0
    is_same = is_grey & np.isclose(got[..., 0], ramp).all(axis=(1, 2))
    assert abs(is_grey.mean() - 0.25) < 0.09 and abs(is_same.mean() - 0.0625) < 0.05
    off = vary_colour(_keys(9, 2), ramp[:2], colour_prob=0.0)
    np.testing.assert_array_equal(off, np.repeat(ramp[:2, ..., None], 3, axis=-1))
    with pytest.raises(ValueError, match="colour_prob"):
        vary_colour(_keys(0, 2), ramp[:2], colour_prob=1.5)
