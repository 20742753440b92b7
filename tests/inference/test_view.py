"""The square around the disk: where it lies, and that what is cut out comes back to its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ecc_jax.inference import view
from ecc_jax.types import Click
from tests.clicks.test_surroundings import clicks_of

VIEW = view.DiskView(grid=32, factor=2.5)


def square_of(*clicks):
    square = view.square_around(clicks_of(list(clicks)), VIEW)
    return np.asarray(square.yx)[0], float(square.side[0])


def test_first_disk_stands_in_the_middle_of_a_square_of_its_size():
    corner, side = square_of((30, 50, 8, 1))
    assert side == pytest.approx(2 * 2.5 * 8)
    # Pixel 30 covers 30..31: its centre is 30.5.
    np.testing.assert_allclose(corner, [30.5 - 20, 50.5 - 20])


def test_tiny_disks_get_some_surroundings():
    assert square_of((30, 50, 1, 1))[1] == pytest.approx(12)


def test_a_disk_inside_changes_nothing_and_one_outside_is_held():
    alone = square_of((30, 50, 8, 1))
    np.testing.assert_allclose(square_of((30, 50, 8, 1), (33, 52, 3, 1))[0], alone[0])
    corner, side = square_of((30, 50, 8, 1), (60, 50, 5, 1))
    assert corner[0] <= 30.5 - 20 + 1e-3 and corner[0] + side >= 60.5 + 1.3 * 5
    # A background click is held by its centre alone.
    corner, side = square_of((30, 50, 8, 1), (60, 50, 50, -1))
    assert 60.5 < corner[0] + side < 75


@given(
    st.integers(0, 39),
    st.integers(0, 39),
    st.floats(1.5, 12),
)
def test_moved_clicks_lie_where_the_pixels_go(y, x, radius):
    """The brightest point of a cut-out bump is where the click says."""
    clicks = clicks_of([(y, x, radius, 1)])
    square = view.square_around(clicks, VIEW)
    yy, xx = np.mgrid[:40, :40]
    bump = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 8.0).astype(np.float32)
    patch = view.cut(jnp.asarray(bump)[None, ..., None], square, VIEW.grid)[0, ..., 0]
    moved = view.moved(clicks, square, VIEW.grid)
    where = np.unravel_index(int(np.argmax(patch)), patch.shape)
    np.testing.assert_allclose(moved.yx[0, 0], where, atol=0.5 + 16 / float(square.side[0]))
    scale = VIEW.grid / float(square.side[0])
    # The first disk is the middle of its square, and the middle of the grid lies between pixels.
    np.testing.assert_allclose(moved.yx[0, 0], VIEW.grid / 2 - 0.5, atol=1e-3)
    one = Click(clicks.yx[:, 0], clicks.radius[:, 0], clicks.is_positive[:, 0], jnp.ones(1, bool))
    np.testing.assert_allclose(
        view.moved_click(one, square, VIEW.grid).yx, moved.yx[:, 0], atol=1e-4
    )
    assert float(moved.radius[0, 0]) == pytest.approx(radius * scale, rel=1e-5)


def test_what_is_cut_comes_back_and_nothing_outside():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((48, 48)), 3).astype(np.float32)
    image = jnp.asarray(smooth)[None, ..., None]
    clicks = clicks_of([(24, 24, 6, 1)])
    square = view.square_around(clicks, VIEW)
    there = view.put_back(view.cut(image, square, VIEW.grid), square, (48, 48))
    yy, xx = np.mgrid[:48, :48]
    inside = (np.maximum(abs(yy - 24), abs(xx - 24)) < 15)[None, ..., None]
    outside = (np.maximum(abs(yy - 24), abs(xx - 24)) > 15)[None, ..., None]
    np.testing.assert_allclose(np.where(inside, there, 0), np.where(inside, image, 0), atol=0.02)
    assert (np.asarray(there)[outside] == 0).all()


def test_beyond_the_slice_there_is_nothing():
    square = view.square_around(clicks_of([(0, 0, 8, 1)]), VIEW)
    patch = view.cut(jnp.ones((1, 40, 40, 1)), square, VIEW.grid)
    assert float(patch[0, 0, 0, 0]) == 0 and float(patch[0, -1, -1, 0]) == 1


def test_one_compilation_serves_every_disk():
    cut = jax.jit(lambda image, clicks: view.cut(image, view.square_around(clicks, VIEW), 32))
    image = jnp.ones((1, 40, 40, 1))
    for radius in (1, 5, 30):
        assert np.isfinite(cut(image, clicks_of([(20, 20, radius, 1)]))).all()
    assert cut._cache_size() == 1
