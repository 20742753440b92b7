import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.ops.disks import disk, squared_distance_to


def test_static_disk_of_radius_five_has_81_pixels():
    inside = disk(jnp.array([10.0, 10.0]), jnp.array(5.0), (21, 21))
    assert inside.sum() == 81
    assert inside[10, 15] and not inside[10, 16]


def test_open_disk_leaves_the_rim_out():
    yx, radius = jnp.array([[4.0, 4.0]]), jnp.array([2.0])
    closed = disk(yx, radius, (9, 9))[0]
    open_ = disk(yx, radius, (9, 9), closed=False)[0]
    assert closed.sum() == 13 and open_.sum() == 9
    assert closed[4, 6] and not open_[4, 6]


@pytest.mark.parametrize("closed", [True, False])
def test_rims_at_roots_of_whole_numbers_are_decided_exactly(closed):
    # All radii that a pixel of a 257 x 257 image can have as distance to the corner.
    y, x = np.mgrid[:257, :257]
    squared = np.unique(y**2 + x**2)[1::37]
    radius = jnp.sqrt(jnp.asarray(squared, jnp.float32))
    inside = disk(jnp.zeros((len(squared), 2)), radius, (257, 257), closed=closed)
    for row, whole in zip(np.asarray(inside), squared, strict=True):
        distance = y**2 + x**2
        np.testing.assert_array_equal(row, distance <= whole if closed else distance < whole)


def test_radius_zero_and_centres_between_or_outside_pixels():
    yx = jnp.array([[1.0, 1.0], [1.5, 1.5], [1.5, 1.0], [-2.0, 1.0]])
    radius = jnp.array([0.0, 0.0, 0.5, 2.0])
    inside = np.asarray(disk(yx, radius, (4, 3)))
    assert [row.sum() for row in inside] == [1, 0, 2, 1]
    assert inside[0, 1, 1] and inside[2, 1, 1] and inside[2, 2, 1] and inside[3, 0, 1]


def test_squared_distance_keeps_leading_axes():
    yx = jnp.arange(12, dtype=jnp.float32).reshape(2, 3, 2)
    result = squared_distance_to(yx, (4, 5))
    assert result.shape == (2, 3, 4, 5)
    assert result[1, 0, 3, 1] == (6 - 3) ** 2 + (7 - 1) ** 2
