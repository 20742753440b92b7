import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.clicks.encoding import (
    ENCODINGS,
    FIRST_DRAGGED,
    NAMES,
    WITHOUT_RADIUS,
    append_click,
    disk_maps,
    empty_clicks,
)
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


def by_loop(name, clicks, shape, radius):
    """Every map drawn pixel by pixel and click by click, in double precision."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    batch = clicks.radius.shape[0]
    maps = np.full((batch, *shape, 2), 1.0 if name == "distance" else 0.0)
    for row in range(batch):
        for slot in range(int(clicks.count[row])):
            centre = np.asarray(clicks.yx, np.float64)[row, slot]
            apart = np.hypot(y - centre[0], x - centre[1])
            own = radius if slot or name in WITHOUT_RADIUS else float(clicks.radius[row, slot])
            if name == "disk":
                drawn = apart <= float(clicks.radius[row, slot])
            elif name == "box" and slot == 0:
                drawn = np.maximum(abs(y - centre[0]), abs(x - centre[1])) <= own
            elif name in FIRST_DRAGGED:
                drawn = apart <= own
            elif name == "gaussian":
                drawn = np.clip(1 - apart / own, 0, None)
            elif name == "wide_gaussian":
                drawn = np.exp(-(apart**2) / (2 * own**2))
            else:
                drawn = np.tanh(2 * apart / own)
            channel = maps[row, ..., 0 if clicks.is_positive[row, slot] else 1]
            combine = np.minimum if name == "distance" else np.maximum
            channel[:] = combine(channel, drawn)
    return maps


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("radius", [5.0, 2.3])
def test_every_encoding_equals_a_loop_over_clicks(name, radius):
    clicks = random_clicks(3, batch=4)._replace(count=jnp.array([0, 1, 4, 6], jnp.int32))
    expected = by_loop(name, clicks, (20, 18), radius)
    maps = ENCODINGS[name](clicks, (20, 18), radius=radius)
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps, expected, rtol=2e-5, atol=1e-6)
    jitted = jax.jit(lambda c: ENCODINGS[name](c, (20, 18), radius=radius))(clicks)
    np.testing.assert_allclose(jitted, maps, rtol=1e-5, atol=1e-6)
    for row in range(4):
        one = jax.tree.map(lambda field, row=row: field[row : row + 1], clicks)
        alone = ENCODINGS[name](one, (20, 18), radius=radius)
        np.testing.assert_array_equal(alone[0], maps[row])


@pytest.mark.parametrize("name", NAMES)
def test_no_encoding_reads_empty_slots(name):
    clicks = random_clicks(1)._replace(count=jnp.array([0, 2, 3], jnp.int32))
    used = jnp.arange(6)[None, :] < clicks.count[:, None]
    wiped = clicks._replace(
        yx=jnp.where(used[:, :, None], clicks.yx, jnp.nan),
        radius=jnp.where(used, clicks.radius, jnp.nan),
        is_positive=clicks.is_positive & used,
    )
    maps = [ENCODINGS[name](some, (20, 20)) for some in (clicks, wiped)]
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize("name", NAMES)
def test_of_dragged_radii_an_encoding_shows_all_the_first_or_none(name):
    clicks = random_clicks(2)._replace(count=jnp.full(3, 6, jnp.int32))
    first = clicks._replace(radius=clicks.radius.at[:, 0].add(4.0))
    later = clicks._replace(radius=clicks.radius.at[:, 1:].add(4.0))
    maps, *changed = (ENCODINGS[name](some, (20, 20)) for some in (clicks, first, later))
    shows = [not np.array_equal(maps, other) for other in changed]
    if name == "disk":
        assert shows == [True, True]
    else:
        assert shows == [name in FIRST_DRAGGED, False]
    assert (name in FIRST_DRAGGED) + (name in WITHOUT_RADIUS) == (name != "disk")


def test_values_of_soft_maps_by_hand():
    """One positive click, 3 and 4 pixels from the corner: 5 in all."""
    one = append_click(empty_clicks(1, 3), click([[3, 4]], [99], [True], [True]))
    at = {name: ENCODINGS[name](one, (9, 12), radius=5.0)[0] for name in WITHOUT_RADIUS}
    for name, centre, corner, nothing in (
        ("gaussian", 1, 0, 0),
        ("wide_gaussian", 1, np.exp(-0.5), 0),
        ("distance", 0, np.tanh(2), 1),
    ):
        assert float(at[name][3, 4, 0]) == centre
        np.testing.assert_allclose(at[name][0, 0, 0], corner, atol=1e-6)
        assert (at[name][..., 1] == nothing).all()
    np.testing.assert_allclose(at["gaussian"][3, 4:10, 0], [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6)
    # As strong as the nearest click of the sign, not as all of them together.
    both = append_click(one, click([[3, 6]], [1], [True], [True]))
    between = ENCODINGS["gaussian"](both, (9, 12), radius=5.0)[0, 3, 5, 0]
    np.testing.assert_allclose(between, 0.8, atol=1e-6)
