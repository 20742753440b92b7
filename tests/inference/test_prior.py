"""The painter's prior, local edits, and clicks that hold at their pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.classical.painter import paint_predict
from ecc_jax.inference import prior
from ecc_jax.inference.pipelines import FULL_FRAME, make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.inference.view import DiskView
from ecc_jax.models.build import build
from tests.clicks.test_surroundings import clicks_of

SIZE = 48
FLAGSHIP = Segmenter(
    build("disk_tiny"), view=DiskView(grid=32), prior="painter", intensity="core", edits="local"
)
VIEWS = [FLAGSHIP, FLAGSHIP._replace(view=None)]


def shaken(segmenter, seed, scale=1.0):
    """Variables of which no part is at its start: scores of any size."""
    rng = np.random.default_rng(seed)
    variables = segmenter.init_variables(seed)
    return jax.tree.map(
        lambda x: (
            (x + scale * rng.standard_normal(x.shape)).astype(np.float32)
            if x.ndim != 1 or x.size < 3
            else x
        ),
        variables,
    )


def previous(kind):
    yy, xx = np.mgrid[:SIZE, :SIZE]
    blob = np.hypot(yy - 20, xx - 22) < 9
    return {"empty": np.zeros((SIZE, SIZE)), "blob": blob, "full": np.ones((SIZE, SIZE))}[kind]


def as_map(values):
    return jnp.asarray(values, jnp.float32)[None, ..., None]


@pytest.mark.parametrize("kind", ["empty", "blob", "full"])
@pytest.mark.parametrize("sign", [1, -1])
def test_painted_mask_is_the_painters_but_for_its_edge(kind, sign):
    clicks = clicks_of([(20, 22, 3, 1), (25, 30, 7, sign)])
    soft = prior.painted(as_map(previous(kind)), clicks)
    hard = paint_predict(jnp.zeros((1, SIZE, SIZE, 1)), clicks, as_map(previous(kind)))
    yy, xx = np.mgrid[:SIZE, :SIZE]
    away = np.abs(np.hypot(yy - 25, xx - 30) - 7) > 1
    assert ((np.asarray(soft)[0, ..., 0] > 0.5) == (np.asarray(hard)[0, ..., 0] > 0.5))[away].all()
    assert soft.min() >= 0.03 - 1e-6 and soft.max() <= 0.97 + 1e-6


@pytest.mark.parametrize("segmenter", VIEWS, ids=["disk", "slice"])
def test_an_untrained_network_answers_as_the_painter(segmenter):
    variables = segmenter.init_variables(0)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((1, SIZE, SIZE, 1), np.float32))
    predict = make_predict(segmenter, variables, FULL_FRAME)
    clicks = clicks_of([(20, 22, 8, 1)])
    first = predict(image, clicks, as_map(previous("empty")))
    yy, xx = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(yy - 20, xx - 22)
    mask = np.asarray(first)[0, ..., 0] > 0.5
    # The first disk is taken for 10 % smaller than it was dragged, later ones for 60 %.
    assert mask[distance < 8 * 0.9 - 0.05].all() and not mask[distance > 8].any()
    clicks = clicks_of([(20, 22, 8, 1), (24, 22, 7, -1)])
    second = np.asarray(predict(image, clicks, first))[0, ..., 0] > 0.5
    away = np.hypot(yy - 24, xx - 22)
    assert not second[away < 2.3].any() and (second == mask)[away > 3.6].all()


def test_a_first_click_on_a_mask_corrects_it_as_later_clicks_do():
    segmenter = VIEWS[1]
    variables = segmenter.init_variables(0)
    predict = make_predict(segmenter, variables, FULL_FRAME)
    image = jnp.zeros((1, SIZE, SIZE, 1))
    yy, xx = np.mgrid[:SIZE, :SIZE]
    mask = as_map(np.hypot(yy - 20, xx - 22) < 11)
    removed = []
    for at in ((20, 33), (20, 22)):
        prob = np.asarray(predict(image, clicks_of([(*at, 8, -1)]), mask))
        removed.append(int(((prob < 0.5) & np.asarray(mask > 0.5)).sum()))
    # At the rim and in the middle: disks of 8 pixels are taken for 8 exp(-0.9) = 3.3.
    assert 0 < removed[0] < 25 and 25 < removed[1] < 50


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["empty", "blob", "full"]),
    rows=st.lists(
        st.tuples(
            st.floats(0, SIZE - 1),
            st.floats(0, SIZE - 1),
            st.floats(0.5, 30),
            st.sampled_from([-1, 1]),
        ),
        min_size=1,
        max_size=4,
    ),
    index=st.integers(0, 1),
)
def test_every_click_holds_at_its_pixel(seed, kind, rows, index):
    """Whatever the weights, the previous mask and the other clicks are."""
    image = jnp.asarray(np.random.default_rng(seed).random((1, SIZE, SIZE, 1), np.float32))
    prob = ANSWERS[index](
        shaken(VIEWS[index], seed), image, clicks_of(rows), as_map(previous(kind))
    )
    prob = np.asarray(prob)[0, ..., 0]
    assert np.isfinite(prob).all() and (prob >= 0).all() and (prob <= 1).all()
    newest = {(round(y), round(x)): sign for y, x, _, sign in rows}
    for (y, x), sign in newest.items():
        assert (prob[y, x] > 0.5) == (sign > 0)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["empty", "blob", "full"]),
    y=st.floats(0, SIZE - 1),
    x=st.floats(0, SIZE - 1),
    radius=st.floats(0.5, 20),
    index=st.integers(0, 1),
)
def test_a_background_click_adds_no_lesion(seed, kind, y, x, radius, index):
    """Whatever the weights are; all but the first click, which holds at its pixel."""
    image = jnp.asarray(np.random.default_rng(seed).random((1, SIZE, SIZE, 1), np.float32))
    variables, before = shaken(VIEWS[index], seed), previous(kind) > 0.5
    clicks = clicks_of([(20, 22, 5, 1), (y, x, radius, -1)])
    prob = ANSWERS[index](variables, image, clicks, as_map(before))
    added = (np.asarray(prob)[0, ..., 0] > 0.5) & ~before
    added[20, 22] = False
    assert not added.any()


def _answer(segmenter):
    return jax.jit(lambda variables, *scene: make_predict(segmenter, variables, FULL_FRAME)(*scene))


ANSWERS = [_answer(segmenter) for segmenter in VIEWS]


@pytest.mark.parametrize("index", [0, 1], ids=["disk", "slice"])
def test_later_clicks_keep_what_is_far_from_them(index):
    rng = np.random.default_rng(1)
    image = jnp.asarray(rng.random((1, SIZE, SIZE, 1), np.float32))
    before = as_map(previous("blob"))
    clicks = clicks_of([(20, 22, 9, 1), (12, 12, 2, 1)])
    after = ANSWERS[index](shaken(VIEWS[index], 3), image, clicks, before)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    far = np.hypot(yy - 12, xx - 12) > 2 * (3 + 2)
    far[20, 22] = False  # the first click holds there
    changed = (np.asarray(after)[0, ..., 0] > 0.5) != (np.asarray(before)[0, ..., 0] > 0.5)
    assert far.sum() > 1000 and not changed[far].any()


def test_without_a_previous_mask_the_answer_counts_everywhere():
    logits = jnp.full((1, SIZE, SIZE, 1), 2.0)
    clicks = clicks_of([(5, 5, 1, 1)])
    np.testing.assert_array_equal(prior.edited(logits, as_map(previous("empty")), clicks), logits)


@pytest.mark.parametrize("index", [0, 1], ids=["disk", "slice"])
def test_row_alone_equals_row_in_batch(index):
    rng = np.random.default_rng(2)
    image = jnp.asarray(rng.random((2, SIZE, SIZE, 1), np.float32))
    clicks = clicks_of([(20, 22, 9, 1)], [(8, 40, 4, 1), (12, 30, 2, -1)])
    before = jnp.concatenate([as_map(previous("empty")), as_map(previous("blob"))])
    variables = shaken(VIEWS[index], 5, 0.3)
    both = ANSWERS[index](variables, image, clicks, before)
    for row in (0, 1):
        one = slice(row, row + 1)
        alone = ANSWERS[index](
            variables, image[one], jax.tree.map(lambda x, one=one: x[one], clicks), before[one]
        )
        np.testing.assert_allclose(both[one], alone, atol=2e-5)


def test_lesions_of_one_to_four_pixels_are_found():
    """An untrained flagship, the average user: the answer holds the lesion and little else."""
    predict = make_predict(FLAGSHIP, FLAGSHIP.init_variables(0), FULL_FRAME)
    for pixels in ([(9, 9)], [(9, 9), (9, 10)], [(9, 9), (9, 10), (10, 9)], [(0, 0)]):
        image = jnp.zeros((1, SIZE, SIZE, 1))
        y, x = pixels[0]
        prob = predict(image, clicks_of([(y, x, 1.0, 1)]), as_map(previous("empty")))
        mask = np.asarray(prob)[0, ..., 0] > 0.5
        assert mask[y, x] and mask.sum() <= 9
