"""The table of PyTorch originals against the networks."""

import numpy as np
import pytest

from ecc_jax.models.build import SPECS, build, variable_shapes
from ecc_jax.weights.originals import ORIGINALS, original
from ecc_jax.weights.sources import choose_model
from ecc_jax.weights.state_dict import slots

FAMILIES = tuple(ORIGINALS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_has_a_prefix_and_the_backbone_is_the_trunk(family):
    name = f"{family}_tiny"
    parts = variable_shapes(build(name))["params"].keys()
    assert original(name).prefixes.keys() == parts
    trunk = {key for key, slot in slots(name).items() if slot.path[1] == SPECS[family].trunk}
    assert trunk == {key for key in slots(name) if original(name).backbone.match(key)}
    assert trunk and trunk < slots(name).keys()


def test_a_network_without_original_takes_no_weights(monkeypatch):
    name = "ritm_tiny"
    source = {key: np.zeros(slot.shape, np.float32) for key, slot in slots(name).items()}
    assert choose_model(source) == name
    monkeypatch.delitem(ORIGINALS, "ritm")
    with pytest.raises(ValueError, match="ritm_tiny takes no PyTorch weights; .*focalclick.*"):
        slots.__wrapped__(name)
    with pytest.raises(ValueError, match="fit none of"):
        choose_model(source)
