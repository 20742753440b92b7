"""State dicts of the originals pass through the networks' variables unchanged."""

import numpy as np
import pytest

from ecc_jax.weights.state_dict import export_state_dict, import_state_dict

FILES = {
    "ritm_hrnet18s": "ritm_hrnet18s_ocr48",
    "ritm_hrnet18": "ritm_hrnet18_ocr64",
    "ritm_hrnet32": "ritm_hrnet32_ocr128",
    "focalclick_hrnet18s": "focalclick_hrnet18s_ocr48",
    "focalclick_hrnet32": "focalclick_hrnet32_ocr128",
    "unetpp_resnet50": "unetpp_resnet50_5ch",
}
SMALL = ("ritm_hrnet18s", "focalclick_hrnet18s")
NAMES = [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in FILES]


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_is_exact(golden, name):
    state_dict = golden.load_state_dict(FILES[name])
    back = export_state_dict(name, import_state_dict(name, state_dict))
    assert back.keys() == state_dict.keys()
    for key, value in state_dict.items():
        assert back[key].dtype == value.dtype
        np.testing.assert_array_equal(back[key], value, err_msg=key)
