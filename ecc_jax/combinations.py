"""Which parts of a configuration go together: network, surroundings, clicks, pipeline, users."""

import math

import ml_collections

from ecc_jax import config as schema
from ecc_jax.checking import check
from ecc_jax.clicks.sampling import group_size
from ecc_jax.clicks.user import RANDOM_HABITS
from ecc_jax.inference import agreement, pipelines
from ecc_jax.models import build


def validate_together(config: ml_collections.ConfigDict) -> None:
    """Checks what depends on more than one key, and the keys of the surroundings.

    Args:
      config: A resolved configuration whose names are valid.

    Raises:
      ValueError: Names the keys, why not, and what to set.
    """
    _validate_stages(config)
    _validate_network(config.model)
    _validate_surroundings(config)
    _validate_sessions(config)
    _validate_hands(config)
    _validate_clicks(config)


def _validate_stages(config: ml_collections.ConfigDict) -> None:
    """Checks what pipelines of two stages need."""
    inference, name = config.inference, config.model.name
    pipeline, refines = inference.pipeline, inference.pipeline in pipelines.TWO_STAGES
    if refines and name not in build.WITH_REFINER:
        raise ValueError(
            f"inference.pipeline={pipeline} needs a network with a refiner, one of "
            f"{', '.join(build.WITH_REFINER)}; got model.name={name}"
        )
    if refines and not (config.loss.refine_weight or config.model.pretrained):
        raise ValueError(
            f"inference.pipeline={pipeline} lets the refiner answer, and loss.refine_weight=0.0 "
            "never trains it; train with loss.refine_weight=1.0, start from weights that hold a "
            "trained one, or set inference.pipeline=full_frame"
        )
    if refines and inference.flip:
        raise ValueError(f"inference.pipeline={pipeline} averages no mirror images: set flip=False")
    if inference.progressive_merge and not refines:
        raise ValueError(
            f"inference.progressive_merge is for the pipelines {', '.join(pipelines.TWO_STAGES)}; "
            f"with inference.pipeline={pipeline} leave it away"
        )


def _validate_network(model: ml_collections.ConfigDict) -> None:
    """Checks what not every network can do."""
    if model.deep_supervision and "deep_supervision" not in build.fields_of(model.name):
        raise ValueError(
            f"model.deep_supervision=True is of U-Net++, and {model.name} has none; leave it away"
        )
    for key, value in (("prior", "painter"), ("edits", "local")):
        if model.prev_mask == "no" and model[key] == value:
            raise ValueError(
                f"model.prev_mask=no hides the previous mask, on which model.{key}={value} builds; "
                "leave one away"
            )


def _validate_surroundings(config: ml_collections.ConfigDict) -> None:
    """Checks what surrounds the network."""
    check(config, "model.grid", lambda v: v >= 16, "at least 16 pixels")
    check(config, "model.view_factor", lambda v: 1 <= v < math.inf, "at least 1 radius")
    model, train, pipeline = config.model, config.train, config.inference.pipeline
    if pipeline != "full_frame" and "disk" == model.view:
        raise ValueError(
            f"inference.pipeline={pipeline} crops the slice, and so does model.view=disk; leave "
            "the pipeline at full_frame"
        )
    if pipeline != "full_frame" and model.edits == "local":
        raise ValueError(
            f"inference.pipeline={pipeline} answers with nothing outside its crop, "
            "model.edits=local keeps the previous mask there; leave the pipeline at full_frame"
        )
    if config.inference.orientations > 1 and model.view == "slice":
        raise ValueError(
            "inference.orientations=8 turns a square over; model.view=slice shows whole slices: "
            "leave it at 1 (inference.flip averages mirror images)"
        )
    if config.inference.orientations > 1 and config.inference.flip:
        raise ValueError(
            "inference.orientations=8 holds the mirror image already; leave inference.flip away"
        )
    if model.view == "disk" and "fixed" in (train.radius, config.clicks.radius):
        raise ValueError(
            "model.view=disk takes its size from the radius that is dragged, and the radius rule "
            "fixed has none; leave train.radius and clicks.radius at another rule, or "
            "model.view=slice"
        )
    if model.edits == "local":
        for key in ("inference.threshold", "train.threshold"):
            check(config, key, lambda v: 0.25 <= v < 0.75, "0.25 to 0.75 with model.edits=local")
    check(config, "augment.view_zoom", lambda v: 0 <= v <= 0.5, "0 to 0.5")
    check(config, "augment.view_turn", lambda v: 0 <= v <= 1, "a probability, 0 to 1")
    if config.augment.view_turn and model.view == "slice":
        raise ValueError(
            "augment.view_turn turns the square of model.view=disk; model.view=slice has none: set "
            "augment.view_turn=0.0"
        )


def _validate_sessions(config: ml_collections.ConfigDict) -> None:
    """Checks the pool of sessions."""
    train = config.train
    if train.source != "sessions":
        return
    if train.click_counts == "rows":
        raise ValueError(
            "train.click_counts=rows is for train.source=iterative; in sessions every row has "
            "its own count already: leave it away"
        )
    check(config, "train.click_gamma", lambda v: 0.5 <= v < 0.99, "0.5 <= gamma < 0.99")
    if config.loss.dice == "batch":
        raise ValueError("loss.dice=batch knows no rows to leave out; train.source=sessions")
    size = group_size(train.click_gamma)
    if train.batch_size % size or (train.microbatch or size) % size:
        raise ValueError(
            f"train.source=sessions with train.click_gamma={train.click_gamma} renews one row "
            f"in {size}; train.batch_size and train.microbatch must be multiples of that, got "
            f"{train.batch_size} and {train.microbatch}"
        )


def _validate_hands(config: ml_collections.ConfigDict) -> None:
    """Checks how training's users differ from each other."""
    train = config.train
    check(config, "train.habit_share", lambda v: 0 <= v <= 1, "a share, 0 to 1")
    for key in ("train.jitter", "train.radius_spread"):
        check(config, key, lambda v: 0 <= v <= 0.5, "0 to 0.5")
    if train.habit_share < 1 and train.radius != RANDOM_HABITS:
        raise ValueError(
            f"train.habit_share is for train.radius={RANDOM_HABITS}; with another radius, here "
            f"{train.radius}, set train.habit_share=1.0"
        )
    if train.radius_spread and train.radius == "fixed":
        raise ValueError(
            "train.radius_spread varies radii, and train.radius=fixed has one; set "
            "train.radius_spread=0.0"
        )


def _validate_clicks(config: ml_collections.ConfigDict) -> None:
    """Checks how clicks are placed, drawn and answered against each other."""
    around = {name: config.model[name] for name in agreement.SURROUNDINGS}
    radii = {"train.radius": config.train.radius, "clicks.radius": config.clicks.radius}
    agreement.check_encoding(config.model.encoding, radii=radii, surroundings=around)
    source, counts = config.train.source, config.train.click_counts
    if source in schema.RANDOM_SOURCES:
        agreement.check_random_clicks(source, counts=counts, surroundings=around)
