"""The robot user against a plain re-implementation, pixel by pixel, on random masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.clicks.radius import disk_radius
from ecc_jax.clicks.user import CLICK_RULES, RobotUser, next_click
from ecc_jax.types import Clicks

HEIGHT, WIDTH, CAPACITY = 6, 7, 8
jitted = jax.jit(next_click, static_argnames="user")


def components(mask):
    """Sets of 8-connected pixels, by flood filling, in order of their first pixel."""
    left, found = {tuple(pixel) for pixel in np.argwhere(mask).tolist()}, []
    for first in sorted(left):
        if first not in left:
            continue
        left.discard(first)
        filled, queue = {first}, [first]
        while queue:
            y, x = queue.pop()
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            filled |= around
            queue += around
        found.append(filled)
    return found


def depth(pixel, component):
    """Squared distance to the nearest pixel, on a framed image, that is not of the component."""
    framed = [(y, x) for y in range(-1, HEIGHT + 1) for x in range(-1, WIDTH + 1)]
    others = np.array([other for other in framed if other not in component])
    return int(((others - pixel) ** 2).sum(axis=1).min())


def expected_click(pred, target, clicked, rule):
    """(pixel, is_positive, component) of the next click, None where nothing is left."""
    options = []
    for is_positive, mask in ((True, target & ~pred), (False, pred & ~target)):
        for component in components(mask):
            for pixel in component - clicked:
                if rule == "largest_component":
                    order = (-len(component), not is_positive, min(component))
                    order += (-depth(pixel, component), pixel)
                else:
                    order = (-depth(pixel, component), is_positive, pixel)
                options.append((order, pixel, is_positive, component))
    return min(options, key=lambda option: option[0])[1:] if options else None


@st.composite
def situations(draw):
    """Masks of two images and clicks on some of their pixels; some right, some nearly so."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target = rng.random((2, HEIGHT, WIDTH)) < draw(st.floats(0.05, 0.95))
    wrong = rng.random(target.shape) < draw(st.sampled_from([0.05, 0.1, 0.2, 0.5]))
    pixels = rng.integers(0, (HEIGHT, WIDTH), (2, CAPACITY, 2))
    if draw(st.integers(0, 3)):
        # Clicks on the largest errors, so that whole components get used up.
        for row in range(2):
            largest_first = sorted(components(wrong[row]), key=len, reverse=True)
            errors = np.array([pixel for component in largest_first for pixel in component])
            if len(errors):
                pixels[row] = errors[np.arange(CAPACITY) % len(errors)]
    count = rng.integers(0, CAPACITY + 1, 2)
    return target ^ wrong, target, pixels, count


@pytest.mark.parametrize("rule", CLICK_RULES)
@given(situation=situations())
def test_next_click_equals_the_plain_implementation(rule, situation):
    pred, target, pixels, count = situation
    clicks = Clicks(
        yx=jnp.asarray(pixels, jnp.float32),
        radius=jnp.ones((2, CAPACITY)),
        is_positive=jnp.ones((2, CAPACITY), bool),
        count=jnp.asarray(count, jnp.int32),
    )
    keys = jax.random.split(jax.random.key(0), 2)
    args = keys, jnp.asarray(pred), jnp.asarray(target), clicks
    tight, average = (jitted(*args, user=RobotUser(rule, name)) for name in ("tight", "average"))
    for row in range(2):
        used = {tuple(pixel) for pixel in pixels[row, : count[row]].tolist()}
        expected = expected_click(pred[row], target[row], used, rule)
        assert bool(tight.exists[row]) == (expected is not None)
        if expected is None:
            assert not tight.yx[row].any() and not tight.radius[row] and not tight.is_positive[row]
            continue
        pixel, is_positive, component = expected
        assert tuple(np.asarray(tight.yx[row]).tolist()) == pixel
        assert bool(tight.is_positive[row]) == is_positive
        inner = np.sqrt(depth(pixel, component))
        outer = np.sqrt(((np.array(sorted(component)) - pixel) ** 2).sum(axis=1).max())
        np.testing.assert_allclose(tight.radius[row], inner, rtol=1e-6)
        np.testing.assert_allclose(average.radius[row], (inner + max(inner, outer)) / 2, rtol=1e-6)


@functools.partial(jax.jit, static_argnames="rule")
def radius_of(key, region, yx, rule):
    return disk_radius(key, region, yx, rule=rule)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
def test_radii_are_ordered_and_random_ones_stay_in_their_range(seed, density):
    rng = np.random.default_rng(seed)
    region = rng.random((2, HEIGHT, WIDTH)) < density
    pixels = rng.integers(0, (HEIGHT, WIDTH), (2, 2))
    region[[0, 1], pixels[:, 0], pixels[:, 1]] = True
    keys = jax.random.split(jax.random.key(seed), 2)
    rules = ("tight", "average", "enclosing", "normal", "uniform")
    args = keys, jnp.asarray(region), jnp.asarray(pixels, jnp.float32)
    tight, average, enclosing, *randoms = (np.asarray(radius_of(*args, rule)) for rule in rules)
    assert (tight >= 1).all() and (tight <= average).all() and (average <= enclosing).all()
    for radius in randoms:
        assert (radius >= 0.9 * tight - 1e-5).all() and (radius <= 1.1 * enclosing + 1e-5).all()
