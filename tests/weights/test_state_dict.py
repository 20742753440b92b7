"""State dicts in and out."""

import numpy as np
import pytest
from flax import traverse_util

from ecc_jax.models.build import build, init_variables
from ecc_jax.weights.state_dict import export_state_dict, import_state_dict, slots

NAME = "ritm_tiny"


def random_variables(name):
    rng = np.random.default_rng(0)
    flat = traverse_util.flatten_dict(init_variables(build(name), 0))
    return traverse_util.unflatten_dict(
        {path: rng.normal(size=x.shape).astype(np.float32) for path, x in flat.items()}
    )


@pytest.fixture(scope="module")
def variables():
    return random_variables(NAME)


@pytest.fixture
def state_dict(variables):
    return export_state_dict(NAME, variables)


@pytest.mark.parametrize("name", ["ritm_tiny", "focalclick_tiny", "unetpp_tiny"])
def test_round_trip_is_exact(name):
    variables = random_variables(name)
    state_dict = export_state_dict(name, variables)
    back = traverse_util.flatten_dict(import_state_dict(name, state_dict), sep="/")
    flat = traverse_util.flatten_dict(variables, sep="/")
    assert back.keys() == flat.keys()
    for path, value in flat.items():
        np.testing.assert_array_equal(back[path], value, err_msg=path)


def test_names_and_layout_are_those_of_pytorch(variables, state_dict):
    trunk = variables["params"]["trunk"]
    kernel = trunk["stage4_0"]["fuse_layers_3_0_2_0"]["kernel"]
    weight = state_dict["feature_extractor.stage4.0.fuse_layers.3.0.2.0.weight"]
    assert weight.shape == (32, 4, 3, 3) and weight.flags.c_contiguous
    assert weight[5, 1, 0, 2] == kernel[0, 2, 1, 5]
    block = variables["batch_stats"]["trunk"]["stage2_0"]["branches_1_0"]["bn2"]
    prefix = "feature_extractor.stage2.0.branches.1.0.bn2."
    np.testing.assert_array_equal(state_dict[prefix + "running_mean"], block["mean"])
    np.testing.assert_array_equal(state_dict[prefix + "running_var"], block["var"])
    assert state_dict[prefix + "num_batches_tracked"].dtype == np.int64
    assert (
        state_dict["maps_transform.3.scale"]
        == variables["params"]["fusion"]["maps_transform_3"]["multiplier"]
    )


def test_names_and_layout_of_the_refiner():
    variables = random_variables("focalclick_tiny")
    kernel = variables["params"]["refiner"]["image_conv3"]["conv3x3"]["kernel"]
    weight = export_state_dict("focalclick_tiny", variables)["refiner.image_conv3.conv3x3.weight"]
    assert weight.shape == (8, 1, 3, 3)
    assert weight[5, 0, 1, 2] == kernel[1, 2, 0, 5]


def test_names_and_layout_of_the_nested_decoder():
    variables = random_variables("unetpp_tiny")
    state_dict = export_state_dict("unetpp_tiny", variables)
    node = variables["params"]["decoder"]["x_1_2"]
    weight = state_dict["decoder.blocks.x_1_2.conv2.0.weight"]
    assert weight[3, 1, 0, 2] == node["conv2_0"]["kernel"][0, 2, 1, 3]
    np.testing.assert_array_equal(
        state_dict["decoder.blocks.x_1_2.conv2.1.weight"], node["conv2_1"]["scale"]
    )
    assert state_dict["encoder.layer2.0.downsample.0.weight"].shape == (32, 16, 1, 1)
    assert state_dict["segmentation_head.0.bias"].shape == (1,)


def test_slots_name_places_and_shapes():
    table = slots("focalclick_tiny")
    slot = table["refiner.image_conv1.norm.running_var"]
    assert slot.path == ("batch_stats", "refiner", "image_conv1", "norm", "var")
    assert slot.shape == (8,)
    assert table["feature_extractor.conv1.weight"].shape == (8, 3, 3, 3)
    assert len({slot.path for slot in table.values()}) == len(table)
    with pytest.raises(ValueError, match="unknown model 'hrnet'"):
        slots("hrnet")


def test_counters_may_be_absent(state_dict):
    fewer = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    assert len(fewer) < len(state_dict)
    import_state_dict(NAME, fewer)


def test_unknown_key_is_named(state_dict):
    for key in ("feature_extractor.bn9.weight", "refiner.bn.num_batches_tracked"):
        with pytest.raises(ValueError, match=rf"unknown keys \['{key}'\]"):
            import_state_dict(NAME, {**state_dict, key: np.zeros(3)})


def test_missing_keys_are_listed(state_dict):
    gone = ["feature_extractor.bn1.bias", "maps_transform.3.scale"]
    for key in gone:
        del state_dict[key]
    with pytest.raises(ValueError) as error:
        import_state_dict(NAME, state_dict)
    assert all(key in str(error.value) for key in gone)


def test_other_families_do_not_fit():
    focal = export_state_dict("focalclick_tiny", random_variables("focalclick_tiny"))
    with pytest.raises(ValueError, match=r"unknown keys .*refiner.refine_pred.bias.*missing keys"):
        import_state_dict("ritm_tiny", focal)
    ritm = export_state_dict("ritm_tiny", random_variables("ritm_tiny"))
    with pytest.raises(ValueError, match=r"missing keys .*refiner.refine_pred.bias"):
        import_state_dict("focalclick_tiny", ritm)


def test_wrong_shape_is_named(state_dict):
    key = "feature_extractor.conv1.weight"
    state_dict[key] = state_dict[key].transpose(2, 3, 1, 0)
    with pytest.raises(
        ValueError, match=r"conv1.weight: expected .*\(8, 3, 3, 3\), got \(3, 3, 3, 8\)"
    ):
        import_state_dict(NAME, state_dict)


def test_export_refuses_other_networks(variables):
    with pytest.raises(ValueError, match=r"missing or unknown .*layer1_1"):
        export_state_dict("ritm_hrnet18s", variables)
    wider = init_variables(build(NAME, ocr_width=9), 0)
    with pytest.raises(ValueError, match=r"conv3x3_ocr.*expected shape \(16,.*, got \(18,"):
        export_state_dict(NAME, wider)
