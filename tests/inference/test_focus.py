"""The focus crop against the original's rules in NumPy, but for its defects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.inference import focus
from ecc_jax.types import Clicks
from tests.inference import focal_oracle as oracle

find = jax.jit(focus.focus_box, static_argnames="expansion")


def clicks_at(yx, positive=True):
    """One batch row per point: a first click elsewhere, then the newest; an unused slot."""
    yx = np.asarray(yx, np.float32)
    batch = len(yx)
    slots = np.stack([np.zeros_like(yx), yx, np.full_like(yx, 999.0)], axis=1)
    sign = np.stack([np.ones(batch), np.broadcast_to(positive, batch), np.ones(batch)], axis=1)
    count = np.full(batch, 2, np.int32)
    return jax.tree.map(
        jnp.asarray, Clicks(slots, np.full((batch, 3), 5.0, np.float32), sign.astype(bool), count)
    )


def boxes_of(before, after, yx, target, **options):
    arrays = map(jnp.asarray, (after, before))
    return np.asarray(find(*arrays, clicks_at(yx), jnp.asarray(target, jnp.int32), **options))


def test_boxes_are_the_originals_on_300_cases_but_for_its_defects():
    before, after, yx, _, target = oracle.cases(300)
    got = boxes_of(before, after, yx, target)
    equal = different = 0
    for i, (y, x) in enumerate(yx):
        row = after[i], before[i], y, x, tuple(target[i])
        assert tuple(got[i]) == oracle.focus(*row), i
        part = oracle.component(before[i] ^ after[i], y, x)
        masks = [after[i], *([part] if before[i].any() else [])]
        is_sound = all(m is not None and m.sum() >= 10 for m in masks)
        # Below three pixels the original's boxes lose their last row.
        is_sound = is_sound and all(min(b - a, d - c) > 1 for a, b, c, d in map(oracle.ends, masks))
        same = tuple(got[i]) == oracle.focus(*row, mended=False)
        assert same or not is_sound, i
        equal += same and is_sound
        different += not same
    assert equal >= 100 and different >= 30
    assert (got[:, :2] < got[:, 2:]).all()
    assert (got[:, :2] >= target[:, :2]).all() and (got[:, 2:] <= target[:, 2:]).all()


def square(shape, y0, x0, y1, x1):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


SHAPE = (60, 80)
EVERYTHING = (0, 0, *SHAPE)


@pytest.mark.parametrize(
    ("before", "after", "yx", "target", "expected"),
    [
        # Nothing was there: all of the answer. 20..29: 24.5 +- 7, 30..49: 39.5 +- 14.
        ((0, 0, 0, 0), (20, 30, 30, 50), (2, 2), EVERYTHING, (17, 25, 31, 53)),
        # The same, cut at the target crop.
        ((0, 0, 0, 0), (20, 30, 30, 50), (2, 2), (18, 27, 40, 50), (18, 27, 31, 50)),
        # Grown by 39..49 of 20..49: no less than a third (steps 10 and 29 / 3), 44 +- 7.7.
        ((20, 30, 39, 60), (20, 30, 50, 60), (45, 33), EVERYTHING, (36, 23, 51, 65)),
        # Grown by 40..49: steps 9 < 29 / 3. Around (45, 33): +- 0.2 * 29, then x 1.4.
        ((20, 30, 40, 60), (20, 30, 50, 60), (45, 33), EVERYTHING, (36, 24, 53, 41)),
        # The click lies where nothing changed: around it as well.
        ((20, 30, 40, 60), (20, 30, 50, 60), (25, 33), EVERYTHING, (16, 24, 33, 41)),
        # Everything is taken away: the box of that.
        ((20, 30, 30, 40), (0, 0, 0, 0), (25, 33), EVERYTHING, (17, 27, 31, 41)),
        # Nothing is left and the click changed nothing: the target crop.
        ((20, 30, 30, 40), (0, 0, 0, 0), (50, 50), (10, 12, 56, 58), (10, 12, 56, 58)),
        ((0, 0, 0, 0), (0, 0, 0, 0), (50, 50), EVERYTHING, EVERYTHING),
        # At the border: 0..9, 4.5 +- 7 and 70..79, 74.5 +- 7.
        ((0, 0, 0, 0), (0, 70, 10, 80), (5, 75), EVERYTHING, (0, 67, 11, 80)),
        # One pixel: 4 pixels that hold it.
        ((0, 0, 0, 0), (20, 30, 21, 31), (20, 30), EVERYTHING, (18, 28, 22, 32)),
        ((0, 0, 0, 0), (0, 79, 1, 80), (0, 79), EVERYTHING, (0, 77, 2, 80)),
        # The whole image.
        ((0, 0, 0, 0), EVERYTHING, (5, 5), EVERYTHING, EVERYTHING),
        # A click outside the target crop counts at its border: (31, 33) +- 0.2 * 19, x 1.4.
        ((10, 10, 30, 30), (10, 10, 30, 30), (50, 70), (8, 8, 32, 34), (24, 26, 32, 34)),
    ],
)
def test_boxes_by_hand(before, after, yx, target, expected):
    before, after = square(SHAPE, *before), square(SHAPE, *after)
    got = boxes_of(before[None], after[None], [yx], [target])[0]
    assert tuple(got) == expected


def test_the_originals_defects_are_gone():
    """A click outside the change, and a small change, gave the refiner almost everything."""
    before = square(SHAPE, 20, 30, 40, 60)
    after = before | square(SHAPE, 40, 40, 43, 43)
    for yx in ((5, 5), (41, 41)):
        got = boxes_of(before[None], after[None], [yx], [EVERYTHING])[0]
        area = np.prod(got[2:] - got[:2])
        old = oracle.focus(after, before, *yx, EVERYTHING, mended=False)
        assert area < 0.1 * 60 * 80 < (old[2] - old[0]) * (old[3] - old[1]), yx


def test_expansion():
    after = square(SHAPE, 20, 30, 30, 50)
    nothing = np.zeros_like(after)
    got = boxes_of(nothing[None], after[None], [(2, 2)], [EVERYTHING], expansion=2.0)[0]
    assert tuple(got) == (14, 19, 34, 59)  # 24.5 +- 10, 39.5 +- 20, cut to whole pixels


def test_rows_do_not_see_each_other_and_jit_changes_nothing():
    before, after, yx, _, target = map(np.asarray, oracle.cases(12, seed=5))
    together = boxes_of(before, after, yx, target)
    arrays = (
        jnp.asarray(after),
        jnp.asarray(before),
        clicks_at(yx),
        jnp.asarray(target, jnp.int32),
    )
    np.testing.assert_array_equal(focus.focus_box(*arrays), together)
    for i in range(12):
        alone = find(*jax.tree.map(lambda a, i=i: a[i : i + 1], arrays))
        np.testing.assert_array_equal(alone[0], together[i])


def test_boxes_on_the_grid_of_a_crop():
    frame = jnp.array([[10, 20, 50, 100], [10, 20, 50, 100]])
    box = jnp.array([[10, 20, 50, 100], [20, 40, 30, 60]])
    got = focus.box_on_grid(box, frame, (64, 64))
    np.testing.assert_allclose(got, [[0, 0, 64, 64], [16, 16, 32, 32]], rtol=1e-6)
