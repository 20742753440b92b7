"""facts.py: what a report says of how the network was run."""

import pytest

from ecc_jax.evaluation.facts import describe_inference
from ecc_jax.inference.focal import Focal
from ecc_jax.inference.pipelines import InferenceOptions
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.models.build import build

PLAIN = "target crop and focus crop, 256 pixels wide"


@pytest.mark.parametrize(
    ("focal", "words"),
    [
        (Focal(), PLAIN),
        (Focal(size=64), PLAIN.replace("256", "64")),
        (Focal(expansion=2.0), f"{PLAIN}, expanded by 2"),
        (Focal(min_crop=20), f"{PLAIN}, smallest side 20"),
        (Focal(settled_clicks=3), f"{PLAIN}, settled after click 3"),
        (Focal(merges=True), f"{PLAIN}, progressive merge"),
    ],
)
def test_reports_name_what_is_unusual_of_focalclick(focal, words):
    options = InferenceOptions("focalclick", focal=focal)
    assert describe_inference(options, Segmenter(build("focalclick_tiny"), "disk")) == words
