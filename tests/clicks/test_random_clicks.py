"""Clicks at random places: the original's frequencies, and disks by the configured user."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage, stats

from ecc_jax.clicks.random_clicks import (
    STRATEGIES,
    random_clicks,
    random_places,
    without_newest,
)
from ecc_jax.clicks.user import RobotUser
from tests.clicks import original_sampler

MANY, MOST, GAMMA = 4000, 5, 0.8
SHAPE = (21, 24)


def lesion():
    """An ellipse with a tail: it keeps more than 10 pixels when it is eroded."""
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = np.hypot((yy - 10) / 6.5, (xx - 11) / 8.5) < 1
    mask[10, 19:22] = True
    assert original_sampler.eroded(mask).sum() > 10
    return mask


def at_border():
    """A lesion in the corner of the image, where erosion and depth differ about the border."""
    mask = np.zeros(SHAPE, bool)
    mask[:11, :13] = True
    return mask


def thin():
    """A lesion of which erosion leaves nothing, so it stays whole."""
    mask = np.zeros(SHAPE, bool)
    mask[8:11, 3:20] = True
    return mask


MASKS = {"lesion": lesion, "at_border": at_border, "thin": thin}


@functools.partial(jax.jit, static_argnames=("max_each", "gamma"))
def placed(keys, target, max_each=MOST, gamma=GAMMA):
    return random_places(keys, target, max_each=max_each, gamma=gamma)


@functools.cache
def places_of(name):
    mask = MASKS[name]()
    keys = jax.random.split(jax.random.key(len(name)), MANY)
    places = placed(keys, jnp.asarray(np.broadcast_to(mask, (MANY, *mask.shape))))
    return mask, jax.tree.map(np.asarray, places)


def counts_of(places):
    """Numbers of positive and of negative clicks of every row."""
    return (places.exists & places.is_positive).sum(1), (places.exists & ~places.is_positive).sum(1)


def fits(seen, probability):
    """Whether counts have the given probabilities: chi-square over what is common enough."""
    expected = seen.sum() * probability
    assert not seen[probability == 0].any()
    common = expected >= 10
    # What is rare is counted as one.
    seen = np.append(seen[common], seen[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    if expected[-1] < 5:
        seen, expected = seen[:-1], expected[:-1]
    value = ((seen - expected) ** 2 / expected).sum()
    return stats.chi2.sf(value, max(len(expected) - 1, 1)) > 0.001


def histogram(yx):
    seen = np.zeros(SHAPE, int)
    np.add.at(seen, tuple(yx.astype(int).T), 1)
    return seen


@pytest.mark.parametrize("name", MASKS)
def test_every_pixel_is_clicked_as_often_as_in_the_original(name):
    mask, places = places_of(name)
    expected = original_sampler.place_probabilities(mask)
    other = places.exists & places.is_positive
    other[:, 0] = False
    assert fits(histogram(places.yx[:, 0]), expected["first"])
    # Clicks of one row share its erosion: one of each row is free of the others.
    second = other[:, 1]
    assert fits(histogram(places.yx[second, 1]), expected["others"])
    negative = places.exists & ~places.is_positive
    assert fits(histogram(places.yx[negative]), expected["negative"])


def test_numbers_of_clicks_are_those_of_the_original():
    _, places = places_of("lesion")
    positive, negative = counts_of(places)
    shares = original_sampler.decaying(MOST, GAMMA)
    assert fits(np.bincount(positive, minlength=MOST + 1), np.append(0.0, shares))
    shares = original_sampler.decaying(MOST + 1, GAMMA)
    assert fits(np.bincount(negative, minlength=MOST + 1), shares)
    # Signs draw their numbers apart: |r| of so many pairs stays below 4 / sqrt(pairs).
    assert abs(np.corrcoef(positive, negative)[0, 1]) < 4 / np.sqrt(MANY)


def test_clicks_drawn_by_the_original_have_the_same_counts():
    """Both sides drawn: numbers, and where clicks lie, in one table of two columns."""
    mask, places = places_of("lesion")
    rng = np.random.default_rng(0)
    drawn = [original_sampler.draw(rng, mask, MOST, GAMMA) for _ in range(MANY)]
    positive, negative = counts_of(places)
    ring = original_sampler.border(mask)
    core = original_sampler.eroded(mask)
    rows = [
        (np.bincount(positive), np.bincount([len(one.positive) for one in drawn])),
        (np.bincount(negative), np.bincount([len(one.negative) for one in drawn])),
        (_hits(places, mask=core, at=0), _hits_of(drawn, core)),
        (
            np.bincount(ring[_pixels(places, places.exists & ~places.is_positive)]),
            np.bincount([int(ring[pixel]) for one in drawn for pixel in one.negative]),
        ),
    ]
    for ours, theirs in rows:
        table = np.stack([ours, theirs])[:, (ours + theirs) > 0]
        assert stats.chi2_contingency(table).pvalue > 0.001


def _pixels(places, wanted):
    return tuple(places.yx[wanted].astype(int).T)


def _hits(places, *, mask, at):
    return np.bincount(mask[tuple(places.yx[:, at].astype(int).T)], minlength=2)


def _hits_of(drawn, mask):
    return np.bincount([int(mask[one.positive[0]]) for one in drawn], minlength=2)


def test_the_defaults_are_the_originals():
    keys = jax.random.split(jax.random.key(5), 1500)
    target = jnp.zeros((1500, 8, 8), bool).at[:, 3:5, 3:5].set(True)
    places = jax.jit(random_places)(keys, target)
    positive, negative = counts_of(jax.tree.map(np.asarray, places))
    # Means of 1 + k and k, standard errors of about 0.1.
    np.testing.assert_allclose(positive.mean(), 4.89, atol=0.45)
    np.testing.assert_allclose(negative.mean(), 3.91, atol=0.45)
    assert places.yx.shape == (1500, 48, 2)
    assert STRATEGIES["ring"] == 0.5 and sum(STRATEGIES.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("left", "stays_whole"), [(10, True), (11, False)], ids=["10 pixels", "11 pixels"]
)
def test_a_lesion_is_shrunk_where_more_than_ten_pixels_remain(left, stays_whole):
    """A bar of 7 rows: its middle row remains, but for 3 pixels at both ends."""
    mask = np.zeros((13, 24), bool)
    mask[3:10, 3 : 3 + left + 6] = True
    keys = jax.random.split(jax.random.key(2), 300)
    places = placed(keys, jnp.asarray(np.broadcast_to(mask, (300, *mask.shape))))
    lesion_clicks = np.array(places.exists & places.is_positive)
    lesion_clicks[:, 0] = False
    rows = np.asarray(places.yx)[lesion_clicks][:, 0]
    share = (rows == 6).mean()
    # One row in seven of a whole lesion; nine in ten and a seventh of the tenth of a shrunk one.
    expected = 1 / 7 if stays_whole else 0.9 + 0.1 / 7
    assert share == pytest.approx(expected, abs=0.08)


@hypothesis.given(
    mask=hnp.arrays(bool, (9, 11)),
    seed=st.integers(0, 1000),
    rule=st.sampled_from(["fixed", "normal"]),
)
def test_clicks_lie_where_their_sign_says_and_have_disks(mask, seed, rule):
    clicks = _clicked(jax.random.split(jax.random.key(seed), 1), jnp.asarray(mask[None]), rule)
    count = int(clicks.count[0])
    used = np.arange(14) < count
    pixel = np.asarray(clicks.yx[0], int)
    sign = np.asarray(clicks.is_positive[0])
    assert (mask[pixel[used, 0], pixel[used, 1]] == sign[used]).all()
    assert not pixel[~used].any() and not sign[~used].any()
    radius = np.asarray(clicks.radius[0])
    assert (radius[used] > 0).all() and not radius[~used].any()
    # The lesion's come first, one at least where there is one, and no more than asked for.
    assert (np.diff(sign[used].astype(int)) <= 0).all()
    assert sign[used].sum() in range(int(mask.any()), 6)
    assert (~sign[used]).sum() <= 5
    if rule == "fixed":
        assert (radius[used] == 5).all()


@functools.partial(jax.jit, static_argnames="rule")
def _clicked(keys, target, rule):
    return random_clicks(keys, target, user=RobotUser(radius=rule), max_each=5, capacity=14)


def test_empty_and_full_slices():
    keys = jax.random.split(jax.random.key(0), 200)
    empty, full = jnp.zeros((200, 9, 11), bool), jnp.ones((200, 9, 11), bool)
    nothing = _clicked(keys, empty, "normal")
    assert not nothing.is_positive.any() and set(nothing.count.tolist()) == set(range(6))
    # Without a lesion the imagined surplus is the clicked pixel: tight and enclosing are 1.
    used = np.arange(14)[None] < np.asarray(nothing.count)[:, None]
    radius = np.asarray(nothing.radius)[used]
    assert ((radius >= 0.9 - 1e-6) & (radius <= 1.1 + 1e-6)).all()
    # Anywhere, not in a corner: of 99 pixels most are met.
    assert len({tuple(yx) for yx in np.asarray(nothing.yx)[used].tolist()}) > 80
    everything = _clicked(keys, full, "normal")
    assert set(everything.count.tolist()) == set(range(1, 6))
    used = np.arange(14)[None] < np.asarray(everything.count)[:, None]
    assert (np.asarray(everything.is_positive) == used).all()


def test_one_pixel_is_clicked_again_and_again():
    target = jnp.zeros((500, 9, 11), bool).at[:, 0, 10].set(True)
    clicks = _clicked(jax.random.split(jax.random.key(0), 500), target, "tight")
    positive = np.asarray(clicks.is_positive)
    assert positive[:, 0].all() and positive.sum() > 600
    assert (np.asarray(clicks.yx)[positive] == [0, 10]).all()
    assert (np.asarray(clicks.radius)[positive] == 1).all()
    # Area 1, so a ring of one pixel: three neighbours in the corner.
    near = np.abs(np.asarray(clicks.yx) - [0, 10]).max(axis=2) == 1
    used = np.arange(14)[None] < np.asarray(clicks.count)[:, None]
    # Half of the clicks go there, and of the others 3 in 98.
    assert near[used & ~positive].mean() == pytest.approx(0.5 + 0.5 * 3 / 98, abs=0.07)


@pytest.mark.parametrize("rule", ["tight", "enclosing", "average"])
def test_disks_are_measured_around_the_click_by_the_rule_of_the_user(rule):
    mask = np.zeros((8, *SHAPE), bool)
    mask[:, 2:9, 3:12] = mask[:, 14:17, 15:21] = True
    mask[1, 5, 5] = False
    clicks = _clicked(jax.random.split(jax.random.key(4), 8), jnp.asarray(mask), rule)
    clicks = jax.tree.map(np.asarray, clicks)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    num_positive = num_negative = 0
    for row in range(8):
        labels, _ = ndimage.label(mask[row], np.ones((3, 3)))
        reach = np.sqrt(mask[row].sum() / np.pi)
        for slot in range(clicks.count[row]):
            y, x = clicks.yx[row, slot].astype(int)
            distance = np.hypot(yy - y, xx - x)
            if clicks.is_positive[row, slot]:
                region, num_positive = labels == labels[y, x], num_positive + 1
            else:
                region, num_negative = ~mask[row] & (distance <= reach), num_negative + 1
            framed = np.pad(region, 1)
            tight = ndimage.distance_transform_edt(framed)[y + 1, x + 1]
            enclosing = max(distance[region].max(), tight)
            weight = {"tight": 0.0, "enclosing": 1.0, "average": 0.5}[rule]
            expected = (1 - weight) * tight + weight * enclosing
            np.testing.assert_allclose(clicks.radius[row, slot], expected, rtol=1e-5)
    assert num_positive > 8 and num_negative > 4


def test_places_do_not_depend_on_the_radius_rule_nor_sessions_on_each_other():
    keys = jax.random.split(jax.random.key(7), 6)
    rng = np.random.default_rng(0)
    target = jnp.asarray(ndimage.gaussian_filter(rng.normal(size=(6, 20, 20)), (0, 2, 2)) > 0.05)
    static, dynamic = (_clicked(keys, target, rule) for rule in ("fixed", "uniform"))
    np.testing.assert_array_equal(static.yx, dynamic.yx)
    np.testing.assert_array_equal(static.count, dynamic.count)
    assert (np.asarray(static.radius) != np.asarray(dynamic.radius)).any()
    for row in range(6):
        one = slice(row, row + 1)
        alone = _clicked(keys[one], target[one], "uniform")
        for own, whole in zip(alone, dynamic, strict=True):
            np.testing.assert_allclose(own, whole[one], rtol=1e-6)
    eager = random_clicks(
        keys[:2], target[:2], user=RobotUser(radius="uniform"), max_each=5, capacity=14
    )
    for own, compiled in zip(eager, dynamic, strict=True):
        np.testing.assert_allclose(own, compiled[:2], rtol=1e-6)


def test_habits_and_hands_of_a_row_reach_its_random_disks():
    keys = jax.random.split(jax.random.key(3), 40)
    target = jnp.zeros((40, 25, 25), bool).at[:, 4:21, 9:16].set(True)

    @jax.jit
    def clicks_of(weight, jitter):
        user = RobotUser(
            radius="weighted", first_weight=weight, later_weight=1.0 - weight, jitter=jitter
        )
        return random_clicks(keys, target, user=user, max_each=4)

    tight_first, enclosing_first = clicks_of(0.0, 0.0), clicks_of(1.0, 0.0)
    assert (tight_first.radius[:, 0] < enclosing_first.radius[:, 0]).all()
    later = np.arange(1, 8)[None] < np.asarray(tight_first.count)[:, None]
    assert (tight_first.radius[:, 1:] >= enclosing_first.radius[:, 1:])[later].all()
    shaken = clicks_of(0.0, 2.0)
    moved = np.asarray(shaken.yx - tight_first.yx)
    used = np.arange(8)[None] < np.asarray(shaken.count)[:, None]
    assert (moved[~used] == 0).all() and 1.5 < moved[used].std() < 2.5
    assert (np.asarray(shaken.yx) >= 0).all() and (np.asarray(shaken.yx) <= 24).all()


def test_the_newest_click_is_taken_off():
    keys = jax.random.split(jax.random.key(3), 20)
    target = jnp.zeros((20, 9, 11), bool).at[10:, 3:6, 3:7].set(True)
    clicks = _clicked(keys, target, "average")
    rest, newest = without_newest(clicks)
    for row, count in enumerate(clicks.count.tolist()):
        assert int(rest.count[row]) == max(count - 1, 0)
        assert bool(newest.exists[row]) == (count > 0)
        slot = max(count - 1, 0)
        for own, whole in zip(newest[:3], clicks[:3], strict=True):
            np.testing.assert_array_equal(own[row], whole[row, slot])
    assert 0 in clicks.count.tolist()


def test_impossible_options_are_refused():
    keys, target = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 4, 4), bool)
    with pytest.raises(ValueError, match="capacity must be at least 2 \\* max_each = 8, got 7"):
        random_clicks(keys, target, max_each=4, capacity=7)
    with pytest.raises(ValueError, match="max_clicks"):
        random_places(keys, target, max_each=0)
    with pytest.raises(ValueError, match="gamma"):
        random_places(keys, target, gamma=0.0)
