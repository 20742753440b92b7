"""Distance transform, components and boxes against SciPy and scikit-image on random masks."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage import measure

from ecc_jax.ops.boxes import mask_box
from ecc_jax.ops.components import component_areas, label_components
from ecc_jax.ops.distance import squared_distance_transform

# One compilation serves all examples.
SHAPE = (2, 11, 14)
distance = jax.jit(squared_distance_transform)
label = jax.jit(label_components)
areas = jax.jit(component_areas)
box = jax.jit(mask_box)


@st.composite
def masks(draw):
    """Sparse, dense and smooth masks; hypothesis alone draws mostly empty ones."""
    seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.floats(0.02, 0.98))
    values = np.random.default_rng(seed).random(SHAPE)
    if draw(st.booleans()):
        values = ndimage.uniform_filter(values, (0, 3, 3))
        values = (values - values.min()) / (values.max() - values.min())
    flips = draw(arrays.arrays(bool, SHAPE, elements=st.booleans(), fill=st.just(False)))
    return (values < density) ^ flips


@given(masks())
def test_distance_transform_equals_scipy(mask):
    framed = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    expected = [ndimage.distance_transform_edt(row)[1:-1, 1:-1] ** 2 for row in framed]
    np.testing.assert_array_equal(distance(jnp.asarray(mask)), np.round(expected))


@given(masks())
def test_labels_equal_skimage_up_to_names_and_name_the_first_pixel(mask):
    labels = np.asarray(label(jnp.asarray(mask)))
    sizes = np.asarray(areas(jnp.asarray(labels)))
    for row, size, foreground in zip(labels, sizes, mask, strict=True):
        expected = measure.label(foreground, connectivity=2)
        pairs = np.unique(np.stack([row.ravel(), expected.ravel()]), axis=1)
        assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1]))
        np.testing.assert_array_equal(row > 0, foreground)
        for name in set(row.ravel()) - {0}:
            assert np.flatnonzero(row.ravel() == name)[0] == name - 1
            assert (size[row == name] == (row == name).sum()).all()
        assert not size[~foreground].any()


@given(masks())
def test_boxes_equal_regionprops(mask):
    for row, foreground in zip(np.asarray(box(jnp.asarray(mask))), mask, strict=True):
        properties = measure.regionprops(foreground.astype(np.int32))
        np.testing.assert_array_equal(row, properties[0].bbox if properties else np.zeros(4))
