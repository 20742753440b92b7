"""Inputs and variables for tests of the networks."""

import jax
import numpy as np

from ecc_jax.models.build import build, init_variables

SHAPE = (2, 40, 32)


def make_inputs(shape=SHAPE, seed=0):
    """Returns image, guidance and previous mask of a [b h w] batch."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(size=(*shape, 3)).astype(np.float32)
    guidance = (rng.uniform(size=(*shape, 2)) > 0.9).astype(np.float32)
    prev_mask = rng.uniform(size=(*shape, 1)).astype(np.float32)
    return image, guidance, prev_mask


def moved_variables(name, **overrides):
    """Returns fresh variables with biases and statistics moved off their trivial values."""
    rng = np.random.default_rng(7)

    def move(path, value):
        kind = path[-1].key
        if kind in ("bias", "mean"):
            return value + 0.1 * rng.standard_normal(value.shape).astype(np.float32)
        if kind in ("var", "scale"):
            return (value * rng.uniform(0.5, 1.5, value.shape)).astype(np.float32)
        return value

    fresh = init_variables(build(name, **overrides), 0)
    return jax.tree_util.tree_map_with_path(move, fresh)
