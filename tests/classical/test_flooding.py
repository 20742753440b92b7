"""Flooding against a breadth-first search, and the rules of the tolerance search."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ecc_jax.classical import flooding


def flood_by_search(image, seed, tolerance):
    reached = np.zeros(image.shape, bool)
    reached[seed] = True
    queue = deque([seed])
    while queue:
        y, x = queue.popleft()
        for v in range(max(y - 1, 0), min(y + 2, image.shape[0])):
            for u in range(max(x - 1, 0), min(x + 2, image.shape[1])):
                near = abs(float(image[v, u]) - float(image[seed])) <= tolerance
                if near and not reached[v, u]:
                    reached[v, u] = True
                    queue.append((v, u))
    return reached


@given(
    image=hnp.arrays(np.int16, (9, 7), elements=st.integers(-40, 40)),
    seed=st.tuples(st.integers(0, 8), st.integers(0, 6)),
    tolerance=st.integers(0, 60).map(float),
)
def test_equals_breadth_first_search(image, seed, tolerance):
    np.testing.assert_array_equal(
        flooding.flood(image, seed, tolerance), flood_by_search(image, seed, tolerance)
    )


def test_steps_diagonally_and_includes_the_tolerance_itself():
    image = np.array([[0, 50, 50], [50, 10, 50], [50, 50, 20]], np.int16)
    np.testing.assert_array_equal(flooding.flood(image, (0, 0), 10.0), np.diag([True, True, False]))
    np.testing.assert_array_equal(flooding.flood(image, (0, 0), 9.5), np.diag([True, False, False]))


def test_integer_range_does_not_wrap():
    image = np.array([[32767, -32768, 32700]], np.int16)
    np.testing.assert_array_equal(flooding.flood(image, (0, 0), 100.0), [[True, False, False]])
    assert flooding.flood(image, (0, 0), 70000.0).all()


def test_a_one_pixel_slice_floods():
    assert flooding.flood(np.zeros((1, 1), np.int16), (0, 0), 0.0).all()


@pytest.mark.parametrize("seed", [(-1, 0), (0, 3), (2, 0)])
def test_refuses_a_seed_outside(seed):
    with pytest.raises(ValueError, match="inside the slice of 2 x 3"):
        flooding.flood(np.zeros((2, 3), np.int16), seed, 1.0)


def test_refuses_a_negative_tolerance():
    with pytest.raises(ValueError, match="at least 0"):
        flooding.flood(np.zeros((2, 3), np.int16), (0, 0), -1.0)


def step_slice():
    """A lesion of two values in a row of five: IoU 1 for tolerances in [10, 40)."""
    return np.array([[0, 10, 50, 50, 50]], np.int16), np.array([[1, 1, 0, 0, 0]], np.uint8)


def test_search_finds_the_best_tolerance_and_ties_go_to_the_smallest():
    image, target = step_slice()
    best, mean = flooding.search_tolerance(
        image[None], target[None], [(0, 0)], np.array([60.0, 30.0, 20.0, 5.0])
    )
    assert best == 20.0
    np.testing.assert_allclose(mean, [2 / 5, 1, 1, 1 / 2])


def test_search_averages_over_slices_of_which_each_has_its_seed():
    image, target = step_slice()
    best, mean = flooding.search_tolerance(
        np.stack([image, image]), np.stack([target, 1 - target]), [(0, 0), (0, 4)], [0.0, 45.0]
    )
    np.testing.assert_allclose(mean, [(1 / 2 + 1) / 2, (1 + 3 / 4) / 2])
    assert best == 45.0


def test_an_empty_target_scores_zero():
    image, target = step_slice()
    _, mean = flooding.search_tolerance(image[None], 0 * target[None], [(0, 0)], [1.0])
    assert mean[0] == 0


def test_search_refuses_what_does_not_fit_together():
    image, target = step_slice()
    with pytest.raises(ValueError, match="one seed per slice"):
        flooding.search_tolerance(image[None], target[None], [], [1.0])
    with pytest.raises(ValueError, match="at least one slice"):
        flooding.search_tolerance(image[None], target[None], [(0, 0)], [])


@pytest.mark.parametrize("window", [(-150.0, 250.0), (-45.0, 105.0), (-900.0, 600.0)])
def test_default_tolerances_span_the_window(window):
    grid = flooding.default_tolerances(window)
    width = window[1] - window[0]
    assert grid.size >= 20
    assert np.all(np.diff(grid) > 0)
    assert 0 < grid[0] <= 0.02 * width
    assert 0.5 * width <= grid[-1] < width


def test_default_tolerances_refuse_an_empty_window():
    with pytest.raises(ValueError, match="low < high"):
        flooding.default_tolerances((10.0, 10.0))
    with pytest.raises(ValueError, match="at least 2"):
        flooding.default_tolerances((0.0, 10.0), count=1)
