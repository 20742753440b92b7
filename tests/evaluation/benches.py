"""What the methods of one evaluation share, with a network that compiles in no time."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.evaluation.methods import Bench, Network
from ecc_jax.evaluation.rollouts import EvalSet, compile_rollout, painter_options
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.types import Prediction
from tests.evaluation.slice_sets import blobs, slice_set

SIZE, COUNT, CLICKS, BATCH = 24, 5, 3, 4
NETWORK_USER = RobotUser().with_habit("average")
VARIABLES = {"bias": np.float32(0.2)}


class Thresholding:
    """A network of one number: bright pixels and disks are lesion."""

    def apply(self, variables: Any, image, guidance, prev_mask, *, train=False):
        score = guidance[..., :1] - 1.2 * guidance[..., 1:] + 0.8 * prev_mask + image[..., :1]
        logits = 4.0 * (score - 1 + variables["bias"])
        return Prediction(logits, None, jnp.zeros(()))


SEGMENTER = Segmenter(Thresholding())


def eval_set(masks, **extra):
    return EvalSet(slice_set(masks, **extra), np.arange(len(masks)), CLICKS)


def _compile(segmenter, variables, options):
    return compile_rollout(
        make_rollout_step(segmenter, options),
        variables,
        options,
        size=SIZE,
        batch_size=BATCH,
        mesh=parallel.make_mesh(1),
    )


def network_of(options):
    return Network(SEGMENTER, VARIABLES, _compile(SEGMENTER, VARIABLES, options))


def bench_of(*, data=None, train=None, user=NETWORK_USER, initial_mask="empty", **fields):
    """A bench without a network; `fields` replace others of it."""
    options = RolloutOptions(
        capacity=CLICKS, keep=(1, CLICKS), user=user, initial_mask=initial_mask
    )
    painter = _compile(None, (), painter_options(options))
    masks = blobs(COUNT, SIZE)
    images = (np.where(masks, 60, 0) + np.arange(SIZE)).astype(np.int16)
    bench = Bench(
        data=data or eval_set(masks, images=images),
        train=train or eval_set(blobs(3, SIZE, seed=5), images=images[:3]),
        options=options,
        network=None,
        external=None,
        painter=painter,
        tuner=painter,
        baselines=(),
        flooding_tolerances=24,
        latency_clicks=0,
        keep=(),
        mesh=parallel.make_mesh(1),
        advance=lambda _: None,
    )
    return bench._replace(**fields)
