"""The configuration as typed options that several parts share: below this, no ConfigDict is seen.

Options of one part alone are made by its `loop.py`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from ecc_jax import config as schema
from ecc_jax.clicks.encoding import FIRST_DRAGGED
from ecc_jax.clicks.user import HABITS, RobotUser
from ecc_jax.data.augment import MEASURED, OPEN, STRATEGIES, UNCROPPED, Augmentation
from ecc_jax.data.pipeline import Folds
from ecc_jax.data.sampling import Group, find_groups
from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.focal import Focal
from ecc_jax.inference.pipelines import InferenceOptions
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.inference.view import DiskView
from ecc_jax.models.build import build, spec_of


def segmenter_of(config: ml_collections.ConfigDict) -> Segmenter:
    """Returns the configured network with the encoding of its clicks and all that surrounds it."""
    model = config.model
    fields = {"deep_supervision": True} if model.deep_supervision else {}
    return Segmenter(
        build(model.name, dtype=model.dtype, **fields),
        model.encoding,
        view=DiskView(model.grid, model.view_factor) if model.view == "disk" else None,
        prior=model.prior,
        intensity=model.intensity,
        edits=model.edits,
        click_radius=model.click_radius,
        prev_mask=prev_mask_of(model),
    )


def encoding_in_words(config: ml_collections.ConfigDict) -> str:
    """Returns how the clicks of an evaluation look to the network, with unusual lengths."""
    radius, name = config.clicks.radius, config.model.encoding
    length, usual = config.model.click_radius, schema.default().model.click_radius
    if name == "disk":
        # Dragged radii have no length of their own.
        length = config.clicks.fixed_radius if radius == "fixed" else usual
        words = f"{radius} radius"
    elif name in FIRST_DRAGGED:
        words = f"{radius} radius of the first click, later ones static ({name})"
    else:
        words = f"{radius} radius ({name})"
    return words if length == usual else f"{words}, {length:g} pixels"


def sampler_in_words(config: ml_collections.ConfigDict) -> str:
    """Returns how clicks were placed in training, whatever they looked like.

    What an encoding gave shows between runs that agree on this.
    """
    train = config.train
    words = [train.source, train.next_click, f"at most {train.max_clicks}"]
    if train.source in schema.RANDOM_SOURCES:
        words.append(f"gamma {train.random_gamma:g}")
    else:
        words.append(f"gamma {train.click_gamma:g}, {train.click_counts}")
    if train.source == "random_then_iterative":
        words.append(f"corrections {train.random_corrections}")
    return ", ".join(words)


def prev_mask_of(model: ml_collections.ConfigDict) -> str:
    """Returns the field of `Segmenter` that the key model.prev_mask asks for.

    What a network does not read need not be hidden from it.
    """
    if spec_of(model.name).sees_prev_mask:
        return "hidden" if model.prev_mask == "no" else "input"
    return "map" if model.prev_mask == "yes" else "input"


def shown_shape(config: ml_collections.ConfigDict) -> tuple[int, int]:
    """Returns the height and width of what a network is shown in training."""
    if config.model.view == "disk":
        return config.model.grid, config.model.grid
    if config.augment.name in UNCROPPED:
        return config.data.size, config.data.size
    height, width = with_own_augmentation(config).augment.crop
    return height, width


def evaluation_user(config: ml_collections.ConfigDict) -> RobotUser:
    """Returns who clicks in validation and evaluation."""
    clicks = config.clicks
    user = RobotUser(
        rule=clicks.next_click,
        radius=clicks.radius,
        enclosing=clicks.enclosing,
        fixed_radius=clicks.fixed_radius,
        threshold=config.inference.threshold,
    )
    return user.with_habit(clicks.radius) if clicks.radius in HABITS else user


def training_user(config: ml_collections.ConfigDict) -> RobotUser:
    """Returns who clicks in a train step."""
    return RobotUser(
        rule=config.train.next_click,
        radius=config.train.radius,
        fixed_radius=config.train.fixed_radius,
        habit_share=config.train.habit_share,
        jitter_share=config.train.jitter,
        radius_spread=config.train.radius_spread,
        threshold=config.train.threshold,
    )


def validation_user(config: ml_collections.ConfigDict) -> RobotUser:
    """Returns who clicks in validation: the user of evaluation, at training's threshold."""
    return dataclasses.replace(evaluation_user(config), threshold=config.train.threshold)


def inference_options(config: ml_collections.ConfigDict) -> InferenceOptions:
    """Returns how the configured network is run; a fixed radius does not grow with a crop."""
    options = config.inference
    zoom = Zoom(
        target=options.zoom_target,
        rule=options.zoom_rule,
        min_crop=options.zoom_min_crop,
        expansion=options.zoom_expansion,
        skip_clicks=options.zoom_skip_clicks,
        threshold=options.threshold,
        scales_radius=config.clicks.radius != "fixed",
    )
    focal = Focal(
        size=options.focal_size,
        min_crop=options.focal_min_crop,
        expansion=options.focal_expansion,
        settled_clicks=options.focal_settled_clicks,
        threshold=options.threshold,
        scales_radius=zoom.scales_radius,
        merges=options.progressive_merge,
    )
    return InferenceOptions(options.pipeline, options.flip, zoom, options.orientations, focal)


def with_own_augmentation(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy in which the augmentation's open values are its strategy's own.

    Bounds that are measured stay open.
    """
    copy = schema.from_dict(schema.to_dict(config))
    if copy.augment.name in STRATEGIES:  # others are refused later, with the valid names
        own = STRATEGIES[copy.augment.name]._asdict()
        for name in OPEN:
            if copy.augment[name] in ((), -1):
                copy.augment[name] = own[name]
    return copy


def augmentation(config: ml_collections.ConfigDict) -> Augmentation | None:
    """Returns how training slices are varied; None where they are used as stored.

    Raises:
      ValueError: The strategy's bounds are still to be measured.
    """
    values: dict[str, Any] = schema.to_dict(with_own_augmentation(config).augment)
    for of_the_view in ("view_zoom", "view_turn"):
        values.pop(of_the_view)
    name = values.pop("name")
    if name == "none":
        return None
    pairs: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    options = Augmentation(**{**values, **pairs})
    if name == MEASURED and not options.bounds:
        raise ValueError(
            f"augment.name={name} has bounds that training measures on the validation slices; "
            "elsewhere name them, as in augment.bounds=(0.06, 0.18)"
        )
    return options._replace(crop=None) if name in UNCROPPED else options


def folds_of(config: ml_collections.ConfigDict) -> Folds:
    """Returns the cross-validation of the configuration."""
    return Folds(config.data.folds, config.data.fold, config.data.split_seed)


def groups_of(
    config: ml_collections.ConfigDict, rows: Sequence[Mapping[str, Any]], positions: np.ndarray
) -> list[Group]:
    """Returns the groups that training rows are drawn from; none if each slice comes in turn.

    Args:
      config: The configuration.
      rows: The index of the training split.
      positions: The slices of it that are trained on.

    Raises:
      ValueError: A patient that matches no group, or a group without patients.
    """
    if config.train.sampling == "slices":
        return []
    return find_groups(rows, positions, tuple(config.train.groups))


def override_window(config: ml_collections.ConfigDict) -> tuple[float, ...]:
    """Returns the window that overrides the stored one: only full-HU slices can take another."""
    return tuple(config.data.window_hu) if config.data.variant == "raw" else ()
