"""Behaviour of the network, on the tiny variant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from ecc_jax.models.build import build
from ecc_jax.models.layers import check_inputs, normalise_image
from tests.models.inputs import make_inputs, moved_variables

DEAD = ("f_pixel", "f_object")


@functools.cache
def variables():
    return moved_variables("ritm_tiny")


@functools.cache
def forward(train=False, **overrides):
    model = build("ritm_tiny", **overrides)
    if not train:
        return jax.jit(model.apply)
    return jax.jit(
        lambda v, image, guidance, prev, key: model.apply(
            v, image, guidance, prev, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
    )


def assert_close(a, b):
    """Equal to float32 rounding, which grows with the largest value that was summed."""
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def is_dead(path):
    return any(name in path for name in DEAD)


@pytest.mark.parametrize("size", [(32, 32), (90, 70), (33, 17), (1, 1), (5, 64)])
def test_shapes_at_any_size(size):
    h, w = size
    image, guidance, prev = (jnp.asarray(x) for x in make_inputs((2, h, w)))
    out = jax.eval_shape(build("ritm_tiny").apply, variables(), image, guidance, prev)
    assert out.logits.shape == out.aux_logits.shape == (2, h, w, 1)
    # Two strides of 2, each rounding up.
    assert out.features.shape == (2, -(-h // 4), -(-w // 4), 16)


@pytest.mark.slow
def test_jit_equals_eager():
    inputs = make_inputs()
    compiled = forward()(variables(), *inputs)
    eager = build("ritm_tiny").apply(variables(), *inputs)  # NumPy arrays
    for a, b in zip(compiled, eager, strict=True):
        assert_close(a, b)


def test_row_alone_equals_row_in_batch():
    inputs = make_inputs()
    batch = forward()(variables(), *inputs)
    alone = forward()(variables(), *(x[1:] for x in inputs))
    for a, b in zip(batch, alone, strict=True):
        assert_close(a[1:], b)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_every_input_matters(changed):
    inputs = list(make_inputs())
    before = forward()(variables(), *inputs).logits
    inputs[changed] = 1.0 - inputs[changed]
    after = forward()(variables(), *inputs).logits
    assert np.abs(before - after).max() > 1e-4


def test_positive_and_negative_clicks_differ():
    image, guidance, prev = make_inputs()
    a = forward()(variables(), image, guidance, prev).logits
    b = forward()(variables(), image, guidance[..., ::-1], prev).logits
    assert np.abs(a - b).max() > 1e-4


def test_normalisation():
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = np.stack([mean, mean + std, mean - 2 * std]).astype(np.float32)
    out = normalise_image(jnp.asarray(image).reshape(1, 3, 1, 3))
    np.testing.assert_allclose(out[0, :, 0], [[0] * 3, [1] * 3, [-2] * 3], atol=1e-5)


def test_training_updates_statistics_by_a_tenth(key):
    image, guidance, prev = make_inputs()
    _, updated = forward(train=True, dropout=0.0)(variables(), image, guidance, prev, key)
    old = traverse_util.flatten_dict(variables()["batch_stats"], sep="/")
    new = traverse_util.flatten_dict(updated["batch_stats"], sep="/")
    assert old.keys() == new.keys()
    for path in old:
        assert np.array_equal(old[path], new[path]) == is_dead(path), path
    stem = jax.lax.conv_general_dilated(
        normalise_image(jnp.asarray(image)),
        jnp.asarray(variables()["params"]["trunk"]["conv1"]["kernel"]),
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    for name, batch in (("mean", stem.mean((0, 1, 2))), ("var", stem.var((0, 1, 2)))):
        expected = 0.9 * old[f"trunk/bn1/{name}"] + 0.1 * batch
        np.testing.assert_allclose(new[f"trunk/bn1/{name}"], expected, rtol=1e-4, atol=1e-6)


def test_evaluation_uses_running_statistics():
    inputs = make_inputs()
    stats = jax.tree.map(lambda x: x + 0.5, variables()["batch_stats"])
    changed = forward()({**variables(), "batch_stats": stats}, *inputs).logits
    assert np.abs(changed - forward()(variables(), *inputs).logits).max() > 1e-4


def test_dropout_drops_whole_channels(key):
    inputs = make_inputs()
    full, _ = forward(train=True, dropout=0.0)(variables(), *inputs, key)
    half, _ = forward(train=True, dropout=0.5)(variables(), *inputs, key)
    full, half = np.asarray(full.features), np.asarray(half.features)
    dropped = (half == 0).all((1, 2))
    assert 0 < dropped.sum() < dropped.size
    # Kept channels are scaled by 1 / (1 - 0.5).
    expected = np.where(dropped[:, None, None], 0.0, 2.0 * full)
    np.testing.assert_allclose(half, expected, atol=1e-5)
    other, _ = forward(train=True, dropout=0.5)(variables(), *inputs, jax.random.key(1))
    assert not np.array_equal((np.asarray(other.features) == 0).all((1, 2)), dropped)


def test_only_the_attention_branch_is_dead():
    """The region softmax has one entry, so query and key cannot matter; all else must."""
    image, guidance, prev = (jnp.asarray(x) for x in make_inputs())
    stats = variables()["batch_stats"]

    def loss(params):
        out = build("ritm_tiny").apply(
            {"params": params, "batch_stats": stats}, image, guidance, prev
        )
        return (out.logits**2).sum() + (out.aux_logits**2).sum()

    grads = traverse_util.flatten_dict(jax.jit(jax.grad(loss))(variables()["params"]), sep="/")
    assert any(is_dead(path) for path in grads)
    for path, grad in grads.items():
        assert np.isfinite(grad).all(), path
        assert (np.abs(grad).max() == 0) == is_dead(path), path


def test_dead_branch_has_no_influence():
    inputs = make_inputs()
    before = forward()(variables(), *inputs)

    def scramble(path, value):
        return value * -3.0 + 1.0 if is_dead(jax.tree_util.keystr(path)) else value

    after = forward()(jax.tree_util.tree_map_with_path(scramble, variables()), *inputs)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fusion_scale_counts_by_its_absolute_value():
    inputs = make_inputs()

    def with_scale(value):
        params = variables()["params"]
        scale = {"maps_transform_3": {"multiplier": np.float32([value])}}
        params = {**params, "fusion": {**params["fusion"], **scale}}
        return forward()({**variables(), "params": params}, *inputs).logits

    np.testing.assert_array_equal(with_scale(-0.4), with_scale(0.4))
    assert np.abs(with_scale(0.4) - with_scale(0.05)).max() > 1e-4


def test_bfloat16_stays_close_and_returns_float32():
    inputs = make_inputs()
    low = forward(dtype="bfloat16")(variables(), *inputs)
    full = forward()(variables(), *inputs)
    assert low.logits.dtype == low.aux_logits.dtype == jnp.float32
    assert low.features.dtype == jnp.bfloat16
    scale = np.abs(full.logits).max()
    assert 0 < np.abs(low.logits - full.logits).max() < 0.1 * scale


@pytest.mark.slow
def test_remat_changes_no_gradient(key):
    image, guidance, prev = (jnp.asarray(x) for x in make_inputs())
    stats = variables()["batch_stats"]

    def gradient(remat):
        def loss(params):
            out, _ = build("ritm_tiny", remat=remat).apply(
                {"params": params, "batch_stats": stats},
                image,
                guidance,
                prev,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return (out.logits**2).mean()

        return jax.jit(jax.grad(loss))

    params = variables()["params"]
    assert "remat" in str(gradient(True).trace(params).jaxpr)
    plain, recomputed = gradient(False)(params), gradient(True)(params)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((2, 8, 8, 3), (2, 8, 8, 2), (2, 4, 8, 1)),
            r"prev_mask \[b h w 1\], got .*\[2, 4, 8, 1\]",
        ),
        (((2, 8, 8, 1), (2, 8, 8, 2), (2, 8, 8, 1)), "repeat a grey image to 3 channels"),
        (((8, 8, 3), (8, 8, 2), (8, 8, 1)), r"expected image \[b h w 3\]"),
        (((1, 8, 8, 3), (1, 8, 8, 2), (1, 8, 8, 1)), "at least 2 rows"),
    ],
)
def test_wrong_inputs_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        check_inputs(*shapes, train=True)


def test_network_checks_its_inputs(key):
    rows = (jnp.asarray(x[:1]) for x in make_inputs())
    train = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
    with pytest.raises(ValueError, match="at least 2 rows"):
        jax.eval_shape(lambda v, *x: build("ritm_tiny").apply(v, *x, **train), variables(), *rows)
