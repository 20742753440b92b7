"""One matrix per axis, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.ops import separable

sizes = st.integers(1, 7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), sizes, sizes, sizes, sizes, st.sampled_from([(), (1,), (3,)]))
@pytest.mark.parametrize("image_first", [False, True])
def test_own_matrices_for_every_row(image_first, seed, h, w, height, width, channels):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, h, w, *channels)).astype(np.float32)
    rows = rng.normal(size=(2, height, h)).astype(np.float32)
    columns = rng.normal(size=(2, width, w)).astype(np.float32)
    got = separable.apply(
        jnp.asarray(rows), jnp.asarray(image), jnp.asarray(columns), image_first=image_first
    )
    want = np.zeros((2, height, width, *channels))
    for b, y, x in np.ndindex(2, height, width):
        weight = np.outer(rows[b, y].astype(float), columns[b, x].astype(float))
        want[b, y, x] = np.tensordot(weight, image[b].astype(float), 2)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_shared_matrices_are_those_of_every_row_and_square_ones_are_left_out():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(3, 5, 4, 2)).astype(np.float32))
    rows, columns = (rng.normal(size=shape).astype(np.float32) for shape in ((7, 5), (3, 4)))
    same_rows, same_columns = np.eye(5, dtype=np.float32), np.eye(4, dtype=np.float32)

    def repeated(matrix):
        return jnp.asarray(np.repeat(matrix[None], 3, axis=0))

    for r, c in ((rows, columns), (same_rows, columns), (rows, same_columns)):
        want = separable.apply(repeated(r), image, repeated(c))
        got = separable.apply_shared(r, image, c)
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert separable.apply_shared(same_rows, image, same_columns) is image


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_products_are_full_precision_whatever_the_input(dtype):
    # 1 + 2^-12 is no number of either type: a product in it would lose the second term.
    image = jnp.array([1.0, 1.0], dtype).reshape(1, 1, 2)
    one, sum_of_both = jnp.ones((1, 1, 1)), jnp.array([[[1.0, 2.0**-12]]])
    assert separable.apply(one, image, sum_of_both).tolist() == [[[1 + 2.0**-12]]]
    shared = np.array([[1.0, 2.0**-12]], np.float32)
    got = separable.apply_shared(np.eye(1, dtype=np.float32), image[..., None], shared)
    assert got.dtype == dtype


def test_row_alone_equals_row_in_batch_and_jit_equals_eager():
    rng = np.random.default_rng(1)
    image, rows, columns = (
        jnp.asarray(rng.normal(size=shape).astype(np.float32))
        for shape in ((4, 6, 5, 2), (4, 3, 6), (4, 8, 5))
    )
    together = jax.jit(separable.apply)(rows, image, columns)
    np.testing.assert_allclose(together, separable.apply(rows, image, columns), atol=1e-5)
    for i in range(4):
        one = slice(i, i + 1)
        alone = separable.apply(rows[one], image[one], columns[one])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
