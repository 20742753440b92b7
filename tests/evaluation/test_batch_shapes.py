"""What the batch shape may change: nothing within one shape, threshold pixels between shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.clicks.user import DEFAULT_USER
from ecc_jax.evaluation.step import RolloutOptions, Situation, make_rollout_step
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import interact, start
from ecc_jax.models.build import build, init_variables
from ecc_jax.types import Batch, Click
from tests.evaluation.slice_sets import blobs

SIZE, COUNT, CLICKS = 32, 4, 5
TOLERANCE = 1e-4
USER = DEFAULT_USER.with_habit("average")
OPTIONS = RolloutOptions(capacity=CLICKS, keep=tuple(range(1, CLICKS + 1)), user=USER)
SEGMENTER = Segmenter(build("ritm_tiny"))


@pytest.fixture(scope="module")
def variables():
    return init_variables(SEGMENTER.model, 0, fusion_scale=1.0)


def _batch(rows):
    masks = blobs(COUNT + 1, SIZE)[rows]
    noise = np.random.default_rng(1).normal(0, 40, (COUNT + 1, SIZE, SIZE))[rows]
    count = len(rows)
    return Batch(
        (masks * 60 + noise).astype(np.int16),
        np.tile(np.float32([-150, 250]), (count, 1)),
        masks.astype(np.uint8),
        np.ones(count, bool),
        np.asarray(rows, np.int32),
        np.ones(count, np.float32),
    )


@pytest.fixture(scope="module")
def run(variables):
    step = jax.jit(make_rollout_step(SEGMENTER, OPTIONS))
    return lambda rows: step(variables, _batch(rows), np.int32(CLICKS), Situation(USER))


def test_the_same_batch_gives_the_same_bits(run):
    rows = list(range(COUNT))
    jax.tree.map(np.testing.assert_array_equal, run(rows), run(rows))


def test_other_batch_shapes_differ_only_from_pixels_at_the_threshold_on(run, variables):
    """After the first click that two shapes answer differently they may part for good."""
    together = run(list(range(COUNT)))
    answer = jax.jit(interact, static_argnums=0)
    predict = full_frame(SEGMENTER, variables)
    compared = 0
    for row in range(COUNT):
        alone = run([row])
        batch = _batch([row])
        image = jnp.clip((batch.image_hu + 150.0) / 400.0, 0, 1)[..., None]
        session = start(image, capacity=CLICKS)
        for turn in range(CLICKS):
            same = all(
                np.allclose(
                    getattr(together.clicks, name)[row, turn],
                    getattr(alone.clicks, name)[0, turn],
                    rtol=1e-5,
                )
                for name in ("yx", "radius", "is_positive")
            )
            assert same, "clicks parted although every mask so far was the same"
            click = Click(
                alone.clicks.yx[:, turn],
                alone.clicks.radius[:, turn],
                alone.clicks.is_positive[:, turn],
                alone.clicked[:, turn],
            )
            session = answer(predict, image, session, click)
            differs = np.asarray(together.masks[row, turn] != alone.masks[0, turn])
            compared += 1
            if differs.any():
                at_threshold = np.abs(np.asarray(session.prob[0, ..., 0]) - 0.5) < TOLERANCE
                assert at_threshold[differs].all()
                break
    assert compared >= COUNT
