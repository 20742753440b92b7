"""The compiled train step: one compilation, any device count, every platform."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import parallel
from ecc_jax.data.augment import Augmentation
from ecc_jax.evaluation.rollouts import STEADY, abstract_batch
from ecc_jax.evaluation.step import RolloutOptions, Situation, make_rollout_step
from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions
from ecc_jax.interaction import TRAINING_USER
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import state as states
from ecc_jax.training import step as steps
from ecc_jax.types import Batch

BATCH, SIZE = 8, 40
OPTIONS = steps.StepOptions(
    seed=0,
    augmentation=Augmentation(
        crop=(32, 32), vertical_flip_prob=0.5, transpose_prob=0.5, contrast=0.5, noise=0.05
    ),
    user=TRAINING_USER,
    max_clicks=24,
    gamma=0.7,
    threshold=0.5,
    main_weight=1.0,
    aux_weight=0.4,
    microbatches=1,
    stats_momentum=0.9,
    average_decay=0.9,
    is_pretrained=False,
)


def _batch():
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    centre = rng.integers(10, SIZE - 10, (BATCH, 2, 1, 1))
    radius = rng.integers(3, 9, (BATCH, 1, 1))
    target = (np.hypot(yy - centre[:, 0], xx - centre[:, 1]) < radius).astype(np.uint8)
    image = (target * 80 + rng.normal(0, 20, target.shape)).astype(np.int16)
    window = np.tile(np.float32([-150, 250]), (BATCH, 1))
    valid, position = np.ones(BATCH, bool), np.arange(BATCH, dtype=np.int32)
    return Batch(image, window, target, valid, position, np.ones(BATCH, np.float32))


def _step_with_clicks(wanted):
    return steps.first_step_with(OPTIONS, wanted)


@pytest.fixture(scope="module")
def model():
    return build("ritm_tiny")


@pytest.fixture(scope="module")
def start(model):
    optimizer = states.make_optimizer(b1=0.9, b2=0.999)
    return states.create(init_variables(model, 0), optimizer, with_average=True)


@pytest.fixture(scope="module")
def train_step(model, start):
    multipliers = states.rate_multipliers(start.params, trunk=1.0)
    optimizer = states.make_optimizer(b1=0.9, b2=0.999)
    return jax.jit(steps.make_train_step(model, optimizer, multipliers, OPTIONS))


@pytest.fixture(scope="module")
def one_device(train_step, start):
    """Results of single steps on one device, by click count."""
    return {
        n: train_step(
            start._replace(step=jnp.int32(_step_with_clicks(n))), _batch(), np.float32(1e-3)
        )
        for n in (1, 4, 9)
    }


def test_one_compilation_over_all_click_counts(train_step, one_device):
    assert [int(metrics["num_clicks"]) for _, metrics in one_device.values()] == [1, 4, 9]
    assert train_step._cache_size() == 1


def test_step_is_finite_counts_and_learns(one_device, start):
    state, metrics = one_device[1]
    assert np.isfinite(float(metrics["loss"]))
    assert 0 <= float(metrics["iou"]) <= 1
    assert int(state.step) == _step_with_clicks(1) + 1
    moved = [
        float(jnp.max(jnp.abs(a - b)))
        for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(start.params), strict=True)
    ]
    assert max(moved) > 1e-4
    assert max(moved) < 2e-3  # Adam's first step is at most about the learning rate
    stats = zip(jax.tree.leaves(state.batch_stats), jax.tree.leaves(start.batch_stats), strict=True)
    assert any(float(jnp.max(jnp.abs(a - b))) > 1e-3 for a, b in stats)


def test_average_follows_the_weights_and_is_what_gets_evaluated(one_device, start):
    state, _ = one_device[4]
    step = int(state.step)
    decay = min(0.9, (1 + step) / (10 + step))
    triples = zip(
        *(jax.tree.leaves(x) for x in (start.average, state.variables, state.evaluated)),
        strict=True,
    )
    for old, new, average in triples:
        np.testing.assert_allclose(average, new + decay * (old - new), atol=1e-6)
    without = start._replace(average=None)
    assert states.moved_average(without, 0.9) is None
    assert without.evaluated["params"] is without.params


def test_same_step_twice_is_the_same(train_step, one_device, start):
    again = train_step(
        start._replace(step=jnp.int32(_step_with_clicks(4))), _batch(), np.float32(1e-3)
    )
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(one_device[4]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_eight_devices_equal_one(model, start, one_device):
    mesh = parallel.make_mesh(8)
    multipliers = states.rate_multipliers(start.params, trunk=1.0)
    optimizer = states.make_optimizer(b1=0.9, b2=0.999)
    everywhere, rows = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    sharded = jax.jit(
        steps.make_train_step(model, optimizer, multipliers, OPTIONS),
        in_shardings=(everywhere, rows, everywhere),
        out_shardings=everywhere,
    )
    for n in (1, 4):
        state = parallel.replicate(start._replace(step=jnp.int32(_step_with_clicks(n))), mesh)
        _, metrics = sharded(state, parallel.to_global(_batch(), mesh), np.float32(1e-3))
        assert int(metrics["num_clicks"]) == n
        assert float(metrics["loss"]) == pytest.approx(float(one_device[n][1]["loss"]), abs=1e-5)
    assert sharded._cache_size() == 1


@pytest.mark.slow
def test_train_and_evaluation_steps_lower_for_cpu_cuda_and_tpu(model, start, train_step):
    platforms = ("cpu", "cuda", "tpu")
    batch = abstract_batch(BATCH, SIZE)
    exported = jax.export.export(train_step, platforms=platforms)(
        start, batch, jax.ShapeDtypeStruct((), np.float32)
    )
    assert set(exported.platforms) == set(platforms)
    options = RolloutOptions(capacity=5, keep=(1, 2))
    zoom = InferenceOptions("zoom_in", flip=True, zoom=Zoom(target=32, min_crop=8))
    for network, inference in ((model, FULL_FRAME), (model, zoom), (None, FULL_FRAME)):
        rollout = jax.jit(make_rollout_step(network, options._replace(inference=inference)))
        exported = jax.export.export(rollout, platforms=platforms)(
            start.variables, batch, jax.ShapeDtypeStruct((), np.int32), Situation(STEADY)
        )
        assert set(exported.platforms) == set(platforms)


def test_accumulation_averages_over_strided_rows(start):
    """A fake gradient that reports which rows it saw."""
    rows = jnp.arange(8.0)

    def gradients(stats, part, dropout_key):
        grads = jax.tree.map(lambda p: jnp.zeros_like(p) + jnp.sum(part), start.params)
        return jax.tree.map(lambda s: s + part[0], stats), grads, jnp.sum(part), jnp.max(part)

    key = jax.random.key(0)
    stats, grads, loss, iou = steps._accumulate(gradients, start, rows, key, 4)
    # Microbatch i holds rows i and i + 4: sums 4, 6, 8, 10 and maxima 4..7.
    assert float(loss) == 7.0
    assert float(iou) == 5.5
    assert float(jax.tree.leaves(grads)[0].ravel()[0]) == 7.0
    before = jax.tree.leaves(start.batch_stats)[0].ravel()[0]
    assert float(jax.tree.leaves(stats)[0].ravel()[0] - before) == pytest.approx(0 + 1 + 2 + 3)


def test_trunk_multiplier_reaches_the_trunk_only(start):
    multipliers = states.rate_multipliers(start.params, trunk=0.1)
    assert set(jax.tree.leaves(multipliers)) == {0.1, 1.0}
    names = {
        jax.tree_util.keystr(path): value for path, value in jax.tree.leaves_with_path(multipliers)
    }
    assert any(value == 1.0 and "ocr" in name for name, value in names.items())
    assert all(value == 0.1 for name, value in names.items() if "stage" in name)


def test_memory_that_does_not_fit_is_refused_with_the_remedy():
    parallel.check_memory(100 << 20, 100 << 20)
    with pytest.raises(ValueError, match="needs 101 MiB .* 100 MiB are free; .*microbatch"):
        parallel.check_memory(101 << 20, 100 << 20)


def test_running_statistics_average_the_first_batches_unless_pretrained():
    gains = [float(steps._stats_gain(jnp.int32(t), OPTIONS)) for t in (0, 1, 4, 9, 50)]
    assert gains == pytest.approx([10, 5, 2, 1, 1])
    pretrained = OPTIONS._replace(is_pretrained=True, stats_momentum=0.95)
    assert float(steps._stats_gain(jnp.int32(0), pretrained)) == pytest.approx(0.5)
