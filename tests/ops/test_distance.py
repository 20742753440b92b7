import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import ndimage

from ecc_jax.ops import distance
from ecc_jax.ops.distance import distance_transform, squared_distance_transform

transform = jax.jit(distance_transform)
squared = jax.jit(squared_distance_transform, static_argnames="border_is_background")
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


@pytest.mark.parametrize("outside", [1, 60])
def test_both_column_passes_agree(outside):
    mask = jnp.asarray(blobs(2, (2, 37, 23))).at[0, :, 4].set(True)
    by_rows = distance._column_distance_by_rows(mask, outside)
    np.testing.assert_array_equal(by_rows, distance._column_distance_by_scan(mask, outside))
    assert by_rows.max() > 3
    assert by_rows[0, 0, 4] == outside


def to_points(points, needed=None):
    """Squared distance to the nearest point, the image border apart."""
    points = jnp.asarray(points)
    needed = None if needed is None else jnp.asarray(needed)
    return np.asarray(squared(~points, border_is_background=False, needed=needed))


def points_oracle(points):
    return np.stack([np.round(ndimage.distance_transform_edt(~row) ** 2) for row in points])


def test_without_border_hand_computed():
    points = np.zeros((1, 3, 4), bool)
    points[0, 0, 0] = True
    expected = [[0, 1, 4, 9], [1, 2, 5, 10], [4, 5, 8, 13]]
    np.testing.assert_array_equal(to_points(points)[0], expected)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (13, 40), (40, 13)])
def test_without_border_distances_span_the_whole_image(shape):
    corners = np.zeros((4, *shape), bool)
    for row, (y, x) in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1)]):
        corners[row, y, x] = True
    result = to_points(corners)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, points_oracle(corners))
    assert result.max() == (shape[0] - 1) ** 2 + (shape[1] - 1) ** 2


def test_without_border_large_sets_equal_scipy():
    points = np.random.default_rng(5).random((4, 61, 90)) < 0.002
    points[0] = blobs(6, (1, 61, 90), 5.0)[0]
    assert points.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(to_points(points), points_oracle(points))


def test_no_background_at_all_is_a_number_beyond_every_distance():
    points = np.zeros((3, 5, 9), bool)
    points[1, 4, 8] = True
    result = to_points(points)
    assert (result[[0, 2]] == (5 + 9) ** 2).all()
    np.testing.assert_array_equal(result[1], points_oracle(points)[1])
    one = to_points(np.zeros((1, 1, 1), bool))
    assert one.item() == 4


def test_needed_pixels_are_exact_and_the_others_are_upper_bounds():
    points, needed = np.zeros((2, 40, 70), bool), np.zeros((2, 40, 70), bool)
    points[:, 20, 3], needed[0, 18:22, 5:9], needed[1, 30, 20] = True, True, True
    full, some = to_points(points), to_points(points, needed)
    np.testing.assert_array_equal(some[needed], full[needed])
    assert (some >= full).all() and (some > full).any()
    framed = np.asarray(squared(jnp.asarray(~points), needed=jnp.asarray(needed)))
    np.testing.assert_array_equal(framed[needed], np.asarray(squared(jnp.asarray(~points)))[needed])
    nothing = to_points(points, np.zeros_like(needed))
    assert (nothing >= full).all()


def test_without_border_lowers_for_every_platform():
    shape = jax.ShapeDtypeStruct((2, 16, 16), jnp.bool_)
    function = jax.jit(lambda mask: squared_distance_transform(mask, border_is_background=False))
    exported = jax.export.export(function, platforms=("cpu", "cuda", "tpu"))(shape)
    points = blobs(7, (2, 16, 16))
    np.testing.assert_array_equal(exported.call(jnp.asarray(~points)), to_points(points))


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
