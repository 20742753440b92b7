"""Pipelines around networks simple enough to say what must come out."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ecc_jax.clicks.encoding import disk_maps
from ecc_jax.inference import pipelines
from ecc_jax.inference.crops import Zoom, find_region, grid_shape
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene, rollout
from ecc_jax.ops.resample import resize_align_corners
from ecc_jax.types import Clicks, Prediction

SHAPE, BATCH = (32, 32), 4
ZOOM = Zoom(target=24, min_crop=10)
VARIABLES = {"tilt": jnp.float32(0.7)}
# The crop's steps compile to other fused sums inside a larger program.
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


class Pointwise(NamedTuple):
    """Looks at every pixel on its own, so it commutes with mirroring; `tilts` breaks that."""

    tilts: bool = False
    calls: tuple[list, ...] = ()

    def __hash__(self):
        return hash((self.tilts, len(self.calls)))

    def apply(self, variables, image, guidance, prev_mask, *, train=False):
        for calls in self.calls:
            calls.append(image.shape)
        score = guidance[..., :1] - 1.2 * guidance[..., 1:] + 0.8 * prev_mask
        score = 4.0 * (score + 0.5 * image[..., :1] - 0.75)
        if self.tilts:
            ramp = jnp.linspace(-1, 1, image.shape[2])[None, None, :, None]
            score = score + variables["tilt"] * ramp
        return Prediction(score, score, score)


def scene(seed=0, batch=BATCH, shape=SHAPE):
    """A small lesion, two clicks on it and one off, and the answer to the first two."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, (batch, *shape, 1)).astype(np.float32)
    prev = rng.uniform(0.01, 0.3, (batch, *shape, 1)).astype(np.float32)
    corner = rng.integers(2, min(shape) - 8, (batch, 2))
    for row, (y, x) in enumerate(corner):
        prev[row, y : y + 5, x : x + 6] = 0.9
    yx = np.stack([corner + 2, corner + [1, 4], corner - 2], axis=1).astype(np.float32)
    positive = np.tile([True, True, False], (batch, 1))
    radius = rng.uniform(1.5, 4, (batch, 3)).astype(np.float32)
    clicks = Clicks(yx, radius, positive, np.full(batch, 3, np.int32))
    return jax.tree.map(jnp.asarray, (image, clicks, prev))


def by_hand(image, clicks, prev, box, shape, scales_radius):
    """The answer on one crop: slice, resize, move the clicks, answer, resize back."""
    y0, x0, y1, x1 = box
    grid = np.array(shape) / [y1 - y0, x1 - x0]
    yx = (np.asarray(clicks.yx) - [y0, x0]) * grid
    moved = clicks._replace(yx=jnp.asarray(yx, jnp.float32))
    if scales_radius:
        moved = moved._replace(radius=clicks.radius * float(grid.mean()))
    patch, before = (resize_align_corners(a[:, y0:y1, x0:x1], shape) for a in (image, prev))
    out = Pointwise().apply(VARIABLES, patch, disk_maps(moved, shape), before)
    inside = resize_align_corners(jax.nn.sigmoid(out.logits), (y1 - y0, x1 - x0))
    return np.pad(inside, ((0, 0), (y0, SHAPE[0] - y1), (x0, SHAPE[1] - x1), (0, 0)))


@pytest.mark.parametrize("scales_radius", [True, False])
@pytest.mark.parametrize("is_tight", [True, False])
def test_answer_on_the_crop_is_put_together_as_by_hand(is_tight, scales_radius):
    zoom = ZOOM._replace(scales_radius=scales_radius)
    image, clicks, prev = scene()
    make = pipelines.zoom_in_tight if is_tight else pipelines.zoom_in
    got = make(Segmenter(Pointwise()), VARIABLES, zoom=zoom)(image, clicks, prev)
    region = find_region(prev, clicks, zoom, keeps_aspect=not is_tight)
    assert region.is_zoomed.all()
    for i, (y0, x0, y1, x1) in enumerate(np.asarray(region.box).tolist()):
        assert y1 - y0 < SHAPE[0]
        one = slice(i, i + 1)
        row = jax.tree.map(lambda a, one=one: a[one], (image, clicks, prev))
        shape = grid_shape((y1 - y0, x1 - x0) if is_tight else SHAPE, zoom)
        close(got[one], by_hand(*row, (y0, x0, y1, x1), shape, scales_radius))


@pytest.mark.parametrize("flip", [True, False])
def test_zoom_on_the_whole_image_at_its_own_size_changes_nothing(flip):
    image, clicks, prev = scene()
    zoom = Zoom(target=32, min_crop=32)
    whole = pipelines.full_frame(Segmenter(Pointwise(tilts=True)), VARIABLES, flip=flip)
    for make in (pipelines.zoom_in, pipelines.zoom_in_tight):
        predict = make(Segmenter(Pointwise(tilts=True)), VARIABLES, zoom=zoom, flip=flip)
        close(predict(image, clicks, prev), whole(image, clicks, prev))


def test_flip_averages_scores_and_leaves_a_symmetric_network_alone():
    image, clicks, prev = scene()
    straight = pipelines.full_frame(Segmenter(Pointwise()), VARIABLES)(image, clicks, prev)
    flipped = pipelines.full_frame(Segmenter(Pointwise()), VARIABLES, flip=True)(
        image, clicks, prev
    )
    np.testing.assert_array_equal(straight, flipped)
    # A ramp in the score is as much too high on the left as too low on the right.
    tilted = pipelines.full_frame(Segmenter(Pointwise(tilts=True)), VARIABLES)(image, clicks, prev)
    assert float(jnp.abs(tilted - straight).max()) > 0.05
    averaged = pipelines.full_frame(Segmenter(Pointwise(tilts=True)), VARIABLES, flip=True)
    close(averaged(image, clicks, prev), straight)


def test_first_clicks_and_lost_masks_see_the_whole_image_as_it_is():
    image, clicks, prev = scene()
    clicks = clicks._replace(count=jnp.array([1, 3, 2, 3], jnp.int32))
    prev = prev.at[1].set(0.2)
    got = jax.jit(pipelines.zoom_in(Segmenter(Pointwise()), VARIABLES, zoom=ZOOM))(
        image, clicks, prev
    )
    whole = pipelines.full_frame(Segmenter(Pointwise()), VARIABLES)(image, clicks, prev)
    close(got[:2], whole[:2])
    assert float((got[2:] == 0).mean()) > 0.3  # outside the crop
    later = ZOOM._replace(skip_clicks=2)
    got = pipelines.zoom_in(Segmenter(Pointwise()), VARIABLES, zoom=later)(image, clicks, prev)
    close(got[:3], whole[:3])
    assert (got[3] == 0).any()


# Those of two stages have a file of their own.
ONE_STAGE = sorted(set(pipelines.NAMES) - set(pipelines.TWO_STAGES))


@pytest.mark.parametrize("pipeline", ONE_STAGE)
def test_rows_do_not_see_each_other_and_jit_changes_nothing(pipeline):
    image, clicks, prev = scene()
    clicks = clicks._replace(count=jnp.array([1, 3, 2, 3], jnp.int32))
    options = pipelines.InferenceOptions(pipeline, flip=True, zoom=ZOOM)
    predict = pipelines.make_predict(Segmenter(Pointwise(tilts=True)), VARIABLES, options)
    compiled = jax.jit(predict)
    together = compiled(image, clicks, prev)
    close(predict(image, clicks, prev), together)
    for i in range(BATCH):
        row = jax.tree.map(lambda a, i=i: a[i : i + 1], (image, clicks, prev))
        close(compiled(*row), together[i : i + 1])


def test_color_images_pass_and_grey_ones_become_three_equal_channels():
    _, clicks, _ = scene()
    grey = jnp.full((BATCH, *SHAPE, 1), 0.3)
    color = jax.random.uniform(jax.random.key(0), (BATCH, *SHAPE, 3))
    segmenter, prev = Segmenter(Pointwise()), jnp.zeros_like(grey)
    np.testing.assert_array_equal(segmenter.inputs(color, clicks, prev)[0], color)
    channels = segmenter.inputs(grey, clicks, prev)[0]
    assert channels.shape == (BATCH, *SHAPE, 3) and (channels == 0.3).all()


def test_unknown_pipeline_lists_the_valid_ones():
    options = pipelines.FULL_FRAME._replace(pipeline="zoom")
    with pytest.raises(ValueError, match="full_frame, zoom_in, focalclick; got 'zoom'"):
        pipelines.make_predict(Segmenter(Pointwise()), VARIABLES, options)


def lesions(batch):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rng = np.random.default_rng(8)
    centres = rng.uniform(8, 24, (batch, 2, 1, 1))
    return jnp.asarray(np.hypot(y - centres[:, 0], 0.6 * (x - centres[:, 1])) < 4.5)


def test_click_loop_with_zoom_and_flip_compiles_once_for_all_click_counts():
    calls = []
    options = pipelines.InferenceOptions("zoom_in", flip=True, zoom=ZOOM)
    keys = jax.random.split(jax.random.key(1), BATCH)
    image, target = scene()[0], lesions(BATCH)

    @jax.jit
    def run(num_clicks):
        predict = pipelines.make_predict(Segmenter(Pointwise(calls=(calls,))), VARIABLES, options)
        return rollout(Scene(keys, image, target), predict, num_clicks=num_clicks, capacity=5)

    whole = run(jnp.int32(5))
    traced = len(calls)
    assert {shape[1:3] for shape in calls} == {SHAPE, (24, 24)}
    for count in (1, 2, 4):
        close(run(jnp.int32(count)).iou[:, :count], whole.iou[:, :count])
    assert len(calls) == traced and run._cache_size() == 1
    # The crop is really used: the answers are 0 around it.
    assert (np.asarray(whole.session.prob) == 0).mean() > 0.2


def test_click_loop_spread_over_devices_equals_one_device():
    options = pipelines.InferenceOptions("zoom_in", flip=True, zoom=ZOOM)
    predict = pipelines.make_predict(Segmenter(Pointwise(tilts=True)), VARIABLES, options)
    run = jax.jit(lambda *arrays: rollout(Scene(*arrays), predict, num_clicks=3))
    args = jax.random.split(jax.random.key(1), 8), scene(batch=8)[0], lesions(8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = run(*jax.device_put(args, NamedSharding(mesh, PartitionSpec("data"))))
    assert len(spread.session.prob.sharding.device_set) == 8
    jax.tree.map(close, spread, run(*args))
