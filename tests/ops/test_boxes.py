import jax.numpy as jnp
import numpy as np

from ecc_jax.ops.boxes import mask_box


def test_boxes_of_hand_made_masks():
    mask = np.zeros((5, 4, 6), bool)
    mask[0, 1, 2] = mask[0, 2, 4] = True
    mask[1] = True
    mask[2, 3, 5] = True
    mask[3, 0, 0] = True
    boxes = mask_box(jnp.asarray(mask))
    assert boxes.dtype == jnp.int32
    expected = [[1, 2, 3, 5], [0, 0, 4, 6], [3, 5, 4, 6], [0, 0, 1, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(boxes, expected)


def test_box_is_the_smallest_crop_with_every_pixel():
    mask = np.random.default_rng(0).random((20, 9, 7)) < 0.05
    for row, (y0, x0, y1, x1) in zip(mask, np.asarray(mask_box(jnp.asarray(mask))), strict=True):
        crop = row[y0:y1, x0:x1]
        assert crop.sum() == row.sum()
        if row.any():
            assert crop[0].any() and crop[-1].any() and crop[:, 0].any() and crop[:, -1].any()
