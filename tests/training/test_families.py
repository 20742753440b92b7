"""One train step with the smallest network of every family."""

import jax
import numpy as np
import pytest

from ecc_jax.data.augment import Augmentation
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import state as states
from ecc_jax.training import step as steps
from ecc_jax.types import Batch
from tests.training import test_step

OPTIONS = test_step.OPTIONS._replace(
    augmentation=Augmentation(crop=(40, 32)),  # no multiple of 32
    max_clicks=3,
    average_decay=0.0,
)


def make_batch():
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:48, :48]
    centre = rng.integers(12, 36, (2, 2, 1, 1))
    target = (np.hypot(yy - centre[:, 0], xx - centre[:, 1]) < 8).astype(np.uint8)
    image = (target * 80 + rng.normal(0, 20, target.shape)).astype(np.int16)
    window = np.tile(np.float32([-150, 250]), (2, 1))
    valid, position = np.ones(2, bool), np.arange(2, dtype=np.int32)
    return Batch(image, window, target, valid, position, np.ones(2, np.float32))


@pytest.mark.parametrize(
    "name", [pytest.param("focalclick_tiny", marks=pytest.mark.slow), "unetpp_tiny"]
)
def test_train_step(name):
    model = build(name)
    optimizer = states.make_optimizer(b1=0.9, b2=0.999)
    start = states.create(init_variables(model, 0), optimizer)
    multipliers = states.rate_multipliers(start.params, trunk=1.0)
    step = jax.jit(test_step.step_of(model, multipliers, OPTIONS))
    # Two clicks: the network runs in evaluation mode for the first, in training mode after it.
    first = steps.first_step_with(OPTIONS, 2)
    state, metrics = step(start._replace(step=np.int32(first)), make_batch(), np.float32(1e-3))
    assert int(metrics["num_clicks"]) == 2
    assert np.isfinite(float(metrics["loss"])) and float(metrics["loss"]) > 0
    for part, old in start.params.items():
        new = state.params[part]
        pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        moved = any(not np.array_equal(a, b) for a, b in pairs)
        assert moved, part
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.variables))
