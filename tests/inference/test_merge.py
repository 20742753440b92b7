"""Progressive Merge against the original's rules in NumPy, but for its defects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.inference import merge
from tests.inference import focal_oracle as oracle
from tests.inference.test_focus import clicks_at, square

merged = jax.jit(merge.progressive_merge, static_argnames="threshold")


def soft(mask, seed=0, threshold=0.5):
    """Probabilities on the right side of the threshold, no two alike."""
    share = np.random.default_rng(seed).uniform(0.05, 0.95, mask.shape)
    return np.where(mask, threshold + (1 - threshold) * share, threshold * share).astype(np.float32)


def merge_masks(before, after, yx, positive, threshold=0.5):
    prev, prob = (soft(m, s, threshold)[..., None] for s, m in enumerate((before, after)))
    got = merged(jnp.asarray(prev), jnp.asarray(prob), clicks_at(yx, positive), threshold=threshold)
    return np.asarray(got), prev, prob


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_masks_are_the_originals_on_300_cases_but_for_its_defects(threshold):
    before, after, yx, positive, _ = oracle.cases(300, seed=1)
    got, prev, prob = merge_masks(before, after, yx, positive, threshold)
    equal = different = 0
    for i, (y, x) in enumerate(yx):
        mask = got[i, ..., 0] > threshold
        row = before[i], after[i], y, x
        np.testing.assert_array_equal(mask, oracle.merge(*row, positive[i]))
        # Probabilities: new where the mask changed, the former ones bit for bit elsewhere.
        changed = mask != before[i]
        np.testing.assert_array_equal(got[i][changed], prob[i][changed])
        np.testing.assert_array_equal(got[i][~changed], prev[i][~changed])
        is_sound = before[i][y, x] != after[i][y, x] == positive[i]
        same = np.array_equal(mask, oracle.merge(*row, positive[i], mended=False))
        assert same or not is_sound, i
        equal += same and is_sound
        different += not same
    assert equal >= 60 and different >= 60


SHAPE = (32, 32)
OLD, NEW = square(SHAPE, 8, 8, 16, 16), square(SHAPE, 8, 8, 16, 22)
FAR = square(SHAPE, 26, 26, 30, 30)


@pytest.mark.parametrize(
    ("before", "after", "yx", "positive", "expected"),
    [
        (OLD, NEW | FAR, (10, 18), True, NEW),  # the part that was clicked, nothing else
        (NEW, OLD | FAR, (10, 18), False, OLD),
        (NEW | FAR, OLD, (10, 18), False, OLD | FAR),
        (OLD, NEW | FAR, (2, 2), True, OLD),  # outside the change
        (OLD, NEW | FAR, (2, 2), False, OLD),
        (OLD, NEW | FAR, (10, 10), True, OLD),  # inside what stays
        (OLD, NEW | FAR, (10, 18), False, OLD),  # a background click never fills
        (NEW, OLD, (10, 18), True, NEW),  # a lesion click never takes away
        (OLD & False, NEW | FAR, (10, 18), True, NEW),  # from nothing: what was clicked
        (OLD & False, NEW | FAR, (2, 2), True, OLD & False),
        (OLD | True, OLD, (31, 31), False, OLD),
        (OLD, OLD, (10, 10), True, OLD),  # nothing changed
        # Added beside taken away, one component: only what the click asked for.
        (OLD, square(SHAPE, 8, 16, 16, 22), (10, 18), True, NEW),
        (OLD, square(SHAPE, 8, 16, 16, 22), (10, 12), False, OLD & False),
        # Touching at a corner.
        (OLD, OLD | square(SHAPE, 16, 16, 20, 20) | square(SHAPE, 20, 20, 22, 22), (17, 17), True,
         OLD | square(SHAPE, 16, 16, 20, 20) | square(SHAPE, 20, 20, 22, 22)),
    ],
)  # fmt: skip
def test_merges_by_hand(before, after, yx, positive, expected):
    got, _, _ = merge_masks(before[None], after[None], [yx], positive)
    np.testing.assert_array_equal(got[0, ..., 0] > 0.5, expected)


def test_the_originals_defect_filled_the_background_and_wiped_the_lesion():
    outside = oracle.merge(OLD, NEW, 2, 2, True, mended=False)
    assert outside.sum() > 0.9 * outside.size  # almost everything
    assert not oracle.merge(OLD, NEW, 10, 10, True, mended=False).any()
    for yx in ((2, 2), (10, 10)):
        got, prev, _ = merge_masks(OLD[None], NEW[None], [yx], True)
        np.testing.assert_array_equal(got, prev)


def test_rows_without_a_click_keep_their_mask():
    prev, prob = (jnp.asarray(soft(m)[None, ..., None]) for m in (OLD, NEW))
    clicks = clicks_at([(10, 18)])._replace(count=jnp.zeros(1, jnp.int32))
    np.testing.assert_array_equal(merged(prev, prob, clicks), prev)


def test_clicks_between_pixels_and_outside_count_at_the_nearest_pixel():
    after = NEW | square(SHAPE, 0, 0, 4, 4)
    for yx, expected in (
        ((10.4, 21.4), NEW),
        ((10.4, 21.6), OLD),
        ((-3.0, -1.0), OLD | (after & ~NEW)),
    ):
        got, _, _ = merge_masks(OLD[None], after[None], [yx], True)
        np.testing.assert_array_equal(got[0, ..., 0] > 0.5, expected)


MASKS = st.lists(st.integers(0, 2**8 - 1), min_size=16, max_size=16)


@given(rows=MASKS, y=st.integers(0, 7), x=st.integers(0, 7), positive=st.booleans())
def test_a_merge_goes_towards_the_answer_and_with_the_click(rows, y, x, positive):
    bits = np.array([[value >> i & 1 for i in range(8)] for value in rows], bool)
    before, after = bits[:8], bits[8:]
    got, prev, _ = merge_masks(before[None], after[None], [(y, x)], positive)
    mask = got[0, ..., 0] > 0.5
    changed = mask != before
    assert (mask[changed] == after[changed]).all() and (mask[changed] == positive).all()
    assert not changed.any() or changed[y, x]
    np.testing.assert_array_equal(got[0][~changed], prev[0][~changed])


def test_rows_do_not_see_each_other_and_jit_changes_nothing():
    before, after, yx, positive, _ = oracle.cases(10, seed=3)
    together, prev, prob = merge_masks(before, after, yx, positive)
    arrays = (jnp.asarray(prev), jnp.asarray(prob), clicks_at(yx, positive))
    np.testing.assert_array_equal(merge.progressive_merge(*arrays), together)
    for i in range(10):
        alone = merged(*jax.tree.map(lambda a, i=i: a[i : i + 1], arrays))
        np.testing.assert_array_equal(alone[0], together[i])
