"""The RITM networks give the numbers of the PyTorch originals."""

import jax
import numpy as np
import pytest

from ecc_jax.models.build import build
from ecc_jax.weights.state_dict import import_state_dict

FILES = {
    "ritm_hrnet18s": "ritm_hrnet18s_ocr48",
    "ritm_hrnet18": "ritm_hrnet18_ocr64",
    "ritm_hrnet32": "ritm_hrnet32_ocr128",
}
# case -> (seed, b, h, w); the second one is no multiple of 32 and not square.
CASES = {"a": (1, 2, 64, 96), "b": (2, 1, 90, 70)}
NAMES = [
    "ritm_hrnet18s",
    pytest.param("ritm_hrnet18", marks=pytest.mark.slow),
    pytest.param("ritm_hrnet32", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_scores(golden, golden_dir, check_stages, name, case):
    variables = import_state_dict(name, golden.load_state_dict(FILES[name]))
    image, prev_mask, clicks = golden.inputs(*CASES[case])
    guidance = golden.disks(clicks, image.shape[1:3], radius=5)
    out = jax.jit(build(name).apply)(variables, image, guidance, prev_mask)
    # The auxiliary scores come straight from the trunk: if they fail, look there or in the fusion;
    # if only the logits fail, look in the OCR head.
    with np.load(golden_dir / f"{FILES[name]}.npz") as arrays:
        expected = {stage: arrays[f"{case}_{stage}"] for stage in ("aux_logits", "logits")}
    check_stages(expected, {"aux_logits": out.aux_logits, "logits": out.logits})
