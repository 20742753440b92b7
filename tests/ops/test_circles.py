from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from ecc_jax.ops import circles
from ecc_jax.ops.circles import min_enclosing_circle

# One compilation serves all examples of a size.
SHAPE = (3, 9, 12)
circle = jax.jit(min_enclosing_circle)


def region_of(*places, shape=(9, 12)):
    mask = np.zeros((1, *shape), bool)
    for y, x in places:
        mask[0, y, x] = True
    return mask


def corners(points):
    """The corners of the hull in float64; the ends of points that have no area."""
    try:
        return points[ConvexHull(points).vertices].astype(np.float64)
    except QhullError:
        order = np.lexsort(points.T)
        return points[order[[0, -1]]].astype(np.float64)


def brute_force(mask):
    """Centre and radius of the circle that covers all, over all pairs and triples of corners."""
    points = corners(np.argwhere(mask))
    centres = [points[:1]]
    if len(points) > 1:
        a, b = np.moveaxis(np.array(list(combinations(points, 2))), 1, 0)
        centres.append((a + b) / 2)
    if len(points) > 2:
        a, b, c = np.moveaxis(np.array(list(combinations(points, 3))), 1, 0)
        matrix = 2 * np.stack([b - a, c - a], axis=1)
        has_circle = abs(np.linalg.det(matrix)) > 1e-9
        sides = np.stack([((b - a) ** 2).sum(axis=1), ((c - a) ** 2).sum(axis=1)], axis=1)
        centres.append(
            a[has_circle]
            + np.linalg.solve(matrix[has_circle], sides[has_circle][..., None])[..., 0]
        )
    centres = np.concatenate(centres)
    reach = np.max([np.hypot(*(centres - point).T) for point in points], axis=0)
    best = reach.argmin()
    return centres[best], reach[best]


def check(mask):
    """Compares each row with brute force: covers the region, and no circle is smaller."""
    centres, radii = (np.asarray(part) for part in circle(jnp.asarray(mask)))
    assert centres.dtype == radii.dtype == np.float32
    for row, centre, radius in zip(mask, centres, radii, strict=True):
        if not row.any():
            assert centre.tolist() == [0, 0] and radius == 0
            continue
        expected, smallest = brute_force(row)
        distance = np.linalg.norm(np.argwhere(row) - centre.astype(np.float64), axis=1)
        assert distance.max() <= radius * (1 + 1e-5)
        np.testing.assert_allclose(radius, smallest, rtol=4e-6, atol=4e-5)
        # A radius off by d lets the centre of the smallest circle off by about sqrt(2 r d).
        np.testing.assert_allclose(centre, expected, atol=4e-3 * smallest + 1e-4)


@st.composite
def regions(draw):
    """Noise of every density, smooth blobs, and now and then a line or nothing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.random(SHAPE)
    if draw(st.booleans()):
        values = ndimage.uniform_filter(values, (0, 3, 3))
        values = (values - values.min()) / (values.max() - values.min())
    mask = values < draw(st.floats(0.01, 0.98))
    if draw(st.booleans()):
        mask[0] = False
        mask[0, draw(st.integers(0, 8)), :: draw(st.integers(1, 5))] = True
        mask[0] &= rng.random(SHAPE[1:]) < 0.7
    return mask


@given(regions())
def test_small_regions_equal_brute_force(mask):
    check(mask)


def test_hand_computed():
    def of(*places):
        centre, radius = circle(jnp.asarray(region_of(*places)))
        return [*centre[0].tolist(), radius.item()]

    assert of() == [0, 0, 0]
    assert of((4, 7)) == [4, 7, 0]
    assert of((0, 0)) == [0, 0, 0]
    assert of((2, 3), (2, 4)) == [2, 3.5, 0.5]
    assert of((1, 1), (4, 5)) == [2.5, 3, 2.5]
    # In line, level and slanted; the middle one adds nothing.
    assert of((3, 1), (3, 4), (3, 11)) == [3, 6, 5]
    assert of((0, 0), (3, 4), (6, 8)) == [3, 4, 5]
    # A right angle and a blunt one: the longest side is the diameter.
    assert of((0, 0), (0, 8), (6, 0)) == [3, 4, 5]
    assert of((1, 0), (0, 4), (1, 8)) == [1, 4, 4]
    # A sharp triangle, 16 x 8, and the circle through its corners.
    np.testing.assert_allclose(of((0, 5), (8, 1), (8, 9)), [5, 5, 5], rtol=1e-6)
    # A full image, 9 x 12: half its diagonal.
    full = circle(jnp.ones((1, 9, 12), bool))
    np.testing.assert_allclose(full[0][0], [4, 5.5], rtol=1e-6)
    np.testing.assert_allclose(full[1], [np.hypot(4, 5.5)], rtol=1e-6)


def large_regions():
    """Regions of 512 x 512: a disk, an ellipse, noise, a sliver, two far blobs, sharp triangles."""
    y, x = np.mgrid[:512, :512]
    triangle = np.zeros((512, 512), bool)
    triangle[[0, 1, 0], [3, 3, 511]] = True
    flat = np.zeros((512, 512), bool)
    flat[[200, 201, 202, 200], [0, 255, 300, 511]] = True
    sliver = abs((y - 256) * 0.1 - (x - 250)) < 0.7
    two = ((y - 20) ** 2 + (x - 500) ** 2 < 90) | ((y - 480) ** 2 + (x - 30) ** 2 < 30)
    small = (y >= 508) & (x >= 509) & (y + x <= 1020)
    return np.stack(
        [
            (y - 255.3) ** 2 + (x - 255.8) ** 2 < 255.1**2,
            ((y - 300) / 90) ** 2 + ((x - 200) / 190) ** 2 < 1,
            np.random.default_rng(0).random((512, 512)) < 0.001,
            sliver,
            two,
            triangle,
            flat,
            small,
        ]
    )


def test_large_regions_equal_brute_force(monkeypatch):
    mask = large_regions()
    check(mask)
    # The step bound is far from the steps needed: a tenth of it gives the same.
    monkeypatch.setattr(circles, "_MAX_STEPS", 10)
    fewer = jax.jit(lambda region: min_enclosing_circle(region))(jnp.asarray(mask))
    np.testing.assert_array_equal(fewer[1], circle(jnp.asarray(mask))[1])


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 300), (300, 3), (1, 1)])
def test_long_thin_images(shape):
    mask = np.random.default_rng(1).random((4, *shape)) < 0.3
    mask[0] = True
    mask[1] = False
    check(mask)


def test_points_in_line_in_a_large_batch():
    # XLA's maximum drops or keeps NaN by the size of the array, so none may arise.
    mask = np.zeros((200, 5, 24), bool)
    mask[:100, 2, 1:22] = True
    mask[100:] = np.eye(5, 24, dtype=bool)
    centre, radius = (np.asarray(part) for part in circle(jnp.asarray(mask)))
    np.testing.assert_allclose(radius[:100], 10.0, rtol=1e-6)
    np.testing.assert_allclose(radius[100:], np.sqrt(8), rtol=1e-6)
    assert (centre[:100] == [2, 11]).all() and (centre[100:] == [2, 2]).all()


def test_row_alone_equals_row_in_batch_and_jit_equals_eager():
    mask = np.random.default_rng(2).random((5, 9, 12)) < 0.1
    mask[3] = False
    together, eager = circle(jnp.asarray(mask)), min_enclosing_circle(jnp.asarray(mask))
    for part in range(2):
        np.testing.assert_allclose(together[part], eager[part], rtol=1e-6)
        for row in range(5):
            alone = circle(jnp.asarray(mask[row : row + 1]))
            np.testing.assert_allclose(alone[part][0], together[part][row], rtol=1e-6)


def test_no_rows_give_no_rows():
    centre, radius = circle(jnp.zeros((0, 4, 5), bool))
    assert centre.shape == (0, 2) and radius.shape == (0,)


def test_lowers_for_every_platform():
    shape = jax.ShapeDtypeStruct((2, 9, 12), jnp.bool_)
    exported = jax.export.export(circle, platforms=("cpu", "cuda", "tpu"))(shape)
    mask = jnp.asarray(np.random.default_rng(3).random((2, 9, 12)) < 0.2)
    np.testing.assert_allclose(exported.call(mask)[1], circle(mask)[1], rtol=1e-6)
