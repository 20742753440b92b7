"""The eight orientations of a square."""

import jax.numpy as jnp
import numpy as np

from ecc_jax.inference.orientations import in_all_orientations, mean_of_orientations


def test_orientations_are_the_eight_of_numpy():
    x = np.random.default_rng(0).random((2, 5, 5, 3)).astype(np.float32)
    turned = np.asarray(in_all_orientations(jnp.asarray(x))).reshape(2, 8, 5, 5, 3)
    for row in range(2):
        turns = [np.rot90(y, k) for y in (x[row], x[row, ::-1]) for k in range(4)]
        for expected in turns:
            assert sum(np.array_equal(expected, found) for found in turned[row]) == 1


def test_mean_turns_each_back():
    x = jnp.asarray(np.random.default_rng(1).random((3, 6, 6, 2)), jnp.float32)
    np.testing.assert_allclose(mean_of_orientations(in_all_orientations(x)), x, atol=1e-6)
    # A function that sees where up is loses it in the mean.
    tilted = in_all_orientations(x) * jnp.arange(6, dtype=jnp.float32)[None, :, None, None]
    mean = mean_of_orientations(tilted)
    np.testing.assert_allclose(mean, mean_of_orientations(in_all_orientations(mean)), atol=1e-5)
    np.testing.assert_allclose(jnp.mean(mean / x), 2.5, atol=1e-5)
