import jax
import jax.numpy as jnp
import numpy as np

from ecc_jax.clicks.encoding import append_click, disk_maps, empty_clicks
from ecc_jax.types import Click, Clicks


def click(yx, radius, is_positive, exists):
    return Click(
        jnp.asarray(yx, jnp.float32),
        jnp.asarray(radius, jnp.float32),
        jnp.asarray(is_positive),
        jnp.asarray(exists),
    )


def random_clicks(seed, batch=3, capacity=6, size=20.0):
    rng = np.random.default_rng(seed)
    return Clicks(
        yx=jnp.asarray(rng.uniform(-2.0, size + 2.0, (batch, capacity, 2)), jnp.float32),
        radius=jnp.asarray(rng.uniform(0.5, 6.0, (batch, capacity)), jnp.float32),
        is_positive=jnp.asarray(rng.random((batch, capacity)) < 0.5),
        count=jnp.asarray(rng.integers(0, capacity + 1, batch), jnp.int32),
    )


def test_append_fills_slots_in_order_and_only_where_a_click_exists():
    clicks = empty_clicks(2, 3)
    clicks = append_click(clicks, click([[1, 2], [3, 4]], [5, 6], [True, False], [True, False]))
    clicks = append_click(clicks, click([[7, 8], [9, 1]], [2, 3], [False, True], [True, True]))
    np.testing.assert_array_equal(clicks.count, [2, 1])
    np.testing.assert_array_equal(clicks.yx[0], [[1, 2], [7, 8], [0, 0]])
    np.testing.assert_array_equal(clicks.yx[1], [[9, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(clicks.radius, [[5, 2, 0], [3, 0, 0]])
    np.testing.assert_array_equal(clicks.is_positive, [[True, False, False], [True, False, False]])


def test_full_buffer_keeps_its_clicks():
    clicks = append_click(empty_clicks(1, 1), click([[1, 2]], [5], [True], [True]))
    after = append_click(clicks, click([[3, 4]], [6], [False], [True]))
    jax.tree.map(np.testing.assert_array_equal, after, clicks)


def test_maps_of_hand_made_clicks():
    clicks = empty_clicks(2, 4)
    clicks = append_click(clicks, click([[2, 2], [0, 0]], [1, 2], [True] * 2, [True, False]))
    clicks = append_click(clicks, click([[2, 3], [0, 0]], [0, 2], [False] * 2, [True, False]))
    maps = disk_maps(clicks, (5, 6))
    assert maps.shape == (2, 5, 6, 2) and maps.dtype == jnp.float32
    plus = np.zeros((5, 6))
    plus[1:4, 2] = plus[2, 1:4] = 1
    dot = np.zeros((5, 6))
    dot[2, 3] = 1
    np.testing.assert_array_equal(maps[0, ..., 0], plus)
    np.testing.assert_array_equal(maps[0, ..., 1], dot)
    assert not maps[1].any()


def test_maps_equal_a_loop_over_clicks():
    clicks = random_clicks(0)
    expected = np.zeros((3, 20, 18, 2), np.float32)
    y, x = np.mgrid[:20, :18]
    for row in range(3):
        for slot in range(int(clicks.count[row])):
            centre, radius = np.asarray(clicks.yx)[row, slot], float(clicks.radius[row, slot])
            inside = np.hypot(y - centre[0], x - centre[1]) <= radius
            expected[row, ..., 0 if clicks.is_positive[row, slot] else 1][inside] = 1
    np.testing.assert_array_equal(disk_maps(clicks, (20, 18)), expected)
    np.testing.assert_array_equal(jax.jit(lambda c: disk_maps(c, (20, 18)))(clicks), expected)


def test_empty_slots_are_ignored_whatever_they_hold():
    clicks = random_clicks(1)._replace(count=jnp.array([0, 2, 3], jnp.int32))
    used = jnp.arange(6)[None, :] < clicks.count[:, None]
    wiped = clicks._replace(
        yx=jnp.where(used[:, :, None], clicks.yx, jnp.nan),
        radius=jnp.where(used, clicks.radius, jnp.inf),
        is_positive=clicks.is_positive & used,
    )
    maps = disk_maps(clicks, (20, 20))
    assert maps[1:].any()
    np.testing.assert_array_equal(disk_maps(wiped, (20, 20)), maps)


def test_maps_grow_with_the_radius():
    clicks = random_clicks(2)
    larger = clicks._replace(radius=clicks.radius + 0.7)
    small, large = disk_maps(clicks, (20, 20)), disk_maps(larger, (20, 20))
    assert (large >= small).all() and large.sum() > small.sum()
