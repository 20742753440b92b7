import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import ndimage

from ecc_jax.ops import distance
from ecc_jax.ops.distance import distance_transform, squared_distance_transform

transform = jax.jit(distance_transform)
squared = jax.jit(squared_distance_transform)
ROOT2 = np.sqrt(2).astype(np.float32)


def oracle(mask):
    framed = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return np.stack([ndimage.distance_transform_edt(row)[1:-1, 1:-1] for row in framed])


def blobs(seed, shape, sigma=3.0):
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.stack([ndimage.gaussian_filter(row, sigma) for row in noise]) > 0.0


def test_hand_computed_plus_jit_or_not():
    mask = jnp.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0]], bool)
    expected = np.array(
        [
            [0, 0, 1, 0, 0],
            [0, 1, ROOT2, 1, 0],
            [1, ROOT2, 2, ROOT2, 1],
            [0, 1, 1, 1, 0],
        ],
        np.float32,
    )
    np.testing.assert_array_equal(distance_transform(mask[None])[0], expected)
    np.testing.assert_array_equal(transform(mask[None])[0], expected)


def test_one_pixel_image_is_one_from_the_outside():
    assert transform(jnp.ones((1, 1, 1), bool)).item() == 1.0
    assert transform(jnp.zeros((1, 1, 1), bool)).item() == 0.0


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (17, 40), (40, 17)])
def test_full_masks_measure_to_the_border(shape):
    mask = np.ones((1, *shape), bool)
    result = squared(jnp.asarray(mask))
    assert result.dtype == jnp.int32
    np.testing.assert_array_equal(np.sqrt(result), oracle(mask).astype(np.float32))
    assert result.max() == ((min(shape) + 1) // 2) ** 2


def test_rows_are_apart_and_one_background_pixel_is_found_from_afar():
    mask = np.ones((3, 33, 61), bool)
    mask[1, 16, 30] = False
    mask[2] = False
    result = transform(jnp.asarray(mask))
    np.testing.assert_allclose(result, oracle(mask), rtol=1e-6)


def test_large_masks_equal_scipy():
    mask = np.concatenate([blobs(0, (2, 150, 190), 6.0), blobs(1, (1, 150, 190), 1.0)])
    result = squared(jnp.asarray(mask))
    np.testing.assert_array_equal(result, np.round(oracle(mask) ** 2))


def test_both_column_passes_agree():
    mask = jnp.asarray(blobs(2, (2, 37, 23)))
    by_rows = distance._column_distance_by_rows(mask)
    np.testing.assert_array_equal(by_rows, distance._column_distance_by_scan(mask))
    assert by_rows.max() > 3


def test_batch_sharded_over_devices_equals_one_device():
    mask = blobs(3, (8, 24, 24))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(mask, NamedSharding(mesh, PartitionSpec("data")))
    result = transform(spread)
    assert len(result.sharding.device_set) == 8
    np.testing.assert_array_equal(result, transform(jnp.asarray(mask)))


def test_lowers_for_every_platform():
    shape = jax.ShapeDtypeStruct((2, 16, 16), jnp.bool_)
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(jax.jit(distance_transform), platforms=platforms)(shape)
    mask = jnp.asarray(blobs(4, (2, 16, 16)))
    np.testing.assert_array_equal(exported.call(mask), transform(mask))


def test_no_rows_give_no_rows():
    assert distance_transform(jnp.zeros((0, 4, 5), bool)).shape == (0, 4, 5)
