"""What a disk says of the pixels around it, against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.clicks import surroundings
from ecc_jax.types import Clicks

SIZE = 40


def clicks_of(*rows):
    """Rows of (y, x, radius, sign) as a buffer of four slots."""
    yx, radius = np.zeros((len(rows), 4, 2), np.float32), np.zeros((len(rows), 4), np.float32)
    sign, count = np.zeros((len(rows), 4), bool), np.zeros(len(rows), np.int32)
    for i, row in enumerate(rows):
        count[i] = len(row)
        for j, (y, x, r, s) in enumerate(row):
            yx[i, j], radius[i, j], sign[i, j] = (y, x), r, s > 0
    return Clicks(*map(jnp.asarray, (yx, radius, sign, count)))


def test_newest_and_first_lesion_disk_of_each_row():
    clicks = clicks_of([(1, 2, 3, -1), (4, 5, 6, 1), (7, 8, 9, -1)], [(1, 1, 2, -1)], [])
    newest, first = surroundings.newest_disk(clicks), surroundings.first_disk(clicks)
    assert newest.yx.tolist()[:2] == [[7, 8], [1, 1]] and newest.sign.tolist() == [-1, -1, 0]
    assert newest.radius.tolist()[:2] == [9, 2]
    assert first.yx.tolist()[:2] == [[4, 5], [1, 1]] and first.sign.tolist() == [1, -1, 0]


def test_a_disk_without_extent_has_a_radius_above_zero():
    disks = surroundings.newest_disk(clicks_of([(3, 3, 0, 1)]))
    assert disks.radius[0] > 0
    assert np.isfinite(surroundings.signed_distance(disks, (8, 8))).all()


@given(st.floats(0, SIZE - 1), st.floats(0, SIZE - 1), st.floats(1, 30), st.sampled_from([-1, 1]))
def test_cone_is_one_in_the_centre_and_zero_on_the_edge(y, x, radius, sign):
    disks = surroundings.newest_disk(clicks_of([(y, x, radius, sign)]))
    cone = np.asarray(surroundings.signed_distance(disks, (SIZE, SIZE)))[0, ..., 0]
    yy, xx = np.mgrid[:SIZE, :SIZE]
    expected = sign * np.clip(1 - np.hypot(yy - y, xx - x) / radius, -1, 1)
    np.testing.assert_allclose(cone, expected, atol=2e-3)


def _scene(inner=0.7, outer=0.3, noise=0.02):
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(yy - 19, xx - 21)
    image = np.where(distance <= 6, inner, outer) + rng.normal(0, noise, (SIZE, SIZE))
    return image.astype(np.float32), distance


def test_relative_grey_equals_sums_over_core_and_ring():
    image, distance = _scene()
    clicks = clicks_of([(19, 21, 6.0, 1)])
    z, ratio = surroundings.relative_grey(jnp.asarray(image)[None, ..., None], clicks)
    core, ring = image[distance <= 0.7 * 6], image[(distance >= 9) & (distance <= 14.4)]
    mean, spread = core.mean(), core.std() + 0.03
    expected = np.clip((image - mean) / spread, -4, 4) / 8 + 0.5
    np.testing.assert_allclose(z[0, ..., 0], expected, atol=1e-4)
    outer_mean, outer_spread = ring.mean(), ring.std() + 0.03
    log_likelihood = -0.5 * ((image - mean) / spread) ** 2 - np.log(spread)
    other = -0.5 * ((image - outer_mean) / outer_spread) ** 2 - np.log(outer_spread)
    expected = np.clip(log_likelihood - other, -6, 6) / 12 + 0.5
    np.testing.assert_allclose(ratio[0, ..., 0], expected, atol=1e-3)


def test_relative_grey_follows_a_linear_change_of_the_image_only_through_the_least_spread():
    image, distance = _scene(noise=0.1)
    clicks = clicks_of([(19, 21, 6.0, 1)])
    one, other = (
        surroundings.relative_grey(jnp.asarray(x)[None, ..., None], clicks)
        for x in (image, 1.0 - image)
    )
    # Turned over, lesion stays lesion.
    inside = distance <= 4
    assert np.asarray(one[1])[0, ..., 0][inside].mean() > 0.6
    np.testing.assert_allclose(one[1], other[1], atol=1e-4)
    np.testing.assert_allclose(np.asarray(one[0]) + np.asarray(other[0]), 1.0, atol=1e-4)


def test_rows_without_click_are_told_nothing_and_rows_do_not_see_each_other():
    image, _ = _scene()
    images = jnp.asarray(np.stack([image, image]))[..., None]
    clicks = clicks_of([], [(19, 21, 6.0, 1)])
    z, ratio = jax.jit(surroundings.relative_grey)(images, clicks)
    assert (z[0] == 0.5).all() and (ratio[0] == 0.5).all()
    alone = surroundings.relative_grey(images[1:], jax.tree.map(lambda x: x[1:], clicks))
    np.testing.assert_allclose(z[1:], alone[0], atol=1e-5)
    np.testing.assert_allclose(ratio[1:], alone[1], atol=1e-5)


@pytest.mark.parametrize("at", [(0, 0), (39, 39), (-5, 60)])
def test_disks_at_and_beyond_the_border_give_finite_maps(at):
    image, _ = _scene()
    maps = surroundings.relative_grey(
        jnp.asarray(image)[None, ..., None], clicks_of([(*at, 1.0, 1)])
    )
    assert all(np.isfinite(m).all() and (m >= 0).all() and (m <= 1).all() for m in maps)
