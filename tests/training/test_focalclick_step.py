"""FocalClick's train step as its leaf configures it: both stages learn, and full size fits."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ecc_jax import checks, config, parallel, settings
from ecc_jax.training import options, state, step
from ecc_jax.types import Batch
from tests.loading import load

CONFIGS = Path(__file__).parents[2] / "configs"


def leaf(name, **values):
    """The configuration of a leaf, checked, with some values of its own."""
    module = load(CONFIGS / f"{name}.py")
    tree = module.get_config("quick")
    for key, value in values.items():
        config.set_key(tree, key.replace("__", "."), value)
    checks.validate(tree)
    return tree


def made(tree):
    """The compiled step of a configuration, its first state, and a batch of two lesions."""
    segmenter = settings.segmenter_of(tree)
    first = options.first_state(tree, segmenter)
    multipliers = state.rate_multipliers(first.params, trunk=1.0)
    train = jax.jit(
        options.train_step_of(tree, segmenter, options.optimizer_of(tree), multipliers),
        donate_argnums=0,
    )
    size, rows = tree.data.size, tree.train.batch_size
    y, x = np.mgrid[:size, :size]
    centre = np.random.default_rng(0).uniform(0.4, 0.6, (rows, 2, 1, 1)) * size
    target = (np.hypot(y - centre[:, 0], x - centre[:, 1]) < 0.15 * size).astype(np.uint8)
    image = (target * 80 + np.random.default_rng(1).normal(0, 20, target.shape)).astype(np.int16)
    batch = Batch(
        image_hu=image,
        window_hu=np.tile(np.float32([-150, 250]), (rows, 1)),
        target=target,
        valid=np.ones(rows, bool),
        position=np.arange(rows, dtype=np.int32),
        pixel_mm=np.ones(rows, np.float32),
    )
    clicks = step.first_step_with(options.step_options(tree), 2)
    first = jax.tree.map(np.asarray, first._replace(step=np.int32(clicks)))
    return train.lower(first, batch, np.float32(1e-3)).compile(), first, batch


def check_step(compiled, first, batch):
    """One step: finite, and every part of the network moved."""
    after, metrics = compiled(jax.tree.map(jax.numpy.asarray, first), batch, np.float32(1e-3))
    assert int(metrics["num_clicks"]) == 2
    assert np.isfinite(float(metrics["loss"])) and float(metrics["loss"]) > 0
    for part, old in first.params.items():
        pairs = zip(jax.tree.leaves(old), jax.tree.leaves(after.params[part]), strict=True)
        assert any(not np.array_equal(a, b) for a, b in pairs), part
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after.variables))
    assert not np.array_equal(
        *(s.batch_stats["refiner"]["refine_fusion"]["norm"]["mean"] for s in (first, after))
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["focalclick_dynamic", "focalclick_static"])
def test_quick_step_of_the_leaf(name):
    small = {"data__size": 48, "augment__crop": (40, 40), "train__batch_size": 2}
    check_step(*made(leaf(name, model__name="focalclick_tiny", **small)))


@pytest.mark.slow
def test_full_size_step_of_two_slices(record_property):
    """HRNet-32 at 512 x 512, batch 2; the memory it needs is in the junit file and on stdout."""
    tree = leaf(
        "focalclick_dynamic",
        model__name="focalclick_hrnet32",
        data__size=512,
        augment__crop=(512, 512),
        train__batch_size=2,
    )
    compiled, first, batch = made(tree)
    mebibytes = parallel.memory_needed(compiled) / parallel.MEBIBYTE
    record_property("memory", f"{mebibytes:.0f} MiB")
    sys.stdout.write(f"FocalClick HRNet-32, 512 x 512, batch 2: {mebibytes:.0f} MiB\n")
    assert 500 < mebibytes < 40_000
    check_step(compiled, first, batch)
