"""The bounds of Optimal Crop, measured on masks."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import measure

from ecc_jax.data import crop_bounds
from ecc_jax.data.crop_bounds import measure_bounds
from ecc_jax.data.pipeline import SliceSet

SHAPE = (20, 25)


def _set(masks) -> SliceSet:
    return SliceSet([{"mask": np.asarray(m, np.uint8)} for m in masks], [{}] * len(masks))


def _mask(*boxes):
    mask = np.zeros(SHAPE, bool)
    for y0, x0, y1, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_by_hand():
    # 4 x 5 and 2 x 10 of 20 x 25: means of 0.15 and 0.3.
    found = measure_bounds(_set([_mask((0, 0, 4, 5)), _mask((18, 15, 20, 25))]))
    assert (found.slices, found.empty) == (2, 0)
    np.testing.assert_allclose([found.height, found.width], [0.15, 0.3])
    np.testing.assert_allclose(found.bounds, [0.45, 1.35])
    assert "0.4500 to 1.3500" in found.describe() and "2 validation slices " in found.describe()


def test_the_largest_object_counts_not_the_first_and_not_all():
    first_is_small = _mask((0, 0, 1, 9), (10, 10, 14, 15))  # 9 and 20 pixels
    found = measure_bounds(_set([first_is_small]))
    np.testing.assert_allclose([found.height, found.width], [4 / 20, 5 / 25])
    touching = _mask((0, 0, 2, 2), (2, 2, 4, 4))  # at a corner: one object
    np.testing.assert_allclose(measure_bounds(_set([touching])).height, 4 / 20)
    alike = _mask((0, 0, 1, 4), (10, 10, 12, 12))  # equally large: the first
    np.testing.assert_allclose(measure_bounds(_set([alike])).height, 1 / 20)


def test_one_pixel_and_a_full_mask():
    one = measure_bounds(_set([_mask((19, 24, 20, 25))]))
    np.testing.assert_allclose(one.bounds, [1 / 20 + 1 / 25, 3 * (1 / 20 + 1 / 25)])
    full = measure_bounds(_set([_mask((0, 0, *SHAPE))]))
    assert full.bounds == (2, 6)


def test_slices_without_lesion_are_left_out_and_none_is_one_line():
    lesion = _mask((3, 3, 6, 9))
    found = measure_bounds(_set([_mask(), lesion, _mask()]))
    assert (found.slices, found.empty) == (1, 2)
    assert found.bounds == measure_bounds(_set([lesion])).bounds
    assert "2 without lesion left out" in found.describe()
    for masks, number in ([_mask()] * 3, "3 holds one"), ([], "0 holds one"):
        with pytest.raises(ValueError, match=number) as caught:
            measure_bounds(_set(masks))
        assert "augment.bounds=" in str(caught.value) and "\n" not in str(caught.value)


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_agrees_with_skimage(seed, count):
    rng = np.random.default_rng(seed)
    masks = rng.random((count, *SHAPE)) < rng.uniform(0.02, 0.5, (count, 1, 1))
    masks[:, 0, 0] = True
    sides = []
    for mask in masks:
        regions = measure.regionprops(measure.label(mask, connectivity=2))
        y0, x0, y1, x1 = max(regions, key=lambda region: region.area).bbox
        sides.append(((y1 - y0) / SHAPE[0], (x1 - x0) / SHAPE[1]))
    # Of equally large objects regionprops, too, lists the one with the first pixel first.
    found = measure_bounds(_set(masks))
    np.testing.assert_allclose([found.height, found.width], np.mean(sides, axis=0), rtol=1e-12)


def test_records_are_read_as_written_and_damaged_ones_refused():
    found = measure_bounds(_set([_mask((0, 0, 3, 7)), _mask((5, 5, 6, 8))]))
    values = json.loads(json.dumps(crop_bounds.to_json(found)))
    assert crop_bounds.from_json(values) == found
    for damage in ({"height": 0.5}, {"width": None}, {"crop_bounds": None}):
        with pytest.raises(ValueError):
            crop_bounds.from_json({**values, **damage})
    with pytest.raises(ValueError):
        crop_bounds.from_json({})
