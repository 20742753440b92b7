"""Radii of dragged and of undragged clicks, on the whole slice, in a crop and under the mouse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.pipelines import InferenceOptions, make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.predictor import InteractivePredictor
from ecc_jax.types import Clicks, Prediction

SIZE = 64
VARIABLES = {"params": {}, "batch_stats": {}}
FIRST, LATER = (28, 28), (38, 38)
# The lesion's box is 20 pixels wide, the crop 32: on 128 pixels it is four times as large.
ZOOM = Zoom(target=128, min_crop=32, expansion=1.6)


class Echo:
    """Answers with what it is told of lesion clicks."""

    def apply(self, variables, image, guidance, prev_mask, *, train=False):
        return Prediction(20.0 * (guidance[..., :1] - 0.5), None, image)


def _mask(encoding, pipeline="full_frame", *, scales_radius=True):
    """Two lesion clicks of radius 6 and 9 in a square lesion, and what is seen of them."""
    clicks = Clicks(
        yx=jnp.array([[FIRST, LATER]], jnp.float32),
        radius=jnp.array([[6.0, 9.0]]),
        is_positive=jnp.ones((1, 2), bool),
        count=jnp.array([2], jnp.int32),
    )
    prev = jnp.zeros((1, SIZE, SIZE, 1)).at[:, 22:42, 22:42].set(1.0)
    options = InferenceOptions(pipeline, zoom=ZOOM._replace(scales_radius=scales_radius))
    predict = jax.jit(make_predict(Segmenter(Echo(), encoding), VARIABLES, options))
    return np.asarray(predict(jnp.zeros((1, SIZE, SIZE, 1)), clicks, prev)[0, ..., 0] > 0.5)


def _reach(mask, centre, step):
    """How far the mask goes from a pixel in one direction."""
    y, x = centre
    length = 0
    while mask[y + step * (length + 1), x]:
        length += 1
    return length


@pytest.mark.parametrize(
    ("encoding", "scales", "whole", "zoomed"),
    [
        # Of the first click upwards and the later one downwards, where nothing else is.
        ("disk", True, (6, 9), (6, 9)),
        ("disk", False, (6, 9), (1, 2)),
        ("hybrid", True, (6, 5), (6, 1)),
        ("box", True, (6, 5), (6, 1)),
    ],
)
def test_dragged_radii_grow_with_a_crop_and_others_stay_in_network_pixels(
    encoding, scales, whole, zoomed
):
    for pipeline, expected in (("full_frame", whole), ("zoom_in", zoomed)):
        mask = _mask(encoding, pipeline, scales_radius=scales)
        assert mask[FIRST] and mask[LATER]
        reach = _reach(mask, FIRST, -1), _reach(mask, LATER, 1)
        assert reach == pytest.approx(expected, abs=1 if pipeline == "zoom_in" else 0), pipeline


@pytest.mark.parametrize("encoding", ["hybrid", "box"])
def test_under_the_mouse_the_first_drag_counts_and_no_later_one(encoding):
    predictor = InteractivePredictor(Segmenter(Echo(), encoding), VARIABLES)
    masks = {}
    for radii in ((4, 3), (4, 9), (7, 3)):
        predictor.set_image(np.zeros((SIZE, SIZE), np.float32))
        predictor.add_click(*FIRST, radii[0])
        masks[radii] = predictor.add_click(*LATER, radii[1])
    np.testing.assert_array_equal(masks[4, 3], masks[4, 9])
    assert masks[7, 3].sum() > masks[4, 3].sum()
