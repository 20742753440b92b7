"""The pool of sessions: who is renewed, what is clicked, and that a step trains on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import parallel
from ecc_jax.clicks.encoding import empty_clicks
from ecc_jax.clicks.user import RobotUser, next_click
from ecc_jax.data.augment import Augmentation
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.inference.view import DiskView
from ecc_jax.interaction import Scene
from ecc_jax.models.build import build
from ecc_jax.training import sessions
from ecc_jax.training import state as states
from ecc_jax.training import step as steps
from ecc_jax.training.inputs import shown_scene
from ecc_jax.training.objective import LossOptions, make_objective
from tests.training import test_step

GROUPS, SIZE, GRID, CAPACITY = 2, 4, 32, 3
USER = RobotUser(radius="habits")
SOURCE = sessions.session_clicks(USER, max_clicks=CAPACITY, gamma=0.75)


def scene_of(seed, rows=GROUPS):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:GRID, :GRID]
    centre = rng.uniform(10, 22, (rows, 2, 1, 1))
    target = np.hypot(yy - centre[:, 0], xx - centre[:, 1]) < rng.uniform(3, 8, (rows, 1, 1))
    image = rng.random((rows, GRID, GRID, 1), np.float32)
    keys = jax.random.split(jax.random.key(seed), rows)
    return shown_scene(keys, jnp.asarray(image), jnp.asarray(target), view=None, user=USER)


@jax.jit
def turn(pool, scene, key):
    return SOURCE.inputs({}, scene, key, None, pool)


def run(turns, logit=-4.0):
    """Turns of a network that answers every pixel alike."""
    pool, seen = SOURCE.begin(GROUPS * SIZE, GRID, GRID), []
    for i in range(turns):
        inputs, pool = turn(pool, scene_of(i), jax.random.key(i))
        seen.append(inputs)
        pool = SOURCE.answered(pool, inputs, jnp.full(inputs.image.shape, logit))
    return pool, seen


def test_one_row_of_each_group_is_fresh_at_every_step():
    _, seen = run(8)
    for i, inputs in enumerate(seen):
        is_new = (inputs.clicks.count == 1).reshape(GROUPS, SIZE)
        assert is_new.sum(axis=1).tolist() == [1] * GROUPS, i
        # The pool fills row by row, until the first sessions have had all their clicks.
        counted = np.asarray(inputs.weight > 0).reshape(GROUPS, SIZE).sum(axis=1)
        if i < CAPACITY:
            assert counted.tolist() == [i + 1] * GROUPS
        assert counted.min() > 0
    assert len({int(c) for c in seen[-1].clicks.count}) > 1


def test_sessions_go_on_with_the_answer_and_their_own_slice():
    pool, seen = SOURCE.begin(GROUPS * SIZE, GRID, GRID), []
    for i in range(5):
        before = pool
        inputs, pool = turn(pool, scene_of(i), jax.random.key(i))
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), before)
        goes_on = np.asarray((inputs.clicks.count > 1) & (inputs.weight > 0))
        np.testing.assert_array_equal(inputs.prev_mask[goes_on], rows.prob[goes_on])
        np.testing.assert_array_equal(inputs.image[goes_on], rows.image[goes_on])
        np.testing.assert_array_equal(inputs.target[goes_on], rows.target[goes_on])
        np.testing.assert_array_equal(inputs.clicks.count[goes_on], rows.clicks.count[goes_on] + 1)
        fresh = np.asarray(inputs.clicks.count == 1)
        assert not np.asarray(inputs.prev_mask)[fresh].any()
        pool = SOURCE.answered(pool, inputs, jnp.full(inputs.image.shape, 0.3 * i))
        seen.append(goes_on.sum())
    assert sum(seen) > 5


def test_a_perfect_answer_ends_the_session():
    pool = SOURCE.begin(GROUPS * SIZE, GRID, GRID)
    inputs, pool = turn(pool, scene_of(0), jax.random.key(0))
    right = jnp.where(inputs.target[..., None], 5.0, -5.0)
    pool = SOURCE.answered(pool, inputs, right)
    inputs, pool = turn(pool, scene_of(1), jax.random.key(1))
    # Nothing is left to click in the first sessions: they carry no weight, the fresh ones do.
    assert float(inputs.weight.sum()) == GROUPS
    pool = SOURCE.answered(pool, inputs, right)
    # Ended rows are renewed before open ones.
    assert int(pool.is_open.sum()) == GROUPS


def test_sessions_end_after_the_most_clicks():
    pool, seen = run(12)
    assert max(int(inputs.clicks.count.max()) for inputs in seen) == CAPACITY
    assert not np.asarray(pool.is_open)[np.asarray(pool.clicks.count) == CAPACITY].any()


def test_weighted_mean_leaves_rows_out():
    _, seen = run(1)
    values = jnp.arange(GROUPS * SIZE, dtype=jnp.float32)
    weight = np.asarray(seen[0].weight)
    assert float(seen[0].mean(values)) == pytest.approx((weight * values).sum() / weight.sum())
    nobody = seen[0]._replace(weight=jnp.zeros_like(seen[0].weight))
    assert float(nobody.mean(values)) == 0


def test_habits_stay_with_a_session_and_lie_between_tight_and_four_fifths():
    keys = jax.random.split(jax.random.key(3), 400)
    user = USER.of_rows(keys)
    again = USER.of_rows(keys)
    np.testing.assert_array_equal(user.first_weight, again.first_weight)
    assert 0.1 <= float(user.first_weight.min()) < 0.12 and float(user.first_weight.max()) <= 0.8
    assert float(user.later_weight.min()) < 0.02 and 0.78 < float(user.later_weight.max()) <= 0.8
    steady = RobotUser(radius="average")
    assert steady.of_rows(keys) is steady


def _step(microbatches=1, name="disk_tiny"):
    segmenter = Segmenter(
        build(name), view=DiskView(grid=16), prior="painter", intensity="core", edits="local"
    )
    options = test_step.OPTIONS._replace(
        augmentation=Augmentation(crop=None, vertical_flip_prob=0.5, transpose_prob=0.5),
        microbatches=microbatches,
        zoom_spread=0.1,
    )
    task = steps.Task(segmenter, make_objective(segmenter, LossOptions()), SOURCE, USER)
    optimizer = states.make_optimizer(b1=0.9, b2=0.999, weight_decay=1e-4, clip_norm=1.0)
    start = states.create(
        segmenter.init_variables(0),
        optimizer,
        with_average=True,
        pool=SOURCE.begin(test_step.BATCH * SIZE, 16, 16),
    )
    multipliers = states.rate_multipliers(start.params, trunk=1.0)
    return jax.jit(steps.make_train_step(task, optimizer, multipliers, options)), start


@pytest.fixture(scope="module")
def trained():
    step, state = _step()
    batch, records = test_step._batch(), []
    for _ in range(6):
        state, values = step(state, batch, np.float32(3e-3))
        records.append(jax.device_get(values))
    return step, state, records


def test_the_step_trains_network_and_prior_in_one_compilation(trained):
    step, state, records = trained
    assert step._cache_size() == 1
    assert all(np.isfinite(r["loss"]) for r in records)
    assert records[0]["num_clicks"] == 1 and records[-1]["num_clicks"] > 1
    fresh = _step()[1]
    for part in ("painter_prior", "score_head", "down_0"):
        pairs = zip(
            jax.tree.leaves(state.params[part]), jax.tree.leaves(fresh.params[part]), strict=True
        )
        assert any(not np.array_equal(a, b) for a, b in pairs), part


def test_going_on_from_a_copy_of_the_state_repeats_the_run(trained):
    step, _, records = trained
    state, batch = _step()[1], test_step._batch()
    for _ in range(3):
        state, _ = step(state, batch, np.float32(3e-3))
    state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state)
    for i in range(3, 6):
        state, values = step(state, batch, np.float32(3e-3))
        assert float(values["loss"]) == records[i]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ritm_tiny", "focalclick_tiny", "unetpp_tiny"])
def test_every_network_trains_with_all_parts(name):
    step, start = _step(name=name)
    state, batch = start, test_step._batch()
    for _ in range(3):
        state, values = step(state, batch, np.float32(1e-3))
    assert step._cache_size() == 1 and np.isfinite(float(values["loss"]))
    # The first step is the painter's: what is added to it begins at 0.
    heads = [part for part in start.params if part in ("score_head", "segmentation_head_0")]
    assert all(not np.asarray(start.params[part]["kernel"]).any() for part in heads)
    assert float(state.params["painter_prior"]["weight"][0]) != 1.0


@pytest.mark.slow
def test_sessions_on_eight_devices_equal_those_on_one():
    mesh = parallel.make_mesh(8)
    everywhere, rows = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    step, start = _step()
    whole = start._replace(
        **{name: everywhere for name in start._fields if name != "pool"}, pool=rows
    )
    sharded = jax.jit(
        step, in_shardings=(whole, rows, everywhere), out_shardings=(whole, everywhere)
    )
    one, batch = start, test_step._batch()
    many = parallel.replicate(start._replace(pool=None), mesh)._replace(
        pool=parallel.to_global(jax.device_get(start.pool), mesh)
    )
    for _ in range(2):
        one, values = step(one, batch, np.float32(1e-3))
        many, others = sharded(many, parallel.to_global(batch, mesh), np.float32(1e-3))
        assert float(values["loss"]) == pytest.approx(float(others["loss"]), abs=1e-4)
    np.testing.assert_array_equal(one.pool.clicks.count, many.pool.clicks.count)
    np.testing.assert_allclose(one.pool.image, many.pool.image, atol=1e-5)


def test_microbatches_hold_whole_groups():
    """Two half batches see the sessions that one whole batch sees."""
    (whole, start), (halves, _) = _step(), _step(microbatches=2)
    batch = test_step._batch()
    one, _ = whole(start, batch, np.float32(0.0))
    two, _ = halves(start, batch, np.float32(0.0))
    # Which row of a group is renewed is drawn anew in each microbatch; the slices are the same.
    np.testing.assert_array_equal(one.pool.image.sum(axis=1), two.pool.image.sum(axis=1))
    assert one.pool.image.shape == two.pool.image.shape == (test_step.BATCH, SIZE, 16, 16, 1)


def test_scene_without_a_view_keeps_the_slice():
    scene = scene_of(0)
    assert isinstance(scene, Scene) and scene.first_click is None


def test_some_sessions_drag_average_radii_and_half_have_an_unsteady_hand():
    keys = jax.random.split(jax.random.key(4), 2000)
    user = RobotUser(radius="habits", habit_share=0.4, jitter_share=0.2, radius_spread=0.25)
    rows = user.of_rows(keys)
    is_average = np.asarray(rows.first_weight) == 0.5
    assert is_average.mean() == pytest.approx(0.6, abs=0.05)
    np.testing.assert_array_equal(is_average, np.asarray(rows.later_weight) == 0.5)
    share, scale = np.asarray(rows.jitter_share), np.asarray(rows.radius_scale)
    steady = share == 0
    assert steady.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(scale[steady], 1.0)
    assert 0.19 < share.max() <= 0.2
    assert np.exp(-0.5) <= scale.min() < 0.75 and 1.35 < scale.max() <= np.exp(0.5) + 1e-6
    # A habit says nothing of the hand.
    assert np.corrcoef(is_average, steady)[0, 1] == pytest.approx(0, abs=0.08)
    average = RobotUser(radius="average", jitter_share=0.2).of_rows(keys)
    assert average.radius == "average" and float(average.jitter_share.max()) > 0.19


def test_a_share_of_the_radius_moves_large_disks_further():
    yy, xx = np.mgrid[:96, :96]
    radius = np.array([[[6.0]], [[24.0]]])
    target = jnp.asarray(np.hypot(yy - 48, xx - 48) <= radius)
    user = RobotUser(jitter_share=0.2)
    keys = jax.random.split(jax.random.key(0), 200)

    def place(key):
        pair = jnp.stack([key, key])
        return next_click(pair, ~target & target, target, empty_clicks(2, 1), user=user).yx

    moves = np.asarray(jax.jit(jax.vmap(place))(keys)) - 48
    # The mean of tight and enclosing is about half a pixel above the disk's radius.
    np.testing.assert_allclose(moves.std(axis=(0, 2)), 0.2 * radius[:, 0, 0], rtol=0.2)
