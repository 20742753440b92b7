import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ecc_jax.clicks.radius import (
    ENCLOSING_RULES,
    RADIUS_RULES,
    disk_radius,
    enclosing_radius,
    tight_radius,
)
from ecc_jax.ops.disks import disk
from ecc_jax.ops.distance import distance_transform


def bar():
    """A 3 x 5 bar with its centre at (4, 5), in a 9 x 11 image."""
    region = np.zeros((1, 9, 11), bool)
    region[0, 3:6, 3:8] = True
    return jnp.asarray(region)


transform = jax.jit(distance_transform)
draw = jax.jit(disk_radius, static_argnames=("rule", "enclosing"))
CENTRE = jnp.array([[4.0, 5.0]])
KEY = jax.random.split(jax.random.key(0), 1)


def test_hand_computed_radii():
    assert tight_radius(bar(), CENTRE).item() == 2.0
    np.testing.assert_allclose(enclosing_radius(bar(), CENTRE), [np.sqrt(1 + 4)], rtol=1e-6)
    rules = ("tight", "enclosing", "average", "fixed")
    radii = [disk_radius(KEY, bar(), CENTRE, rule=rule).item() for rule in rules]
    np.testing.assert_allclose(radii, [2.0, np.sqrt(5), 1 + np.sqrt(5) / 2, 5.0], rtol=1e-6)
    assert disk_radius(KEY, bar(), CENTRE, rule="fixed", fixed_radius=3.0).item() == 3.0


def test_tight_radius_counts_the_outside_of_the_image():
    full = jnp.ones((4, 5, 7), bool)
    yx = jnp.array([[0.0, 3.0], [2.0, 3.0], [4.0, 6.0], [2.0, 5.5]])
    np.testing.assert_array_equal(tight_radius(full, yx), [1.0, 3.0, 1.0, 1.5])


def test_tight_radius_is_the_distance_transform():
    region = np.random.default_rng(0).random((1, 12, 15)) < 0.8
    pixels = np.argwhere(region[0])
    regions = jnp.asarray(np.repeat(region, len(pixels), axis=0))
    expected = np.asarray(transform(jnp.asarray(region)))[0][region[0]]
    radii = tight_radius(regions, jnp.asarray(pixels, jnp.float32))
    np.testing.assert_allclose(radii, expected, rtol=1e-6)
    assert tight_radius(bar(), jnp.array([[0.0, 0.0]])).item() == 0.0


def test_one_pixel_and_empty_regions():
    region = jnp.zeros((2, 3, 3), bool).at[0, 1, 1].set(True)
    yx = jnp.ones((2, 2))
    np.testing.assert_array_equal(enclosing_radius(region, yx), [0.0, 0.0])
    np.testing.assert_array_equal(tight_radius(region, yx), [1.0, 0.0])
    keys = jax.random.split(jax.random.key(0), 2)
    for rule in ("tight", "enclosing", "average", "weighted"):
        for enclosing in ENCLOSING_RULES:
            radius = draw(keys, region, yx, rule=rule, enclosing=enclosing)
            np.testing.assert_array_equal(radius, [1.0, 0.0])
    for rule in ("normal", "uniform"):
        radius = draw(keys, region, yx, rule=rule)
        assert 0.9 <= radius[0] <= 1.1 and radius[1] == 0.0


def test_enclosing_disk_covers_the_region_and_tight_open_disk_stays_inside():
    region = np.random.default_rng(1).random((8, 17, 19)) < 0.7
    pixels = np.array([np.argwhere(row)[len(np.argwhere(row)) // 2] for row in region])
    regions, yx = jnp.asarray(region), jnp.asarray(pixels, jnp.float32)
    covered = disk(yx, enclosing_radius(regions, yx), (17, 19))
    assert not (region & ~np.asarray(covered)).any()
    inside = disk(yx, tight_radius(regions, yx), (17, 19), closed=False)
    assert not (~region & np.asarray(inside)).any() and inside.any()


@pytest.mark.parametrize(("rule", "law"), [("normal", stats.truncnorm), ("uniform", None)])
def test_random_rules_follow_their_distribution(rule, law):
    count = 3000
    regions = jnp.broadcast_to(bar(), (count, 9, 11))
    yx = jnp.broadcast_to(CENTRE, (count, 2))
    radii = np.asarray(draw(jax.random.split(jax.random.key(1), count), regions, yx, rule=rule))
    low, high = 0.9 * 2.0, 1.1 * np.sqrt(5)
    assert low <= radii.min() and radii.max() <= high
    mean, deviation = (low + high) / 2, (high - low) / 4
    normal = stats.truncnorm(-2, 2, loc=mean, scale=deviation)
    uniform = stats.uniform(low, high - low)
    own, other = (normal, uniform) if law is not None else (uniform, normal)
    assert stats.kstest(radii, own.cdf).pvalue > 0.01
    assert stats.kstest(radii, other.cdf).pvalue < 1e-6
    np.testing.assert_allclose(radii.mean(), mean, atol=4 * own.std() / np.sqrt(count))
    np.testing.assert_allclose(radii.std(), own.std(), rtol=0.05)


@pytest.mark.parametrize("rule", RADIUS_RULES)
def test_row_alone_equals_row_in_batch_jit_or_not(rule):
    region = jnp.asarray(np.random.default_rng(2).random((4, 9, 11)) < 0.8).at[:, 4, 5].set(True)
    yx = jnp.broadcast_to(CENTRE, (4, 2))
    keys = jax.random.split(jax.random.key(3), 4)
    together = disk_radius(keys, region, yx, rule=rule)
    jitted = draw(keys, region, yx, rule=rule)
    np.testing.assert_allclose(jitted, together, rtol=1e-6)
    for row in range(4):
        one = slice(row, row + 1)
        alone = draw(keys[one], region[one], yx[one], rule=rule)
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-6)


@pytest.mark.parametrize("enclosing", ENCLOSING_RULES)
def test_named_rules_are_weights_bit_for_bit(enclosing):
    region = jnp.asarray(np.random.default_rng(4).random((64, 9, 11)) < 0.8)
    yx = jnp.asarray(np.random.default_rng(5).uniform(0, 8, (64, 2)), jnp.float32)
    keys = jax.random.split(jax.random.key(6), 64)

    def named(rule):
        return draw(keys, region, yx, rule=rule, enclosing=enclosing)

    def weighted(weight):
        return draw(keys, region, yx, rule="weighted", weight=weight, enclosing=enclosing)

    for rule, weight in {"tight": 0.0, "average": 0.5, "enclosing": 1.0}.items():
        np.testing.assert_array_equal(weighted(weight), named(rule))
        np.testing.assert_array_equal(weighted(jnp.float32(weight)), named(rule))
    np.testing.assert_array_equal(named("weighted"), named("average"))
    tight, outer = np.asarray(named("tight")), np.asarray(named("enclosing"))
    np.testing.assert_array_equal(named("average"), (tight + outer) / 2)
    np.testing.assert_allclose(weighted(0.3), 0.7 * tight + 0.3 * outer, rtol=1e-6)
    np.testing.assert_array_equal(tight, tight_radius(region, yx))
    if enclosing == "click":
        np.testing.assert_array_equal(outer, np.maximum(enclosing_radius(region, yx), tight))


def test_one_compilation_serves_every_weight():
    traced = jax.jit(lambda weight: disk_radius(KEY, bar(), CENTRE, rule="weighted", weight=weight))
    radii = [traced(weight).item() for weight in (0.0, 0.25, 1.0)]
    np.testing.assert_allclose(radii, [2, 1.5 + np.sqrt(5) / 4, np.sqrt(5)], rtol=1e-6)
    assert traced._cache_size() == 1


def test_minimum_circle_does_not_depend_on_the_click_and_can_miss_a_part():
    # A head of 3 x 3 with a tail of 12: clicked in the head, the tail ends 13 px away.
    region = np.zeros((1, 9, 20), bool)
    region[0, 3:6, 2:5] = True
    region[0, 4, 5:17] = True
    region, head, tail = jnp.asarray(region), jnp.array([[4.0, 3.0]]), jnp.array([[4.0, 16.0]])
    by_click, by_circle = (
        draw(KEY, region, head, rule="enclosing", enclosing=name) for name in ENCLOSING_RULES
    )
    assert by_click.item() == 13.0
    # Through the corners (3, 2), (5, 2) of the head and the end of the tail, (4, 16).
    np.testing.assert_allclose(by_circle, (14**2 + 1) / (2 * 14), rtol=1e-6)
    again = draw(KEY, region, tail, rule="enclosing", enclosing="min_circle")
    np.testing.assert_array_equal(again, by_circle)
    assert (region & ~disk(head, by_circle, (9, 20))).any()
    average = draw(KEY, region, head, rule="average", enclosing="min_circle")
    np.testing.assert_allclose(average, (2 + by_circle) / 2, rtol=1e-6)


def test_minimum_circle_is_between_tight_and_the_disk_around_the_click():
    region = np.random.default_rng(1).random((8, 17, 19)) < 0.02
    region[:4, 5:8, 6:9] = True
    pixels = np.array([np.argwhere(row)[0] for row in region])
    keys, yx = jax.random.split(jax.random.key(0), 8), jnp.asarray(pixels, jnp.float32)
    tight, low, high = (
        np.asarray(draw(keys, jnp.asarray(region), yx, rule=rule, enclosing=enclosing))
        for rule, enclosing in [
            ("tight", "click"),
            ("enclosing", "min_circle"),
            ("enclosing", "click"),
        ]
    )
    assert (tight <= low).all() and (low <= high * (1 + 1e-6)).all() and (low < high).any()
    # A square of 3 x 3 clicked in its middle: circle 1.41, tight 2.
    square = jnp.zeros((1, 7, 7), bool).at[0, 2:5, 2:5].set(True)
    radius = draw(KEY, square, jnp.array([[3.0, 3.0]]), rule="enclosing", enclosing="min_circle")
    assert radius.item() == 2.0


@pytest.mark.parametrize("rule", ["normal", "uniform"])
def test_random_rules_take_the_enclosing_radius_they_are_given(rule):
    region = jnp.zeros((1, 5, 24), bool).at[0, 2, 1:22].set(True)
    regions, yx = (
        jnp.repeat(region, 200, axis=0),
        jnp.broadcast_to(jnp.array([[2.0, 1.0]]), (200, 2)),
    )
    keys = jax.random.split(jax.random.key(7), 200)
    for enclosing, outer in [("click", 20.0), ("min_circle", 10.0)]:
        radii = draw(keys, regions, yx, rule=rule, enclosing=enclosing)
        assert 0.9 <= radii.min() and 0.8 * outer < radii.max() <= 1.1 * outer * (1 + 1e-6)


def test_unknown_rules_are_refused():
    valid = "one of click, min_circle, got 'circle'"
    for rule in RADIUS_RULES:
        with pytest.raises(ValueError, match=valid):
            disk_radius(KEY, bar(), CENTRE, rule=rule, enclosing="circle")
    with pytest.raises(ValueError, match="tight, enclosing, .*got 'min_circle'"):
        disk_radius(KEY, bar(), CENTRE, rule="min_circle")
