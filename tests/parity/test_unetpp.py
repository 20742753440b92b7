"""U-Net++ gives the numbers of segmentation_models_pytorch."""

import jax
import numpy as np
import pytest

from ecc_jax.models.build import build
from ecc_jax.weights.state_dict import import_state_dict

NAME, FILE = "unetpp_resnet50", "unetpp_resnet50_5ch"


@pytest.mark.slow
def test_scores(golden, golden_dir, check_stages):
    variables = import_state_dict(NAME, golden.load_state_dict(FILE))
    rng = np.random.Generator(np.random.PCG64(5))
    channels = rng.standard_normal((1, 64, 96, 5)).astype(np.float32)
    model = build(NAME)
    out = jax.jit(lambda v, x: model.apply(v, x, method="segment"))(variables, channels)
    with np.load(golden_dir / f"{FILE}.npz") as arrays:
        check_stages(dict(arrays), {"logits": out.logits})
