"""The pipeline of FocalClick around a network simple enough to say what must come out."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ecc_jax.clicks.encoding import disk_maps
from ecc_jax.inference import pipelines
from ecc_jax.inference.crops import find_region
from ecc_jax.inference.focal import Focal
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene, rollout
from ecc_jax.types import Clicks, Prediction, Refinement
from tests.inference import focal_oracle as oracle

SHAPE, BATCH, SIZE = (40, 48), 4, 24
FOCAL = Focal(size=SIZE)
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)


class TwoStages(NamedTuple):
    """Scores every pixel on its own; refined scores say which pixels the refiner was shown."""

    calls: tuple[list, ...] = ()

    def __hash__(self):
        return hash(len(self.calls))

    def apply(self, variables, *inputs, method="segment", train=False):
        for calls in self.calls:
            calls.append((method, inputs[0].shape))
        if method == "refine":
            return self.refine(*inputs)
        image, guidance, prev_mask = inputs
        score = 1.1 * guidance[..., :1] - 1.3 * guidance[..., 1:] + 0.9 * prev_mask
        score = 6.0 * (score + 0.5 * image[..., :1] - 0.7)
        return Prediction(score, None, score[:, ::4, ::4])

    def refine(self, image, guidance, features, coarse, boxes):
        score = 3.0 * (guidance[..., :1] - guidance[..., 1:]) + image[..., :1] - 0.4
        # The box in pixels of the coarse answer shows in the scores as well.
        score = score + 0.01 * jnp.sum(boxes, axis=1)[:, None, None, None] / SIZE
        return Refinement(score, score, score, score)


SEGMENTER = Segmenter(TwoStages())


def predict_of(**focal):
    """The compiled pipeline with some options of its own."""
    options = pipelines.InferenceOptions("focalclick", focal=FOCAL._replace(**focal))
    return jax.jit(pipelines.make_predict(SEGMENTER, {}, options))


def scene(seed=0, batch=BATCH, count=3):
    """A lesion, two clicks on it and one off, and the answer to the first two."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(batch, *SHAPE)), (0, 2, 2))
    image = (image / np.abs(image).max() * 0.5 + 0.5).astype(np.float32)[..., None]
    prev = np.zeros((batch, *SHAPE, 1), np.float32)
    corner = rng.integers(6, 22, (batch, 2))
    for row, (y, x) in enumerate(corner):
        prev[row, y : y + 9, x : x + 12] = rng.uniform(0.55, 0.95)
    yx = np.stack([corner + 2, corner + [1, 8], corner - 2], axis=1).astype(np.float32)
    positive = np.tile([True, True, False], (batch, 1))
    radius = rng.uniform(2, 4, (batch, 3)).astype(np.float32)
    clicks = Clicks(yx, radius, positive, np.full(batch, count, np.int32))
    return jax.tree.map(jnp.asarray, (image, clicks, prev))


def read(image, box, shape):
    """Bilinear, corner pixels on corner pixels; SciPy, float64."""
    y0, x0, y1, x1 = box
    part = np.asarray(image, np.float64)[y0:y1, x0:x1]
    axes = [np.linspace(0, n - 1, m) if m > 1 else [0.0] for n, m in zip(part.shape, shape)]
    return ndimage.map_coordinates(part, np.meshgrid(*axes, indexing="ij"), order=1)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def disks(clicks, row, box, *, scales_radius):
    """The maps of one row's clicks in a crop."""
    y0, x0, y1, x1 = box
    scale = np.array([SIZE, SIZE]) / [y1 - y0, x1 - x0]
    yx = (np.asarray(clicks.yx[row]) - [y0, x0]) * scale
    radius = np.asarray(clicks.radius[row]) * (scale.mean() if scales_radius else 1.0)
    one = Clicks(
        jnp.asarray(yx[None], jnp.float32),
        jnp.asarray(radius[None], jnp.float32),
        clicks.is_positive[row : row + 1],
        clicks.count[row : row + 1],
    )
    return np.asarray(disk_maps(one, (SIZE, SIZE)))[0]


def by_hand(image, clicks, prev, row, target, *, scales_radius=True, settled=False):
    """The answer to one row's newest click, step by step: (answer, coarse answer, focus box)."""
    image, prev = (np.asarray(x[row, ..., 0]) for x in (image, prev))
    grid = (SIZE, SIZE)
    maps = disks(clicks, row, target, scales_radius=scales_radius)
    score = 1.1 * maps[..., 0] - 1.3 * maps[..., 1] + 0.9 * read(prev, target, grid)
    score = 6.0 * (score + 0.5 * read(image, target, grid) - 0.7)
    y0, x0, y1, x1 = target
    coarse = np.zeros(SHAPE)
    coarse[y0:y1, x0:x1] = read(sigmoid(score), (0, 0, *grid), (y1 - y0, x1 - x0))
    newest = np.round(np.asarray(clicks.yx[row, int(clicks.count[row]) - 1])).astype(int)
    focus = oracle.focus(coarse > 0.5, prev > 0.5, *newest, target)
    maps = disks(clicks, row, focus, scales_radius=scales_radius)
    scale = SIZE / np.array([y1 - y0, x1 - x0] * 2)
    on_grid = (np.array(focus) - [y0, x0, y0, x0]) * scale
    fine = 3.0 * (maps[..., 0] - maps[..., 1]) + read(image, focus, grid) - 0.4
    fine = fine + 0.01 * on_grid.sum() / SIZE
    answer = prev.astype(np.float64) if settled else coarse.copy()
    f0, g0, f1, g1 = focus
    answer[f0:f1, g0:g1] = sigmoid(read(fine, (0, 0, *grid), (f1 - f0, g1 - g0)))
    return answer, coarse, focus


def target_of(prev, clicks, row, *, expansion=1.4, least=10):
    """The target crop after the original: inclusive ends, halves to even."""
    marked = np.asarray(prev[row, ..., 0]) > 0.5
    if not marked.any():
        return (0, 0, *SHAPE)
    for i in range(int(clicks.count[row])):
        if clicks.is_positive[row, i]:
            y, x = np.asarray(clicks.yx[row, i]).astype(int)
            marked[y, x] = True
    low, high = [], []
    for axis in (0, 1):
        hit = np.flatnonzero(marked.any(axis=1 - axis))
        side = max(expansion * (hit[-1] - hit[0] + 1), least)
        middle = (hit[0] + hit[-1]) / 2
        low.append(max(round(middle - side / 2), 0))
        high.append(min(round(middle + side / 2), SHAPE[axis] - 1) + 1)
    return (*low, *high)


@pytest.mark.parametrize("scales_radius", [True, False])
def test_answer_is_put_together_as_by_hand(scales_radius):
    """Static radii keep their pixels in both crops, dynamic ones their place in the image."""
    image, clicks, prev = scene()
    clicks = clicks._replace(count=jnp.array([1, 3, 2, 3], jnp.int32))
    prev = prev.at[1].set(0.2)  # nothing is lesion in this row
    got = np.asarray(predict_of(scales_radius=scales_radius)(image, clicks, prev))
    for row in range(BATCH):
        target = target_of(prev, clicks, row)
        assert (target == (0, 0, *SHAPE)) == (row == 1)
        hand = functools.partial(by_hand, image, clicks, prev, row, target)
        answer, coarse, focus = hand(scales_radius=scales_radius)
        close(got[row, ..., 0], answer)
        refined = np.zeros(SHAPE, bool)
        refined[focus[0] : focus[2], focus[1] : focus[3]] = True
        # The refiner counts: inside its box the answer is another one.
        assert np.abs(answer - coarse)[refined].max() > 0.1
        # The thesis code scales static disks with the focus crop; here that would show.
        if not scales_radius:
            assert np.abs(hand(scales_radius=True)[0] - answer)[refined].max() > 0.05


def test_late_clicks_change_the_focus_crop_alone():
    image, clicks, prev = scene()
    predict = predict_of(settled_clicks=2)
    got = np.asarray(predict(image, clicks, prev))
    for row in range(BATCH):
        target = target_of(prev, clicks, row)
        answer, *_ = by_hand(image, clicks, prev, row, target, settled=True)
        close(got[row, ..., 0], answer)
    early = np.asarray(predict(image, clicks._replace(count=clicks.count - 1), prev))
    answer, *_ = by_hand(
        image, clicks._replace(count=clicks.count - 1), prev, 0, target_of(prev, clicks, 0)
    )
    close(early[0, ..., 0], answer)


def test_target_crops_are_the_originals_on_200_cases():
    rng = np.random.default_rng(3)
    before, _, yx, positive, _ = oracle.cases(200, SHAPE, seed=7)
    others = rng.integers(0, SHAPE, (200, 2))
    prev = jnp.asarray(np.where(before, 0.9, 0.2)[..., None], jnp.float32)
    clicks = jax.tree.map(
        jnp.asarray,
        Clicks(
            np.stack([others, yx], axis=1).astype(np.float32),
            np.full((200, 2), 3.0, np.float32),
            np.stack([rng.random(200) < 0.5, positive], axis=1),
            rng.integers(1, 3, 200).astype(np.int32),
        ),
    )
    got = find_region(prev, clicks, FOCAL.target, keeps_aspect=False).box
    expected = [target_of(prev, clicks, row) for row in range(200)]
    np.testing.assert_array_equal(got, expected)
    assert sum(box == (0, 0, *SHAPE) for box in expected) < 100


def test_a_former_crop_does_not_stay():
    """ZoomIn would keep this former box; the target crop is drawn anew at every click."""
    prev = np.zeros((1, *SHAPE, 1), np.float32)
    prev[0, 6:30, 6:30] = 0.2
    prev[0, 11:25, 11:25] = 0.9
    yx = jnp.array([[[12.0, 12.0]] * 3])
    clicks = Clicks(yx, jnp.ones((1, 3)), jnp.ones((1, 3), bool), jnp.array([3]))
    zoom = FOCAL.target
    kept = find_region(
        jnp.asarray(prev), clicks, zoom._replace(keeps_former=True), keeps_aspect=False
    )
    fresh = find_region(jnp.asarray(prev), clicks, zoom, keeps_aspect=False)
    assert kept.box[0].tolist() == [6, 6, 30, 30]
    assert fresh.box[0].tolist() == list(target_of(prev, clicks, 0)) != [6, 6, 30, 30]


def test_merging_keeps_what_the_click_did_not_ask_for():
    image, clicks, prev = scene()
    prev = prev.at[:, 34:38, 42:46].set(0.9)  # an island that the answer may lose
    free, merged = (np.asarray(predict_of(merges=m)(image, clicks, prev)) for m in (False, True))
    for row in range(BATCH):
        before, after = np.asarray(prev[row, ..., 0]) > 0.5, free[row, ..., 0] > 0.5
        newest = np.asarray(clicks.yx[row, 2]).astype(int)
        expected = oracle.merge(before, after, *newest, False)
        np.testing.assert_array_equal(merged[row, ..., 0] > 0.5, expected)
        assert not (merged[row, ..., 0] > 0.5)[~before].any()  # a background click never fills


def test_rows_do_not_see_each_other_and_jit_changes_nothing():
    image, clicks, prev = scene()
    clicks = clicks._replace(count=jnp.array([1, 3, 2, 3], jnp.int32))
    prev = prev.at[3].set(0.0)
    options = pipelines.InferenceOptions("focalclick", focal=FOCAL)
    predict = pipelines.make_predict(SEGMENTER, {}, options)
    compiled = jax.jit(predict)
    together = compiled(image, clicks, prev)
    close(predict(image, clicks, prev), together)
    for i in range(BATCH):
        row = jax.tree.map(lambda a, i=i: a[i : i + 1], (image, clicks, prev))
        close(compiled(*row), together[i : i + 1])


@pytest.mark.parametrize("merges", [False, True])
def test_click_loop_compiles_once_for_all_click_counts(merges):
    calls = []
    options = pipelines.InferenceOptions("focalclick", focal=FOCAL._replace(merges=merges))
    image = scene()[0]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    target = jnp.asarray(np.stack([np.hypot(y - 15 - i, x - 20 - 2 * i) < 6 for i in range(BATCH)]))
    keys = jax.random.split(jax.random.key(1), BATCH)

    @jax.jit
    def run(num_clicks):
        predict = pipelines.make_predict(Segmenter(TwoStages(calls=(calls,))), {}, options)
        return rollout(Scene(keys, image, target), predict, num_clicks=num_clicks, capacity=4)

    whole = run(jnp.int32(4))
    traced = len(calls)
    assert set(calls) == {("segment", (BATCH, SIZE, SIZE, 3)), ("refine", (BATCH, SIZE, SIZE, 3))}
    close(run(jnp.int32(2)).iou[:, :2], whole.iou[:, :2])
    assert len(calls) == traced and run._cache_size() == 1


class Faint(NamedTuple):
    """Finds bright pixels, with a probability of 0.57; refined, all of its box is lesion."""

    def apply(self, variables, *inputs, method="segment", train=False):
        if method == "refine":
            return self.refine(*inputs)
        score = jnp.where(inputs[0][..., :1] > 0.5, 0.3, -3.0)
        return Prediction(score, None, score)

    def refine(self, image, *others):
        score = jnp.full((*image.shape[:3], 1), 9.0)
        return Refinement(score, score, score, score)


@pytest.mark.parametrize(
    ("lesion", "box"),
    [
        # 8..15 and 10..17: 11.5 and 13.5 +- 5.6.
        ((8, 10, 16, 18), (5, 7, 17, 19)),
        # 6 pixels: 9 +- 2.1, and at least 4 pixels around 10.5.
        ((8, 10, 11, 12), (6, 8, 11, 12)),
    ],
)
def test_faint_and_tiny_answers_have_boxes_of_their_own(lesion, box):
    """The original cuts logits at 0.49 here, and below 10 pixels it refines the whole image."""
    image = np.zeros((1, SIZE, SIZE, 1), np.float32)
    image[0, lesion[0] : lesion[2], lesion[1] : lesion[3]] = 1.0
    clicks = Clicks(
        jnp.array([[[9.0, 11.0]]]), jnp.ones((1, 1)), jnp.array([[True]]), jnp.array([1])
    )
    options = pipelines.InferenceOptions("focalclick", focal=FOCAL)
    predict = jax.jit(pipelines.make_predict(Segmenter(Faint()), {}, options))
    got = np.asarray(predict(jnp.asarray(image), clicks, jnp.zeros_like(image)))[0, ..., 0] > 0.99
    expected = np.zeros_like(got)
    expected[box[0] : box[2], box[1] : box[3]] = True
    np.testing.assert_array_equal(got, expected)


def test_networks_without_a_refiner_and_mirror_images_are_refused_at_once():
    class Coarse:
        def apply(self, *args, **kwargs):
            raise AssertionError("never called")

    options = pipelines.InferenceOptions("focalclick", focal=FOCAL)
    with pytest.raises(ValueError, match="needs a network with a refiner, such as .*; got Coarse"):
        pipelines.make_predict(Segmenter(Coarse()), {}, options)
    with pytest.raises(ValueError, match="averages no mirror images; set flip=False"):
        pipelines.make_predict(SEGMENTER, {}, options._replace(flip=True))
