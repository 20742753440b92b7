import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.data.window import apply_window


def test_ends_middle_and_clipping():
    image = jnp.array([[[-2000, -150, 50, 250, 3000]]], jnp.int16)
    got = apply_window(image, jnp.array([[-150.0, 250.0]]))
    np.testing.assert_allclose(got[0, 0], [0, 0, 0.5, 1, 1], atol=1e-6)
    assert got.dtype == jnp.float32


def test_every_row_has_its_own_window():
    image = jnp.full((2, 1, 1), 0, jnp.int16)
    got = apply_window(image, jnp.array([[-100.0, 100.0], [-300.0, 100.0]]))
    np.testing.assert_allclose(got.ravel(), [0.5, 0.75])


def test_does_not_depend_on_the_rest_of_the_slice():
    window = jnp.array([[-900.0, 600.0]])
    alone = apply_window(jnp.full((1, 2, 2), -300.0), window)
    beside_metal = apply_window(jnp.full((1, 2, 2), -300.0).at[0, 0, 0].set(3000.0), window)
    assert alone[0, 1, 1] == beside_metal[0, 1, 1]


def test_padding_rows_and_broken_pixels_give_no_nan():
    image = jnp.array([[[jnp.nan, jnp.inf, -jnp.inf, 0.0]], [[0.0, 0.0, 5.0, -5.0]]])
    got = apply_window(image, jnp.array([[-100.0, 100.0], [0.0, 0.0]]))
    np.testing.assert_allclose(got[:, 0], [[0, 1, 0, 0.5], [0, 0, 1, 0]])


@given(st.integers(0, 10_000), st.floats(-1000, 0, width=32), st.floats(1, 1000, width=32))
def test_matches_numpy_in_float64(seed, low, width):
    image = np.random.default_rng(seed).integers(-1024, 3072, (2, 4, 4)).astype(np.int16)
    window = np.array([[low, low + width]] * 2, np.float32)
    expected = np.clip((image - np.float64(low)) / np.float64(width), 0, 1)
    got = jax.jit(apply_window)(jnp.asarray(image), jnp.asarray(window))
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert np.all((got >= 0) & (got <= 1))
