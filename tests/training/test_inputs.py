"""Where the clicks of a train step come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.clicks.user import RobotUser
from ecc_jax.inference.pipelines import full_frame
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.inference.view import DiskView
from ecc_jax.interaction import Scene, rollout
from ecc_jax.training.inputs import iterative_clicks, shown_scene
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
    keys = jax.random.split(jax.random.key(6), BATCH)
    image = jax.random.uniform(jax.random.key(5), (BATCH, SIZE, SIZE, 1))
    return Scene(keys, image, jnp.asarray(blobs(BATCH, SIZE)))


def _inputs(source):
    """(variables, scene, number of clicks) -> inputs; iterative clicks keep nothing."""

    def inputs(variables, scene, count):
        found, kept = source.inputs(variables, scene, jax.random.key(0), count, None)
        assert kept is None and source.begin(4, SIZE, SIZE) is None
        return found

    return inputs


def test_iterative_clicks_answer_all_but_the_newest():
    segmenter, scene = Segmenter(Painting()), _scene()
    source = jax.jit(_inputs(iterative_clicks(segmenter, USER, max_clicks=4)))

    @jax.jit
    def answered(count):
        predict = full_frame(segmenter, VARIABLES)
        return rollout(scene, predict, USER, num_clicks=count, capacity=4)

    before = jnp.zeros_like(scene.image)
    for count in (1, 2, 3, 4):
        whole = answered(jnp.int32(count))
        inputs = source(VARIABLES, scene, jnp.int32(count))
        for field, expected in zip(inputs.clicks, whole.clicks, strict=True):
            np.testing.assert_allclose(field, expected, rtol=1e-6)
        np.testing.assert_allclose(inputs.prev_mask, before, atol=1e-6)
        before = whole.session.prob
    assert source._cache_size() == 1 and before.any()


def test_each_row_may_have_its_own_number_of_clicks():
    source = jax.jit(_inputs(iterative_clicks(Segmenter(Painting()), USER, max_clicks=4)))
    scene, counts = _scene(), jnp.array([1, 4, 2, 3])
    mixed = source(VARIABLES, scene, counts)
    for row, count in enumerate(counts.tolist()):
        alike = source(VARIABLES, scene, jnp.full(BATCH, count))
        for own, expected in zip(jax.tree.leaves(mixed), jax.tree.leaves(alike), strict=True):
            np.testing.assert_allclose(own[row], expected[row], rtol=1e-6, atol=1e-6)
    assert len(set(mixed.clicks.count.tolist())) > 1


def test_nothing_of_the_clicks_carries_a_gradient():
    source = _inputs(iterative_clicks(Segmenter(Painting()), USER, max_clicks=3))

    def total(variables):
        prob = source(variables, _scene(), jnp.int32(3)).prev_mask
        return prob.sum(), prob.sum()

    gradient, value = jax.jit(jax.grad(total, has_aux=True))(VARIABLES)
    assert value > 0 and float(gradient["params"]["lift"]) == 0


def test_the_square_of_a_view_holds_the_first_click_where_the_slice_has_it():
    """A lesion alone in its slice: the square shows all of it, and the click is its centre."""
    yy, xx = np.mgrid[:64, :64]
    target = jnp.asarray(np.hypot(yy - 30, xx - 41) < 6)[None]
    image = target[..., None].astype(jnp.float32)
    user = RobotUser(radius="tight")
    keys = jax.random.split(jax.random.key(0), 1)
    scene = shown_scene(keys, image, target, view=DiskView(grid=48), user=user)
    assert scene.image.shape == (1, 48, 48, 1)
    click = scene.first_click
    np.testing.assert_allclose(click.yx, [[23.5, 23.5]], atol=1e-4)
    # Half the square is 2.6 radii, whatever the size of the lesion.
    np.testing.assert_allclose(click.radius, 24 / 2.6, rtol=1e-5)
    share = float(jnp.mean(scene.target)) * (2 * 2.6) ** 2 / np.pi
    assert share == pytest.approx((6 / 6.0) ** 2, abs=0.15)
    plain = shown_scene(keys, image, target, view=None, user=user)
    assert plain.first_click is None and plain.image is image


def test_a_turned_square_keeps_its_click_and_turns_image_and_target_alike():
    yy, xx = np.mgrid[:64, :64]
    # Oblong, so that a turn shows.
    target = jnp.asarray(np.hypot((yy - 30) / 5.0, (xx - 33) / 10.0) < 1)[None].repeat(8, axis=0)
    image = target[..., None].astype(jnp.float32)
    keys = jax.random.split(jax.random.key(1), 8)
    view, user = DiskView(grid=48), RobotUser(radius="average")

    def scene_of(turn_prob):
        return shown_scene(keys, image, target, view=view, user=user, turn_prob=turn_prob)

    straight, turned, some = scene_of(0.0), scene_of(1.0), scene_of(0.5)
    np.testing.assert_array_equal(straight.first_click.yx, turned.first_click.yx)
    np.testing.assert_array_equal(straight.first_click.radius, turned.first_click.radius)
    # The image is the lesion, so it must lie under the target, whatever the angle.
    np.testing.assert_array_equal(turned.image[..., 0] > 0.5, turned.target)
    areas = np.asarray([scene.target.sum(axis=(1, 2)) for scene in (straight, turned)])
    np.testing.assert_allclose(areas[1], areas[0], rtol=0.05)
    changed = np.asarray(jnp.any(turned.target != straight.target, axis=(1, 2)))
    assert changed.all()
    share = np.asarray(jnp.any(some.target != straight.target, axis=(1, 2)))
    assert 0 < share.sum() < 8
