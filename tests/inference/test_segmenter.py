"""The network with the encoding of its clicks: one for training, inference and the predictor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import config, settings
from ecc_jax.clicks import encoding
from ecc_jax.inference.pipelines import FULL_FRAME, make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.training.objective import Inputs, LossOptions, make_objective
from ecc_jax.types import Clicks, Prediction

BATCH, SIZE = 2, 16
VARIABLES = {"params": {}, "batch_stats": {}}


class Recorder:
    """Notes what a network is shown, and in which mode."""

    def __init__(self):
        self.seen = []

    def apply(self, variables, image, guidance, prev_mask, *, train=False, mutable=(), rngs=None):
        self.seen.append((train, image, guidance, prev_mask))
        prediction = Prediction(guidance[..., :1] - 0.5, None, image)
        return (prediction, {"batch_stats": {}}) if mutable else prediction


def _scene():
    rng = np.random.default_rng(0)
    yx = jnp.asarray(rng.integers(2, SIZE - 2, (BATCH, 3, 2)), jnp.float32)
    radius = jnp.asarray([[3.0, 1.0, 2.0], [1.5, 0.0, 9.0]])
    sign = jnp.array([[True, False, True], [False, True, True]])
    clicks = Clicks(yx, radius, sign, jnp.array([3, 2], jnp.int32))
    image, prev = (jnp.asarray(rng.random((BATCH, SIZE, SIZE, 1), np.float32)) for _ in range(2))
    return image, clicks, prev


def points(clicks, shape, *, radius):
    """An encoding of one's own: the nearest pixel of every click, whatever its radius."""
    tiny = clicks._replace(radius=jnp.full_like(clicks.radius, 0.5))
    return encoding.disk_maps(tiny, shape)


def _shown(segmenter):
    """What inference and what training show the network, of the same clicks."""
    image, clicks, prev = _scene()
    target = jnp.ones(image.shape[:3], bool)
    make_predict(segmenter, VARIABLES, FULL_FRAME)(image, clicks, prev)
    objective = make_objective(segmenter, LossOptions())
    objective({}, {}, Inputs(image, target, clicks, prev), jax.random.key(0))
    (mode, *inference), (trains, *training) = segmenter.model.seen
    assert (mode, trains) == (False, True)
    return inference, training


@pytest.mark.parametrize("name", [*encoding.NAMES, "points"])
def test_training_shows_the_network_what_inference_shows_it(name, monkeypatch):
    monkeypatch.setitem(encoding.ENCODINGS, "points", points)
    inference, training = _shown(Segmenter(Recorder(), name))
    jax.tree.map(np.testing.assert_array_equal, inference, training)
    image, clicks, prev = _scene()
    np.testing.assert_array_equal(inference[0], np.repeat(image, 3, axis=-1))
    expected = encoding.ENCODINGS[name](clicks, (SIZE, SIZE), radius=5.0)
    np.testing.assert_array_equal(inference[1], expected)
    np.testing.assert_array_equal(inference[2], prev)


def test_the_previous_mask_may_be_a_map_or_hidden():
    image, clicks, prev = _scene()
    for name in ("input", "map", "hidden"):
        segmenter = Segmenter(Recorder(), prev_mask=name)
        inference, training = _shown(segmenter)
        jax.tree.map(np.testing.assert_array_equal, inference, training)
        maps = inference[1]
        assert maps.shape[-1] == segmenter.num_guidance == (3 if name == "map" else 2)
        if name == "map":
            np.testing.assert_array_equal(maps[..., 2:], prev)
        np.testing.assert_array_equal(inference[2], 0 * prev if name == "hidden" else prev)


@pytest.mark.parametrize("name", ["unetpp_tiny", "ritm_tiny", "disk_tiny"])
@pytest.mark.parametrize("key", ["network", "yes", "no"])
def test_who_sees_the_previous_mask(name, key):
    tree = config.default()
    tree.model.name, tree.model.prev_mask = name, key
    segmenter = settings.segmenter_of(tree)
    variables = moved_variables(segmenter)
    image, clicks, prev = _scene()
    answers = [
        segmenter.logits(variables, *segmenter.inputs(image, clicks, mask))
        for mask in (prev, 1 - prev)
    ]
    sees = np.abs(answers[0] - answers[1]).max() > 1e-6
    assert sees == (key == "yes" or (key == "network" and name != "unetpp_tiny"))


def moved_variables(segmenter):
    """Fresh variables with everything moved, so that heads do not begin at 0."""
    rng = np.random.default_rng(0)
    fresh = segmenter.init_variables(0, fusion_scale=1.0)
    return jax.tree.map(
        lambda x: x + 0.05 * np.abs(rng.standard_normal(x.shape), dtype=np.float32), fresh
    )


def test_another_encoding_reaches_the_network_by_its_name_alone(monkeypatch):
    monkeypatch.setitem(encoding.ENCODINGS, "points", points)
    (_, disks, _), _ = _shown(Segmenter(Recorder(), "disk"))
    (_, dots, _), _ = _shown(Segmenter(Recorder(), "points"))
    # Three clicks in the first row, two in the second: one pixel each.
    np.testing.assert_array_equal(np.asarray(dots).sum(axis=(1, 2, 3)), [3, 2])
    assert np.asarray(disks).sum() > 20


@pytest.mark.parametrize("name", encoding.NAMES)
def test_the_radius_of_undragged_clicks_is_the_networks_in_both(name):
    inference, training = _shown(Segmenter(Recorder(), name, click_radius=2.0))
    jax.tree.map(np.testing.assert_array_equal, inference, training)
    (_, usual, _), _ = _shown(Segmenter(Recorder(), name))
    assert np.array_equal(usual, inference[1]) == (name == "disk")


def test_unknown_encodings_are_refused():
    image, clicks, prev = _scene()
    with pytest.raises(ValueError, match="encoding must be one of disk.*, got 'dsik'"):
        Segmenter(Recorder(), "dsik").inputs(image, clicks, prev)
