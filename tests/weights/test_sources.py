"""Public weights: names, the choice of a network, partial placement."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from ecc_jax.models.build import build, init_variables
from ecc_jax.weights import sources
from ecc_jax.weights.sources import (
    HRNET,
    NETWORK,
    RESNET,
    check_options,
    choose_model,
    merge_state_dict,
    translate_names,
    widen_first_convolution,
)
from ecc_jax.weights.state_dict import export_state_dict, import_state_dict, slots

GOLDEN = Path(__file__).parents[1] / "golden"
NAME = "ritm_tiny"
COUNTER = "num_batches_tracked"


@pytest.fixture(scope="module")
def fresh():
    return init_variables(build(NAME), 0)


@pytest.fixture(scope="module")
def whole():
    """The state dict of another initialisation, as a public checkpoint has it."""
    return export_state_dict(NAME, init_variables(build(NAME), 1))


@pytest.fixture(scope="module")
def trunk(whole):
    """The trunk under the names of HRNet's ImageNet classifiers, with their classifier."""
    parts = ("conv1.", "conv2.", "bn1.", "bn2.", "layer1.", "transition", "stage")
    short = {key.removeprefix("feature_extractor."): value for key, value in whole.items()}
    trunk = {key: value for key, value in short.items() if key.startswith(parts)}
    extra = {"classifier.weight": np.zeros((1000, 8)), "incre_modules.0.0.bn1.weight": np.ones(4)}
    return {**trunk, **extra}


def _weights(state_dict):
    return {key: value for key, value in state_dict.items() if not key.endswith(COUNTER)}


def _same(left, right):
    left, right = (traverse_util.flatten_dict(tree, sep="/") for tree in (left, right))
    assert left.keys() == right.keys()
    return {path for path, value in left.items() if np.array_equal(value, right[path])}


def test_whole_network_is_placed_entirely(fresh, whole):
    variables, report = merge_state_dict(NAME, whole, fresh)
    expected = import_state_dict(NAME, whole)
    assert _same(variables, expected) == set(traverse_util.flatten_dict(expected, sep="/"))
    counters = sorted(whole.keys() - _weights(whole).keys())
    assert counters
    assert report == (NETWORK, sorted(_weights(whole)), [], [], counters)
    assert choose_model(whole) == NAME


def test_trunk_is_placed_and_the_rest_stays_fresh(fresh, whole, trunk, monkeypatch):
    variables, report = merge_state_dict(NAME, trunk, fresh)
    assert report.kind == HRNET
    assert report.ignored == ["classifier.weight", "incre_modules.0.0.bn1.weight"]
    placed = {f"feature_extractor.{key}" for key in _weights(trunk)} - {
        f"feature_extractor.{key}" for key in report.ignored
    }
    assert set(report.placed) == placed
    assert set(report.missing) == set(slots(NAME)) - placed
    back = export_state_dict(NAME, variables)
    start = export_state_dict(NAME, fresh)
    for key in report.placed:
        np.testing.assert_array_equal(back[key], whole[key], err_msg=key)
    for key in report.missing:
        np.testing.assert_array_equal(back[key], start[key], err_msg=key)
    assert {key.split(".")[1] for key in report.missing if key.startswith("feature")} == {
        "aux_head",
        "cls_head",
        "conv3x3_ocr",
        "ocr_distri_head",
    }
    monkeypatch.setattr(sources, "NAMES", (NAME, "ritm_hrnet18s"))
    assert choose_model(trunk) == NAME


def test_segmentation_trunks_give_their_last_layer_where_it_fits(fresh, whole, trunk):
    prefixed = {f"model.{key}": value for key, value in trunk.items()}
    prefixed["model.last_layer.0.weight"] = whole["feature_extractor.aux_head.0.weight"] + 1
    prefixed["model.last_layer.3.weight"] = np.zeros((19, 60, 1, 1), np.float32)
    variables, report = merge_state_dict(NAME, prefixed, fresh)
    assert "feature_extractor.aux_head.0.weight" in report.placed
    assert "feature_extractor.aux_head.3.weight" in report.missing
    assert "model.last_layer.3.weight" in report.ignored
    np.testing.assert_array_equal(
        export_state_dict(NAME, variables)["feature_extractor.aux_head.0.weight"],
        prefixed["model.last_layer.0.weight"],
    )


def test_half_precision_is_widened(fresh, whole):
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        cast = {key: value.astype(dtype) for key, value in _weights(whole).items()}
        variables, _ = merge_state_dict(NAME, cast, fresh)
        back = export_state_dict(NAME, variables)
        for key, value in cast.items():
            assert back[key].dtype == np.float32
            np.testing.assert_array_equal(back[key], value.astype(np.float32), err_msg=key)


def test_a_lacking_head_stays_fresh_and_other_layers_are_ignored(fresh, whole):
    gone = "feature_extractor.cls_head.bias"
    changed = {key: value for key, value in whole.items() if key != gone}
    changed["refiner.refine_pred.weight"] = np.zeros((1, 32, 3, 3), np.float32)
    _, report = merge_state_dict(NAME, changed, fresh)
    assert report.missing == [gone]
    assert report.ignored == ["refiner.refine_pred.weight"]
    with pytest.raises(ValueError, match="fit none of .*--model=NAME says why"):
        choose_model(changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_extractor.conv1.weight": None}, r"conv1\.weight is missing"),
        ({"feature_extractor.layer1.1.conv1.weight": np.ones(3)}, "layer1.1.conv1.weight is unkn"),
        ({"feature_extractor.conv1.weight": np.ones((64, 3, 3, 3))}, r"expected shape \(8, 3, 3"),
        ({"feature_extractor.cls_head.bias": np.ones(2)}, r"expected shape \(1,\), got \(2,\)"),
        ({"maps_transform.0.bias": np.ones(16, np.int32)}, "maps_transform.0.bias holds int32"),
        ({"maps_transform.0.bias": np.full(16, np.nan)}, "not finite"),
        ({"maps_transform.0.bias": np.full(16, 1e300)}, "not finite"),
        ({"feature_extractor.bn1.running_var": -np.ones(8)}, "negative variances"),
    ],
)
def test_unfitting_weights_are_refused(fresh, whole, change, message):
    changed = {key: value for key, value in {**whole, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        merge_state_dict(NAME, changed, fresh)


def test_trunks_of_other_depth_or_width_are_refused(fresh, trunk):
    deeper = {**trunk, "stage2.0.branches.0.1.conv1.weight": np.ones((4, 4, 3, 3), np.float32)}
    with pytest.raises(ValueError, match=r"do not fit ritm_tiny: .*branches\.0\.1.* is unknown"):
        merge_state_dict(NAME, deeper, fresh)
    with pytest.raises(ValueError, match=r"do not fit ritm_hrnet18s: .* and \d+ more; choose"):
        merge_state_dict("ritm_hrnet18s", trunk, {})
    twice = {**trunk, "model.conv1.weight": trunk["conv1.weight"]}
    with pytest.raises(ValueError, match=r"two tensors for feature_extractor\.conv1\.weight"):
        merge_state_dict(NAME, twice, fresh)


def test_unknown_sources_are_refused():
    with pytest.raises(ValueError, match="of no known source .* begin with backbone.w"):
        translate_names(["backbone.w"])


def test_networks_are_told_apart_by_names_and_shapes(monkeypatch):
    for file in sorted(GOLDEN.glob("ritm_*.keys.json")):
        shapes = json.loads(file.read_text())
        state_dict = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
        assert choose_model(state_dict) == file.name.rsplit("_", 1)[0]
    monkeypatch.setattr(sources, "NAMES", ("ritm_hrnet18", "ritm_hrnet32"))
    with pytest.raises(ValueError, match=r"class 'a\.B'\) fit none of ritm_hrnet18, ritm_hrnet32"):
        choose_model({"maps_transform.0.bias": np.ones(16)}, {"class": "a.B"})


def test_several_fitting_networks_ask_for_one(monkeypatch, trunk):
    monkeypatch.setattr(sources, "NAMES", (NAME, "ritm_hrnet18", NAME))
    with pytest.raises(ValueError, match=f"fit {NAME} and {NAME}; choose one with --model"):
        choose_model(trunk)


RESNET_KEYS = ("conv1.weight", "layer1.0.conv1.weight", "layer4.2.bn3.running_var", "fc.bias")


def test_names_of_resnet_become_those_of_the_encoder():
    kind, names = translate_names([*RESNET_KEYS, f"bn1.{COUNTER}"])
    assert kind == RESNET
    assert [names[key] for key in RESNET_KEYS] == [
        "encoder.conv1.weight",
        "encoder.layer1.0.conv1.weight",
        "encoder.layer4.2.bn3.running_var",
        "fc.bias",
    ]
    assert set(names) == set(RESNET_KEYS)


def test_names_of_the_thesis_and_of_segmentation_models():
    kind, names = translate_names(["feature_extractor.model.encoder.layer4.0.conv1.weight"])
    assert kind == NETWORK
    assert list(names.values()) == ["encoder.layer4.0.conv1.weight"]
    keys = ["encoder.layer4.0.conv1.weight", "decoder.blocks.x_0_0.conv1.0.weight"]
    assert translate_names(keys) == (NETWORK, {key: key for key in keys})
    assert translate_names(keys[:1])[0] == RESNET


def _unetpp(monkeypatch):
    """Makes the shapes of U-Net++ known without its network."""
    shapes = {
        "encoder.conv1.weight": (64, 5, 7, 7),
        "encoder.layer4.0.bn1.bias": (8,),
        "decoder.blocks.x_0_0.conv1.0.weight": (4, 8, 3, 3),
        "segmentation_head.0.bias": (1,),
    }
    monkeypatch.setattr(sources, "_shapes", lambda name: shapes)
    monkeypatch.setattr(sources, "NAMES", ("unetpp_resnet50",))
    monkeypatch.setattr(sources, "export_state_dict", lambda name, fresh: fresh)
    monkeypatch.setattr(sources, "import_state_dict", lambda name, state_dict: state_dict)
    return {key: np.ones(shape, np.float32) for key, shape in shapes.items()}


def test_resnet_fills_the_encoder_with_a_widened_first_convolution(monkeypatch):
    fresh = _unetpp(monkeypatch)
    rng = np.random.default_rng(0)
    state_dict = {
        "conv1.weight": rng.normal(size=(64, 3, 7, 7)).astype(np.float32),
        "layer4.0.bn1.bias": np.zeros(8, np.float32),
        "fc.weight": np.zeros((1000, 8), np.float32),
    }
    assert choose_model(state_dict) == "unetpp_resnet50"
    merged, report = merge_state_dict("unetpp_resnet50", state_dict, fresh)
    assert report.ignored == ["fc.weight"]
    assert report.missing == ["decoder.blocks.x_0_0.conv1.0.weight", "segmentation_head.0.bias"]
    weight = merged["encoder.conv1.weight"]
    np.testing.assert_allclose(weight[:, 4], state_dict["conv1.weight"][:, 1] * 0.6, rtol=1e-6)
    unused = {"maps_transform.0.bias": np.ones(16, np.float32)}
    thesis = {f"feature_extractor.model.{key}": value for key, value in fresh.items()} | unused
    assert choose_model(thesis) == "unetpp_resnet50"
    _, report = merge_state_dict("unetpp_resnet50", thesis, fresh)
    assert report.ignored == ["maps_transform.0.bias"] and not report.missing


def test_widened_convolution_keeps_the_answer_to_equal_inputs():
    weight = np.random.default_rng(0).normal(size=(4, 3, 7, 7)).astype(np.float32)
    for channels in (5, 6, 3):
        wide = widen_first_convolution(weight, channels)
        assert wide.shape == (4, channels, 7, 7) and wide.dtype == np.float32
        for i in range(channels):
            np.testing.assert_allclose(wide[:, i], weight[:, i % 3] * 3 / channels, rtol=1e-6)
    np.testing.assert_array_equal(wide, weight)


def _options(**values):
    return {"class": "x", "params": {key: {"value": value} for key, value in values.items()}}


def test_options_that_change_the_network_are_refused():
    check_options(NAME, None)
    check_options(NAME, {"params": [1]})
    check_options(NAME, {"params": {"use_leaky_relu": True}})
    check_options(NAME, _options(width=18, use_leaky_relu=True, with_prev_mask=True))
    check_options("unetpp_resnet50", _options(with_prev_mask=False))
    for option in (
        {"use_leaky_relu": False},
        {"pipeline_version": "s1"},
        {"binary_prev_mask": True},
    ):
        ((key, value),) = option.items()
        with pytest.raises(ValueError, match=f"trained with {key}={value!r}, ritm_tiny has"):
            check_options(NAME, _options(**option))


def test_nested_configurations_are_not_printed(monkeypatch):
    laughs = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(ValueError, match="use_disks=list, ritm_tiny has use_disks=True"):
        check_options(NAME, _options(use_disks=laughs))
    monkeypatch.setattr(sources, "NAMES", (NAME,))
    with pytest.raises(ValueError, match="class list"):
        choose_model({"maps_transform.0.bias": np.ones(16)}, {"class": laughs})
