"""The configuration as options of the rollouts, and as facts of the report."""

import importlib.metadata
import json
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from jax.sharding import Mesh

import ecc_jax
from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser, Style
from ecc_jax.data import pipeline
from ecc_jax.evaluation import start
from ecc_jax.evaluation.protocols import PROTOCOLS, STYLES, Protocol
from ecc_jax.evaluation.rollouts import STEADY, Work
from ecc_jax.evaluation.step import RolloutOptions
from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.pipelines import InferenceOptions

MONTAGE_CLICKS = (1, 2, 5, 20)


def protocol_of(config: ml_collections.ConfigDict) -> Protocol:
    """Returns the protocol that the configuration names."""
    return PROTOCOLS[config.eval.protocol]


def num_clicks(config: ml_collections.ConfigDict) -> int:
    """Returns the clicks per image of the final evaluation."""
    return protocol_of(config).num_clicks or int(config.eval.num_clicks)


def threshold_of(config: ml_collections.ConfigDict) -> float:
    """Returns the probability above which a pixel is lesion."""
    return protocol_of(config).threshold or float(config.inference.threshold)


def style_of(config: ml_collections.ConfigDict) -> Style:
    """Returns how the configured user handles the disk."""
    return STYLES.get(config.clicks.radius_eval, STEADY)


def rollout_options(
    config: ml_collections.ConfigDict, *, radius: str | None = None
) -> RolloutOptions:
    """Returns the robot user of the configuration and what answers it.

    Args:
      config: The resolved configuration.
      radius: A radius rule in place of the configured one; the painter always has "weighted".
    """
    clicks, clicks_at_most = config.clicks, max(num_clicks(config), config.eval.validation_clicks)
    rule = "fixed" if clicks.radius_eval == "fixed" else "weighted"
    return RolloutOptions(
        capacity=clicks_at_most,
        keep=kept_clicks(config),
        threshold=threshold_of(config),
        user=RobotUser(
            rule=protocol_of(config).next_click or clicks.next_click,
            radius=radius or rule,
            fixed_radius=clicks.fixed_radius,
            enclosing=clicks.enclosing,
        ),
        seed=config.seed,
        inference=inference_options(config),
        start=_start(config),
        start_amount=config.eval.start_amount,
        tolerance_mm=config.eval.nsd_tolerance_mm,
        tolerance_px=config.eval.nsd_tolerance_px,
    )


def kept_clicks(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """Returns the clicks whose masks the montage shows: the usual ones and the last."""
    last = num_clicks(config)
    return tuple(sorted({k for k in MONTAGE_CLICKS if k <= last} | {last}))


def inference_options(config: ml_collections.ConfigDict) -> InferenceOptions:
    """Returns how the configured network is run; a fixed radius does not grow with a crop."""
    options = config.inference
    zoom = Zoom(
        target=options.zoom_target,
        rule=options.zoom_rule,
        min_crop=options.zoom_min_crop,
        expansion=options.zoom_expansion,
        skip_clicks=options.zoom_skip_clicks,
        threshold=threshold_of(config),
        scales_radius=config.clicks.radius_eval != "fixed",
    )
    return InferenceOptions(options.pipeline, options.flip, zoom)


def check_without_network(config: ml_collections.ConfigDict) -> None:
    """Refuses what an external predictor alone cannot do.

    Raises:
      ValueError: Names the key.
    """
    for key, is_asked in (
        ("eval.protocol=robustness", config.eval.protocol == "robustness"),
        ("eval.save_masks=True", config.eval.save_masks),
    ):
        if is_asked:
            raise ValueError(
                f"{key} is for networks; an external predictor alone has none: give --workdir=RUN, "
                "or leave the key away"
            )


def folds_of(config: ml_collections.ConfigDict) -> pipeline.Folds:
    """Returns the cross-validation of the configuration."""
    return pipeline.Folds(config.data.folds, config.data.fold, config.data.split_seed)


def open_split(
    config: ml_collections.ConfigDict,
    directory: Path,
    split: str,
    *,
    max_slices: int,
    left_out: Collection[str] = (),
) -> Work:
    """Opens a split, cut to `max_slices` slices spread over its patients (0: all).

    Args:
      config: The resolved configuration.
      directory: The prepared dataset.
      split: train, validation, test or all.
      max_slices: Slices at most.
      left_out: Patients that are not to be opened.

    Raises:
      ValueError: No such dataset, an empty split, or too few patients for the folds.
    """
    slices = pipeline.open_split(directory, split, folds=folds_of(config))
    if left_out:
        patients = {row["patient"] for row in slices.rows}
        slices = pipeline.only_patients(slices, patients - set(left_out))
    return Work(
        slices=slices,
        positions=pipeline.spread_over_patients(slices.rows, max_slices=max_slices),
        num_clicks=num_clicks(config),
        window_hu=override_window(config),
    )


def first_masks(config: ml_collections.ConfigDict) -> start.MaskFile | None:
    """Returns the masks to refine, where the configuration names a file.

    Raises:
      ValueError: They cannot be read.
    """
    if _start(config) != "file":
        return None
    return start.read_masks(config.eval.start_mask, size=config.data.size)


def override_window(config: ml_collections.ConfigDict) -> tuple[float, ...]:
    """Returns the window that overrides the stored one: only full-HU slices can take another."""
    return tuple(config.data.window_hu) if config.data.variant == "raw" else ()


def _start(config: ml_collections.ConfigDict) -> str:
    if config.eval.start_from == "empty":
        return "empty"
    return config.eval.start_mask if config.eval.start_mask in start.KINDS else "file"


def facts(
    config: ml_collections.ConfigDict, directory: Path, work: Work, mesh: Mesh
) -> dict[str, Any]:
    """Returns what a reader must know to repeat the evaluation."""
    rows = [work.slices.rows[int(p)] for p in work.positions]
    packages = ("jax", "flax", "optax", "numpy", "scikit-image")
    index = json.loads((directory / pipeline.INDEX_FILE).read_text(encoding="utf-8"))
    user = rollout_options(config).user
    fold = f"fold {config.data.fold} of {config.data.folds}" if config.data.folds else None
    return {
        "dataset": config.data.name,
        "split": config.data.split,
        "fold": fold,
        "split_seed": config.data.split_seed,
        "num_images": len(rows),
        "num_patients": len({row["patient"] for row in rows}),
        "seed": config.seed,
        "encoding": f"{config.clicks.radius_eval} radius",
        "protocol": f"{config.eval.protocol}: {protocol_of(config).description}",
        "next_click": user.rule,
        "enclosing": user.enclosing,
        "start_from": _describe_start(config),
        "threshold": threshold_of(config),
        "batch_size": config.eval.batch_size,
        "config_name": f"{config.name}:{config.words}" if config.words else config.name,
        "data": index.get("options", {}),
        "versions": {
            "python": platform.python_version(),
            "ecc_jax": ecc_jax.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "device": parallel.describe_devices(mesh),
    }


def surface_facts(config: ml_collections.ConfigDict, pixel_mm: np.ndarray) -> dict[str, Any]:
    """Returns unit and tolerance of the surface measures, and for how many slices they lack."""
    is_known = np.isfinite(pixel_mm)
    if not is_known.any():
        return {"unit": "px", "tolerance": config.eval.nsd_tolerance_px, "num_undefined": 0}
    undefined = int(np.count_nonzero(~is_known))
    return {
        "unit": "mm",
        "tolerance": config.eval.nsd_tolerance_mm,
        "num_undefined": undefined,
    }


def _describe_start(config: ml_collections.ConfigDict) -> str:
    kind = _start(config)
    if kind == "empty":
        return "nothing"
    if kind == "file":
        return f"masks of {Path(config.eval.start_mask).name}"
    return f"ground truth, {kind} by {config.eval.start_amount:g} of the lesion's depth"


def describe_inference(config: ml_collections.ConfigDict) -> str:
    """Returns the test-time treatment in words; rows of one table should share it."""
    options = inference_options(config)
    zoom = options.zoom
    words = ["whole slice"]
    if options.pipeline == "zoom_in":
        words = [f"zoom-in after click {zoom.skip_clicks} ({zoom.rule} side {zoom.target} pixels)"]
    return ", ".join([*words, "mirror image averaged"] if options.flip else words)
