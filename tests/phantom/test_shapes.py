"""Shapes of the phantom against geometry by hand."""

import numpy as np
import pytest

from ecc_jax.phantom import shapes


def flat_canvas(shape=(9, 21, 21), spacing=(2.0, 1.0, 1.0)):
    """A canvas without deformation, centred at 0."""
    axes = tuple(
        (np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)
    )
    warped = tuple(np.asarray(g, np.float32) for g in np.meshgrid(*axes, indexing="ij"))
    return shapes.Canvas(np.zeros(shape, np.float32), axes, warped, spacing)


def whole(canvas, box, values, fill):
    result = np.full(canvas.hu.shape, fill, np.float32)
    result[box] = values
    return result


def test_ball_distance_is_exact():
    canvas = flat_canvas()
    box, distance = shapes.ellipsoid(canvas, (1.0, 2.0, -1.0), (5.0, 5.0, 5.0))
    z, y, x = (g[box] for g in canvas.warped)
    expected = np.sqrt((z - 1) ** 2 + (y - 2) ** 2 + (x + 1) ** 2) - 5
    away = expected > -4.9  # the centre itself has no direction
    np.testing.assert_allclose(distance[away], expected[away], atol=1e-4)


def test_box_holds_all_of_a_turned_ellipsoid():
    canvas = flat_canvas((9, 61, 61))
    box, distance = shapes.ellipsoid(canvas, (0.0, 3.0, 0.0), (4.0, 3.0, 20.0), 0.8)
    inside = whole(canvas, box, distance, np.inf) < 0
    z, y, x = canvas.warped
    v = np.cos(0.8) * (y - 3) - np.sin(0.8) * x
    u = np.sin(0.8) * (y - 3) + np.cos(0.8) * x
    np.testing.assert_array_equal(inside, (z / 4) ** 2 + (v / 3) ** 2 + (u / 20) ** 2 < 1)
    assert inside.any()


def test_capsule_distance_with_taper():
    canvas = flat_canvas()
    box, distance = shapes.capsule(canvas, (0.0, 0.0, -6.0), (0.0, 0.0, 6.0), 3.0, 1.0)
    values = whole(canvas, box, distance, np.inf)[4, 10]  # the axis itself: minus the radius
    np.testing.assert_allclose(values[4:17], -np.linspace(3, 1, 13), atol=1e-5)
    assert values[18] == pytest.approx(2 - 1, abs=1e-5)


def test_cover_is_half_on_the_surface_and_a_ramp_of_the_width():
    distance = np.array([[[-2.0, -0.5, 0.0, 0.25, 0.5, 3.0]]], np.float32)
    np.testing.assert_allclose(shapes.cover(distance, 1.0)[0, 0], [1, 1, 0.5, 0.25, 0, 0])


def test_partial_volume_conserves_the_volume_of_a_ball():
    canvas = flat_canvas((15, 31, 31), (1.0, 1.0, 1.0))
    shapes.paint_ellipsoid(canvas, (0.2, 0.3, -0.4), (6.0, 6.0, 6.0), 1.0)
    assert canvas.hu.sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.01)


@pytest.mark.parametrize("centre", [(0.0, 500.0, 0.0), (-500.0, 0.0, 0.0), (0.0, 0.0, 26.0)])
def test_shapes_outside_the_grid_draw_nothing(centre):
    canvas = flat_canvas()
    shapes.paint_ellipsoid(canvas, centre, (3.0, 3.0, 3.0), 100.0)
    shapes.paint_capsule(canvas, centre, (centre[0] + 5, *centre[1:]), 2.0, 100.0)
    assert not canvas.hu.any()


def test_waves_equal_the_sum_of_cosines_and_have_unit_variance():
    waves = shapes.sample_waves(np.random.default_rng(3), 6.0, terms=16)
    axes = tuple(np.linspace(-60, 60, n) for n in (40, 50, 60))
    field = shapes.evaluate_waves(waves, axes)
    at = (3, 17, 41)
    position = np.array([axis[i] for axis, i in zip(axes, at, strict=True)])
    expected = np.sqrt(2 / 16) * np.cos(waves.frequency @ position + waves.phase).sum()
    assert field[at] == pytest.approx(expected, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=0.1)


def test_warp_is_bounded_and_does_not_depend_on_the_grid():
    fine = tuple(np.linspace(-50, 50, n) for n in (5, 41, 41))
    coarse = (fine[0], fine[1][::4], fine[2][::4])
    a = shapes.make_canvas(np.random.default_rng(1), fine, (25.0, 2.5, 2.5))
    b = shapes.make_canvas(np.random.default_rng(1), coarse, (25.0, 10.0, 10.0))
    for axis in range(3):
        np.testing.assert_allclose(a.warped[axis][:, ::4, ::4], b.warped[axis], atol=1e-3)
        plain = np.meshgrid(*fine, indexing="ij")[axis]
        assert np.abs(a.warped[axis] - plain).max() <= shapes.WARP_MM + 1e-3
    assert (a.hu == -1000).all()


def test_tree_branches_hang_together_and_taper():
    branches = shapes.grow_tree(
        np.random.default_rng(0),
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        radius=4.0,
        length=20.0,
        generations=4,
    )
    assert len(branches) == 1 + 2 + 4 + 8
    ends = {end for _, end, _, _ in branches}
    assert all(start in ends for start, _, _, _ in branches[1:])
    assert all(end_radius < radius <= 4.0 for _, _, radius, end_radius in branches)
