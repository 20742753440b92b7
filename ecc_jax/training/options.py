"""The configuration as options of the train step: below this, no ConfigDict is seen."""

from typing import Any

import ml_collections

from ecc_jax import config as schema
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data.augment import Augmentation
from ecc_jax.training.step import StepOptions


def step_options(config: ml_collections.ConfigDict) -> StepOptions:
    """Returns everything of the configuration that shapes the train step."""
    micro = config.train.microbatch or config.train.batch_size
    return StepOptions(
        seed=config.seed,
        augmentation=augmentation(config),
        user=RobotUser(
            config.clicks.next_click, config.clicks.radius_train, config.clicks.fixed_radius
        ),
        max_clicks=config.clicks.max_train,
        gamma=config.clicks.gamma,
        threshold=config.inference.threshold,
        main_weight=config.loss.main_weight,
        aux_weight=config.loss.aux_weight,
        microbatches=config.train.batch_size // micro,
        stats_momentum=config.train.stats_momentum,
        average_decay=config.train.average_decay,
        is_pretrained=bool(config.model.pretrained),
    )


def augmentation(config: ml_collections.ConfigDict) -> Augmentation | None:
    """Returns how training slices are varied; None where they are used as stored."""
    values: dict[str, Any] = schema.to_dict(config.augment)
    if values.pop("name") == "none":
        return None
    crop, scale = tuple(values.pop("crop")), tuple(values.pop("scale"))
    return Augmentation(crop, scale, **values)
