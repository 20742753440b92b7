"""Where the clicks of a train step come from."""

import jax
import jax.numpy as jnp
import numpy as np

from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene, rollout
from ecc_jax.training.inputs import iterative_clicks
from ecc_jax.types import Prediction
from tests.evaluation.slice_sets import blobs

BATCH, SIZE = 4, 24
VARIABLES = {"params": {"lift": jnp.float32(0.3)}, "batch_stats": {}}
USER = RobotUser(radius="normal", threshold=0.4)


class Painting:
    """Scores what lies in disks, the lift deciding how readily."""

    def apply(self, variables, image, guidance, prev_mask, *, train=False):
        assert not train
        score = guidance[..., :1] - 1.2 * guidance[..., 1:] + 0.8 * prev_mask
        score = 4 * (score + 0.5 * image[..., :1] - 0.75 + variables["params"]["lift"])
        return Prediction(score, None, image)


def _scene():
    image = jax.random.uniform(jax.random.key(5), (BATCH, SIZE, SIZE, 1))
    return jax.random.split(jax.random.key(6), BATCH), image, jnp.asarray(blobs(BATCH, SIZE))


def test_iterative_clicks_answer_all_but_the_newest():
    segmenter, scene = Segmenter(Painting()), _scene()
    source = jax.jit(iterative_clicks(segmenter, USER, max_clicks=4))

    @jax.jit
    def answered(count):
        predict = full_frame(segmenter, VARIABLES)
        return rollout(Scene(*scene), predict, USER, num_clicks=count, capacity=4)

    before = jnp.zeros_like(scene[1])
    for count in (1, 2, 3, 4):
        whole = answered(jnp.int32(count))
        clicks, prob = source(VARIABLES, *scene, jnp.int32(count))
        for field, expected in zip(clicks, whole.clicks, strict=True):
            np.testing.assert_allclose(field, expected, rtol=1e-6)
        np.testing.assert_allclose(prob, before, atol=1e-6)
        before = whole.session.prob
    assert source._cache_size() == 1 and before.any()


def test_nothing_of_the_clicks_carries_a_gradient():
    source = iterative_clicks(Segmenter(Painting()), USER, max_clicks=3)

    def total(variables):
        _, prob = source(variables, *_scene(), jnp.int32(3))
        return prob.sum(), prob.sum()

    gradient, value = jax.jit(jax.grad(total, has_aux=True))(VARIABLES)
    assert value > 0 and float(gradient["params"]["lift"]) == 0
