import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import ndimage

from ecc_jax.classical.painter import disk_mask, paint_predict
from ecc_jax.clicks.encoding import append_click, disk_maps
from ecc_jax.clicks.user import RobotUser, next_click
from ecc_jax.interaction import Scene, Session, interact, replay, rollout, simulate, start
from ecc_jax.types import Click

BATCH, HEIGHT, WIDTH = 4, 20, 24
jitted = jax.jit(rollout, static_argnames=("predict", "num_clicks", "measure"))


def run(predict, *arrays, rule="largest_component", radius="average", threshold=0.5, **options):
    user = RobotUser(rule, radius, threshold=threshold)
    return jitted(Scene(*arrays), predict, user, **options)


def lesions(batch=BATCH, seed=0):
    """Smooth targets; the last is empty."""
    noise = np.random.default_rng(seed).normal(size=(batch, HEIGHT, WIDTH))
    target = np.stack([ndimage.gaussian_filter(row, 2.5) for row in noise]) > 0.04
    target[-1] = False
    assert target[:-1].any(axis=(1, 2)).all()
    return jnp.asarray(target)


def scene(batch=BATCH):
    image = jax.random.uniform(jax.random.key(5), (batch, HEIGHT, WIDTH, 1))
    return jax.random.split(jax.random.key(6), batch), image, lesions(batch)


def soft_predict(image, clicks, prev_mask):
    """Reacts to everything a network reacts to: the image, all disks, the previous mask."""
    guidance = disk_maps(clicks, image.shape[1:3])
    score = guidance[..., :1] - 1.2 * guidance[..., 1:] + 0.8 * prev_mask + 0.5 * image
    return jax.nn.sigmoid(4.0 * (score - 0.75))


def oracle_predict(target):
    return lambda image, clicks, prev_mask: target[..., None].astype(jnp.float32)


@pytest.mark.parametrize(
    ("rule", "radius"),
    [
        ("largest_component", "normal"),
        pytest.param("deepest", "average", marks=pytest.mark.slow),
    ],
)
def test_simulate_equals_rollout_cut_at_n_in_one_compilation(rule, radius):
    keys, image, target = scene()
    traces = []

    def counted(*args):
        traces.append(None)
        return soft_predict(*args)

    @jax.jit
    def simulated(num_clicks):
        scene = Scene(keys, image, target)
        user = RobotUser(rule, radius)
        return simulate(scene, counted, user, num_clicks=num_clicks, capacity=5)

    whole = run(soft_predict, keys, image, target, num_clicks=5, rule=rule, radius=radius)
    simulated(jnp.int32(5))
    traced = len(traces)
    for count in (1, 3, 5):
        clicks, prob = simulated(jnp.int32(count))
        expected = jnp.minimum(whole.clicks.count, count)
        np.testing.assert_array_equal(clicks.count, expected)
        used = np.arange(5)[None, :] < np.asarray(expected)[:, None]
        np.testing.assert_array_equal(clicks.yx[used], whole.clicks.yx[used])
        np.testing.assert_array_equal(clicks.is_positive[used], whole.clicks.is_positive[used])
        np.testing.assert_allclose(clicks.radius[used], whole.clicks.radius[used], rtol=1e-6)
        if count == 1:
            assert not prob.any()
        if count == 3:
            static = {"num_clicks": 2, "rule": rule, "radius": radius}
            two = run(soft_predict, keys, image, target, **static)
            np.testing.assert_allclose(prob, two.session.prob, atol=1e-6)
    assert len(traces) == traced and simulated._cache_size() == 1


def test_replaying_recorded_clicks_gives_the_same_mask():
    keys, image, target = scene()
    recorded = run(soft_predict, keys, image, target, num_clicks=4, radius="normal")
    step = jax.jit(functools.partial(interact, soft_predict))
    session = start(image, capacity=4)
    order = np.cumsum(np.asarray(recorded.clicked), axis=1) - 1
    rows = np.arange(BATCH)
    for turn in range(4):
        slot = np.maximum(order[:, turn], 0)
        click = Click(
            recorded.clicks.yx[rows, slot],
            recorded.clicks.radius[rows, slot],
            recorded.clicks.is_positive[rows, slot],
            recorded.clicked[:, turn],
        )
        session = step(image, session, click)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7),
        session,
        recorded.session,
    )


def test_each_click_draws_from_its_own_key():
    keys, image, target = scene()
    recorded = run(soft_predict, keys, image, target, num_clicks=4, radius="normal")
    draw = jax.jit(functools.partial(next_click, user=RobotUser(radius="normal")))
    step = jax.jit(functools.partial(interact, soft_predict))
    session = start(image, capacity=4)
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    for turn in range(3):
        click = draw(fold(keys, turn), session.prob[..., 0] > 0.5, target, session.clicks)
        np.testing.assert_array_equal(click.exists, recorded.clicked[:, turn])
        rows = np.flatnonzero(click.exists)
        slots = np.asarray(session.clicks.count)[rows]
        np.testing.assert_allclose(
            click.radius[rows], recorded.clicks.radius[rows, slots], rtol=1e-6
        )
        session = step(image, session, click)
    assert (session.clicks.count[:3] >= 2).any()


def test_rollout_reports_iou_clicks_and_turns_without_a_click():
    keys, image, target = scene()
    perfect = run(oracle_predict(target), keys, image, target, num_clicks=3)
    np.testing.assert_array_equal(perfect.iou, np.ones((BATCH, 3)))
    np.testing.assert_array_equal(perfect.clicked, [[True, False, False]] * 3 + [[False] * 3])
    np.testing.assert_array_equal(perfect.clicks.count, [1, 1, 1, 0])
    # The empty target had no click, so its answer was thrown away.
    stubborn = run(lambda i, c, p: jnp.ones_like(p), keys, image, target, num_clicks=3)
    np.testing.assert_array_equal(stubborn.session.prob[-1], 0.0)
    area = np.asarray(target).mean(axis=(1, 2))[:, None]
    np.testing.assert_allclose(stubborn.iou[:3], np.repeat(area[:3], 3, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(stubborn.iou[3], 1.0)
    jax.tree.map(np.testing.assert_array_equal, stubborn.clicks, stubborn.session.clicks)


def test_painter_by_hand():
    # A 5 x 5 square and one pixel: the first tight disk (d < 3) is the square without corners,
    # then the corners follow one by one, all of size 1, the first in row-major order first.
    target = np.zeros((1, 9, 9), bool)
    target[0, 1:6, 1:6] = True
    target[0, 8, 8] = True
    keys = jax.random.split(jax.random.key(0), 1)
    image = jnp.zeros((1, 9, 9, 1))
    result = run(paint_predict, keys, image, jnp.asarray(target), num_clicks=7, radius="tight")
    centres = [[3, 3], [8, 8]]
    np.testing.assert_array_equal(result.clicks.yx[0, :2], centres)
    np.testing.assert_allclose(result.iou[0], [25 / 26, 1, 1, 1, 1, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(result.clicks.count, [2])
    first = disk_mask(result.clicks, (9, 9))
    assert first.sum() == 29 and first[0, 3, 3] and first[0, 0, 3] and first[0, 3, 6]


def test_painter_with_tight_disks_never_loses_ground():
    keys, image, target = scene()
    ious = np.asarray(run(paint_predict, keys, image, target, num_clicks=8, radius="tight").iou)
    assert (np.diff(ious, axis=1) >= 0).all() and (ious[:3, -1] > ious[:3, 0]).all()


def test_row_alone_equals_row_in_batch():
    keys, image, target = scene()
    together = run(soft_predict, keys, image, target, num_clicks=4, radius="normal")
    for row in range(BATCH):
        one = slice(row, row + 1)
        args = keys[one], image[one], target[one]
        alone = run(soft_predict, *args, num_clicks=4, radius="normal")
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7),
            alone,
            jax.tree.map(lambda field, one=one: field[one], together),
        )


def test_batch_sharded_over_devices_equals_one_device():
    keys, image, target = scene(batch=8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put((keys, image, target), NamedSharding(mesh, PartitionSpec("data")))
    result = run(soft_predict, *spread, num_clicks=4, radius="normal")
    assert len(result.session.prob.sharding.device_set) == 8
    single = run(soft_predict, keys, image, target, num_clicks=4, radius="normal")
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, result, single)


def test_rows_without_a_click_do_not_change():
    _, image, _ = scene()
    session = Session(start(image, capacity=2).clicks, jnp.full_like(image, 0.3))
    exists = jnp.array([True, False, True, False])
    click = Click(jnp.full((4, 2), 5.0), jnp.full(4, 3.0), jnp.ones(4, bool), exists)
    after = jax.jit(functools.partial(interact, soft_predict))(image, session, click)
    np.testing.assert_array_equal(after.clicks.count, [1, 0, 1, 0])
    changed = np.asarray(after.prob != session.prob).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, exists)
    appended = jax.jit(append_click)(session.clicks, click)
    jax.tree.map(np.testing.assert_array_equal, after.clicks, appended)


def test_simulate_carries_no_gradient():
    keys, image, target = scene()

    def loss(scale, picture):
        def predict(image, clicks, prev_mask):
            return jax.nn.sigmoid(scale * (soft_predict(image, clicks, prev_mask) - 0.4))

        seen = Scene(keys, picture, target)
        _, prob = simulate(seen, predict, num_clicks=jnp.int32(3), capacity=3)
        return scale * prob.sum(), prob.sum()

    gradients, total = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(2.0, image)
    assert total > 0
    np.testing.assert_allclose(gradients[0], total, rtol=1e-6)
    assert not gradients[1].any()


def test_threshold_decides_what_the_user_sees():
    keys, image, target = scene()

    def grey(image, clicks, prev_mask):
        return jnp.full_like(prev_mask, 0.5)

    lesion = run(grey, keys, image, target, num_clicks=1, threshold=0.49)
    nothing = run(grey, keys, image, target, num_clicks=1, threshold=0.5)
    assert (nothing.iou[:3] == 0).all() and (lesion.iou[:3] > 0).all()
    assert nothing.clicks.is_positive[:3].all()


replayed = jax.jit(replay, static_argnames=("predict", "measure"))


def test_recorded_clicks_replay_to_the_same_scores_and_the_user_agrees():
    keys, image, target = scene()
    user = RobotUser(
        radius="weighted", first_weight=0.3, later_weight=0.1, radius_scale=1.2, jitter=1.0
    )
    record = jitted(Scene(keys, image, target), soft_predict, user, num_clicks=4)

    def answered(clicks):
        return replayed(Scene(keys, image, target), soft_predict, user, clicks)

    again = answered(record.clicks)
    np.testing.assert_allclose(again.scores["iou"], record.iou, rtol=1e-6)
    assert again.agrees.all()
    # One click moved by a pixel: the user disagrees there, and the mask differs.
    moved = record.clicks._replace(yx=record.clicks.yx.at[0, 1, 1].add(1.0))
    other = answered(moved)
    assert not other.agrees[0, 1] and other.agrees[1:].all() and other.agrees[0, 0]
    # Another radius, another sign, a click left out.
    radius = record.clicks._replace(radius=record.clicks.radius.at[1, 0].mul(1.01))
    assert not answered(radius).agrees[1, 0]
    sign = record.clicks._replace(is_positive=~record.clicks.is_positive)
    assert not answered(sign).agrees[:3, 0].any()
    shorter = record.clicks._replace(count=record.clicks.count - 1)
    last = np.asarray(record.clicks.count)[0] - 1
    assert not answered(shorter).agrees[0, last]


def test_a_first_mask_is_corrected_instead_of_nothing():
    keys, image, target = scene()
    first = target.at[0].set(True).at[1].set(False)
    result = run(paint_predict, keys, image, target, first, num_clicks=3)
    # Row 0 has too much, row 1 too little, the others nothing to correct.
    np.testing.assert_array_equal(result.clicks.count[2:], 0)
    np.testing.assert_array_equal(result.iou[2:], 1.0)
    assert not result.clicks.is_positive[0, 0] and result.clicks.is_positive[1, 0]
    untouched = np.asarray(start(image, capacity=3, first_mask=first).prob[..., 0] > 0.5)
    np.testing.assert_array_equal(untouched, first)
    empty = run(paint_predict, keys, image, target, num_clicks=3)
    np.testing.assert_allclose(result.iou[1], empty.iou[1])


def test_scores_are_those_of_the_measure_given():
    keys, image, target = scene()

    def measure(mask, truth):
        area = mask.sum(axis=(1, 2)).astype(jnp.float32)
        return {"iou": jnp.ones(mask.shape[0]), "area": area}

    result = run(paint_predict, keys, image, target, num_clicks=3, measure=measure)
    assert set(result.scores) == {"iou", "area"} and (result.iou == 1).all()
    final = np.asarray(result.session.prob[..., 0] > 0.5).sum(axis=(1, 2))
    np.testing.assert_array_equal(result.scores["area"][:, -1], final)
