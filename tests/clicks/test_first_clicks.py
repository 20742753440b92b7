"""First clicks at several places of one lesion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from ecc_jax.clicks.encoding import empty_clicks
from ecc_jax.clicks.radius import disk_radius
from ecc_jax.clicks.user import CLICK_RULES, RobotUser, first_clicks, next_click

BATCH, HEIGHT, WIDTH, COUNT = 3, 8, 9, 3
MASKS = arrays.arrays(bool, (BATCH, HEIGHT, WIDTH), elements=st.booleans(), fill=st.just(True))
KEYS = jax.random.split(jax.random.key(0), BATCH)
USER = RobotUser().with_habit("average")


@functools.partial(jax.jit, static_argnames="rule")
def place(keys, target, rule="largest_component"):
    user = RobotUser(rule).with_habit("average")
    return first_clicks(keys, target, count=COUNT, user=user)


def component_at(mask, yx):
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return labels == labels[tuple(int(value) for value in yx)]


@pytest.mark.parametrize("rule", CLICK_RULES)
@given(MASKS)
def test_places_are_different_deep_pixels_of_the_component_that_is_clicked_first(rule, masks):
    target = jnp.asarray(masks)
    clicks = jax.tree.map(np.asarray, place(KEYS, target, rule))
    user = RobotUser(rule).with_habit("average")
    first = next_click(KEYS, ~target & False, target, empty_clicks(BATCH, 1), user=user)
    for row, mask in enumerate(masks):
        if not mask.any():
            assert not clicks.exists[:, row].any()
            continue
        region = component_at(mask, first.yx[row])
        depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        candidates = {tuple(p) for p in np.argwhere(2 * depth >= depth.max() - 1e-9).tolist()}
        exists = len(candidates) >= COUNT
        assert clicks.exists[:, row].tolist() == [exists] * COUNT
        assert clicks.is_positive[:, row].tolist() == [exists] * COUNT
        if not exists:
            assert not clicks.yx[:, row].any() and not clicks.radius[:, row].any()
            continue
        pixels = [tuple(int(value) for value in yx) for yx in clicks.yx[:, row]]
        assert len(set(pixels)) == COUNT and set(pixels) <= candidates
        np.testing.assert_array_equal(clicks.yx[0, row], first.yx[row])
        np.testing.assert_array_equal(clicks.radius[0, row], first.radius[row])
        for number, yx in enumerate(clicks.yx[:, row]):
            expected = disk_radius(
                KEYS[:1], jnp.asarray(region[None]), jnp.asarray(yx[None]), rule="average"
            )
            np.testing.assert_allclose(clicks.radius[number, row], expected[0], rtol=1e-6)


def test_places_depend_on_the_key_of_the_row_alone():
    target = jnp.ones((BATCH, HEIGHT, WIDTH), bool)
    together = place(KEYS, target)
    for row in range(BATCH):
        alone = place(KEYS[row : row + 1], target[:1])
        np.testing.assert_array_equal(alone.yx[:, 0], together.yx[:, row])
    assert not np.array_equal(together.yx[1, 0], together.yx[1, 1])


def test_a_lesion_of_two_pixels_is_too_small():
    target = jnp.zeros((1, 4, 4), bool).at[0, 1, 1:3].set(True)
    assert not first_clicks(KEYS[:1], target, count=3, user=USER).exists.any()
    assert first_clicks(KEYS[:1], target, count=2, user=USER).exists.all()
    nothing = jnp.zeros((1, 4, 4), bool)
    assert not first_clicks(KEYS[:1], nothing, count=1, user=USER).exists.any()


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="click rule must be one of"):
        first_clicks(KEYS, jnp.ones((BATCH, 4, 4), bool), count=1, user=RobotUser("best"))
