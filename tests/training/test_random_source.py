"""Random clicks in training: what the network is shown, and that a step trains on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import checks, config, settings
from ecc_jax.clicks.encoding import WITHOUT_RADIUS, append_click
from ecc_jax.clicks.random_clicks import random_clicks
from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Session, simulated_click
from ecc_jax.training import options, state
from ecc_jax.training.random_source import random_source
from tests.training import test_inputs, test_step

EACH, USER = 3, RobotUser(radius="normal", threshold=0.4)
SEGMENTER = Segmenter(test_inputs.Painting(), "hybrid")
VARIABLES = test_inputs.VARIABLES
SCENE = test_inputs._scene()
PREDICT = jax.jit(full_frame(SEGMENTER, VARIABLES))


def _inputs(max_corrections):
    source = random_source(
        SEGMENTER, USER, max_each=EACH, gamma=0.8, max_corrections=max_corrections
    )

    @jax.jit
    def inputs(key, ignored):
        return source.inputs(VARIABLES, SCENE, key, ignored, None)[0]

    return inputs


@jax.jit
def _placed():
    return random_clicks(
        SCENE.keys, SCENE.target, user=USER, max_each=EACH, gamma=0.8, capacity=2 * EACH + 2
    )


def test_random_clicks_are_all_that_the_network_is_shown():
    found = _inputs(0)(jax.random.key(0), jnp.int32(7))
    for own, expected in zip(found.clicks, _placed(), strict=True):
        expected = expected[:, : 2 * EACH] if expected.ndim > 1 else expected
        np.testing.assert_allclose(own, expected, rtol=1e-6)
    assert not found.prev_mask.any() and found.weight is None
    np.testing.assert_array_equal(found.target, SCENE.target)


def _corrected(number):
    """The loop written out: answer everything so far, then click on what is wrong."""
    clicks, prob = _placed(), jnp.zeros_like(SCENE.image)
    click = jax.jit(lambda index, session: simulated_click(
        SCENE.keys, index, session, SCENE.target, user=USER
    ))  # fmt: skip
    for index in range(number):
        prob = PREDICT(SCENE.image, clicks, prob)
        newest = click(index + 1, Session(clicks, prob))
        assert newest.exists.all()
        clicks = append_click(clicks, newest)
    return clicks, prob


def test_corrections_answer_all_clicks_so_far_in_one_compilation():
    inputs, seen = _inputs(2), []
    for seed in range(12):
        found = inputs(jax.random.key(seed), jnp.int32(1))
        number = int(jnp.max(found.clicks.count - _placed().count))
        seen.append(number)
        if seen.count(number) > 1:
            continue
        clicks, prob = _corrected(number)
        np.testing.assert_array_equal(found.clicks.count, clicks.count)
        used = np.arange(2 * EACH + 2)[None] < np.asarray(clicks.count)[:, None]
        np.testing.assert_allclose(found.clicks.yx[used], clicks.yx[used])
        np.testing.assert_allclose(found.clicks.radius[used], clicks.radius[used], rtol=1e-5)
        np.testing.assert_array_equal(found.clicks.is_positive[used], clicks.is_positive[used])
        np.testing.assert_allclose(found.prev_mask, prob, atol=1e-6)
    assert set(seen) == {0, 1, 2} and inputs._cache_size() == 1


def _step_of(source, encoding, *, colour_prob=0.0):
    tree = config.default()
    tree.model.name, tree.model.encoding, tree.train.source = "disk_tiny", encoding, source
    tree.augment.crop, tree.data.size, tree.train.max_clicks = (32, 32), test_step.SIZE, 3
    tree.train.batch_size, tree.train.click_gamma = test_step.BATCH, 0.75
    if encoding in WITHOUT_RADIUS:
        tree.train.radius = tree.clicks.radius = "fixed"
    tree.augment.colour_prob = colour_prob
    checks.validate(tree)
    segmenter = settings.segmenter_of(tree)
    first = options.first_state(tree, segmenter)
    multipliers = state.rate_multipliers(first.params, trunk=1.0)
    step = options.train_step_of(tree, segmenter, options.optimizer_of(tree), multipliers)
    slices = options.fresh_slices(tree)
    batch = jax.tree.map(lambda field: field[:slices], test_step._batch())
    return step, first, batch


def test_a_step_on_random_clicks_trains_and_logs_what_it_placed():
    step, first, batch = _step_of("random_then_iterative", "hybrid")
    run = jax.jit(step)
    records, trained = [], first
    for _ in range(4):
        trained, record = run(trained, batch, np.float32(1e-2))
        records.append(jax.device_get(record))
    assert run._cache_size() == 1
    assert all(np.isfinite(record["loss"]) for record in records)
    # One lesion click at least; of the 8 rows some have more.
    counts = [float(record["num_clicks"]) for record in records]
    assert 1 < min(counts) and max(counts) <= 9 and len(set(counts)) > 1
    pairs = zip(jax.tree.leaves(trained.params), jax.tree.leaves(first.params), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("source", "encoding", "colour_prob"),
    [
        ("random", "box", 0.0),
        ("sessions", "hybrid", 0.0),
        ("random", "distance", 0.5),
        ("random_then_iterative", "disk", 0.5),
        ("iterative", "gaussian", 0.5),
    ],
)
def test_samplers_and_encodings_are_traced_in_one_step(source, encoding, colour_prob):
    step, first, batch = _step_of(source, encoding, colour_prob=colour_prob)
    after, record = jax.eval_shape(step, first, batch, np.float32(1e-3))
    assert record["num_clicks"].shape == ()
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, after, first)
    assert all(jax.tree.leaves(same))
