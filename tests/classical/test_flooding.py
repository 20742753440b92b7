"""Flooding, from a point and from a disk, against breadth-first searches."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import segmentation

from ecc_jax.classical import flooding
from ecc_jax.classical.search import Case


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


def test_tolerances_of_the_normalised_slice_are_the_thesis_s():
    """Against skimage on the slice that the original floods: clipped HU / 255."""
    assert flooding.THESIS_TOLERANCES.size == 79
    np.testing.assert_allclose(flooding.THESIS_TOLERANCES, np.arange(0.05, 2.001, 0.025))
    image = np.random.default_rng(2).uniform(-900, 600, (24, 20))
    masks = flooding.flood_normalised(Case(image, (7, 11), 3.0), flooding.THESIS_TOLERANCES)
    expected = [
        segmentation.flood(image / 255, (7, 11), tolerance=t) for t in flooding.THESIS_TOLERANCES
    ]
    np.testing.assert_array_equal(masks, expected)
    assert 1 <= masks[0].sum() < masks[-1].sum()


def flood_in_disk(image, yx, radius, factor):
    """The rule of `flood_from_disk`, pixel by pixel."""
    rows, columns = np.indices(image.shape)
    distance = np.hypot(rows - yx[0], columns - yx[1]) / max(radius, 0.75)
    disk, middle = distance <= 1, distance <= 0.5
    disk[yx] = middle[yx] = True
    reference = np.median(image[middle])
    spread = max(np.sqrt(np.mean((image[disk] - reference) ** 2)), 1.0)
    reached = middle.copy()
    queue = deque(zip(*np.nonzero(middle)))
    while queue:
        y, x = queue.popleft()
        for v in range(max(y - 1, 0), min(y + 2, image.shape[0])):
            for u in range(max(x - 1, 0), min(x + 2, image.shape[1])):
                near = disk[v, u] and abs(image[v, u] - reference) / spread <= factor
                if near and not reached[v, u]:
                    reached[v, u] = True
                    queue.append((v, u))
    return ndimage.binary_fill_holes(reached)


@given(
    image=hnp.arrays(np.int16, (9, 11), elements=st.integers(-40, 40)),
    yx=st.tuples(st.integers(0, 8), st.integers(0, 10)),
    radius=st.sampled_from([0.0, 1.0, 2.5, 4.0, 30.0]),
    factor=st.sampled_from([0.0, 0.3, 0.77, 1.1, 1.5, 9.0]),
)
def test_flood_from_a_disk_equals_breadth_first_search(image, yx, radius, factor):
    factors = np.array([0.1, factor])
    mask = flooding.flood_from_disk(Case(image, yx, radius), factors)[1]
    np.testing.assert_array_equal(mask, flood_in_disk(image.astype(float), yx, radius, factor))


def test_flood_from_a_disk_separates_a_lesion_from_what_the_disk_shows_beside_it():
    """A bar of 100 HU in a disk that is wider: the bar, no bridge, no pixel outside the disk."""
    image = np.zeros((15, 15))
    image[5:10, :] = 100
    mask = flooding.flood_from_disk(Case(image, (7, 7), 4.0), np.array([0.5]))[0]
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == (5, 9)
    assert np.hypot(rows - 7, columns - 7).max() <= 4
    # With a large factor it is the disk.
    whole = flooding.flood_from_disk(Case(image, (7, 7), 4.0), np.array([50.0]))[0]
    y, x = np.indices(image.shape)
    np.testing.assert_array_equal(whole, np.hypot(y - 7, x - 7) <= 4)


@pytest.mark.parametrize("yx", [(0, 0), (0, 4), (6, 4)])
def test_flood_from_a_disk_at_the_border_of_a_constant_slice_is_the_disk(yx):
    mask = flooding.flood_from_disk(Case(np.full((7, 5), 30), yx, 2.0), np.array([0.1]))[0]
    y, x = np.indices(mask.shape)
    np.testing.assert_array_equal(mask, np.hypot(y - yx[0], x - yx[1]) <= 2)


def test_flood_from_a_disk_without_a_size_is_its_pixel():
    mask = flooding.flood_from_disk(Case(np.eye(3), (1, 1), 0.0), np.array([0.0, 5.0]))
    assert mask[:, 1, 1].all() and mask.sum() == 2


def test_flood_from_a_disk_refuses_bad_input():
    with pytest.raises(ValueError, match="factors must be at least 0, got -1"):
        flooding.flood_from_disk(Case(np.eye(3), (1, 1), 1.0), np.array([0.5, -1.0]))
    with pytest.raises(ValueError, match="inside the slice of 3 x 3"):
        flooding.flood_from_disk(Case(np.eye(3), (1, 3), 1.0), np.array([0.5]))


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
