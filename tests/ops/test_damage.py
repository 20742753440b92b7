"""Masks with a defect: by hand and against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ecc_jax.ops import damage

SIZE = 33
damaged = jax.jit(damage.damaged, static_argnames=("kind", "amount"))


def _targets():
    yy, xx = np.mgrid[:SIZE, :SIZE]
    disk = np.hypot(yy - 16, xx - 16) < 10.5
    corner = np.hypot(yy, xx) < 8.5  # cut off by the image
    pixel = np.zeros((SIZE, SIZE), bool)
    pixel[5, 7] = True
    nothing = np.zeros((SIZE, SIZE), bool)
    full = np.ones((SIZE, SIZE), bool)
    return np.stack([disk, corner, pixel, nothing, full])


def _keys(count=5):
    return jax.random.split(jax.random.key(3), count)


def _depth(mask):
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


@pytest.mark.parametrize("amount", [0.2, 0.6])
def test_erosion_and_dilation_equal_scipy(amount):
    targets = _targets()
    eroded = np.asarray(damaged(_keys(), targets, kind="eroded", amount=amount))
    dilated = np.asarray(damaged(_keys(), targets, kind="dilated", amount=amount))
    for row, target in enumerate(targets):
        depth = _depth(target)
        reach = max(amount * depth.max(), 1.0)
        left = target & ((depth > reach + 1e-6) | (depth == depth.max()))
        np.testing.assert_array_equal(eroded[row], left)
        if target.any():
            outside = ndimage.distance_transform_edt(~target)
            np.testing.assert_array_equal(dilated[row], outside <= reach + 1e-6)
    assert not dilated[3].any() and not eroded[3].any()
    # Of one pixel erosion leaves the deepest, which is all; dilation adds its four neighbours.
    assert eroded[2].sum() == 1 and dilated[2].sum() == 5


@pytest.mark.parametrize("kind", damage.KINDS)
def test_small_lesions_are_spoilt_too(kind):
    yy, xx = np.mgrid[:SIZE, :SIZE]
    small = np.stack([np.hypot(yy - 16, xx - 16) <= radius for radius in (1, 2, 3, 4)])
    spoilt = np.asarray(damaged(_keys(4), small, kind=kind, amount=0.2))
    assert spoilt.any(axis=(1, 2)).all()
    assert (spoilt != small).any(axis=(1, 2)).all()


def test_shift_moves_by_the_reach_and_loses_what_leaves():
    targets = _targets()
    moved = np.asarray(damaged(_keys(), targets, kind="shifted", amount=0.5))
    centre = np.array(ndimage.center_of_mass(moved[0])) - 16
    assert np.hypot(*centre) == pytest.approx(0.5 * _depth(targets[0]).max(), abs=0.75)
    assert moved[0].sum() == targets[0].sum()
    assert moved[3].sum() == 0
    # A full image loses a strip on the sides it leaves.
    assert 0 < moved[4].sum() < targets[4].sum()


def test_shift_depends_on_the_key_of_the_row_alone():
    targets = np.repeat(_targets()[:1], 3, axis=0)
    together = damaged(_keys(3), targets, kind="shifted", amount=0.5)
    alone = damaged(_keys(3)[1:2], targets[1:2], kind="shifted", amount=0.5)
    np.testing.assert_array_equal(together[1], alone[0])
    assert len({row.tobytes() for row in np.asarray(together)}) == 3


def test_unknown_damage_is_refused():
    with pytest.raises(ValueError, match="eroded, dilated, shifted, got 'twisted'"):
        damage.damaged(_keys(), jnp.asarray(_targets()), kind="twisted", amount=0.2)
