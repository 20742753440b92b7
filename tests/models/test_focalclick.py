"""Behaviour of FocalClick's two stages, on the tiny variant."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from ecc_jax.models.build import build, init_variables
from ecc_jax.models.focalclick import check_focus
from ecc_jax.ops.roi_align import roi_align
from tests.models.inputs import SHAPE, make_inputs, moved_variables

NAME = "focalclick_tiny"
BOXES = np.float32([[4, 2, 24, 22], [0, 8, 40, 32]])


@functools.cache
def variables():
    return moved_variables(NAME)


@functools.cache
def coarse():
    return jax.jit(build(NAME).apply)(variables(), *make_inputs())


def focus_inputs(size=(24, 36), seed=5):
    image, guidance, _ = make_inputs((2, *size), seed=seed)
    return image, guidance, coarse().features, coarse().logits, BOXES


@functools.cache
def refine(**overrides):
    return jax.jit(functools.partial(build(NAME, **overrides).apply, method="refine"))


def assert_close(a, b):
    """Equal to float32 rounding, which grows with the largest value that was summed."""
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_coarse_stage_is_ritm():
    params = {k: v for k, v in variables()["params"].items() if k != "refiner"}
    stats = {k: v for k, v in variables()["batch_stats"].items() if k != "refiner"}
    ritm = jax.jit(build("ritm_tiny").apply)
    expected = ritm({"params": params, "batch_stats": stats}, *make_inputs())
    for a, b in zip(coarse(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_coarse_training_leaves_the_refiner_alone(key):
    inputs = make_inputs()

    def loss(params):
        out, updated = build(NAME).apply(
            {**variables(), "params": params},
            *(jnp.asarray(x) for x in inputs),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return jnp.sum(out.logits**2) + jnp.sum(out.aux_logits**2), updated["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables()["params"])
    assert jax.tree.structure(stats) == jax.tree.structure(variables()["batch_stats"])
    for part, is_trained in (("refiner", False), ("trunk", True)):
        assert any(np.any(g != 0) for g in jax.tree.leaves(grads[part])) == is_trained
        before = jax.tree.leaves(variables()["batch_stats"][part])
        moved = [
            not np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(stats[part]), before, strict=True)
        ]
        assert any(moved) == is_trained


def test_refined_scores_are_weighted_by_the_boundary():
    out = refine()(variables(), *focus_inputs())
    p = 1 / (1 + np.exp(-np.asarray(out.boundary_logits, np.float64)))
    expected = np.asarray(out.detail_logits) * p + np.asarray(out.coarse_logits) * (1 - p)
    np.testing.assert_allclose(out.logits, expected, atol=1e-5)
    assert p.std() > 0 and np.std(out.detail_logits) > 0


@pytest.mark.parametrize("size", [(24, 36), (1, 1), (33, 17)])
def test_scores_have_the_size_of_the_focus_image(size):
    out = jax.eval_shape(refine(), variables(), *focus_inputs(size))
    assert {x.shape for x in out} == {(2, *size, 1)}
    assert {x.dtype for x in out} == {jnp.dtype("float32")}


def test_coarse_crop_is_roi_aligned():
    out = refine()(variables(), *focus_inputs())
    expected = roi_align(coarse().logits, jnp.asarray(BOXES), (24, 36))
    assert_close(out.coarse_logits, expected)


def test_features_are_cropped_at_their_own_stride():
    # Features that grow by one per row: the refiner must see the rows under the box.
    inputs = list(focus_inputs(SHAPE[1:]))
    ramp = np.broadcast_to(np.arange(10, dtype=np.float32)[None, :, None, None], (2, 10, 8, 16))
    everything = np.float32([[0, 0, 40, 32]] * 2)
    upper = np.float32([[0, 0, 20, 32]] * 2)
    rows = np.clip((np.arange(10) + 0.5) / 2 - 0.5, 0, 9).astype(np.float32)
    stretched = np.broadcast_to(rows[None, :, None, None], (2, 10, 8, 16))
    inputs[3] = np.zeros_like(inputs[3])
    got = refine()(variables(), *inputs[:2], ramp, inputs[3], upper).detail_logits
    expected = refine()(variables(), *inputs[:2], stretched, inputs[3], everything).detail_logits
    assert_close(got, expected)


@pytest.mark.parametrize("changed", range(5))
def test_every_input_of_the_refiner_matters(changed):
    inputs = list(focus_inputs())
    before = refine()(variables(), *inputs).detail_logits
    inputs[changed] = 1.0 - inputs[changed] if changed < 4 else inputs[changed] / 2
    after = refine()(variables(), *inputs).detail_logits
    assert np.abs(before - after).max() > 1e-5


def test_row_alone_equals_row_in_batch():
    together = refine()(variables(), *focus_inputs())
    alone = refine()(variables(), *(x[1:] for x in focus_inputs()))
    for a, b in zip(together, alone, strict=True):
        assert_close(a[1:], b)


@pytest.mark.slow
def test_jit_equals_eager_with_numpy_inputs():
    inputs = [np.asarray(x) for x in focus_inputs()]
    inputs[4] = BOXES.astype(np.int64)
    eager = build(NAME).apply(variables(), *inputs, method="refine")
    for a, b in zip(refine()(variables(), *focus_inputs()), eager, strict=True):
        assert_close(a, b)
    eager = build(NAME).apply(variables(), *make_inputs())
    for a, b in zip(coarse(), eager, strict=True):
        assert_close(a, b)


def test_refining_trains_the_refiner_and_reaches_the_coarse_stage():
    image, guidance, features, logits, boxes = (jnp.asarray(x) for x in focus_inputs())

    def loss(params, features, logits):
        out, updated = build(NAME).apply(
            {**variables(), "params": params},
            *(image, guidance, features, logits, boxes),
            method="refine",
            train=True,
            mutable=["batch_stats"],
        )
        return jnp.sum(out.logits**2), updated["batch_stats"]

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    grads, stats = gradient(variables()["params"], features, logits)
    assert np.any(grads[1] != 0) and np.any(grads[2] != 0)
    flat = traverse_util.flatten_dict(grads[0], sep="/")
    before = traverse_util.flatten_dict(variables()["batch_stats"], sep="/")
    after = traverse_util.flatten_dict(stats, sep="/")
    for path, grad in flat.items():
        assert np.isfinite(grad).all(), path
        assert np.any(grad != 0) == path.startswith("refiner"), path
    for path, value in after.items():
        assert np.array_equal(value, before[path]) == (not path.startswith("refiner")), path


def test_bfloat16_stays_close_and_returns_float32():
    low = refine(dtype="bfloat16")(variables(), *focus_inputs())
    full = refine()(variables(), *focus_inputs())
    assert {x.dtype for x in low} == {jnp.dtype("float32")}
    scale = np.abs(full.logits).max()
    assert 0 < np.abs(low.logits - full.logits).max() < 0.1 * scale


def test_untrained_scores_follow_the_prior():
    params = init_variables(build(NAME), 0, lesion_prior=0.2)["params"]
    expected = np.float32(np.log(0.25))
    assert params["refiner"]["refine_pred"]["bias"] == expected
    assert params["head"]["cls_head"]["bias"] == expected
    # The boundary is no lesion.
    assert params["refiner"]["refine_trimap"]["bias"] == 0


@pytest.mark.parametrize(
    ("position", "wrong"),
    [(0, (2, 24, 36, 1)), (1, (2, 23, 36, 2)), (2, (2, 10, 8)), (3, (2, 40, 32)), (4, (1, 4))],
)
def test_wrong_shapes_are_named(position, wrong):
    shapes = [x.shape for x in focus_inputs()]
    check_focus(*shapes)
    shapes[position] = wrong
    with pytest.raises(ValueError, match=rf"boxes \[b 4\], got .*{re.escape(str(list(wrong)))}"):
        check_focus(*shapes)
