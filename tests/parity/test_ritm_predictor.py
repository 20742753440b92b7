"""The whole RITM predictor gives the numbers of the original: crops first, then probabilities."""

import jax.numpy as jnp
import numpy as np

from ecc_jax.clicks.encoding import append_click, empty_clicks
from ecc_jax.inference.crops import Zoom, find_region
from ecc_jax.inference.pipelines import zoom_in_tight
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.models.build import build
from ecc_jax.types import Click
from ecc_jax.weights.state_dict import import_state_dict

NAME = "hrnet18s_ocr48"
ZOOM = Zoom(target=200, min_crop=50, scales_radius=False)


def test_crops_and_probabilities_of_every_click(golden, golden_dir):
    variables = import_state_dict("ritm_hrnet18s", golden.load_state_dict(f"ritm_{NAME}"))
    predict = zoom_in_tight(Segmenter(build("ritm_hrnet18s")), variables, zoom=ZOOM, flip=True)
    with np.load(golden_dir / f"ritm_predictor_{NAME}.npz") as arrays:
        image = jnp.asarray(arrays["image_uint8"][None] / np.float32(255))
        shape = image.shape[1:3]
        clicks, prob = empty_clicks(1, 4), jnp.zeros((*image.shape[:3], 1))
        for index, (y, x, sign) in enumerate(arrays["clicks_yxs"]):
            yx = jnp.array([[y, x]], jnp.float32)
            click = Click(yx, jnp.array([5.0]), jnp.array([bool(sign > 0)]), jnp.array([True]))
            clicks = append_click(clicks, click)

            y0, y1, x0, x1 = arrays["roi_inclusive_y0y1x0x1"][index]
            region = find_region(prob, clicks, ZOOM, keeps_aspect=False)
            box = (y0, x0, y1 + 1, x1 + 1) if y0 >= 0 else (0, 0, *shape)
            assert bool(region.is_zoomed[0]) == (y0 >= 0), f"click {index + 1}: zoomed or not"
            np.testing.assert_array_equal(region.box[0], box, f"click {index + 1}: crop")

            prob = predict(image, clicks, prob)
            got, expected = np.asarray(prob[0, ..., 0]), arrays["probs"][index]
            difference = np.abs(got - expected).max()
            assert difference <= 2e-5, f"click {index + 1}: probabilities differ by {difference}"
            np.testing.assert_array_equal(got > 0, expected > 0, f"click {index + 1}: pasting")
            # The probabilities vary over the crop, so a constant would not pass.
            assert expected[expected > 0].std() > 10 * difference, f"click {index + 1}"
