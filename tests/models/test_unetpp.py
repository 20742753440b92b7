"""Behaviour of U-Net++, on the tiny variant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import lax

from ecc_jax.models.build import build, init_variables
from ecc_jax.models.layers import normalise_image
from tests.models.inputs import make_inputs, moved_variables

NAME = "unetpp_tiny"


@functools.cache
def variables(**overrides):
    return moved_variables(NAME, **overrides)


@functools.cache
def forward(**overrides):
    return jax.jit(build(NAME, **overrides).apply)


@functools.cache
def segment(**overrides):
    return jax.jit(functools.partial(build(NAME, **overrides).apply, method="segment"))


def assert_close(a, b):
    """Equal to float32 rounding, which grows with the largest value that was summed."""
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("size", [(32, 32), (90, 70), (33, 17), (1, 1), (5, 64)])
def test_shapes_at_any_size(size):
    h, w = size
    out = jax.eval_shape(build(NAME).apply, variables(), *make_inputs((2, h, w)))
    assert out.logits.shape == (2, h, w, 1) and out.aux_logits is None
    assert out.features.shape == (2, -(-h // 4), -(-w // 4), 8)


def test_sizes_between_are_continued_and_cut_back():
    image, guidance, prev_mask = make_inputs((2, 40, 50))
    got = forward()(variables(), image, guidance, prev_mask)
    image = np.concatenate([image, np.repeat(image[:, -1:], 24, 1)], 1)
    image = np.concatenate([image, np.repeat(image[:, :, -1:], 14, 2)], 2)
    padded = np.zeros((2, 64, 64, 2), np.float32)
    padded[:, :40, :50] = guidance
    channels = np.concatenate([normalise_image(jnp.asarray(image)), padded], -1)
    full = segment()(variables(), channels)
    assert_close(got.logits, full.logits[:, :40, :50])
    assert_close(got.features, full.features[:, :10, :13])


def test_segment_refuses_other_sizes():
    with pytest.raises(ValueError, match=r"multiples of 32, got 64 x 70; pad"):
        jax.eval_shape(segment(), variables(), np.zeros((1, 64, 70, 5), np.float32))


def reference(variables, x):
    """Returns (logits, features) of the network written out node by node.

    e2 … e32: encoder maps by stride; xdl: node x_d_l of the decoder.
    """
    flat = traverse_util.flatten_dict(variables, sep="/")

    def get(path):
        value = flat[path]
        return value.reshape(1, 1, 1, -1) if value.ndim == 1 else value

    def norm(x, path):
        x = (x - get(f"batch_stats/{path}/mean")) / jnp.sqrt(get(f"batch_stats/{path}/var") + 1e-5)
        return x * get(f"params/{path}/scale") + get(f"params/{path}/bias")

    def conv(x, path, stride=1):
        kernel = get(f"params/{path}/kernel")
        pad = [((k - 1) // 2,) * 2 for k in kernel.shape[:2]]
        form = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, pad, dimension_numbers=form)

    def layer(x, number, stride):
        path = f"encoder/layer{number}_0"
        has_neck = f"params/{path}/conv3/kernel" in flat
        y = jax.nn.relu(norm(conv(x, f"{path}/conv1", 1 if has_neck else stride), f"{path}/bn1"))
        y = norm(conv(y, f"{path}/conv2", stride if has_neck else 1), f"{path}/bn2")
        if has_neck:
            y = norm(conv(jax.nn.relu(y), f"{path}/conv3"), f"{path}/bn3")
        elif number == 1:  # as wide as the stem and of its stride
            return jax.nn.relu(y + x)
        return jax.nn.relu(
            y + norm(conv(x, f"{path}/downsample_0", stride), f"{path}/downsample_1")
        )

    def node(name, x, *skips):
        x = jnp.concatenate([x.repeat(2, axis=1).repeat(2, axis=2), *skips], axis=-1)
        for k in (1, 2):
            path = f"decoder/x_{name}/conv{k}"
            x = jax.nn.relu(norm(conv(x, f"{path}_0"), f"{path}_1"))
        return x

    e2 = jax.nn.relu(norm(conv(x, "encoder/conv1", 2), "encoder/bn1"))
    h, w = e2.shape[1:3]
    padded = jnp.pad(e2, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    shifts = [padded[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)]
    e4 = layer(functools.reduce(jnp.maximum, shifts), 1, 1)
    e8 = layer(e4, 2, 2)
    e16 = layer(e8, 3, 2)
    x00, x11 = node("0_0", layer(e16, 4, 2), e16), node("1_1", e16, e8)
    x22, x33 = node("2_2", e8, e4), node("3_3", e4, e2)
    x01, x12, x23 = node("0_1", x00, x11, e8), node("1_2", x11, x22, e4), node("2_3", x22, x33, e2)
    x02, x13 = node("0_2", x01, x12, x22, e4), node("1_3", x12, x23, x33, e2)
    last = node("0_4", node("0_3", x02, x13, x23, x33, e2))
    return conv(last, "segmentation_head_0") + get("params/segmentation_head_0/bias"), x02


@pytest.mark.parametrize("bottleneck", [True, False])
def test_wiring(bottleneck):
    x = np.random.default_rng(3).normal(size=(1, 32, 64, 5)).astype(np.float32)
    weights = variables(bottleneck=bottleneck)
    logits, features = jax.jit(reference)(weights, x)
    got = segment(bottleneck=bottleneck)(weights, x)
    assert_close(got.features, features)
    assert_close(got.logits, logits)
    assert got.aux_logits is None


def test_inputs_that_matter():
    inputs = make_inputs()
    before = forward()(variables(), *inputs).logits
    for position in range(3):
        changed = [1 - x if i == position else x for i, x in enumerate(inputs)]
        after = forward()(variables(), *changed).logits
        # The original has no previous mask among its inputs.
        assert (np.abs(before - after).max() > 1e-4) == (position < 2)
    swapped = forward()(variables(), inputs[0], inputs[1][..., ::-1], inputs[2]).logits
    assert np.abs(before - swapped).max() > 1e-4


def test_row_alone_equals_row_in_batch():
    inputs = make_inputs()
    batch = forward()(variables(), *inputs)
    alone = forward()(variables(), *(x[1:] for x in inputs))
    jax.tree.map(lambda a, b: assert_close(a[1:], b), batch, alone)


@pytest.mark.slow
def test_jit_equals_eager_with_numpy_inputs():
    inputs = make_inputs()
    eager = build(NAME).apply(variables(), *inputs)
    jax.tree.map(assert_close, forward()(variables(), *inputs), eager)


@pytest.mark.parametrize("deep", [False, True])
def test_training_reaches_everything(deep):
    inputs = make_inputs()
    before = variables(deep_supervision=deep)

    def loss(params):
        out, updated = build(NAME, deep_supervision=deep).apply(
            {**before, "params": params}, *inputs, train=True, mutable=["batch_stats"]
        )
        scores = [out.logits] + ([out.aux_logits] if deep else [])
        return sum(jnp.mean(score**2) for score in scores), updated["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(before["params"])
    for path, grad in traverse_util.flatten_dict(grads, sep="/").items():
        assert np.isfinite(grad).all() and np.any(grad != 0), path
    old = traverse_util.flatten_dict(before["batch_stats"], sep="/")
    for path, value in traverse_util.flatten_dict(stats, sep="/").items():
        assert not np.array_equal(value, old[path]), path


def test_deep_supervision_adds_scores_and_changes_none():
    deep = variables(deep_supervision=True)
    heads = [name for name in deep["params"] if name.startswith("supervision")]
    assert sorted(heads) == ["supervision_1", "supervision_2", "supervision_3"]
    inputs = make_inputs()
    with_heads = forward(deep_supervision=True)(deep, *inputs)
    params = {k: v for k, v in deep["params"].items() if k not in heads}
    plain = forward()({**deep, "params": params}, *inputs)
    assert_close(with_heads.logits, plain.logits)
    assert np.abs(with_heads.aux_logits - plain.logits).max() > 1e-3
    # The mean of the heads: their biases enter with a third each.
    for name in heads:
        params = {**deep["params"], name: {**deep["params"][name]}}
        params[name]["bias"] = params[name]["bias"] + 3
        moved = forward(deep_supervision=True)({**deep, "params": params}, *inputs)
        np.testing.assert_allclose(moved.aux_logits, with_heads.aux_logits + 1, atol=1e-5)


def test_bfloat16_stays_close_and_returns_float32():
    inputs = make_inputs()
    low = forward(dtype="bfloat16")(variables(), *inputs)
    full = forward()(variables(), *inputs)
    assert low.logits.dtype == jnp.float32
    assert low.features.dtype == jnp.bfloat16
    scale = np.abs(full.logits).max()
    assert 0 < np.abs(low.logits - full.logits).mean() < 0.02 * scale


def test_untrained_scores_follow_the_prior():
    params = init_variables(build(NAME, deep_supervision=True), 0, lesion_prior=0.2)["params"]
    for head in ("segmentation_head_0", "supervision_1", "supervision_2", "supervision_3"):
        assert params[head]["bias"] == np.float32(np.log(0.25))


def test_training_with_one_row_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows"):
        build(NAME).apply(variables(), *make_inputs((1, 32, 32)), train=True)
