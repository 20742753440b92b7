"""Surface Dice and 95 % Hausdorff distance: by hand, and against brute force over point sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance

from ecc_jax.metrics import surface, surface_scores

# One compilation serves all examples.
SHAPE = (3, 11, 14)
jitted_surface = jax.jit(surface)
jitted_scores = jax.jit(surface_scores)


def scores(pred, target, tolerance=1.0):
    """Returns nsd and hd95 of one pair or of a batch."""
    pred, target = (np.asarray(mask).reshape(-1, *mask.shape[-2:]) for mask in (pred, target))
    tolerances = jnp.broadcast_to(jnp.asarray(tolerance, jnp.float32), (len(pred),))
    # The target's surface alone makes a program of its own, as it does in a rollout.
    got = jitted_scores(pred, jitted_surface(target), tolerance=tolerances)
    assert got.nsd.dtype == got.hd95.dtype == jnp.float32
    return np.squeeze(np.asarray(got.nsd)), np.squeeze(np.asarray(got.hd95))


def pixels(*places, shape=(11, 14)):
    mask = np.zeros(shape, bool)
    for y, x in places:
        mask[y, x] = True
    return mask


def square(y, x, size):
    mask = np.zeros((11, 14), bool)
    mask[y : y + size, x : x + size] = True
    return mask


def boundary_points(mask):
    # SciPy's erosion takes pixels outside the image for background by default.
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))


def nearest_rank(distances):
    """The 95th percentile in whole numbers; NumPy multiplies 0.95 in floating point."""
    values = np.sort(distances)
    return values[-(-19 * len(values) // 20) - 1]


def brute_force(pred, target, tolerance):
    a, b = boundary_points(pred), boundary_points(target)
    if len(a) == 0 or len(b) == 0:
        same = len(a) == len(b)
        return float(same), 0.0 if same else np.hypot(pred.shape[0] - 1, pred.shape[1] - 1)
    squared = np.round(cdist(a, b, "sqeuclidean"))
    from_a, from_b = squared.min(axis=1), squared.min(axis=0)
    near = (from_a <= tolerance**2 + 1e-4).sum() + (from_b <= tolerance**2 + 1e-4).sum()
    return near / (len(a) + len(b)), np.sqrt(max(nearest_rank(from_a), nearest_rank(from_b)))


@st.composite
def mask_batches(draw):
    """Noise, smooth blobs and now and then an empty or full mask."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.random(SHAPE)
    if draw(st.booleans()):
        values = ndimage.uniform_filter(values, (0, 3, 3))
        values = (values - values.min()) / (values.max() - values.min())
    mask = values < draw(st.floats(0.02, 0.98))
    constant = draw(st.sampled_from([None, None, None, False, True]))
    if constant is not None:
        mask[draw(st.integers(0, 2))] = constant
    return mask


@given(mask_batches(), mask_batches(), st.sampled_from([0.0, 1.0, 1.5, 2.0**0.5, 5.0**0.5, 3.0]))
def test_scores_equal_brute_force(pred, target, tolerance):
    nsd, hd95 = scores(pred, target, tolerance)
    expected = [brute_force(p, t, tolerance) for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(nsd, [pair[0] for pair in expected], rtol=1e-6)
    np.testing.assert_allclose(hd95, [pair[1] for pair in expected], rtol=1e-6)


@given(mask_batches(), mask_batches())
def test_symmetric_and_bounded(pred, target):
    nsd, hd95 = scores(pred, target, 1.5)
    nsd_back, hd95_back = scores(target, pred, 1.5)
    np.testing.assert_array_equal(nsd, nsd_back)
    np.testing.assert_array_equal(hd95, hd95_back)
    assert ((nsd >= 0) & (nsd <= 1)).all()
    for row in range(SHAPE[0]):
        a, b = boundary_points(pred[row]), boundary_points(target[row])
        if len(a) and len(b):
            largest = hausdorff_distance(pixels(*a), pixels(*b))
            assert hd95[row] <= largest * (1 + 1e-6)
    same_nsd, same_hd95 = scores(pred, pred, 0.0)
    assert (same_nsd == 1).all() and (same_hd95 == 0).all()


@given(mask_batches())
def test_surface_equals_scipy(mask):
    boundary, squared = (np.asarray(part) for part in jitted_surface(mask))
    for row in range(SHAPE[0]):
        expected = mask[row] & ~ndimage.binary_erosion(mask[row])
        np.testing.assert_array_equal(boundary[row], expected)
        if expected.any():
            distance = ndimage.distance_transform_edt(~expected)
            np.testing.assert_array_equal(squared[row], np.round(distance**2))
        else:
            assert (squared[row] == (11 + 14) ** 2).all()


@given(mask_batches(), mask_batches())
def test_hd95_is_the_percentile_of_numpy(pred, target):
    # Where 0.95 n is no whole number, NumPy's product in floating point cannot miss the rank.
    _, hd95 = scores(pred, target)
    for row in range(SHAPE[0]):
        a, b = boundary_points(pred[row]), boundary_points(target[row])
        if len(a) % 20 and len(b) % 20:
            distance = cdist(a, b)
            both = (distance.min(axis=1), distance.min(axis=0))
            expected = max(np.percentile(one, 95, method="inverted_cdf") for one in both)
            np.testing.assert_allclose(hd95[row], expected, rtol=1e-6)


def test_single_pixels_at_a_known_distance():
    near, far = pixels((2, 3)), pixels((5, 7))
    for tolerance, nsd in [(4.999, 0.0), (5.0, 1.0), (5.001, 1.0)]:
        assert scores(near, far, tolerance) == (nsd, 5.0)
    assert scores(near, near, 0.0) == (1.0, 0.0)
    assert scores(near, near, -1.0) == (0.0, 0.0)
    assert scores(near, near, np.nan) == (0.0, 0.0)
    many = np.repeat(near[None], 64, axis=0)
    assert not scores(many, many, np.nan)[0].any() and scores(many, many, 0.0)[0].all()


def test_one_pixel_against_two():
    # From the one: 0. From the two: 0 and 3, of which 95 % takes both.
    nsd, hd95 = scores(pixels((4, 4)), pixels((4, 4), (4, 7)), 2.0)
    np.testing.assert_allclose(nsd, 2 / 3, rtol=1e-6)
    assert hd95 == 3.0
    assert scores(pixels((4, 4)), pixels((4, 4), (4, 7)), 3.0)[0] == 1.0


def test_square_against_shifted_square():
    # Rings of 16 pixels, 2 columns apart.
    pred, target = square(3, 3, 5), square(3, 5, 5)
    # Shared: columns 5..7 of rows 3 and 7. Within 1 pixel, besides: column 4 of these rows, and
    # rows 4 and 6 of the right side. As many of the target.
    for tolerance, near in [(0.0, 6), (1.0, 10), (2.0, 16)]:
        nsd, hd95 = scores(pred, target, tolerance)
        np.testing.assert_allclose(nsd, near / 16, rtol=1e-6)
        np.testing.assert_allclose(nsd, brute_force(pred, target, tolerance)[0], rtol=1e-6)
        assert hd95 == 2.0


@pytest.mark.parametrize("whole", [2, 4, 5, 8, 13])
def test_a_distance_equal_to_the_tolerance_counts_also_after_the_root(whole):
    places = {2: (1, 1), 4: (0, 2), 5: (1, 2), 8: (2, 2), 13: (2, 3)}
    dy, dx = places[whole]
    root = np.sqrt(np.float32(whole))
    pred, target = pixels((4, 4)), pixels((4 + dy, 4 + dx))
    assert scores(pred, target, root)[0] == 1.0
    assert scores(pred, target, root * np.float32(1 - 2e-6))[0] == 0.0


def test_five_percent_of_outliers_are_left_out_and_no_more():
    # 20 pixels of a line, one of them far off: exactly 95 % are at distance 0.
    line = np.zeros((1, 40), bool)
    line[0, :19] = True
    outlier = line.copy()
    outlier[0, 30] = True
    target = line.copy()
    assert scores(outlier, target) == (np.float32(38 / 39), 0.0)
    # One more outlier makes 19 of 21, less than 95 %.
    outlier[0, 34] = True
    assert scores(outlier, target)[1] == 12.0


def test_empty_masks():
    empty, some = np.zeros((11, 14), bool), square(2, 2, 4)
    assert scores(empty, empty) == (1.0, 0.0)
    diagonal = np.sqrt(np.float32(10**2 + 13**2))
    assert scores(some, empty, 100.0) == (0.0, diagonal)
    assert scores(empty, some, 100.0) == (0.0, diagonal)
    assert scores(empty, empty, -1.0) == (1.0, 0.0)
    one = np.zeros((1, 1), bool)
    assert scores(~one, one) == (0.0, 0.0) and scores(~one, ~one) == (1.0, 0.0)


def test_a_full_image_has_its_outermost_ring_for_boundary():
    full = np.ones((11, 14), bool)
    assert np.asarray(surface(full[None]).boundary).sum() == 2 * 11 + 2 * 14 - 4
    # The tolerance of infinity accepts every boundary pixel, and no other pixel.
    assert scores(full, square(3, 3, 3), np.inf)[0] == 1.0
    nsd, hd95 = scores(full, pixels((0, 0)), 0.0)
    np.testing.assert_allclose(nsd, 2 / 47, rtol=1e-6)
    np.testing.assert_allclose(hd95, brute_force(full, pixels((0, 0)), 0.0)[1], rtol=1e-6)


def test_lesions_at_the_border_of_the_image():
    # The image border is boundary: the squares reach it, and their edges there are 1 px apart.
    pred, target = square(0, 0, 4), square(0, 0, 5)
    got = scores(pred, target, 1.0)
    np.testing.assert_allclose(got, brute_force(pred, target, 1.0), rtol=1e-6)
    # From the corner (4, 4) the nearest is (3, 3), the only one farther than 1.
    np.testing.assert_allclose(got[0], (12 + 15) / 28, rtol=1e-6)
    far = square(7, 10, 4)
    np.testing.assert_allclose(scores(pred, far), brute_force(pred, far, 1.0), rtol=1e-6)


def test_row_alone_equals_row_in_batch_and_jit_equals_eager():
    rng = np.random.default_rng(1)
    pred, target = rng.random((5, 11, 14)) < 0.3, rng.random((5, 11, 14)) < 0.1
    pred[1], target[2], pred[3], target[3] = False, False, False, False
    tolerance = np.array([0.0, 1.0, 2.0, 3.0, 1.5], np.float32)
    together = jitted_scores(pred, surface(target), tolerance=tolerance)
    eager = surface_scores(pred, surface(target), tolerance=tolerance)
    for name in ("nsd", "hd95"):
        np.testing.assert_allclose(getattr(together, name), getattr(eager, name), rtol=1e-6)
        for row in range(5):
            alone = jitted_scores(
                pred[row : row + 1],
                jitted_surface(target[row : row + 1]),
                tolerance=tolerance[row : row + 1],
            )
            assert getattr(alone, name)[0] == getattr(together, name)[row]


def test_counts_beyond_float16_and_int16_at_a_large_size():
    rng = np.random.default_rng(2)
    pred, target = rng.random((1, 300, 260)) < 0.5, rng.random((1, 300, 260)) < 0.0005
    expected = brute_force(pred[0], target[0], 12.0)
    np.testing.assert_allclose(scores(pred, target, 12.0), expected, rtol=1e-6)
