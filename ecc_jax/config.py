"""The configuration schema: every key with its meaning and unit, and the words that set several.

`default()` returns a locked tree, so assigning a key that does not exist raises. Leaves in
`configs/` only change values; `checks.validate` checks the resolved tree.
"""

import ast
import hashlib
import json
from collections.abc import Callable
from typing import Any

import ml_collections

from ecc_jax import config_words
from ecc_jax.config_moves import hint, moved

# Groups that --mode=evaluate may change on a finished run: no train step reads them. Validation,
# which chooses the best weights, answers as evaluation would by the run's own.
EVALUATION_GROUPS = ("data", "clicks", "inference", "eval")
DECAYS = ("none", "cosine")
RANDOM_SOURCES = ("random", "random_then_iterative")
CLICK_SOURCES = ("iterative", "sessions", *RANDOM_SOURCES)
CLICK_COUNTS = ("batch", "rows")


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
        "model": _model(),
        "clicks": _clicks(),
        "inference": _inference(),
        "loss": {
            "main": "bce_dice",  # bce_dice (half each) | nfl (normalised focal loss) | bce
            "dice": "sample",  # sample | batch: one Dice per slice, or one over the whole batch
            "main_weight": 1.0,  # weight of the main loss, on the main head
            "aux_weight": 0.4,  # weight of BCE on the auxiliary head, where a network has one
            "refine": "bce_dice",  # bce_dice | boundary_nfl (outline counted double): on refined
            # scores, where a network has a refiner
            "refine_weight": 1.0,  # weight of that
            "boundary_weight": 1.0,  # weight of BCE on the refiner's boundary scores
        },
        "optimizer": {
            "learning_rate": 5e-4,
            "learning_rate_pretrained": 5e-4,  # takes its place where model.pretrained is set
            "b1": 0.9,
            "b2": 0.999,
            "weight_decay": 0.0,  # of AdamW, per unit of learning rate
            "clip_norm": 0.0,  # longer gradients are cut to this norm; 0 = none
            "trunk_multiplier": 0.1,  # learning-rate factor of the trunk, with pretrained weights
        },
        "schedule": {
            "factor": 0.1,  # learning rate times this after a plateau
            "patience": 10,  # epochs without gain before the learning rate drops
            "stop_after": 30,  # epochs without gain before training ends
            "warmup_steps": 0,  # linear warm-up, steps
            "decay": "none",  # none | cosine: to 0 over all steps, beside the plateau rule
        },
        "train": _train(),
        "validation": {
            "slices": 0,  # fixed validation slices; 0 = all
            "clicks": 5,  # clicks of the validation rollout
            "every": 1,  # epochs between validations
            "select_after": 0.0,  # share of all steps before which no checkpoint becomes the best
        },
        "eval": _eval(),
        "checkpoint": {
            "every_steps": 0,  # 0 = at the end of every epoch only
            "keep_latest": 2,  # beside the best one
        },
    }


def _model() -> dict[str, Any]:
    return {
        "name": "ritm_hrnet32",  # a name of models.build.NAMES
        "encoding": "disk",  # disk | hybrid | box (dragged first click, then static disks) |
        # gaussian | wide_gaussian | distance (no radius shown), see clicks.encoding
        "click_radius": 5.0,  # of what is drawn without a drag, network-input pixels
        "dtype": "float32",  # float32 | bfloat16: arithmetic inside the network
        "pretrained": "",  # a run's workdir, or converted weights, that start this one
        "fusion_scale": 0.05,  # first factor of the click features; unused with pretrained
        "lesion_prior": 0.5,  # first output of the score heads; unused with pretrained
        "deep_supervision": False,  # of U-Net++: also score three coarser maps
        "prev_mask": "network",  # who sees the previous mask: network (U-Net++ does not, the
        # others do) | yes | no
        "view": "slice",  # slice | disk: the whole slice, or a square around the first disk
        "grid": 64,  # pixels per side of that square as the network sees it
        "view_factor": 2.6,  # half the side of the square, in radii of the first disk
        "prior": "none",  # none | painter: scores are added to those of a blind painter
        "intensity": "window",  # window | core: beside it grey values relative to the disk's
        "edits": "everywhere",  # everywhere | local: later clicks change their surroundings
    }


def _train() -> dict[str, Any]:
    return {
        "batch_size": 80,  # images per step, over all devices
        "microbatch": 0,  # images per forward pass; 0 = whole batch at once
        "stats_momentum": 0.9,  # of the running batch statistics, per microbatch
        "average_decay": 0.0,  # of a running average of the weights to evaluate; 0 = none
        "sampling": "slices",  # slices: each once per pass | patients: every row draws a group of
        # `groups` by weight, then a patient of it, then one of the patient's slices
        "groups": (),  # "REGEX=WEIGHT" each, searched in patients' names; empty = one group
        "epochs": 300,  # upper bound; the plateau rule usually ends earlier
        "steps_per_epoch": 0,  # 0 = one pass over the training split, as many rows where drawn
        "max_steps": 0,  # stop after so many steps; 0 = no limit
        "log_every": 10,  # steps between records in metrics.jsonl
        "radius": "normal",  # disks of the simulated user: normal | uniform | average | tight |
        # enclosing | fixed | habits (every session between tight and enclosing in its own way)
        "habit_share": 1.0,  # of `habits`: sessions with their own, the others drag average radii
        "jitter": 0.0,  # half of the users miss the disk's centre: the largest sd, share of radius
        "radius_spread": 0.0,  # and have a factor in all their radii: sd of its logarithm
        "next_click": "largest_component",  # where they go: largest_component | deepest
        "fixed_radius": 5.0,  # radius of `fixed`, network-input pixels
        "source": "iterative",  # iterative: n - 1 clicks without gradient, one with | sessions:
        # a pool of click sessions, each one click further at every step | random: RITM's clicks at
        # random places, all at once | random_then_iterative: those, then up to random_corrections
        "random_gamma": 0.8,  # of random clicks: p(k more of a sign) is proportional to it ** k
        "random_corrections": 3,  # most clicks on errors after random ones, uniform from 0
        "max_clicks": 24,  # most clicks of a batch, of a session, or at random of either sign
        "click_gamma": 0.7,  # p(n clicks) is proportional to click_gamma ** (n - 1)
        "click_counts": "batch",  # of iterative clicks: batch | rows: one n for all, or for each
        "threshold": 0.5,  # probability above which the simulated user sees lesion
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
        "mixed_planes": False,  # accept volumes cut along different anatomical planes in one set
        "patient_regex": "",  # finds the patient in a volume's name; empty = one per file
        "split_rule": "patient",  # patient | thesis (by slice, leaks patients: count parity only)
        "split_seed": 0,  # seed of the split, and of the folds
        "folds": 0,  # k-fold cross-validation by patient instead of the split; 0 = off
        "fold": 0,  # the fold that is tested, 0 to folds - 1
        "sources": (),  # datasets that combined_2d joins; empty = the four of the thesis; the
        # phantom's may name a kind: ct_phantom_2d:lung
        "balanced": True,  # equally many slices of each source; False = all of every source
        "phantom_kind": "mixed",  # lung | kidney | liver | pancreas | mixed | limb | all
        "phantom_patients": 120,  # synthetic patients
        "max_slices_per_patient": 0,  # training slices used per patient; 0 = all
        "read_threads": 4,  # reader threads; 0 = read in the main thread
    }


def _augment() -> dict[str, Any]:
    return {
        "name": "ritm",  # a name of data.augment.NAMES: ritm (zoom and crop), focalclick and
        # optimal_crop (crops stretched to one shape), orient (flips alone), none
        "crop": (),  # height, width of a training crop, pixels; empty = the strategy's own
        "scale": (0.75, 1.40),  # of ritm: range of the random zoom
        "bounds": (),  # of focalclick, optimal_crop: smallest and largest height and width of a
        # crop, shares of the slice's; empty = the strategy's own: (0.5, 1.4), or measured
        "crop_prob": -1.0,  # of the same: probability of a crop, else all is shown; -1 = own
        "crop_sizes": "uniform",  # of the same: uniform | normal (about 1, sd 0.4, cut to bounds)
        "flip_prob": -1.0,  # probability of a horizontal flip; -1 = the strategy's own
        "vertical_flip_prob": -1.0,  # probability of a vertical flip; -1 = the strategy's own
        "transpose_prob": 0.0,  # probability that rows and columns are swapped
        "contrast": 0.0,  # grey values spread by exp(u) about mid-grey, u within +- this
        "brightness": 0.0,  # share of the window added or subtracted at most
        "gamma": 0.0,  # grey values to the power of exp(u), u within +- this
        "invert_prob": 0.0,  # probability that black and white change places
        "noise": 0.0,  # largest standard deviation of pixel noise, share of the window
        "colour_prob": 0.0,  # probability of RITM's change of brightness and contrast, and of its
        # shift of each colour channel; 0.75 as in RITM and FocalClick, off in the thesis
        "view_zoom": 0.12,  # sd of the logarithm of the side of the square that model.view shows
        "view_turn": 0.0,  # probability that the square is turned, by any angle
    }


def _inference() -> dict[str, Any]:
    return {
        "pipeline": "full_frame",  # full_frame | zoom_in (a crop around the lesion, enlarged) |
        # focalclick (coarse on a crop, refined where it changed; networks with a refiner)
        "threshold": 0.5,  # probability above which a pixel is lesion
        "flip": False,  # average the scores of slice and mirror image; twice the work
        "orientations": 1,  # 1 | 8: first click: mean score over the square's orientations
        "zoom_target": 400,  # pixels per side of the crop for the network, see zoom_rule
        "zoom_rule": "longest",  # longest: longest side = target | shortest: all sides >=
        "zoom_min_crop": 200,  # smallest side of the crop, slice pixels
        "zoom_expansion": 1.4,  # sides of the crop relative to the lesion's box
        "zoom_skip_clicks": 1,  # first clicks answered on the whole slice, at least 1
        "focal_size": 256,  # of focalclick: pixels per side of both crops for the network
        "focal_min_crop": 10,  # smallest side of its target crop, slice pixels
        "focal_expansion": 1.4,  # sides of both crops relative to what they are drawn around
        "focal_settled_clicks": 10,  # clicks after which only the focus crop changes
        "progressive_merge": False,  # of focalclick: only the change at the newest click counts
    }


def _clicks() -> dict[str, Any]:
    # Who clicks in validation and evaluation; training's user is in the group train.
    return {
        "next_click": "largest_component",  # largest_component | deepest
        "radius": "average",  # average | tight | enclosing | average_then_tight | fixed
        "enclosing": "click",  # enclosing radius: around the click | min_circle
        "fixed_radius": 5.0,  # radius of `fixed`, network-input pixels
    }


def _eval() -> dict[str, Any]:
    return {
        "num_clicks": 20,  # clicks per image in the final evaluation
        "batch_size": 16,  # images per device call
        "max_slices": 0,  # test slices used, spread over the patients; 0 = all
        "protocol": "thesis",  # a name of protocols.PROTOCOLS: sets user and measures together
        "nof_convention": "success",  # success | ritm: what a success at the last click counts as
        "initial_mask": "",  # a mask to refine: eroded | dilated | shifted ground truth, or an
        # .npz file of masks; empty = none
        "damage": 0.2,  # size of that defect relative to the lesion's depth
        # Optional rows; also same_disks, random_walker, flooding_disk, active_contour and
        # active_contour_disk (snakes take up to a second per slice).
        "baselines": ("blank_image", "flooding"),
        "external": "",  # package.module:factory of another predictor to evaluate
        "tuning_slices": 256,  # training slices that floods and painter are tuned on
        "flooding_tolerances": 24,  # tolerances of floods tried
        "nsd_tolerance_mm": 2.0,  # of the normalised surface distance
        "nsd_tolerance_px": 2.0,  # the same where the pixel size is unknown
        "robustness_jitter": (2.0, 5.0),  # sd of the hand's error per axis, pixels
        "robustness_scales": (0.5, 0.75, 1.5, 2.0),  # factors of the radius
        "latency_clicks": 20,  # single clicks timed for the seconds per click; 0 = none
        "save_masks": False,  # final masks as masks.npz, for eval.initial_mask of another run
    }


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the defaults with `arg`'s words applied, so this file itself is a config."""
    return config_words.apply_words(default(), arg)


def flagship(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the flagship's configuration with `arg`'s words applied."""
    return _made("ecc", config_words.flagship, arg)


def focalclick(arg: str = "") -> ml_collections.ConfigDict:
    """Returns FocalClick's configuration, dynamic disks, with `arg`'s words applied."""
    config = _made("focalclick_dynamic", config_words.focalclick, arg)
    if config.data.name in config_words.OPTIMALLY_CROPPED:
        config.augment.name = "optimal_crop"
    return config


def unetpp(arg: str = "") -> ml_collections.ConfigDict:
    """Returns U-Net++'s configuration with `arg`'s words applied."""
    return _made("unetpp", config_words.unetpp, arg)


def published(network: str) -> ml_collections.ConfigDict:
    """Returns the configuration that published weights of a network are used with."""
    config = of_family(network)
    config.name = "converted"
    config.model.name = network
    # The published networks were trained with disks of radius 5.
    config.train.radius = "fixed"
    config.clicks.radius = "fixed"
    return config


def of_family(network: str) -> ml_collections.ConfigDict:
    """Returns the configuration of the thesis that trains a network's family."""
    leaves = (leaf for leaf in (focalclick, unetpp) if network.startswith(f"{leaf.__name__}_"))
    return next(leaves, default)()


def _made(
    name: str, change: Callable[[ml_collections.ConfigDict], None], arg: str
) -> ml_collections.ConfigDict:
    config = default()
    config.name = name
    change(config)
    return config_words.apply_words(config, arg)


def resolved_hash(config: ml_collections.ConfigDict) -> str:
    """Returns the 8 hex digits that tell two configurations apart in a workdir's name."""
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the tree as plain JSON values (tuples become lists)."""
    return json.loads(config.to_json())


def from_dict(values: dict[str, Any]) -> ml_collections.ConfigDict:
    """Rebuilds a configuration from `to_dict`'s output, on top of the current defaults.

    Keys of earlier versions move to their present place, see `config_moves`; others that this
    version does not know raise; keys that the file lacks keep their default.

    Raises:
      ValueError: A key that the schema does not have.
    """
    config = default()
    for key, value in moved(_flat(values)).items():
        set_key(config, key, value)
    return config


def set_key(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Sets `group.name` to `value`, lists becoming tuples.

    Raises:
      ValueError: The key is unknown.
    """
    node, name = _place_of(config, key)
    node[name] = tuple(value) if isinstance(value, (list, tuple)) else value


def set_from_text(config: ml_collections.ConfigDict, change: str) -> None:
    """Sets a key as a command line does, from "group.name=value".

    Args:
      config: Changed in place.
      change: The value is a Python literal; of keys that hold text it is the text as it stands.

    Raises:
      ValueError: The key is unknown, or its values are of another type.
    """
    key, _, text = change.partition("=")
    node, name = _place_of(config, key)
    value: Any = text
    try:
        if not isinstance(node[name], str):
            value = ast.literal_eval(text)
        set_key(config, key, value)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{change}: expected a value like {node[name]!r}") from error


def _place_of(config: ml_collections.ConfigDict, key: str) -> tuple[ml_collections.ConfigDict, str]:
    """Returns the group that holds a key, and the key's name in it; an unknown one raises."""
    *groups, name = key.split(".")
    node = config
    for group in groups:
        if group not in node:
            raise ValueError(f"unknown config key {key!r}; groups: {', '.join(config.keys())}")
        node = node[group]
    if name not in node:
        raise ValueError(
            f"unknown config key {key!r}{hint(key)}; {groups} has: {', '.join(node.keys())}"
        )
    return node, name


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
