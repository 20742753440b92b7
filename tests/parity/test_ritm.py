"""The RITM networks give the numbers of the PyTorch originals."""

import json

import jax
import numpy as np
import pytest

from ecc_jax.models.build import build
from ecc_jax.models.pretrained import export_state_dict, import_state_dict

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


def load_state_dict(golden, golden_dir, name):
    shapes = json.loads((golden_dir / f"{FILES[name]}.keys.json").read_text())
    return golden.state_dict(shapes)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(golden, golden_dir, name):
    state_dict = load_state_dict(golden, golden_dir, name)
    back = export_state_dict(name, import_state_dict(name, state_dict))
    assert back.keys() == state_dict.keys()
    for key, value in state_dict.items():
        assert back[key].dtype == value.dtype
        np.testing.assert_array_equal(back[key], value, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_scores(golden, golden_dir, name, case):
    variables = import_state_dict(name, load_state_dict(golden, golden_dir, name))
    image, prev_mask, clicks = golden.inputs(*CASES[case])
    guidance = golden.disks(clicks, image.shape[1:3], radius=5)
    out = jax.jit(build(name).apply)(variables, image, guidance, prev_mask)
    # The auxiliary scores come straight from the trunk: if they fail, look there or in the fusion;
    # if only the logits fail, look in the OCR head.
    with np.load(golden_dir / f"{FILES[name]}.npz") as arrays:
        for stage, got in (("aux_logits", out.aux_logits), ("logits", out.logits)):
            expected = arrays[f"{case}_{stage}"]
            largest = np.abs(expected).max()
            difference = np.abs(got - expected).max()
            assert difference <= min(1e-4, 1e-3 * largest), (stage, difference, largest)
            # The scores vary over the image, so a constant would not pass.
            assert expected.std() > 10 * difference, stage
