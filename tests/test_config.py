"""The configuration schema, its words and its checks."""

import itertools
from pathlib import Path

import pytest

from ecc_jax import catalog, checks, config, settings
from ecc_jax.config_moves import MOVED
from ecc_jax.config_words import name_dataset
from ecc_jax.protocols import PROTOCOLS, with_protocol
from tests.loading import load

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def _load(path: Path):
    return load(path)


def test_default_is_locked_and_valid():
    tree = config.default()
    with pytest.raises(AttributeError, match="raduis"):
        tree.clicks.raduis = "tight"
    checks.validate(tree)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("name", ["", *catalog.DATASETS, "quick", "small", "kits_2d,small"])
def test_every_leaf_resolves_for_every_word(path, name):
    tree = _load(path).get_config(name)
    checks.validate(tree)
    assert tree.name == path.stem
    assert len(path.read_text().splitlines()) <= 25


def test_words_apply_in_any_order():
    hashes = {
        config.resolved_hash(config.get_config(",".join(words)))
        for words in itertools.permutations(["quick", "small", "lidc_2d"])
    }
    assert len(hashes) == 1


def test_unknown_word_lists_the_valid_ones():
    with pytest.raises(ValueError, match="'quikc'.*quick.*") as error:
        config.get_config("quikc")
    assert "lidc_2d" in str(error.value)


def test_two_datasets_are_refused():
    with pytest.raises(ValueError, match="at most one dataset, got kits_2d, lidc_2d"):
        config.get_config("lidc_2d,kits_2d")


def test_hash_tells_configurations_apart():
    one, two = config.get_config("quick"), config.get_config("quick")
    assert config.resolved_hash(one) == config.resolved_hash(two)
    two.seed = 1
    assert config.resolved_hash(one) != config.resolved_hash(two)


def test_round_trip_through_json():
    tree = config.get_config("kits_2d,quick,small")
    again = config.from_dict(config.to_dict(tree))
    assert config.differences(tree, again) == {}
    again.train.batch_size = 3
    assert config.differences(tree, again) == {"train.batch_size": (8, 3)}


def test_from_dict_refuses_keys_of_another_version():
    values = config.to_dict(config.default())
    values["clicks"]["speed"] = 1
    with pytest.raises(ValueError, match="clicks.speed"):
        config.from_dict(values)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.name", "lidc", "data.name must be one of"),
        ("data.split", "val", "train, validation, test, all"),
        ("model.name", "hrnet", "ritm_hrnet18s"),
        ("clicks.radius", "normal", "clicks.radius"),
        ("train.batch_size", 0, "positive"),
        ("train.batch_size", 1, "degenerate"),
        ("train.microbatch", 1, "degenerate"),
        ("train.microbatch", 7, "must divide"),
        ("inference.threshold", 1.0, "between 0 and 1"),
        ("inference.pipeline", "zoom", "full_frame, zoom_in"),
        ("inference.zoom_rule", "widest", "longest, shortest"),
        ("inference.zoom_target", 16, "at least 32 pixels"),
        ("inference.zoom_min_crop", 0, "positive"),
        ("inference.zoom_expansion", 0.9, "at least 1"),
        ("inference.zoom_expansion", float("nan"), "at least 1"),
        ("inference.zoom_skip_clicks", 0, "positive"),
        ("inference.focal_size", 16, "at least 32 pixels"),
        ("inference.focal_min_crop", 0, "positive"),
        ("inference.focal_expansion", 0.9, "at least 1"),
        ("inference.focal_settled_clicks", -1, "0 or a positive"),
        ("loss.refine", "nfl", "bce_dice, boundary_nfl"),
        ("loss.refine_weight", -1.0, "0 or a positive"),
        ("loss.boundary_weight", float("nan"), "0 or a positive"),
        ("augment.scale", (1.4, 0.75), "low <= high"),
        ("augment.crop", (16, 16), ">= 32"),
        ("data.window_hu", (250.0, -150.0), "low < high"),
        ("eval.flooding_tolerances", 5, "at least 20"),
        ("data.phantom_patients", 2, "at least 3"),
        ("train.click_gamma", 0.0, "gamma"),
        ("schedule.warmup_steps", -5, "0 or a positive"),
        ("data.max_slices_per_patient", -1, "0 or a positive"),
        ("eval.max_slices", -5, "0 or a positive"),
        ("eval.tuning_slices", 0, "positive"),
        ("checkpoint.keep_latest", 0, "positive"),
        ("schedule.factor", -1.0, "at most 1"),
        ("optimizer.b1", 1.0, "below 1"),
        ("optimizer.learning_rate", float("inf"), "positive number"),
        ("model.fusion_scale", float("nan"), "positive number"),
        ("loss.aux_weight", -0.1, "0 or a positive"),
        ("augment.crop", (33.5, 40), "whole numbers"),
        ("data.split_rule", "slice", "patient, thesis"),
        ("data.folds", 1, "at least 2"),
        ("clicks.enclosing", "circle", "click, min_circle"),
        ("eval.protocol", "davis", "thesis, ritm, cvpr25, robustness"),
        ("eval.initial_mask", "masks.nii", "eroded, dilated, shifted, or the path"),
        ("eval.damage", 1.0, "below 1"),
        ("eval.nof_convention", "davis", "success, ritm"),
        ("train.radius", "average_then_tight", "normal, uniform"),
        ("train.threshold", 0.0, "between 0 and 1"),
        ("model.encoding", "scribble", "disk, hybrid, box, gaussian, wide_gaussian, distance"),
        ("model.click_radius", 0.0, "positive number"),
        ("train.source", "clicks", "iterative, sessions, random, random_then_iterative"),
        ("train.random_gamma", 1.5, "above 0 and at most 1"),
        ("train.random_corrections", 0, "positive"),
        ("loss.main", "focal", "bce_dice, nfl, bce"),
        ("loss.dice", "pixel", "sample, batch"),
        ("data.sources", ("lidc_2d", "nonsense"), "some of .*lidc_2d"),
        ("train.sampling", "volumes", "slices, patients; got 'volumes'"),
        ("train.groups", ("^LIDC",), r"texts REGEX=WEIGHT, .* as in .*; got \('\^LIDC',\)"),
        ("train.groups", ("(=1",), "REGEX=WEIGHT"),
        ("train.groups", ("A=0",), "weight positive"),
        ("train.groups", (("A", 3),), "REGEX=WEIGHT"),
        ("train.next_click", "centre", "largest_component, deepest"),
        ("train.fixed_radius", 0.0, "positive number"),
        ("eval.baselines", ("snakes",), "same_disks, blank_image, flooding, flooding_disk, active"),
        ("eval.external", "package.module", "module:factory"),
        ("eval.nsd_tolerance_mm", -1.0, "0 or a positive"),
        ("eval.robustness_scales", (0.0,), "positive numbers"),
        ("eval.robustness_jitter", ("a",), "positive numbers"),
        ("eval.latency_clicks", -1, "0 or a positive"),
        ("data.fold", 1, "0 without data.folds"),
        ("data.window_hu", ("a", "b"), "low < high"),
        ("data.window_hu", (-float("inf"), 0.0), "low < high"),
        ("data.lesion_labels", (1.5,), "whole numbers"),
        ("data.lesion_labels", ("tumour",), "whole numbers"),
        ("augment.scale", ("a", "b"), "low <= high"),
        ("augment.scale", (1.0, float("inf")), "low <= high"),
        ("seed", 2**32, "32"),
    ],
)
def test_bad_values_name_key_and_expectation(key, value, message):
    tree = config.default()
    config.set_key(tree, key, value)
    with pytest.raises(ValueError, match=message) as error:
        checks.validate(tree)
    assert key.split(".")[-1] in str(error.value)


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("train.batch_size=8", "batch_size", 8),
        ("train.jitter=0", "jitter", 0.0),
        ("train.groups=('/a=1','/b=2')", "groups", ("/a=1", "/b=2")),
        ("train.source=iterative", "source", "iterative"),
    ],
)
def test_keys_are_set_from_text_as_on_a_command_line(change, key, value):
    tree = config.default()
    config.set_from_text(tree, change)
    assert tree.train[key] == value
    assert isinstance(tree.train[key], type(value))


@pytest.mark.parametrize(
    "change", ["train.batch_size=many", "train.batch_size=", "train.batch_size"]
)
def test_text_of_another_type_is_refused_with_what_was_expected(change):
    with pytest.raises(ValueError, match=f"{change}: expected a value like 80"):
        config.set_from_text(config.default(), change)


def test_set_key_refuses_unknown_keys():
    with pytest.raises(ValueError, match="unknown config key 'train.batchsize'.*batch_size"):
        config.set_key(config.default(), "train.batchsize", 3)


def test_moved_keys_are_gone_and_where_they_went_is_there():
    tree = config.default()
    for old, new in MOVED.items():
        with pytest.raises(ValueError, match=f"unknown config key '{old}'; it is {new[0]} now"):
            config.set_key(tree, old, 1)
        for key in new:
            group, name = key.split(".")
            assert name in tree[group]


def test_a_mask_that_was_named_but_not_used_stays_unused():
    values = config.to_dict(config.default())
    del values["eval"]["initial_mask"]
    values["eval"] |= {"start_from": "empty", "start_mask": "masks.npz"}
    assert config.from_dict(values).eval.initial_mask == ""
    values["eval"]["start_from"] = "mask"
    assert config.from_dict(values).eval.initial_mask == "masks.npz"
    del values["eval"]["start_mask"]
    assert config.from_dict(values).eval.initial_mask == "eroded"


def test_a_run_of_an_earlier_version_was_trained_by_the_clicks_of_its_evaluation():
    values = config.to_dict(config.default())
    for key in ("next_click", "fixed_radius", "threshold", "radius"):
        del values["train"][key]
    values["clicks"] = {"radius_train": "fixed", "next_click": "deepest", "fixed_radius": 3.0}
    values["inference"]["threshold"] = 0.4
    user = settings.training_user(config.from_dict(values))
    assert (user.rule, user.radius, user.fixed_radius, user.threshold) == (
        "deepest",
        "fixed",
        3.0,
        0.4,
    )


def test_no_group_of_evaluation_changes_who_clicks_in_training():
    tree = config.default()
    before = settings.training_user(tree)
    tree.clicks.next_click, tree.clicks.radius, tree.clicks.fixed_radius = "deepest", "fixed", 9.0
    tree.inference.threshold = 0.3
    assert settings.training_user(tree) == before
    assert settings.evaluation_user(tree).fixed_radius == 9.0


def test_a_loss_without_dice_takes_none_over_the_batch():
    tree = config.default()
    tree.loss.dice = "batch"
    checks.validate(tree)
    tree.loss.main = "nfl"
    with pytest.raises(ValueError, match=r"loss.dice=batch is for bce_dice; loss.main=nfl"):
        checks.validate(tree)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model.name": "ritm_hrnet32"},
            "needs a network with a refiner, one of focalclick_hr.*got",
        ),
        ({"model.name": "unetpp_resnet50"}, "model.name=unetpp_resnet50"),
        ({"inference.flip": True}, "averages no mirror images: set flip=False"),
        (
            {"inference.pipeline": "full_frame", "inference.progressive_merge": True},
            "leave it away",
        ),
        ({"model.view": "disk"}, "pipeline=focalclick crops the slice.*leave the pipeline at"),
        ({"model.edits": "local"}, "pipeline=focalclick answers with nothing outside"),
    ],
)
def test_two_stages_need_a_refiner_and_have_no_mirror_images(values, message):
    tree = config.focalclick()
    tree.inference.progressive_merge = True
    checks.validate(tree)
    for key, value in values.items():
        config.set_key(tree, key, value)
    with pytest.raises(ValueError, match=message) as error:
        checks.validate(tree)
    assert "\n" not in str(error.value)


def test_a_loss_over_the_batch_is_not_for_sessions():
    tree = config.focalclick()
    tree.loss.refine = "boundary_nfl"
    checks.validate(tree)
    tree.train.source, tree.train.click_gamma, tree.train.batch_size = "sessions", 0.75, 32
    with pytest.raises(ValueError, match="loss.refine=boundary_nfl knows no rows to leave out"):
        checks.validate(tree)


def test_static_radii_scale_neither_in_training_nor_in_use():
    for radius, scales in (("fixed", False), ("average", True)):
        tree = config.focalclick()
        tree.clicks.radius = radius
        assert settings.inference_options(tree).focal.scales_radius == scales
        assert settings.inference_options(tree).zoom.scales_radius == scales


def test_groups_survive_json_and_are_for_sampling_by_patient():
    tree = config.default()
    tree.train.groups = ("^LIDC_=3", ".*=0.5")
    with pytest.raises(ValueError, match="train.groups is for train.sampling=patients;.*slices"):
        checks.validate(tree)
    tree.train.sampling = "patients"
    checks.validate(tree)
    again = config.from_dict(config.to_dict(tree))
    assert again.train.groups == ("^LIDC_=3", ".*=0.5")
    checks.validate(again)


def test_a_run_of_an_earlier_version_took_every_slice_once_per_pass():
    values = config.to_dict(config.default())
    del values["train"]["sampling"], values["train"]["groups"], values["data"]["balanced"]
    assert config.differences(config.from_dict(values), config.default()) == {}


def test_a_protocol_is_not_contradicted_by_a_key_that_was_given():
    tree = config.default()
    tree.eval.protocol, tree.inference.threshold = "ritm", 0.6
    # What a leaf or a run holds yields; what was typed is not overruled in silence.
    assert with_protocol(tree).inference.threshold == 0.49
    with pytest.raises(ValueError, match=r"protocol=ritm means inference.threshold=0.49, but 0.6"):
        with_protocol(tree, {"inference.threshold": 0.6, "eval.max_slices": 4})
    with_protocol(tree, {"inference.threshold": 0.49, "clicks.radius": "tight"})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_sets_its_keys_and_no_other(name):
    tree = config.get_config("quick")
    tree.eval.protocol = name
    resolved = with_protocol(tree)
    assert {key for key in config.differences(tree, resolved)} <= set(PROTOCOLS[name].values)
    for key, value in PROTOCOLS[name].values.items():
        group, _, last = key.partition(".")
        assert resolved[group][last] == value and group in config.EVALUATION_GROUPS
    assert config.differences(resolved, with_protocol(resolved)) == {}
    checks.validate(resolved)


def test_what_shapes_training_is_in_no_group_of_evaluation():
    tree = config.default()
    assert set(config.EVALUATION_GROUPS) == {"data", "clicks", "inference", "eval"}
    for key in ("radius", "next_click", "fixed_radius", "max_clicks", "click_gamma", "threshold"):
        assert key in tree.train
    assert set(tree.validation) == {"slices", "clicks", "every", "select_after"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a.py", "a.py:kits_2d"),
        ("a.py:quick", "a.py:kits_2d,quick"),
        ("a.py:lidc_2d,quick", "a.py:kits_2d,quick"),
        ("a.py:kits_2d", "a.py:kits_2d"),
        ("/some.py:dir/a.py:small", "/some.py:dir/a.py:kits_2d,small"),
    ],
)
def test_a_dataset_takes_the_place_of_another_among_the_words(spec, expected):
    assert name_dataset(spec, "kits_2d") == expected


def test_folds_hold_for_splits_by_patient_only():
    tree = config.default()
    tree.data.folds, tree.data.fold = 3, 3
    with pytest.raises(ValueError, match=r"data.fold must be 0 to data.folds - 1 = 2; got 3"):
        checks.validate(tree)
    tree.data.fold = 2
    checks.validate(tree)
    tree.data.split_rule = "thesis"
    with pytest.raises(ValueError, match="choose one"):
        checks.validate(tree)
