import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import warp

from ecc_jax.ops.affine import resample_affine, turned

SHAPE_IN, SHAPE_OUT = (9, 12), (10, 8)
_resample = jax.jit(functools.partial(resample_affine, shape=SHAPE_OUT))


def _images(seed: int = 0, rows: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, *SHAPE_IN), np.float32)


def _brute_force(image: np.ndarray, scale: float, translation: tuple[float, float]) -> np.ndarray:
    """Weighs every input pixel for every output pixel, in float64, one at a time."""
    out = np.zeros(SHAPE_OUT)
    reach = max(1.0, 1.0 / scale)
    for index in np.ndindex(SHAPE_OUT):
        at = [(i + 0.5 - t) / scale - 0.5 for i, t in zip(index, translation, strict=True)]
        if any(p < -0.5 or p > n - 0.5 for p, n in zip(at, SHAPE_IN, strict=True)):
            continue
        value = weight = 0.0
        for y, x in np.ndindex(SHAPE_IN):
            tent_y = max(0.0, 1 - abs(at[0] - y) / reach)
            tent_x = max(0.0, 1 - abs(at[1] - x) / reach)
            value += tent_y * tent_x * image[y, x]
            weight += tent_y * tent_x
        out[index] = value / weight
    return out


@given(
    st.integers(0, 1000),
    st.floats(0.375, 2.5, width=32),
    st.floats(-6, 6, width=32),
    st.floats(-6, 6, width=32),
)
def test_matches_brute_force(seed, scale, shift_y, shift_x):
    image = _images(seed, rows=1)
    got = _resample(image, scale=jnp.array([scale]), translation=jnp.array([[shift_y, shift_x]]))
    expected = _brute_force(image[0], scale, (shift_y, shift_x))
    # A centre within rounding of the rim may fall on either side of it.
    wrong = np.abs(np.asarray(got[0]) - expected) > 1e-3
    rim_y = _near_rim(scale, shift_y, 0)[:, None]
    assert not np.any(wrong & ~rim_y & ~_near_rim(scale, shift_x, 1)[None, :])


def _near_rim(scale: float, shift: float, axis: int) -> np.ndarray:
    source = (np.arange(SHAPE_OUT[axis]) + 0.5 - shift) / scale
    return np.minimum(abs(source), abs(source - SHAPE_IN[axis])) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 1.37, 2.0])
def test_enlarging_matches_skimage(scale):
    image, shift = _images(1, rows=1), (1.3, -2.2)

    def back(xy):
        return (xy + 0.5 - np.array(shift)[::-1]) / scale - 0.5

    got = _resample(image, scale=jnp.array([scale]), translation=jnp.array([shift]))[0]
    expected = warp(image[0], back, output_shape=SHAPE_OUT, order=1, mode="edge")
    inside = np.asarray(_resample(np.ones_like(image), scale=jnp.array([scale]),
                                  translation=jnp.array([shift]))[0]) > 0.5  # fmt: skip
    assert 20 < inside.sum() < inside.size
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.4])
def test_matches_jax_image(scale):
    image, shift = jnp.asarray(_images(2, rows=1)), jnp.array([2.25, -3.5])
    expected = jax.image.scale_and_translate(
        image[0], SHAPE_OUT, (0, 1), jnp.array([scale, scale]), shift, "linear", antialias=True
    )
    got = _resample(image, scale=jnp.array([scale]), translation=shift[None])[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_whole_pixel_shift_is_an_exact_crop_with_zero_padding():
    image = _images(3, rows=1)
    got = _resample(image, scale=jnp.ones(1), translation=jnp.array([[-2.0, 3.0]]))[0]
    expected = np.zeros(SHAPE_OUT, np.float32)
    expected[:7, 3:] = image[0, 2:, :5]
    np.testing.assert_array_equal(got, expected)


def test_halving_a_constant_keeps_it_and_a_checkerboard_turns_grey():
    board = (np.indices(SHAPE_IN).sum(0) % 2).astype(np.float32)
    image = np.stack([np.full(SHAPE_IN, 0.3, np.float32), board])
    got = np.asarray(_resample(image, scale=jnp.full(2, 0.5), translation=jnp.zeros((2, 2))))
    np.testing.assert_allclose(got[0, :4, :6], 0.3, atol=1e-6)
    np.testing.assert_array_equal(got[:, 5:], 0)
    np.testing.assert_array_equal(got[:, :, 6:], 0)
    np.testing.assert_allclose(got[1, 1:3, 1:5], 0.5, atol=1e-3)


def test_all_outside_is_zero():
    got = _resample(_images(), scale=jnp.ones(2), translation=jnp.full((2, 2), 50.0))
    np.testing.assert_array_equal(got, 0)


def test_row_alone_equals_row_in_batch_and_jit_equals_eager():
    image = _images(4)
    scale, shift = jnp.array([0.8, 1.3]), jnp.array([[1.0, -2.0], [-3.5, 0.25]])
    together = _resample(image, scale=scale, translation=shift)
    eager = resample_affine(jnp.asarray(image), shape=SHAPE_OUT, scale=scale, translation=shift)
    np.testing.assert_allclose(together, eager, atol=1e-6)
    for row in range(2):
        one = slice(row, row + 1)
        alone = _resample(image[one], scale=scale[one], translation=shift[one])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


@given(st.integers(0, 1000), st.floats(0.375, 2.5, width=32), st.floats(0.375, 2.5, width=32))
def test_rows_and_columns_may_have_scales_of_their_own(seed, tall, wide):
    image, shift = jnp.asarray(_images(seed, rows=1)), jnp.array([1.25, -2.75])
    scale = jnp.array([tall, wide])
    got = _resample(image, scale=scale[None], translation=shift[None])[0]
    expected = jax.image.scale_and_translate(
        image[0], SHAPE_OUT, (0, 1), scale, shift, "linear", antialias=True
    )
    # A centre within rounding of the rim may fall on either side of it.
    wrong = np.abs(np.asarray(got - expected)) > 1e-4
    rims = _near_rim(tall, 1.25, 0)[:, None], _near_rim(wide, -2.75, 1)[None, :]
    assert not np.any(wrong & ~rims[0] & ~rims[1])


def test_new_scales_and_shifts_do_not_recompile():
    resample = jax.jit(functools.partial(resample_affine, shape=SHAPE_OUT))
    for value in (0.5, 1.0, 1.5):
        resample(_images(), scale=jnp.full(2, value), translation=jnp.full((2, 2), value))
    assert resample._cache_size() == 1


@pytest.mark.parametrize("shape", [(21, 21), (20, 20), (15, 24)])
def test_turned_agrees_with_scipy(shape):
    image = np.random.default_rng(0).random((3, *shape), np.float32)
    angles = np.array([0.3, 2.0, -1.2], np.float32)
    got = jax.jit(turned)(image, angles)
    for row, angle, mine in zip(image, angles, got, strict=True):
        sine, cosine = np.sin(angle), np.cos(angle)
        matrix = np.array([[cosine, sine], [-sine, cosine]])
        middle = (np.array(shape) - 1) / 2
        expected = ndimage.affine_transform(row, matrix, middle - matrix @ middle, order=1)
        # SciPy counts half a pixel beyond the rim as outside, the interpolation here as fading.
        inside = ndimage.affine_transform(
            np.ones(shape), matrix, middle - matrix @ middle, order=0, mode="constant"
        )
        inside = ndimage.binary_erosion(inside > 0, iterations=2)
        assert inside.sum() > 40
        np.testing.assert_allclose(np.asarray(mine)[inside], expected[inside], atol=2e-5)


def test_a_quarter_turn_is_numpys_and_no_turn_changes_nothing():
    image = np.random.default_rng(1).random((2, 17, 17), np.float32)
    quarter = turned(jnp.asarray(image), jnp.array([np.pi / 2, 0.0], jnp.float32))
    # Pixels of the rim may fall a rounding outside.
    inner = slice(1, -1), slice(1, -1)
    np.testing.assert_allclose(quarter[0][inner], np.rot90(image[0])[inner], atol=2e-5)
    np.testing.assert_array_equal(quarter[1], image[1])
