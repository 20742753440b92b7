"""Strategies of augmentation in the configuration: what they leave open, and what they refuse."""

import json

import pytest

from ecc_jax import checks, runs, settings, workdir
from ecc_jax import config as schema

OWN = {
    "ritm": ((320, 480), 0.5, 0.0),
    "focalclick": ((256, 256), 0.3, 0.3),
    "optimal_crop": ((256, 256), 0.3, 0.3),
}


def _tree(**values):
    tree = schema.default()
    for name, value in values.items():
        schema.set_key(tree, f"augment.{name}", value)
    return tree


@pytest.mark.parametrize("name", OWN)
def test_open_values_are_those_of_the_strategy(name):
    tree = _tree(name=name, bounds=() if name == "ritm" else (0.1, 0.3))
    checks.validate(tree)
    options = settings.augmentation(tree)
    assert (options.crop, options.flip_prob, options.vertical_flip_prob) == OWN[name]
    assert settings.shown_shape(tree) == OWN[name][0]
    assert options.crop_prob == (0.8 if name == "optimal_crop" else 1.0)


def test_values_that_are_named_hold():
    tree = _tree(
        name="focalclick", crop=(96, 64), flip_prob=0.0, crop_prob=0.5, crop_sizes="normal"
    )
    checks.validate(tree)
    options = settings.augmentation(tree)
    assert (options.crop, options.flip_prob, options.vertical_flip_prob) == ((96, 64), 0.0, 0.3)
    assert (options.bounds, options.crop_prob) == ((0.5, 1.4), 0.5)
    assert options.crop_sizes == "normal"


@pytest.mark.parametrize("name", ["orient", "none"])
def test_without_a_crop_the_whole_slice_is_shown(name):
    tree = _tree(name=name)
    checks.validate(tree)
    options = settings.augmentation(tree)
    assert (options is None) if name == "none" else (options.crop is None)
    assert settings.shown_shape(tree) == (tree.data.size, tree.data.size)


def test_bounds_that_are_still_to_be_measured_are_no_numbers():
    tree = _tree(name="optimal_crop")
    checks.validate(tree)
    assert settings.shown_shape(tree) == (256, 256)
    with pytest.raises(ValueError, match="training measures on the validation slices"):
        settings.augmentation(tree)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "optimal"}, "ritm, focalclick, optimal_crop, orient, none"),
        ({"name": "focalclick", "bounds": (0.5, 0.4)}, "low <= high"),
        ({"name": "optimal_crop", "bounds": (0.5, 7.0)}, r"high <= 6.0"),
        ({"name": "optimal_crop", "bounds": ("a", "b")}, "two shares"),
        ({"name": "optimal_crop", "crop_prob": 1.5}, "a probability"),
        ({"name": "focalclick", "crop_sizes": "gamma"}, "uniform, normal"),
        ({"name": "ritm", "bounds": (0.5, 1.4)}, "focalclick or optimal_crop"),
        ({"name": "orient", "crop_prob": 0.5}, "focalclick or optimal_crop"),
        ({"name": "ritm", "crop_sizes": "normal"}, "focalclick or optimal_crop"),
        ({"flip_prob": -0.5}, "a probability"),
        ({"name": "none", "colour_prob": 0.75}, "colour_prob"),
        ({"crop": (16, 16)}, ">= 32"),
    ],
)
def test_bad_values_are_one_line(values, message):
    with pytest.raises(ValueError, match=message) as caught:
        checks.validate(_tree(**values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.intensity", "core"), ("train.source", "sessions"), ("model.view", "disk")],
)
def test_three_colours_need_a_network_that_is_shown_them(key, value):
    tree = _tree(colour_prob=0.75)
    checks.validate(tree)
    schema.set_key(tree, key, value)
    schema.set_key(tree, "train.click_gamma", 0.75)
    with pytest.raises(ValueError, match="augment.colour_prob"):
        checks.validate(tree)


@pytest.mark.parametrize("name", ["ritm", "orient", "none", "focalclick"])
def test_a_run_records_its_own_values_and_those_of_an_earlier_version_resume(name, tmp_path):
    recorded = workdir.as_recorded(_tree(name=name))
    assert recorded.augment.crop and recorded.augment.flip_prob >= 0
    assert workdir.as_recorded(recorded) == recorded
    if name == "focalclick":
        assert recorded.augment.bounds == (0.5, 1.4)
        return
    # What earlier versions wrote: every value, and none of the keys that are new.
    values = schema.to_dict(schema.default())
    values["augment"] |= {"name": name, "crop": [320, 480], "flip_prob": 0.5}
    values["augment"]["vertical_flip_prob"] = 0.0
    for key in ("bounds", "crop_prob", "crop_sizes", "colour_prob"):
        del values["augment"][key]
    (tmp_path / workdir.CONFIG_FILE).write_text(json.dumps(values))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "summary.json").write_text("{}")
    assert runs.train(_tree(name=name), lambda _: tmp_path, str(tmp_path)).is_file()
    with pytest.raises(ValueError, match=r"augment.crop=\(320, 480\), now \(64, 64\)|crop"):
        runs.train(_tree(name=name, crop=(64, 64)), lambda _: tmp_path, str(tmp_path))
