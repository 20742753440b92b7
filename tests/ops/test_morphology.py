import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from ecc_jax.ops.morphology import dilate, erode

SQUARE = np.ones((3, 3), bool)
GROW, SHRINK = jax.jit(dilate), jax.jit(erode)


def _repeated(function, mask, steps, outside):
    for _ in range(steps):
        mask = function(mask, SQUARE, border_value=outside)
    return mask


@hypothesis.given(
    masks=hnp.arrays(bool, (2, 7, 9)), steps=st.tuples(st.integers(0, 10), st.integers(0, 3))
)
def test_a_square_applied_again_and_again(masks, steps):
    grown, shrunk = (f(jnp.asarray(masks), jnp.array(steps)) for f in (GROW, SHRINK))
    for row in range(2):
        expected = _repeated(ndimage.binary_dilation, masks[row], steps[row], 0)
        np.testing.assert_array_equal(grown[row], expected)
        # Nothing outside the image shrinks a mask.
        expected = _repeated(ndimage.binary_erosion, masks[row], steps[row], 1)
        np.testing.assert_array_equal(shrunk[row], expected)


def test_rows_have_their_own_steps_in_one_compilation():
    masks = jnp.zeros((3, 9, 9), bool).at[:, 4, 4].set(True)
    sizes = GROW(masks, jnp.array([0, 1, 3])).sum(axis=(1, 2))
    assert sizes.tolist() == [1, 9, 49]
    before = GROW._cache_size()
    GROW(masks, jnp.array([5, 2, 0]))
    assert GROW._cache_size() == before
    np.testing.assert_array_equal(
        dilate(masks, jnp.array([0, 1, 3])), GROW(masks, jnp.array([0, 1, 3]))
    )
