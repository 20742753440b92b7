"""The compiled train step: one compilation, any device count, every platform."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ecc_jax import parallel
from ecc_jax.clicks.encoding import empty_clicks
from ecc_jax.clicks.user import DEFAULT_USER
from ecc_jax.data.augment import Augmentation
from ecc_jax.data.pipeline import abstract_batch
from ecc_jax.evaluation.step import RolloutOptions, Situation, make_rollout_step
from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import TRAINING_USER
from ecc_jax.models.build import build, init_variables
from ecc_jax.models.layers import BATCH_NORM_MOMENTUM
from ecc_jax.training import state as states
from ecc_jax.training import step as steps
from ecc_jax.training.inputs import ClickSource, iterative_clicks
from ecc_jax.training.objective import Inputs, LossOptions, make_objective
from ecc_jax.types import Batch

BATCH, SIZE = 8, 40
OPTIONS = steps.StepOptions(
    seed=0,
    augmentation=Augmentation(
        crop=(32, 32), vertical_flip_prob=0.5, transpose_prob=0.5, contrast=0.5, noise=0.05
    ),
    max_clicks=24,
    click_gamma=0.7,
    threshold=0.5,
    microbatches=1,
    stats_momentum=0.9,
    average_decay=0.9,
    is_pretrained=False,
)


def step_of(model, multipliers, options):
    """The train step of a network under the losses and the user of the thesis."""
    segmenter = Segmenter(model)
    task = steps.Task(
        segmenter,
        make_objective(segmenter, LossOptions(main_weight=1.0, aux_weight=0.4)),
        iterative_clicks(segmenter, TRAINING_USER, max_clicks=options.max_clicks),
        TRAINING_USER,
    )
    return steps.make_train_step(
        task,
        states.make_optimizer(b1=0.9, b2=0.999),
        multipliers,
        options,
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
    return jax.jit(step_of(model, multipliers, OPTIONS))


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
    everywhere, rows = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    sharded = jax.jit(
        step_of(model, multipliers, OPTIONS),
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
    network = Segmenter(model)
    for segmenter, inference in ((network, FULL_FRAME), (network, zoom), (None, FULL_FRAME)):
        rollout = jax.jit(make_rollout_step(segmenter, options._replace(inference=inference)))
        exported = jax.export.export(rollout, platforms=platforms)(
            start.variables, batch, jax.ShapeDtypeStruct((), np.int32), Situation(DEFAULT_USER)
        )
        assert set(exported.platforms) == set(platforms)


def _nobody(variables, scene, key, num_clicks, kept):
    clicks = empty_clicks(scene.image.shape[0], 1)
    return Inputs(scene.image, scene.target, clicks, jnp.zeros_like(scene.image)), kept


# A click source of one's own: nobody clicks, and nothing is kept.
NO_CLICKS = ClickSource(lambda rows, height, width: None, _nobody, lambda kept, *_: kept)


def plugged_step(objective, options, count=8):
    """A step of plain descent on `objective`, from a weight and a statistic of 0.

    Row i holds the value i / 100, and its prediction i + 1 of `count` lesion pixels.
    """
    size = count
    image = np.tile(np.arange(count, dtype=np.int16)[:, None, None], (1, size, size))
    window = np.tile(np.float32([0, 100]), (count, 1))
    target = np.ones((count, size, size), np.uint8)
    rows = np.arange(count, dtype=np.int32)
    batch = Batch(image, window, target, np.ones(count, bool), rows, np.ones(count, np.float32))
    variables = {"params": {"w": jnp.zeros(())}, "batch_stats": {"s": jnp.zeros(())}}
    optimizer = optax.identity()
    task = steps.Task(Segmenter(None), objective, NO_CLICKS, TRAINING_USER)
    step = jax.jit(steps.make_train_step(task, optimizer, {"w": 1.0}, options))

    def run(number):
        start = states.create(variables, optimizer)._replace(step=jnp.int32(number))
        return step(start, batch, np.float32(1.0))

    return run


PLAIN = OPTIONS._replace(augmentation=None, stats_momentum=BATCH_NORM_MOMENTUM, is_pretrained=True)


def test_accumulation_averages_over_strided_rows():
    """An objective that reports which rows it saw."""

    def objective(params, batch_stats, inputs, key):
        rows = 100 * inputs.image[:, 0, 0, 0]
        columns = jnp.arange(inputs.image.shape[2])[None, None, :, None]
        logits = jnp.where(columns < rows[:, None, None, None] + 0.5, 1.0, -1.0)
        logits = jnp.broadcast_to(logits, inputs.image.shape)
        stats = jax.tree.map(lambda s: s + rows[0], batch_stats)
        return (1 + params["w"]) * jnp.sum(rows), (stats, logits)

    state, metrics = plugged_step(objective, PLAIN._replace(microbatches=4))(3)
    # Microbatch i holds rows i and i + 4: sums 4, 6, 8, 10.
    assert float(metrics["loss"]) == pytest.approx(7.0)
    assert float(metrics["iou"]) == pytest.approx(np.mean(np.arange(1, 9) / 8))
    assert float(state.params["w"]) == pytest.approx(-7.0)
    assert float(state.batch_stats["s"]) == pytest.approx(0 + 1 + 2 + 3)
    assert int(state.step) == 4


def test_own_objective_and_click_source_are_what_the_step_runs():
    """Nothing of the package changes for them; targets, clicks and mask reach the objective."""

    def objective(params, batch_stats, inputs, key):
        assert inputs.clicks.radius.shape == (8, 1) and inputs.target.dtype == bool
        missing = jnp.sum(inputs.target) + jnp.sum(inputs.clicks.count) + jnp.sum(inputs.prev_mask)
        return params["w"] ** 2 + 3 * params["w"] + missing, (batch_stats, inputs.image - 0.035)

    state, metrics = plugged_step(objective, PLAIN)(0)
    assert float(metrics["loss"]) == 8 * 8 * 8
    assert float(state.params["w"]) == -3.0
    # Rows 4 to 7 lie above 0.035, all of their pixels.
    assert float(metrics["iou"]) == 0.5


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
    def objective(params, batch_stats, inputs, key):
        # What the network's own running average does with a batch whose statistic is 1.
        stats = jax.tree.map(lambda s: s + (1 - BATCH_NORM_MOMENTUM) * (1 - s), batch_stats)
        return params["w"], (stats, inputs.image)

    gain = 1 - BATCH_NORM_MOMENTUM
    run = plugged_step(objective, PLAIN._replace(is_pretrained=False, stats_momentum=0.9))
    gains = [float(run(number)[0].batch_stats["s"]) / gain for number in (0, 1, 4, 9, 50)]
    assert gains == pytest.approx([10, 5, 2, 1, 1])
    pretrained = plugged_step(objective, PLAIN._replace(stats_momentum=0.95))
    assert float(pretrained(0)[0].batch_stats["s"]) / gain == pytest.approx(0.5)
