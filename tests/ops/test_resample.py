"""Resizing against loops over output pixels, SciPy and `jax.image`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.ops.resample import (
    align_corners_matrix,
    half_pixel_matrix,
    resize_align_corners,
    resize_half_pixel,
    resize_nearest,
)

SIZES = st.tuples(*[st.integers(1, 7)] * 4)


def corner_position(i, size_in, size_out):
    return i * (size_in - 1) / (size_out - 1) if size_out > 1 else 0.0


def edge_position(i, size_in, size_out):
    return min(max((i + 0.5) * size_in / size_out - 0.5, 0.0), size_in - 1.0)


RESIZES = {corner_position: resize_align_corners, edge_position: resize_half_pixel}


def brute_force(image, height, width, position):
    """Reads every output pixel from its four neighbours; image [h w c]."""
    h, w, _ = image.shape
    out = np.zeros((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            y, x = position(i, h, height), position(j, w, width)
            y0, x0 = min(int(y), h - 1), min(int(x), w - 1)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


@pytest.mark.parametrize("position", RESIZES)
@given(sizes=SIZES, seed=st.integers(0, 99))
@settings(max_examples=15)
def test_matches_brute_force(position, sizes, seed):
    h, w, height, width = sizes
    x = np.random.default_rng(seed).normal(size=(2, h, w, 3)).astype(np.float32)
    y = RESIZES[position](jnp.asarray(x), (height, width))
    expected = np.stack([brute_force(image, height, width, position) for image in x])
    np.testing.assert_allclose(y, expected, atol=2e-6)


@given(sizes=SIZES)
@settings(max_examples=15)
def test_half_pixel_matches_jax_image(sizes):
    h, w, height, width = sizes
    x = np.random.default_rng(0).normal(size=(1, h, w, 2)).astype(np.float32)
    expected = jax.image.resize(x, (1, height, width, 2), "linear", antialias=False)
    y = resize_half_pixel(jnp.asarray(x), (height, width))
    np.testing.assert_allclose(y, expected, atol=2e-6)


@given(sizes=SIZES)
@settings(max_examples=15)
def test_nearest_matches_brute_force(sizes):
    h, w, height, width = sizes
    x = np.arange(2 * h * w).reshape(2, h, w, 1)
    y = resize_nearest(jnp.asarray(x), (height, width))
    assert y.dtype == jnp.int32
    for i in range(height):
        for j in range(width):
            np.testing.assert_array_equal(y[:, i, j], x[:, (i * h) // height, (j * w) // width])


def test_nearest_by_hand():
    x = jnp.asarray([5, 6, 7]).reshape(1, 3, 1, 1)
    assert resize_nearest(x, (6, 1)).ravel().tolist() == [5, 5, 6, 6, 7, 7]
    assert resize_nearest(x, (4, 1)).ravel().tolist() == [5, 5, 6, 7]
    assert resize_nearest(x, (2, 1)).ravel().tolist() == [5, 6]


def test_gradient_of_nearest_counts_the_copies():
    x = jnp.ones((1, 2, 3, 1))
    gradient = jax.grad(lambda x: resize_nearest(x, (4, 5)).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[4, 4, 2], [4, 4, 2]])


@pytest.mark.parametrize(("shape", "out"), [((8, 6), (32, 24)), ((23, 18), (90, 70))])
def test_matches_scipy(shape, out):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    grid = np.meshgrid(
        np.linspace(0, shape[0] - 1, out[0]), np.linspace(0, shape[1] - 1, out[1]), indexing="ij"
    )
    expected = scipy.ndimage.map_coordinates(x.astype(np.float64), grid, order=1)
    y = resize_align_corners(jnp.asarray(x)[None, :, :, None], out)
    np.testing.assert_allclose(y[0, :, :, 0], expected, atol=2e-6)


def test_two_pixels_to_three_and_one():
    x = jnp.asarray([2.0, 6.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(resize_align_corners(x, (3, 1)).ravel(), [2, 4, 6])
    # One output pixel reads position 0, not the middle.
    np.testing.assert_allclose(resize_align_corners(x, (1, 1)).ravel(), [2])
    # With edges aligned, it does.
    np.testing.assert_allclose(resize_half_pixel(x, (1, 1)).ravel(), [4])
    np.testing.assert_allclose(resize_half_pixel(x, (4, 1)).ravel(), [2, 3, 5, 6])


@pytest.mark.parametrize("resize", RESIZES.values())
def test_same_size_is_the_same_array(resize):
    x = jnp.ones((1, 4, 5, 2))
    assert resize(x, (4, 5)) is x


def test_corners_and_range_are_kept():
    x = np.random.default_rng(1).normal(size=(1, 5, 4, 1)).astype(np.float32)
    y = np.asarray(resize_align_corners(jnp.asarray(x), (17, 19)))
    np.testing.assert_allclose(
        y[0, [0, 0, -1, -1], [0, -1, 0, -1]], x[0, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6
    )
    assert x.min() - 1e-6 <= y.min() and y.max() <= x.max() + 1e-6


@pytest.mark.parametrize("resize", [*RESIZES.values(), resize_nearest])
def test_jit_and_row_alone(resize):
    x = jax.random.normal(jax.random.key(0), (3, 5, 4, 2))
    eager = resize(x, (9, 7))
    compiled = jax.jit(resize, static_argnums=1)(x, (9, 7))
    np.testing.assert_allclose(eager, compiled, atol=1e-6)
    np.testing.assert_allclose(resize(x[1:2], (9, 7)), eager[1:2], atol=1e-6)


def test_bfloat16_is_computed_in_float32():
    x = jnp.asarray([1.0, 2.0], jnp.bfloat16).reshape(1, 2, 1, 1)
    y = resize_align_corners(x, (8, 1))
    assert y.dtype == jnp.bfloat16
    exact = np.linspace(1, 2, 8, dtype=np.float32)
    np.testing.assert_array_equal(y.ravel(), exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("sizes", [(1, 1), (1, 6), (6, 1), (5, 5), (4, 16), (16, 5)])
@pytest.mark.parametrize("weights", [align_corners_matrix, half_pixel_matrix])
def test_rows_of_the_matrix_sum_to_one(weights, sizes):
    matrix = weights(*sizes)
    assert matrix.shape == sizes[::-1]
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    assert matrix.min() >= 0


def test_empty_axis_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 4 -> 0"):
        align_corners_matrix(4, 0)
    with pytest.raises(ValueError, match="at least 1, got 0 -> 4"):
        half_pixel_matrix(0, 4)
    with pytest.raises(ValueError, match="at least 1, got 3 -> 0"):
        resize_nearest(jnp.ones((1, 3, 3, 1)), (0, 3))
