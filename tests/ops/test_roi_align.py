"""ROI-align against a loop over cells and samples."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecc_jax.ops.roi_align import roi_align

jitted = jax.jit(roi_align, static_argnums=2)


def read(image, y, x):
    """One bilinear sample with the border rules of torchvision; image [h w c]."""
    h, w, _ = image.shape
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros(image.shape[2])
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = int(y), int(x)
    if y0 >= h - 1:
        y0, y = h - 1, float(h - 1)
    if x0 >= w - 1:
        x0, x = w - 1, float(w - 1)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
    bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


def brute_force(image, box, shape):
    """Averages ceil(size / cells) samples per axis in every cell; image [h w c]."""
    y0, x0, y1, x1 = box
    cell_y, cell_x = (y1 - y0) / shape[0], (x1 - x0) / shape[1]
    count_y, count_x = max(math.ceil(cell_y), 0), max(math.ceil(cell_x), 0)
    out = np.zeros((*shape, image.shape[2]))
    for i in range(shape[0]):
        for j in range(shape[1]):
            for s in range(count_y):
                for t in range(count_x):
                    y = y0 - 0.5 + (i + (s + 0.5) / count_y) * cell_y
                    x = x0 - 0.5 + (j + (t + 0.5) / count_x) * cell_x
                    out[i, j] += read(image, y, x) / (count_y * count_x)
    return out


def random_maps(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Quarters are exact in float32, so both sides agree on the number of samples.
@given(
    corner=st.tuples(st.integers(-8, 24), st.integers(-8, 24)),
    size=st.tuples(st.integers(0, 28), st.integers(0, 36)),
    shape=st.sampled_from([(1, 1), (3, 2), (5, 6), (2, 11)]),
)
@example(corner=(0, 0), size=(28, 36), shape=(7, 9))  # everything, unchanged
@example(corner=(0, 0), size=(28, 36), shape=(1, 1))  # the most samples
@example(corner=(-8, -8), size=(4, 4), shape=(2, 2))  # outside
@settings(max_examples=60)
def test_matches_brute_force(corner, size, shape):
    x = random_maps((1, 7, 9, 2))
    box = np.asarray([*corner, corner[0] + size[0], corner[1] + size[1]]) / 4
    got = jitted(jnp.asarray(x), jnp.asarray(box[None], jnp.float32), shape)
    np.testing.assert_allclose(got[0], brute_force(x[0], box, shape), atol=2e-6)


def test_matches_scipy():
    x = random_maps((1, 12, 10, 1))
    box, shape = (2.5, 1.0, 8.5, 9.0), (6, 16)
    rows = 2.5 - 0.5 + (np.arange(6) + 0.5)
    columns = 1.0 - 0.5 + (np.arange(16) + 0.5) / 2
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = scipy.ndimage.map_coordinates(x[0, :, :, 0].astype(np.float64), grid, order=1)
    got = roi_align(jnp.asarray(x), jnp.asarray([box]), shape)
    np.testing.assert_allclose(got[0, :, :, 0], expected, atol=2e-6)


def test_by_hand():
    x = jnp.asarray([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 4, 1)
    box = jnp.asarray([[0.0, 0.0, 1.0, 4.0]])
    # Two cells of two pixels, two samples each, at the pixels' centres.
    np.testing.assert_allclose(roi_align(x, box, (1, 2)).ravel(), [0.5, 2.5])
    # Eight cells of half a pixel; the outermost samples lie outside the outermost centres.
    expected = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    np.testing.assert_allclose(roi_align(x, box, (1, 8)).ravel(), expected)


def test_whole_map_is_unchanged_when_the_ratio_of_sizes_rounds():
    # 23 / 90 is not exact, so the box may come out a little larger than the map.
    x = random_maps((1, 23, 18, 1))
    scale = jnp.asarray([[23 / 90, 18 / 70] * 2], jnp.float32)
    box = jnp.asarray([[0.0, 0.0, 90.0, 70.0]]) * scale
    np.testing.assert_allclose(roi_align(jnp.asarray(x), box, (23, 18)), x, atol=1e-4)


@pytest.mark.parametrize("box", [(2, 2, 2, 5), (2, 2, 5, 2), (5, 2, 3, 4), (50, 2, 55, 4)])
def test_boxes_without_area_or_outside_give_zeros(box):
    x = jnp.ones((1, 8, 8, 1))
    got = roi_align(x, jnp.asarray([box], jnp.float32), (3, 3))
    np.testing.assert_array_equal(got, 0)


def test_jit_and_row_alone():
    x = jnp.asarray(random_maps((3, 7, 9, 2)))
    boxes = jnp.asarray([[0, 0, 7, 9], [1.5, 2, 6, 4], [3, 3, 4, 4]], jnp.float32)
    together = roi_align(x, boxes, (4, 4))
    compiled = jitted(x, boxes, (4, 4))
    np.testing.assert_allclose(compiled, together, atol=1e-6)
    for row in range(3):
        alone = roi_align(x[row : row + 1], boxes[row : row + 1], (4, 4))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_gradient_is_the_transpose():
    # The output is linear in the map, so <g, f(x)> = <f'(g), x>.
    x = jnp.asarray(random_maps((2, 6, 5, 3)))
    boxes = jnp.asarray([[0, 1, 6, 4], [2, 2, 4.5, 5]], jnp.float32)
    g = jnp.asarray(random_maps((2, 4, 3, 3), seed=1))
    f = functools.partial(roi_align, boxes=boxes, shape=(4, 3))
    out, pull = jax.vjp(f, x)
    np.testing.assert_allclose(jnp.sum(g * out), jnp.sum(pull(g)[0] * x), rtol=1e-4)


def test_bfloat16_is_computed_in_float32():
    x = random_maps((1, 6, 6, 1)).astype(jnp.bfloat16)
    boxes = jnp.asarray([[1.0, 1.0, 5.0, 5.0]])
    got = roi_align(jnp.asarray(x), boxes, (8, 8))
    assert got.dtype == jnp.bfloat16
    exact = roi_align(jnp.asarray(x, jnp.float32), boxes, (8, 8))
    np.testing.assert_array_equal(got, exact.astype(jnp.bfloat16))


def test_empty_result_is_refused():
    with pytest.raises(ValueError, match=r"at least 1, got \(8, 8\) -> \(0, 3\)"):
        roi_align(jnp.ones((1, 8, 8, 1)), jnp.zeros((1, 4)), (0, 3))
