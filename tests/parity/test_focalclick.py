"""The FocalClick networks give the numbers of the PyTorch originals, coarse and refined."""

import functools

import jax
import numpy as np
import pytest

from ecc_jax.models.build import build
from ecc_jax.weights.state_dict import import_state_dict

FILES = {
    "focalclick_hrnet18s": "focalclick_hrnet18s_ocr48",
    "focalclick_hrnet32": "focalclick_hrnet32_ocr128",
}
NAMES = ["focalclick_hrnet18s", pytest.param("focalclick_hrnet32", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", NAMES)
def test_stages(golden, golden_dir, check_stages, name):
    variables = import_state_dict(name, golden.load_state_dict(FILES[name]))
    model = build(name)
    with np.load(golden_dir / f"{FILES[name]}.npz") as arrays:
        expected = dict(arrays)
    image, prev_mask, clicks = golden.inputs(3, 2, 64, 64)
    guidance = golden.disks(clicks, (64, 64), radius=5)
    coarse = jax.jit(model.apply)(variables, image, guidance, prev_mask)
    image, _, clicks = golden.inputs(4, 2, 64, 64)
    guidance = golden.disks(clicks, (64, 64), radius=5)
    refine = jax.jit(functools.partial(model.apply, method="refine"))
    boxes = expected.pop("focus_boxes_yxyx")
    fine = refine(variables, image, guidance, coarse.features, coarse.logits, boxes)
    # In the order of the computation: if the auxiliary scores fail, look in the trunk or the
    # fusion; features: in the OCR head; the crop: in ROI-align; the rest: in the refiner.
    got = {
        "aux_logits": coarse.aux_logits,
        "features": coarse.features,
        "logits": coarse.logits,
        "coarse_crop_logits": fine.coarse_logits,
        "boundary_logits": fine.boundary_logits,
        "refined_logits": fine.logits,
    }
    check_stages(expected, got)
