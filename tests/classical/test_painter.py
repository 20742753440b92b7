import jax
import jax.numpy as jnp
import numpy as np

from ecc_jax.classical.painter import best_weights, disk_mask, paint_predict
from ecc_jax.types import Clicks

SHAPE = (7, 9)


def hand_made():
    """Row 0: paint, then erase. Row 1: no clicks."""
    return Clicks(
        yx=jnp.array([[[3.0, 4.0], [3.0, 6.0]], [[3.0, 4.0], [3.0, 4.0]]]),
        radius=jnp.array([[2.0, 1.5], [2.0, 2.0]]),
        is_positive=jnp.array([[True, False], [True, True]]),
        count=jnp.array([2, 0], jnp.int32),
    )


def test_newest_disk_is_painted_or_erased_without_its_rim():
    clicks = hand_made()
    image = jnp.zeros((2, *SHAPE, 1))
    first = clicks._replace(count=jnp.array([1, 0], jnp.int32))
    painted = np.asarray(paint_predict(image, first, image))[..., 0]
    square = np.zeros(SHAPE)
    square[2:5, 3:6] = 1
    np.testing.assert_array_equal(painted[0], square)
    np.testing.assert_array_equal(painted[1], np.zeros(SHAPE))
    grey = jnp.full((2, *SHAPE, 1), 0.25)
    erased = np.asarray(paint_predict(image, clicks, grey))[..., 0]
    hole = np.full(SHAPE, 0.25)
    hole[2:5, 5:8] = 0
    np.testing.assert_array_equal(erased[0], hole)
    np.testing.assert_array_equal(erased[1], np.full(SHAPE, 0.25))


def test_disk_mask_is_the_first_disk_with_its_rim():
    clicks = hand_made()
    expected = np.zeros((2, *SHAPE), bool)
    expected[0, 2:5, 3:6] = True
    expected[0, [1, 5, 3, 3], [4, 4, 2, 6]] = True
    np.testing.assert_array_equal(disk_mask(clicks, SHAPE), expected)
    np.testing.assert_array_equal(jax.jit(lambda c: disk_mask(c, SHAPE))(clicks), expected)


def test_image_is_not_looked_at():
    clicks = hand_made()
    previous = jnp.zeros((2, *SHAPE, 1))
    noise = jax.random.normal(jax.random.key(0), (2, *SHAPE, 1))
    blind = paint_predict(jnp.full_like(noise, jnp.nan), clicks, previous)
    np.testing.assert_array_equal(blind, paint_predict(noise, clicks, previous))


def test_weights_are_searched_one_after_the_other_and_ties_go_to_the_smaller():
    tried = []

    def mean_iou(first, later):
        tried.append(first)
        return -abs(later - 0.75) + (first - 0.3) * later

    # Both together would choose 1.0 first; one after the other, the first click alone decides.
    assert best_weights(lambda first: 0.3 <= first <= 0.5, mean_iou) == (0.3, 0.7)
    assert set(tried) == {0.3} and len(tried) == 11
