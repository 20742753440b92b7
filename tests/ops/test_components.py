import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from skimage import measure

from ecc_jax.ops.components import (
    component_areas,
    component_at,
    label_components,
    largest_component,
)

label = jax.jit(label_components)
areas_of = jax.jit(component_areas)
holding = jax.jit(component_at)


def oracle(mask):
    """skimage's labels renamed to 1 + the first row-major index of each component."""
    result = np.zeros(mask.shape, np.int32)
    for row, out in zip(mask, result, strict=True):
        labels = measure.label(row, connectivity=2)
        values, first = np.unique(labels, return_index=True)
        for value, index in zip(values, first, strict=True):
            out[labels == value] = index + 1 if value else 0
    return result


def serpentine(size):
    mask = np.zeros((size, size), bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def spiral(size):
    """A single path of width 1 that winds inwards, with walls of width 1."""
    mask = np.zeros((size, size), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    turns = 0

    def is_free(y, x):
        return 0 <= y < size and 0 <= x < size and not mask[y, x]

    while turns < 2:
        ahead = (y + 2 * dy, x + 2 * dx)
        blocked = 0 <= ahead[0] < size and 0 <= ahead[1] < size and mask[ahead]
        if is_free(y + dy, x + dx) and not blocked:
            y, x, turns = y + dy, x + dx, 0
            mask[y, x] = True
        else:
            dy, dx, turns = dx, -dy, turns + 1
    return mask


def test_hand_computed():
    mask = jnp.array([[0, 1, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 1, 0, 0]], bool)[None]
    expected = [[0, 2, 0, 0, 5], [2, 0, 0, 0, 5], [0, 0, 13, 0, 0]]
    labels = label(mask)
    assert labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels[0], expected)


def test_label_is_the_first_pixel_where_the_first_block_holds_a_later_one():
    # The first 2x2 block met holds pixel 4 only; the component's first pixel is 3, one block on.
    mask = jnp.array([[0, 0, 0, 1], [1, 1, 1, 0]], bool)[None]
    np.testing.assert_array_equal(label(mask)[0], [[0, 0, 0, 4], [4, 4, 4, 0]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2)])
def test_empty_and_full(shape):
    mask = np.stack([np.zeros(shape, bool), np.ones(shape, bool)])
    labels = label(jnp.asarray(mask))
    np.testing.assert_array_equal(labels, mask.astype(np.int32))


@pytest.mark.parametrize("density", [0.3, 0.4, 0.6])
def test_noise_equals_skimage(density):
    mask = np.random.default_rng(7).random((3, 61, 50)) < density
    labels = label(jnp.asarray(mask))
    np.testing.assert_array_equal(labels, oracle(mask))


def test_winding_paths_are_one_component():
    curves = [serpentine(64), spiral(64)]
    mask = np.stack(curves + [curve[::-1, ::-1] for curve in curves] + [c.T for c in curves])
    assert all(measure.label(row, connectivity=2).max() == 1 for row in mask)
    labels = label(jnp.asarray(mask))
    np.testing.assert_array_equal(labels, oracle(mask))


def test_jit_equals_eager_and_row_alone_equals_row_in_batch():
    mask = jnp.asarray(np.random.default_rng(3).random((4, 20, 20)) < 0.5)
    together = label(mask)
    np.testing.assert_array_equal(together, label_components(mask))
    for row in range(4):
        np.testing.assert_array_equal(label(mask[row : row + 1])[0], together[row])


def test_component_at_a_pixel_equals_skimage():
    rng = np.random.default_rng(2)
    mask = rng.random((40, 11, 14)) < 0.35
    pixel = rng.integers(0, mask.shape[1:], (40, 2))
    got = np.asarray(holding(jnp.asarray(mask), jnp.asarray(pixel, jnp.int32)))
    for row, (y, x), component in zip(mask, pixel, got, strict=True):
        labels = measure.label(row, connectivity=2)
        np.testing.assert_array_equal(component, row & (labels == labels[y, x]) & row[y, x])
    assert 5 < got.any(axis=(1, 2)).sum() < 35


def test_areas():
    labels = jnp.array([[[0, 2, 0, 0, 5], [2, 0, 0, 0, 5], [0, 0, 13, 2, 0]]], jnp.int32)
    expected = [[0, 3, 0, 0, 2], [3, 0, 0, 0, 2], [0, 0, 1, 3, 0]]
    np.testing.assert_array_equal(component_areas(labels)[0], expected)


def test_areas_of_empty_full_and_last_pixel():
    mask = np.zeros((3, 3, 4), bool)
    mask[1] = True
    mask[2, -1, -1] = True
    areas = areas_of(label(jnp.asarray(mask)))
    np.testing.assert_array_equal(areas, mask * np.array([0, 12, 1])[:, None, None])


def test_batch_sharded_over_devices_equals_one_device():
    mask = np.random.default_rng(5).random((8, 24, 24)) < 0.5
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(mask, NamedSharding(mesh, PartitionSpec("data")))
    labels = label(spread)
    areas = areas_of(labels)
    assert len(areas.sharding.device_set) == 8
    np.testing.assert_array_equal(labels, oracle(mask))
    np.testing.assert_array_equal(areas, areas_of(jnp.asarray(oracle(mask))))


def test_lowers_for_every_platform():
    def areas(mask):
        return component_areas(label_components(mask))

    shape = jax.ShapeDtypeStruct((2, 9, 16), jnp.bool_)
    exported = jax.export.export(jax.jit(areas), platforms=("cpu", "cuda", "tpu"))(shape)
    mask = jnp.asarray(np.random.default_rng(6).random((2, 9, 16)) < 0.5)
    np.testing.assert_array_equal(exported.call(mask), jax.jit(areas)(mask))


def test_the_largest_component_agrees_with_skimage():
    rng = np.random.default_rng(4)
    masks = rng.random((12, 14, 17)) < np.linspace(0, 0.6, 12)[:, None, None]
    masks[-1] = True
    for mask, got in zip(masks, np.asarray(jax.jit(largest_component)(masks)), strict=True):
        # Of equally large regions skimage lists the one with the first pixel first.
        regions = measure.regionprops(measure.label(mask, connectivity=2))
        expected = np.zeros_like(mask)
        if regions:
            expected[tuple(max(regions, key=lambda region: region.area).coords.T)] = True
        np.testing.assert_array_equal(got, expected)
