"""The words after the colon of `--config=file.py:words`."""

from collections.abc import Callable

import ml_collections

from ecc_jax import catalog, places

FLAGSHIP = "disk_unet"  # the network that is small already
# The smallest of the thesis's networks, by family.
_QUICK_NETWORKS = {
    "ritm": "ritm_hrnet18s",
    "focalclick": "focalclick_hrnet18s",
    "unetpp": "unetpp_resnet18",
}


def _word_small(config: ml_collections.ConfigDict) -> None:
    config.data.subset = "small"
    config.train.batch_size = 40
    config.schedule.patience = 25
    config.schedule.stop_after = 75


def _word_quick(config: ml_collections.ConfigDict) -> None:
    """Minutes on two CPU cores: small slices, few steps, and a small network where it is large."""
    config.schedule.decay = "cosine"
    config.data.size = 160
    config.data.phantom_patients = 96
    config.data.max_slices_per_patient = 32
    config.inference.zoom_target = 160
    config.inference.zoom_min_crop = 64
    config.train.steps_per_epoch = 100
    config.train.epochs = 6
    config.train.log_every = 10
    config.eval.max_slices = 64
    config.validation.slices = 24
    # Few validation patients can prefer weights that have hardly begun to learn.
    config.validation.select_after = 0.5
    config.eval.tuning_slices = 64
    config.eval.baselines = (*config.eval.baselines, "random_walker")
    if config.model.name != FLAGSHIP:
        _quick_thesis(config)


def _quick_thesis(config: ml_collections.ConfigDict) -> None:
    """What else the thesis's networks need to learn something in minutes."""
    family = config.model.name.partition("_")[0]
    config.model.name = _QUICK_NETWORKS.get(family, config.model.name)
    config.model.fusion_scale = 1.0
    config.model.lesion_prior = 0.05
    config.augment.crop = (112, 112)
    config.inference.focal_size = 112
    config.train.click_gamma = 0.4
    config.train.batch_size = 8
    config.train.stats_momentum = 0.97
    config.optimizer.learning_rate = 5e-3
    config.schedule.warmup_steps = 30


def _own_folder(config: ml_collections.ConfigDict) -> None:
    """Against overfitting: an own folder holds a handful of patients more often than hundreds."""
    config.augment.scale = (0.6, 1.4)
    config.augment.vertical_flip_prob = 0.5
    config.augment.transpose_prob = 0.5
    config.augment.contrast = 0.7
    config.augment.brightness = 0.3
    config.augment.gamma = 0.5
    config.augment.noise = 0.05
    config.augment.invert_prob = 0.5
    config.train.average_decay = 0.98


def flagship(config: ml_collections.ConfigDict) -> None:
    """Makes a tree the flagship: what the network is shown, and how it is trained."""
    config.model.name = FLAGSHIP
    config.model.view = "disk"
    config.model.prior = "painter"
    config.model.intensity = "core"
    config.model.edits = "local"
    config.augment.name = "orient"
    config.augment.vertical_flip_prob = 0.5
    config.augment.transpose_prob = 0.5
    config.augment.contrast = 0.5
    config.augment.brightness = 0.2
    config.augment.gamma = 0.4
    config.augment.noise = 0.04
    config.augment.invert_prob = 0.05
    config.eval.baselines = ("blank_image", "same_disks", "flooding")
    config.train.source = "sessions"
    config.train.radius = "habits"
    config.train.habit_share = 0.5
    config.train.jitter = 0.25
    config.train.radius_spread = 0.2
    config.train.click_gamma = 0.75
    config.train.max_clicks = 10
    config.train.batch_size = 32
    config.train.stats_momentum = 0.98
    config.train.average_decay = 0.997
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = 1.0
    config.schedule.decay = "cosine"
    config.schedule.warmup_steps = 100


# Where the thesis trained FocalClick with Optimal Crop; elsewhere RITM's crops were better.
OPTIMALLY_CROPPED = ("lidc_2d", "combined_2d")


def focalclick(config: ml_collections.ConfigDict) -> None:
    """Makes a tree FocalClick: its network, and its square crops in training and in use."""
    config.model.name = "focalclick_hrnet32"
    config.inference.pipeline = "focalclick"
    config.augment.crop = (256, 256)


def unetpp(config: ml_collections.ConfigDict) -> None:
    """Makes a tree the thesis's U-Net++: small decaying clicks, which show no radius."""
    config.model.name = "unetpp_resnet50"
    config.model.encoding = "gaussian"
    config.train.radius = "fixed"
    config.clicks.radius = "fixed"


def _word_shipped(config: ml_collections.ConfigDict) -> None:
    """What the weights that come with the package were trained on, and for how long.

    `data.path` names a folder that holds ct_folder_2d, made by scripts/gather_folders.py.
    """
    config.data.name = "combined_2d"
    config.data.sources = ("ct_folder_2d", "ct_phantom_2d")
    config.data.balanced = False
    config.data.patient_regex = r"^(LIDC_\d+|STS_\d+)"
    config.data.size = 192
    config.data.phantom_kind = "all"
    config.data.phantom_patients = 240
    config.data.folds = 2  # half of the patients is never trained on, so that it can be tested
    config.train.sampling = "patients"
    # A few patients with sarcoma are soon known by heart; the phantom's soft tissue never is.
    config.train.groups = ("/LIDC_=3", "/STS_=1", "/phantom_=4")
    # Most lesions of lung are bright on black: made faint, noisy or dark they resemble others.
    config.augment.contrast = 0.7
    config.augment.brightness = 0.25
    config.augment.gamma = 0.45
    config.augment.noise = 0.06
    config.augment.invert_prob = 0.15
    config.augment.view_turn = 0.5
    config.train.steps_per_epoch = 500
    config.train.epochs = 14
    # Both chosen on the validation patients, after training.
    config.inference.orientations = 8
    config.inference.threshold = 0.6
    config.validation.slices = 192
    config.eval.max_slices = 192
    config.eval.tuning_slices = 96


WORDS: dict[str, Callable[[ml_collections.ConfigDict], None]] = {
    "small": _word_small,
    "quick": _word_quick,
    "shipped": _word_shipped,
}


def apply_words(config: ml_collections.ConfigDict, arg: str) -> ml_collections.ConfigDict:
    """Applies the comma-separated words after the colon of `--config=file.py:words`.

    Args:
      config: A locked tree; changed in place and returned.
      arg: Words in any order: at most one dataset name, `small`, `quick`; or `shipped` alone, for
        the flagship.

    Raises:
      ValueError: Unknown word, two datasets, or `shipped` beside others.
    """
    words = sorted({word.strip() for word in arg.split(",") if word.strip()})
    valid = [*catalog.DATASETS, *WORDS]
    for word in words:
        if word not in valid:
            raise ValueError(f"unknown config word {word!r}; valid words: {', '.join(valid)}")
    datasets = [word for word in words if word in catalog.DATASETS]
    if "shipped" in words and (len(words) > 1 or config.model.name != FLAGSHIP):
        raise ValueError(
            f"the word shipped is the whole recipe of configs/ecc.py; got {', '.join(words)} for "
            f"{config.name}: write configs/ecc.py:shipped"
        )
    if len(datasets) > 1:
        raise ValueError(f"expected at most one dataset, got {', '.join(datasets)}")
    if datasets:
        config.data.name = datasets[0]
    if config.data.name == "ct_folder_2d":
        _own_folder(config)
        if config.model.name == FLAGSHIP:
            config.model.pretrained = places.SHIPPED
    for word in WORDS:  # a fixed order, so the order on the command line does not matter
        if word in words:
            WORDS[word](config)
    config.words = ",".join(words)
    return config


def name_dataset(spec: str, name: str) -> str:
    """Returns `file.py:words` with a dataset among the words, in place of any other.

    So a dataset that is named by its key gives the configuration that its word gives.

    Args:
      spec: What --config holds.
      name: A dataset.
    """
    file, colon, arg = spec.rpartition(".py:")
    if not colon:
        file, arg = spec.removesuffix(".py"), ""
    others = [word for word in arg.split(",") if word and word.strip() not in catalog.DATASETS]
    return f"{file}.py:{','.join([name, *others])}"
