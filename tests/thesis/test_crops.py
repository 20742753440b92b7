"""Crops that figures show, against boxes worked out by hand."""

import jax.numpy as jnp
import numpy as np

from ecc_jax.inference.crops import Zoom
from ecc_jax.thesis import crops


def test_target_crop_is_the_box_of_the_lesion_times_1_4():
    target = np.zeros((2, 100, 120), bool)
    target[0, 40:60, 30:70] = True
    target[1, 50:80, 60:72] = True
    for panel in crops.target_crops(jnp.zeros(target.shape), jnp.asarray(target)):
        rows, columns = np.nonzero(panel.mask)
        assert panel.image.shape == (256, 256)
        for places in (rows, columns):
            assert abs((np.ptp(places) + 1) / 256 - 1 / 1.4) < 0.06


def test_the_smallest_crop_is_kept():
    """A lesion of 4 x 2 pixels at rows 50 to 53: 61 pixels about its centre, 51.5 - 30 and on."""
    target = np.zeros((1, 100, 100), bool)
    target[0, 50:54, 20:22] = True
    y0, x0, y1, x1 = crops.lesion_box(jnp.asarray(target), Zoom(min_crop=60))[0].tolist()
    assert (y0, y1) == (22, 83) and x0 == 0 and 50 <= x1 <= 52


def test_strategies_that_leave_a_slice_alone_are_left_out():
    found = crops.strategies((0.1, 0.3), crop_sizes="uniform")
    assert found["optimal_crop"].bounds == (0.1, 0.3) and found["orient"].crop is None
    assert "none" not in found
