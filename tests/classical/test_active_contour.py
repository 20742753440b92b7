"""Snakes against scikit-image called directly, and contours that leave the slice or vanish."""

import numpy as np
import pytest
from skimage import draw, filters, segmentation

from ecc_jax.classical import active_contour
from ecc_jax.classical.search import Case


def ball(shape=(40, 36), yx=(20, 17), radius=7.0, contrast=300.0):
    y, x = np.indices(shape)
    noise = np.random.default_rng(0).normal(0, 5, shape)
    return (np.hypot(y - yx[0], x - yx[1]) <= radius) * contrast + noise


def test_equals_scikit_image_called_as_the_thesis_does():
    image = ball()
    turn = np.linspace(0, 2 * np.pi, 400)
    circle = np.stack([20 + 9.0 * np.sin(turn), 17 + 9.0 * np.cos(turn)], axis=1)
    contour = segmentation.active_contour(
        filters.gaussian(image / 255, 3), circle, alpha=0.015, beta=10, gamma=0.001
    )
    expected = draw.polygon2mask(image.shape, contour)
    mask = active_contour.contours_around(Case(image, (20, 17), 1.0), np.array([9.0]))[0]
    np.testing.assert_array_equal(mask, expected)
    assert 50 < mask.sum() < 300
    assert active_contour.THESIS_RADII.tolist() == list(range(4, 25))


def test_without_a_force_a_snake_from_a_disk_is_the_disk():
    mask = active_contour.contours_from_disk(Case(ball(), (20, 17), 6.4), np.array([0.0]))[0]
    y, x = np.indices(mask.shape)
    distance = np.hypot(y - 20, x - 17)
    # 400 points of a polygon, which lies inside its circle by less than this.
    assert mask[distance <= 6.39].all() and not mask[distance > 6.4].any()


def test_edges_draw_a_snake_from_a_disk_to_the_lesion():
    image = ball(radius=8.0)
    y, x = np.indices(image.shape)
    lesion = np.hypot(y - 20, x - 17) <= 8
    masks = active_contour.contours_from_disk(Case(image, (20, 17), 6.8), np.array([0.0, 1e-3]))
    before, after = ((mask & lesion).sum() / (mask | lesion).sum() for mask in masks)
    assert after > before + 0.05


def test_a_faint_edge_pulls_like_a_strong_one():
    image = ball(radius=8.0)
    forces = np.array([1e-3])
    strong = active_contour.contours_from_disk(Case(image, (20, 17), 6.8), forces)
    faint = active_contour.contours_from_disk(Case(image / 4 + 30, (20, 17), 6.8), forces)
    np.testing.assert_array_equal(strong, faint)


@pytest.mark.parametrize("radius", [6.0, 10.0])
def test_a_region_from_a_disk_finds_the_lesion_whatever_its_grey(radius):
    image = ball(radius=8.0)
    y, x = np.indices(image.shape)
    lesion = np.hypot(y - 20, x - 17) <= 8
    case = Case(image, (20, 17), radius)
    before, (mask,) = (
        np.hypot(y - 20, x - 17) <= radius,
        active_contour.regions_from_disk(case, np.array([1.0])),
    )
    assert (mask & lesion).sum() / (mask | lesion).sum() > (
        0.1 + (before & lesion).sum() / (before | lesion).sum()
    )
    dark = Case(70 - image / 4, (20, 17), radius)
    np.testing.assert_array_equal(mask, active_contour.regions_from_disk(dark, np.array([1.0]))[0])


def test_a_region_equals_scikit_image_on_the_square_and_is_blind_beyond():
    image, radius = ball(), 4.0
    image[:, 30:] = 5000.0
    (mask,) = active_contour.regions_from_disk(Case(image, (20, 17), radius), np.array([1.0]))
    part = image[14:27, 11:24]
    y, x = np.indices(part.shape)
    start = np.hypot(y - 6, x - 6) <= radius
    expected = segmentation.morphological_chan_vese(part, 2, init_level_set=start, lambda2=2)
    np.testing.assert_array_equal(mask[14:27, 11:24], expected > 0)
    mask[14:27, 11:24] = False
    assert not mask.any()


@pytest.mark.parametrize("yx", [(0, 0), (39, 35), (0, 35)])
def test_a_region_in_a_corner_and_of_one_pixel(yx):
    for image in (np.full((40, 36), 40.0), ball()):
        masks = active_contour.regions_from_disk(Case(image, yx, 0.1), active_contour.SCALES)
        assert masks.any((1, 2)).all() and masks.sum((1, 2)).max() <= 9


def test_what_leaves_the_slice_is_cut_off():
    square = np.array([[-3.0, -3.0], [-3.0, 1.5], [1.5, 1.5], [1.5, -3.0]])
    mask = active_contour.filled(square, (5, 5))
    expected = np.zeros((5, 5), bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("points", "pixel"),
    [
        ([[2.2, 3.3]] * 4, (2, 3)),  # a point
        ([[1.3, 0.3], [1.3, 3.7], [1.3, 0.3]], (1, 1)),  # a line between the rows
        ([[-9.0, 2.0], [-9.0, 3.0], [-8.0, 2.0]], (0, 2)),  # gone from the slice
        ([[9.0, 9.0], [9.0, 8.0], [8.0, 9.0]], (4, 4)),
    ],
)
def test_a_contour_around_nothing_is_the_nearest_pixel(points, pixel):
    mask = active_contour.filled(np.array(points), (5, 5))
    assert np.argwhere(mask).tolist() == [list(pixel)]


def test_a_constant_slice_and_a_click_in_its_corner():
    case = Case(np.full((16, 16), 40.0), (0, 15), 3.0)
    masks = active_contour.contours_from_disk(case, np.array([1e-3]))
    y, x = np.indices((16, 16))
    np.testing.assert_array_equal(masks[0], np.hypot(y, x - 15) < 3)


def test_refuses_what_cannot_be_drawn():
    case = Case(ball(), (20, 17), 3.0)
    with pytest.raises(ValueError, match="above 0 pixels, got 0"):
        active_contour.contours_around(case, np.array([0.0]))
    with pytest.raises(ValueError, match="forces must be at least 0"):
        active_contour.contours_from_disk(case, np.array([-0.1]))
    with pytest.raises(ValueError, match="at least 3 x 3 pixels, got 2 x 9"):
        active_contour.contours_around(Case(np.zeros((2, 9)), (1, 1), 3.0), np.array([4.0]))
    with pytest.raises(ValueError, match="inside the slice of 40 x 36"):
        active_contour.contours_from_disk(Case(ball(), (40, 17), 3.0), np.array([0.0]))
    with pytest.raises(ValueError, match="inside the slice of 40 x 36"):
        active_contour.regions_from_disk(Case(ball(), (40, 17), 3.0), np.array([1.0]))
