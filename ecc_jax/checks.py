"""Validation of a resolved configuration, before any device is touched.

Names are valid where the thing that they name is declared; nothing is listed here a second time.
"""

import math
from typing import Any

import ml_collections

from ecc_jax import catalog, config, losses
from ecc_jax.checking import check, one_of
from ecc_jax.clicks import encoding
from ecc_jax.clicks.radius import ENCLOSING_RULES
from ecc_jax.clicks.user import CLICK_RULES, EVALUATION_RADII, TRAINING_RADII
from ecc_jax.combinations import validate_together
from ecc_jax.data import augment, placement, sampling
from ecc_jax.inference import crops, orientations, pipelines, prior, segmenter, view
from ecc_jax.models import build
from ecc_jax.ops import damage
from ecc_jax.phantom import volumes as phantom
from ecc_jax.protocols import PROTOCOLS
from ecc_jax.report.curves import FAILURE_CONVENTIONS
from ecc_jax.report.methods import OPTIONAL


def validate(tree: ml_collections.ConfigDict) -> None:
    """Checks the whole resolved configuration.

    Raises:
      ValueError: Names the first bad key, what was expected, and what was given.
    """
    for key, valid in _names():
        one_of(tree, key, valid)
    _validate_numbers(tree)
    _validate_folds(tree)
    _validate_loss(tree)
    _validate_sampling(tree)
    _validate_evaluation(tree)
    _validate_augment(tree)
    _check_batch(tree)
    validate_together(tree)


def _names() -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Returns the keys that hold a name, with the names that are valid."""
    return (
        ("data.name", tuple(catalog.DATASETS)),
        ("data.split", (*catalog.SPLITS, "all")),
        ("data.subset", catalog.SUBSETS),
        ("data.split_rule", catalog.SPLIT_RULES),
        ("data.variant", catalog.VARIANTS),
        ("data.slice_axis", (-1, 0, 1, 2)),
        ("data.phantom_kind", phantom.KINDS),
        ("augment.name", augment.NAMES),
        ("augment.crop_sizes", placement.RULES),
        ("model.name", build.NAMES),
        ("model.dtype", build.DTYPES),
        ("model.encoding", encoding.NAMES),
        ("model.view", view.VIEWS),
        ("model.prev_mask", segmenter.PREV_MASKS),
        ("model.prior", prior.PRIORS),
        ("model.intensity", segmenter.INTENSITIES),
        ("model.edits", prior.EDITS),
        ("train.source", config.CLICK_SOURCES),
        ("train.click_counts", config.CLICK_COUNTS),
        ("loss.main", losses.MAIN_LOSSES),
        ("loss.dice", losses.DICE_SCOPES),
        ("loss.refine", losses.REFINED_LOSSES),
        ("schedule.decay", config.DECAYS),
        ("inference.pipeline", pipelines.NAMES),
        ("inference.orientations", orientations.CHOICES),
        ("inference.zoom_rule", crops.RULES),
        ("train.sampling", sampling.RULES),
        ("train.radius", TRAINING_RADII),
        ("train.next_click", CLICK_RULES),
        ("clicks.next_click", CLICK_RULES),
        ("clicks.radius", EVALUATION_RADII),
        ("clicks.enclosing", ENCLOSING_RULES),
        ("eval.protocol", tuple(PROTOCOLS)),
        ("eval.nof_convention", FAILURE_CONVENTIONS),
    )


_POSITIVE = (
    "data.size",
    "train.batch_size",
    "train.epochs",
    "train.log_every",
    "eval.num_clicks",
    "eval.batch_size",
    "validation.clicks",
    "validation.every",
    "eval.tuning_slices",
    "train.max_clicks",
    "train.random_corrections",
    "inference.zoom_min_crop",
    "inference.zoom_skip_clicks",
    "inference.focal_min_crop",
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
    "validation.slices",
    "eval.latency_clicks",
    "inference.focal_settled_clicks",
    "checkpoint.every_steps",
    "schedule.warmup_steps",
)


def _validate_numbers(config: ml_collections.ConfigDict) -> None:
    for key in _POSITIVE:
        check(config, key, lambda v: v >= 1, "a positive integer")
    for key in _NOT_NEGATIVE:
        check(config, key, lambda v: v >= 0, "0 or a positive integer")
    rates = ("optimizer.learning_rate", "optimizer.learning_rate_pretrained")
    radii = ("clicks.fixed_radius", "train.fixed_radius", "model.click_radius")
    for key in (*radii, "model.fusion_scale", *rates):
        check(config, key, lambda v: 0 < v < math.inf, "a positive number")
    parts = ("main", "aux", "refine", "boundary")
    weights = (*(f"loss.{part}_weight" for part in parts), "optimizer.trunk_multiplier")
    for key in (*weights, "optimizer.weight_decay", "optimizer.clip_norm"):
        check(config, key, lambda v: 0 <= v < math.inf, "0 or a positive number")
    for key in ("optimizer.b1", "optimizer.b2", "train.stats_momentum", "train.average_decay"):
        check(config, key, lambda v: 0 <= v < 1, "at least 0 and below 1")
    check(config, "schedule.factor", lambda v: 0 < v <= 1, "above 0 and at most 1")
    check(config, "eval.flooding_tolerances", lambda v: v >= 20, "at least 20")
    check(config, "data.phantom_patients", lambda v: v >= 3, "at least 3 patients")
    check(config, "model.lesion_prior", lambda v: 0 < v < 1, "between 0 and 1")
    for key in ("inference.threshold", "train.threshold"):
        check(config, key, lambda v: 0 < v < 1, "between 0 and 1")
    for key in ("inference.zoom_target", "inference.focal_size"):
        check(config, key, lambda v: v >= 32, "at least 32 pixels")
    for key in ("inference.zoom_expansion", "inference.focal_expansion"):
        check(config, key, lambda v: 1 <= v < math.inf, "at least 1")
    check(config, "validation.select_after", lambda v: 0 <= v < 1, "at least 0 and below 1")
    for key in ("train.click_gamma", "train.random_gamma"):
        check(config, key, lambda v: 0 < v <= 1, "above 0 and at most 1")
    # Keys of random generators have 32 bits; larger seeds would repeat smaller ones.
    check(config, "seed", lambda v: v < 2**32, "below 2 ** 32")
    check(
        config,
        "data.lesion_labels",
        lambda v: all(isinstance(label, int) for label in v),
        "whole numbers, as in (1, 2)",
    )
    check(
        config,
        "data.sources",
        lambda v: all(_is_source(source) for source in v),
        f"some of {', '.join(catalog.DATASETS)}, as a tuple; the phantom's may name a kind, as in "
        f"ct_phantom_2d:{phantom.KINDS[0]}",
    )
    check(
        config,
        "data.window_hu",
        lambda v: len(v) == 0 or (_are_numbers(v) and len(v) == 2 and v[0] < v[1]),
        "empty, or (low, high) in HU with low < high",
    )


def _is_source(source: str) -> bool:
    name, kind = catalog.split_source(source)
    return name in catalog.DATASETS and (not kind or kind in phantom.KINDS)


def _validate_evaluation(config: ml_collections.ConfigDict) -> None:
    check(
        config,
        "eval.baselines",
        lambda v: set(v) <= set(OPTIONAL),
        f"some of {', '.join(OPTIONAL)}, as a tuple",
    )
    check(
        config,
        "eval.initial_mask",
        lambda v: v in ("", *damage.KINDS) or v.endswith(".npz"),
        f"empty, one of {', '.join(damage.KINDS)}, or the path of an .npz file of masks",
    )
    check(config, "eval.damage", lambda v: 0 < v < 1, "above 0 and below 1")
    for key in ("eval.nsd_tolerance_mm", "eval.nsd_tolerance_px"):
        check(config, key, lambda v: 0 <= v < math.inf, "0 or a positive number")
    for key in ("eval.robustness_jitter", "eval.robustness_scales"):
        check(
            config,
            key,
            lambda v: _are_numbers(v) and all(x > 0 for x in v),
            "positive numbers, as in (2.0, 5.0)",
        )
    check(
        config,
        "eval.external",
        lambda v: not v or ":" in v,
        "empty, or package.module:factory",
    )


def _validate_folds(config: ml_collections.ConfigDict) -> None:
    folds = config.data.folds
    check(config, "data.folds", lambda v: v == 0 or v >= 2, "0 (off) or at least 2")
    check(
        config,
        "data.fold",
        lambda v: 0 <= v < max(folds, 1),
        f"0 to data.folds - 1 = {folds - 1}" if folds else "0 without data.folds",
    )
    if folds and config.data.split_rule == "thesis":
        raise ValueError(
            "data.folds divides by patient; data.split_rule=thesis goes by slice: choose one"
        )


def _validate_loss(config: ml_collections.ConfigDict) -> None:
    main, dice = config.loss.main, config.loss.dice
    if dice == "batch" and main not in losses.BATCH_DICE_LOSSES:
        raise ValueError(
            f"loss.dice=batch is for {', '.join(losses.BATCH_DICE_LOSSES)}; loss.main={main} has "
            "no Dice part"
        )
    if config.loss.refine in losses.REFINED_OVER_BATCH and config.train.source == "sessions":
        raise ValueError(
            f"loss.refine={config.loss.refine} knows no rows to leave out; train.source=sessions "
            "needs loss.refine=bce_dice"
        )


def _validate_sampling(config: ml_collections.ConfigDict) -> None:
    check(
        config,
        "train.groups",
        lambda v: all(_is_group(text) for text in v),
        "of texts REGEX=WEIGHT, weight positive, as in ('^LIDC_=3', '^STS_=1')",
    )
    if config.train.groups and config.train.sampling != "patients":
        raise ValueError(
            "train.groups is for train.sampling=patients; train.sampling="
            f"{config.train.sampling} takes every slice once per pass: choose one"
        )


def _validate_augment(config: ml_collections.ConfigDict) -> None:
    for name, value in config.augment.items():
        if name in augment.OPEN and value in ((), -1):
            continue
        if name.endswith("_prob"):
            check(config, f"augment.{name}", lambda v: 0 <= v <= 1, "a probability")
        elif isinstance(value, float):
            check(config, f"augment.{name}", lambda v: 0 <= v < 2, "at least 0 and below 2")
    check(config, "augment.scale", _is_range, "two numbers, 0 < low <= high")
    expected = "empty, or two whole numbers, height, width >= 32"
    check(config, "augment.crop", lambda v: len(v) == 0 or _is_crop(v), expected)
    expected = f"empty, or two shares, 0 < low <= high <= {augment.LARGEST_SHARE}"
    check(config, "augment.bounds", lambda v: len(v) == 0 or _are_bounds(v), expected)
    model, source = config.model, config.train.source
    is_grey = "disk" == model.view or model.intensity != "window" or source == "sessions"
    augment.check_strategy(config.augment.name, dict(config.augment), is_grey=is_grey)


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


def _is_group(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(sampling.parse_group(text))
    except ValueError:
        return False


def _is_range(value: Any) -> bool:
    return _are_numbers(value) and len(value) == 2 and 0 < value[0] <= value[1]


def _are_bounds(value: Any) -> bool:
    return _is_range(value) and value[1] <= augment.LARGEST_SHARE


def _is_crop(value: Any) -> bool:
    return len(value) == 2 and all(isinstance(v, int) and v >= 32 for v in value)
