"""The configuration schema: every key with its meaning and unit, word arguments, validation.

`default()` returns a locked tree, so assigning a key that does not exist raises. Leaves in
`configs/` only change values; `validate` checks the resolved tree before any device is touched.
"""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import ml_collections

from ecc_jax import catalog
from ecc_jax.config_words import apply_words

NEXT_CLICK_RULES = ("largest_component", "deepest")
EVAL_RADII = ("average", "tight", "enclosing", "fixed")
TRAIN_RADII = ("normal", "uniform", *EVAL_RADII)
SPLITS = ("train", "validation", "test", "all")
_RITM = ("ritm_hrnet18s", "ritm_hrnet18", "ritm_hrnet32", "ritm_tiny")
_FOCALCLICK = ("focalclick_hrnet18s", "focalclick_hrnet32", "focalclick_tiny")
MODELS = (*_RITM, *_FOCALCLICK, "unetpp_resnet50", "unetpp_tiny")
PIPELINES = ("full_frame", "zoom_in")
ZOOM_RULES = ("longest", "shortest")
PHANTOM_KINDS = ("lung", "kidney", "liver", "pancreas", "mixed")
# Groups that --mode=evaluate may change on a finished run: none of them alters what was trained.
EVALUATION_GROUPS = ("data", "clicks", "inference", "eval")


def default() -> ml_collections.ConfigDict:
    """Returns the full, locked configuration with its default values."""
    config = ml_collections.ConfigDict()
    config.name = "ritm_dynamic"  # the leaf, part of the default workdir
    config.words = ""  # the words after the colon of --config, sorted
    config.seed = 0  # everything random derives from it and the step
    for group, values in _groups().items():
        config[group] = ml_collections.ConfigDict(values)
    return config.lock()


def _groups() -> dict[str, dict[str, Any]]:
    return {
        "data": _data(),
        "augment": _augment(),
        "model": {
            "name": "ritm_hrnet32",  # see MODELS
            "dtype": "float32",  # float32 | bfloat16: arithmetic inside the network
            "pretrained": "",  # a run's workdir, or converted weights, that start this one
            "fusion_scale": 0.05,  # first factor of the click features; unused with pretrained
            "lesion_prior": 0.5,  # first output of the score heads; unused with pretrained
        },
        "clicks": _clicks(),
        "inference": _inference(),
        "loss": {
            "main_weight": 1.0,  # weight of 0.5 BCE + 0.5 Dice on the main head
            "aux_weight": 0.4,  # weight of BCE on the auxiliary head; U-Net++ has none: use 0
        },
        "optimizer": {
            "learning_rate": 5e-4,
            "learning_rate_pretrained": 5e-4,  # takes its place where model.pretrained is set
            "b1": 0.9,
            "b2": 0.999,
            "trunk_multiplier": 0.1,  # learning-rate factor of the trunk, with pretrained weights
        },
        "schedule": {
            "factor": 0.1,  # learning rate times this after a plateau
            "patience": 10,  # epochs without gain before the learning rate drops
            "stop_after": 30,  # epochs without gain before training ends
            "warmup_steps": 0,  # linear warm-up, steps
            "decay": "none",  # none | cosine: to 0 over all steps, beside the plateau rule
        },
        "train": {
            "batch_size": 80,  # images per step, over all devices
            "microbatch": 0,  # images per forward pass; 0 = whole batch at once
            "stats_momentum": 0.9,  # of the running batch statistics, per microbatch
            "average_decay": 0.0,  # of a running average of the weights to evaluate; 0 = none
            "epochs": 300,  # upper bound; the plateau rule usually ends earlier
            "steps_per_epoch": 0,  # 0 = one pass over the training split
            "max_steps": 0,  # stop after so many steps; 0 = no limit
            "log_every": 10,  # steps between records in metrics.jsonl
        },
        "eval": _eval(),
        "checkpoint": {
            "every_steps": 0,  # 0 = at the end of every epoch only
            "keep_latest": 2,  # beside the best one
        },
    }


def _data() -> dict[str, Any]:
    return {
        "name": "ct_phantom_2d",  # a name in ecc_jax.catalog.DATASETS
        "root": "",  # prepared data; empty = $TFDS_DATA_DIR or ~/tensorflow_datasets
        "path": "",  # folder of the raw data; not needed once they are prepared, nor by the phantom
        "split": "test",  # split that evaluation reports on: train | validation | test | all
        "subset": "full",  # full = every lesion slice, small = the largest per volume
        "variant": "windowed",  # windowed | raw (full HU kept, needed for another window)
        "size": 512,  # slices are stored as size x size pixels
        "window_hu": (),  # (low, high) overrides the dataset's window
        "lesion_labels": (),  # label values that mean lesion; empty = the dataset's
        "allow_empty": False,  # skip volumes without lesion instead of refusing them
        "slice_axis": -1,  # 0, 1, 2; -1 = axis of the largest spacing, else the last
        "patient_regex": "",  # finds the patient in a volume's name; empty = one per file
        "split_rule": "patient",  # patient | thesis (by slice, leaks patients: count parity only)
        "split_seed": 0,  # seed of the split
        "sources": (),  # datasets that combined_2d joins; empty = the four of the thesis
        "phantom_kind": "mixed",  # lung | kidney | liver | pancreas | mixed
        "phantom_patients": 120,  # synthetic patients
        "max_slices_per_patient": 0,  # training slices used per patient; 0 = all
        "read_threads": 4,  # reader threads; 0 = read in the main thread
    }


def _augment() -> dict[str, Any]:
    return {
        "name": "ritm",  # ritm | none
        "crop": (320, 480),  # height, width of a training crop, pixels
        "scale": (0.75, 1.40),  # range of the random zoom
        "flip_prob": 0.5,  # probability of a horizontal flip
        "vertical_flip_prob": 0.0,  # probability of a vertical flip
        "transpose_prob": 0.0,  # probability that rows and columns are swapped
        "contrast": 0.0,  # grey values spread by exp(u) about mid-grey, u within +- this
        "brightness": 0.0,  # share of the window added or subtracted at most
        "gamma": 0.0,  # grey values to the power of exp(u), u within +- this
        "invert_prob": 0.0,  # probability that black and white change places
        "noise": 0.0,  # largest standard deviation of pixel noise, share of the window
    }


def _inference() -> dict[str, Any]:
    return {
        "pipeline": "full_frame",  # full_frame | zoom_in (a crop around the lesion, enlarged)
        "threshold": 0.5,  # probability above which a pixel is lesion
        "flip": False,  # average the scores of slice and mirror image; twice the work
        "zoom_target": 400,  # pixels per side of the crop for the network, see zoom_rule
        "zoom_rule": "longest",  # longest: longest side = target | shortest: all sides >=
        "zoom_min_crop": 200,  # smallest side of the crop, slice pixels
        "zoom_expansion": 1.4,  # sides of the crop relative to the lesion's box
        "zoom_skip_clicks": 1,  # first clicks answered on the whole slice, at least 1
    }


def _clicks() -> dict[str, Any]:
    return {
        "next_click": "largest_component",  # see NEXT_CLICK_RULES
        "radius_train": "normal",  # see TRAIN_RADII
        "radius_eval": "average",  # see EVAL_RADII
        "fixed_radius": 5.0,  # radius of `fixed`, network-input pixels
        "max_train": 24,  # most clicks of a training batch
        "gamma": 0.7,  # p(n clicks) is proportional to gamma ** (n - 1)
    }


def _eval() -> dict[str, Any]:
    return {
        "num_clicks": 20,  # clicks per image in the final evaluation
        "batch_size": 16,  # images per device call
        "max_slices": 0,  # test slices used, spread over the patients; 0 = all
        "validation_slices": 0,  # fixed validation slices; 0 = all
        "validation_clicks": 5,  # clicks of the validation rollout
        "validate_every": 1,  # epochs between validations
        "select_after": 0.0,  # share of all steps before which no checkpoint becomes the best
        "flooding_slices": 256,  # training slices of the flooding tolerance search
        "flooding_tolerances": 24,  # tolerances tried
    }


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the defaults with `arg`'s words applied, so this file itself is a config."""
    return apply_words(default(), arg)


def resolved_hash(config: ml_collections.ConfigDict) -> str:
    """Returns the 8 hex digits that tell two configurations apart in a workdir's name."""
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the tree as plain JSON values (tuples become lists)."""
    return json.loads(config.to_json())


def from_dict(values: dict[str, Any]) -> ml_collections.ConfigDict:
    """Rebuilds a configuration from `to_dict`'s output, on top of the current defaults.

    Keys that this version does not know raise; keys that the file lacks keep their default.

    Raises:
      ValueError: A key that the schema does not have.
    """
    config = default()
    for key, value in _flat(values).items():
        set_key(config, key, value)
    return config


def set_key(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Sets `group.name` to `value`, lists becoming tuples.

    Raises:
      ValueError: The key is unknown.
    """
    *groups, name = key.split(".")
    node = config
    for group in groups:
        if group not in node:
            raise ValueError(f"unknown config key {key!r}; groups: {', '.join(config.keys())}")
        node = node[group]
    if name not in node:
        raise ValueError(f"unknown config key {key!r}; {groups} has: {', '.join(node.keys())}")
    node[name] = tuple(value) if isinstance(value, (list, tuple)) else value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(
    left: ml_collections.ConfigDict, right: ml_collections.ConfigDict
) -> dict[str, tuple[Any, Any]]:
    """Returns the keys in which two configurations differ, with both values."""
    a, b = _flat(to_dict(left)), _flat(to_dict(right))
    return {key: (a[key], b[key]) for key in a if a[key] != b.get(key)}


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks the whole resolved configuration.

    Raises:
      ValueError: Names the first bad key, what was expected, and what was given.
    """
    _one_of(config, "data.name", tuple(catalog.DATASETS))
    _one_of(config, "data.split", SPLITS)
    _one_of(config, "data.subset", ("full", "small"))
    _one_of(config, "data.split_rule", ("patient", "thesis"))
    _one_of(config, "data.variant", ("windowed", "raw"))
    _one_of(config, "data.slice_axis", (-1, 0, 1, 2))
    _one_of(config, "data.phantom_kind", PHANTOM_KINDS)
    _one_of(config, "augment.name", ("ritm", "none"))
    _one_of(config, "model.name", MODELS)
    _one_of(config, "model.dtype", ("float32", "bfloat16"))
    _one_of(config, "schedule.decay", ("none", "cosine"))
    _one_of(config, "inference.pipeline", PIPELINES)
    _one_of(config, "inference.zoom_rule", ZOOM_RULES)
    _one_of(config, "clicks.next_click", NEXT_CLICK_RULES)
    _one_of(config, "clicks.radius_train", TRAIN_RADII)
    _one_of(config, "clicks.radius_eval", EVAL_RADII)
    _validate_numbers(config)
    _validate_augment(config)
    _check_batch(config)


_POSITIVE = (
    "data.size",
    "train.batch_size",
    "train.epochs",
    "train.log_every",
    "eval.num_clicks",
    "eval.batch_size",
    "eval.validation_clicks",
    "eval.validate_every",
    "eval.flooding_slices",
    "clicks.max_train",
    "inference.zoom_min_crop",
    "inference.zoom_skip_clicks",
    "schedule.patience",
    "schedule.stop_after",
    "checkpoint.keep_latest",
)
_NOT_NEGATIVE = (
    "seed",
    "data.split_seed",
    "data.max_slices_per_patient",
    "data.read_threads",
    "train.microbatch",
    "train.steps_per_epoch",
    "train.max_steps",
    "eval.max_slices",
    "eval.validation_slices",
    "checkpoint.every_steps",
    "schedule.warmup_steps",
)


def _validate_numbers(config: ml_collections.ConfigDict) -> None:
    for key in _POSITIVE:
        _check(config, key, lambda v: v >= 1, "a positive integer")
    for key in _NOT_NEGATIVE:
        _check(config, key, lambda v: v >= 0, "0 or a positive integer")
    rates = ("optimizer.learning_rate", "optimizer.learning_rate_pretrained")
    for key in ("clicks.fixed_radius", "model.fusion_scale", *rates):
        _check(config, key, lambda v: 0 < v < math.inf, "a positive number")
    for key in ("loss.main_weight", "loss.aux_weight", "optimizer.trunk_multiplier"):
        _check(config, key, lambda v: 0 <= v < math.inf, "0 or a positive number")
    for key in ("optimizer.b1", "optimizer.b2", "train.stats_momentum", "train.average_decay"):
        _check(config, key, lambda v: 0 <= v < 1, "at least 0 and below 1")
    _check(config, "schedule.factor", lambda v: 0 < v <= 1, "above 0 and at most 1")
    _check(config, "eval.flooding_tolerances", lambda v: v >= 20, "at least 20")
    _check(config, "data.phantom_patients", lambda v: v >= 3, "at least 3 patients")
    _check(config, "model.lesion_prior", lambda v: 0 < v < 1, "between 0 and 1")
    _check(config, "inference.threshold", lambda v: 0 < v < 1, "between 0 and 1")
    _check(config, "inference.zoom_target", lambda v: v >= 32, "at least 32 pixels")
    _check(config, "inference.zoom_expansion", lambda v: 1 <= v < math.inf, "at least 1")
    _check(config, "eval.select_after", lambda v: 0 <= v < 1, "at least 0 and below 1")
    _check(config, "clicks.gamma", lambda v: 0 < v <= 1, "0 < gamma <= 1")
    # Keys of random generators have 32 bits; larger seeds would repeat smaller ones.
    _check(config, "seed", lambda v: v < 2**32, "below 2 ** 32")
    _check(
        config,
        "data.lesion_labels",
        lambda v: all(isinstance(label, int) for label in v),
        "whole numbers, as in (1, 2)",
    )
    _check(
        config,
        "data.window_hu",
        lambda v: len(v) == 0 or (_are_numbers(v) and len(v) == 2 and v[0] < v[1]),
        "empty, or (low, high) in HU with low < high",
    )


def _validate_augment(config: ml_collections.ConfigDict) -> None:
    for name in ("flip_prob", "vertical_flip_prob", "transpose_prob", "invert_prob"):
        _check(config, f"augment.{name}", lambda v: 0 <= v <= 1, "a probability")
    for name in ("contrast", "brightness", "gamma", "noise"):
        _check(config, f"augment.{name}", lambda v: 0 <= v < 2, "at least 0 and below 2")
    _check(config, "augment.scale", _is_range, "two numbers, 0 < low <= high")
    _check(config, "augment.crop", _is_crop, "two whole numbers, height, width >= 32")


def _check_batch(config: ml_collections.ConfigDict) -> None:
    batch, micro = config.train.batch_size, config.train.microbatch
    if batch == 1 or micro == 1:
        raise ValueError(
            "train.batch_size and train.microbatch must be at least 2, got "
            f"{batch} and {micro}: the OCR head normalises one vector per image over the "
            "batch, which is degenerate for a single image"
        )
    if micro and batch % micro:
        raise ValueError(
            f"train.microbatch must divide train.batch_size, got {micro} and {batch}; "
            f"try train.microbatch={max(2, batch // -(-batch // micro))}"
        )


def _are_numbers(value: Any) -> bool:
    return all(isinstance(v, (int, float)) and math.isfinite(v) for v in value)


def _is_range(value: Any) -> bool:
    return _are_numbers(value) and len(value) == 2 and 0 < value[0] <= value[1]


def _is_crop(value: Any) -> bool:
    return len(value) == 2 and all(isinstance(v, int) and v >= 32 for v in value)


def _get(config: ml_collections.ConfigDict, key: str) -> Any:
    node = config
    for part in key.split("."):
        node = node[part]
    return node


def _one_of(config: ml_collections.ConfigDict, key: str, valid: tuple[Any, ...]) -> None:
    value = _get(config, key)
    if value not in valid:
        raise ValueError(f"{key} must be one of {', '.join(map(str, valid))}; got {value!r}")


def _check(
    config: ml_collections.ConfigDict, key: str, is_valid: Callable[[Any], bool], expected: str
) -> None:
    value = _get(config, key)
    if not is_valid(value):
        raise ValueError(f"{key} must be {expected}; got {value!r}")
