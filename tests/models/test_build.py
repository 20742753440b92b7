"""Names, parameter counts, initial values and parameter groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from ecc_jax.models import build

COUNTS = {
    "ritm_hrnet18s": 4_220_047,
    "ritm_hrnet18": 10_032_019,
    "ritm_hrnet32": 30_951_363,
    "ritm_tiny": 74_363,
    # RITM's and a refiner of 11,330 and 16,450.
    "focalclick_hrnet18s": 4_231_377,
    "focalclick_hrnet32": 30_967_813,
    "focalclick_tiny": 75_789,
    "unetpp_resnet50": 48_992_017,
    "unetpp_resnet18": 15_976_721,
    "unetpp_tiny": 136_705,
    "disk_unet": 690_661,
    "disk_tiny": 4_813,
}
TINY = ("ritm_tiny", "focalclick_tiny", "unetpp_tiny", "disk_tiny")


def flat_params(name, seed=0):
    params = build.init_variables(build.build(name), seed)["params"]
    return traverse_util.flatten_dict(params, sep="/")


def test_every_name_has_a_count():
    assert set(build.NAMES) == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    shapes = build.variable_shapes(build.build(name))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == COUNTS[name]


def test_the_small_encoder_is_the_published_resnet18():
    shapes = build.variable_shapes(build.build("unetpp_resnet18"))["params"]["encoder"]
    # torchvision's 11,689,512 less its classifier; its first convolution reads three channels.
    expected = 11_689_512 - (512 * 1000 + 1000) + 2 * 7 * 7 * 64
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected


def test_errors_list_what_is_valid():
    with pytest.raises(ValueError, match=r"'hrnet'.*ritm_hrnet18s.*ritm_tiny"):
        build.build("hrnet")
    with pytest.raises(ValueError, match=r"widht.*width, layer1_blocks"):
        build.build("ritm_tiny", widht=3)
    with pytest.raises(ValueError, match=r"'remat'.*unetpp_tiny.*width, layers.*deep_supervision"):
        build.build("unetpp_tiny", remat=True)
    with pytest.raises(ValueError, match=r"'deep_supervision'.*focalclick_tiny.*refiner_width"):
        build.build("focalclick_tiny", deep_supervision=True)
    with pytest.raises(ValueError, match=r"'refiner_width'.*ritm_tiny"):
        build.build("ritm_tiny", refiner_width=4)
    with pytest.raises(ValueError, match=r"float16.*float32, bfloat16"):
        build.build("ritm_tiny", dtype="float16")
    with pytest.raises(ValueError, match="-1"):
        build.init_variables(build.build("ritm_tiny"), -1)


def test_overrides_reach_the_network():
    model = build.build("ritm_tiny", dtype="bfloat16", remat=True, width=6)
    assert (model.dtype, model.remat, model.width) == (jnp.bfloat16, True, 6)
    model = build.build("focalclick_tiny", dropout=0.0, refiner_width=4)
    assert (model.dropout, model.refiner_width, model.width) == (0.0, 4, 4)
    model = build.build("unetpp_tiny", deep_supervision=True, dtype="bfloat16")
    assert (model.deep_supervision, model.dtype) == (True, jnp.bfloat16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Fans: 64 -> 64 over 3x3, 270 -> 270 over 1x1, 3 -> 64 over 3x3.
        (
            "ritm_hrnet18s",
            {
                "trunk/conv2/kernel": np.sqrt(2 / (9 * 64)),
                "head/aux_head_0/kernel": np.sqrt(2 / 270),
                "trunk/conv1/kernel": np.sqrt(2 / (9 * 33.5)),
            },
        ),
        # 1 -> 32 per channel over 3x3.
        (
            "focalclick_hrnet18s",
            {"refiner/image_conv2/conv3x3/kernel": np.sqrt(2 / (9 * 16.5))},
        ),
        # 5 -> 4 over 7x7, 192 -> 16 over 3x3.
        (
            "unetpp_tiny",
            {
                "encoder/conv1/kernel": np.sqrt(2 / (49 * 4.5)),
                "decoder/x_0_0/conv1_0/kernel": np.sqrt(2 / (9 * 104)),
            },
        ),
    ],
)
def test_initial_values(name, expected):
    flat = flat_params(name)
    for path, value in flat.items():
        assert isinstance(value, np.ndarray) and value.dtype == np.float32, path
        if path.endswith("/bias"):
            assert (value == 0).all(), path
        elif path.endswith("/scale"):
            assert (value == 1).all(), path
    if "fusion/maps_transform_3/multiplier" in flat:
        assert flat["fusion/maps_transform_3/multiplier"] == np.float32(0.05)
    for path, std in expected.items():
        value = flat[path]
        # The sample deviation of n Gaussian draws strays by std / sqrt(2 n).
        assert abs(value.std() - std) < 4 * std / np.sqrt(2 * value.size), path
        assert abs(value.mean()) < 4 * std / np.sqrt(value.size), path


@pytest.mark.parametrize("name", TINY)
def test_initial_statistics(name):
    stats = build.init_variables(build.build(name), 0)["batch_stats"]
    for path, value in traverse_util.flatten_dict(stats, sep="/").items():
        assert (value == (1.0 if path.endswith("var") else 0.0)).all(), path


def test_seed_and_path_decide_a_kernel():
    first, again, other = (flat_params("ritm_tiny", seed) for seed in (3, 3, 4))
    deeper = traverse_util.flatten_dict(
        build.init_variables(build.build("ritm_tiny", blocks=2), 3)["params"], sep="/"
    )
    kernels = [path for path in first if path.endswith("kernel")]
    assert len({first[path].tobytes() for path in kernels}) == len(kernels)
    for path in kernels:
        np.testing.assert_array_equal(first[path], again[path])
        np.testing.assert_array_equal(first[path], deeper[path])
        assert not np.array_equal(first[path], other[path])


@pytest.mark.parametrize("name", TINY)
def test_tree_is_that_of_flax_init(name):
    model = build.build(name)
    ours = build.init_variables(model, 0)
    image = jnp.zeros((1, 16, 16, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, image[..., :2], image[..., :1])
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(lambda leaf: leaf.shape, shapes)


def test_parameter_groups():
    params = build.init_variables(build.build("ritm_tiny"), 0)["params"]
    groups = build.parameter_groups(params)
    assert jax.tree.structure(groups) == jax.tree.structure(params)
    flat = traverse_util.flatten_dict(groups, sep="/")
    assert set(flat.values()) == {"trunk", "head"}
    assert flat["trunk/stage4_0/fuse_layers_3_0_2_0/kernel"] == "trunk"
    assert flat["head/cls_head/kernel"] == flat["head/aux_head_3/bias"] == "head"
    assert flat["fusion/maps_transform_0/kernel"] == "head"
    assert flat["head/ocr_distri_head/conv_bn_dropout_0/kernel"] == "head"


@pytest.mark.parametrize(
    ("name", "trunk"), [("focalclick_tiny", "trunk"), ("unetpp_tiny", "encoder")]
)
def test_parameter_groups_of_the_other_families(name, trunk):
    params = build.init_variables(build.build(name), 0)["params"]
    groups = build.parameter_groups(params)
    assert jax.tree.structure(groups) == jax.tree.structure(params)
    for top, tree in groups.items():
        expected = "trunk" if top == trunk else "head"
        assert set(jax.tree.leaves(tree)) == {expected}, top


@pytest.mark.parametrize(
    ("name", "scores", "scales"),
    [("ritm_tiny", 2, 1), ("focalclick_tiny", 3, 1), ("unetpp_tiny", 1, 0)],
)
def test_first_scores_and_fusion_scale_follow_the_options(name, scores, scales):
    model = build.build(name)
    plain = build.init_variables(model, 0)["params"]
    other = build.init_variables(model, 0, fusion_scale=1.0, lesion_prior=0.1)["params"]
    changed = {
        jax.tree_util.keystr(path): (float(a.ravel()[0]), float(b.ravel()[0]))
        for (path, a), b in zip(
            jax.tree.leaves_with_path(plain), jax.tree.leaves(other), strict=True
        )
        if not np.array_equal(a, b)
    }
    assert sorted(new for _, new in changed.values()) == pytest.approx(
        [-2.1972246] * scores + [1.0] * scales
    )
    with pytest.raises(ValueError, match="lesion_prior"):
        build.init_variables(model, 0, lesion_prior=1.0)
