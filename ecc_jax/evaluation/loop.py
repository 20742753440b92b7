"""Evaluation of a network and of its reference rows on one split, ending in a report."""

import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

import ecc_jax
from ecc_jax import metrics, parallel
from ecc_jax.classical import flooding
from ecc_jax.data import pipeline
from ecc_jax.evaluation import report, rollouts
from ecc_jax.evaluation.montage import Example
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step
from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.pipelines import InferenceOptions
from ecc_jax.types import InteractiveModel

NOC_THRESHOLDS = (0.80, 0.85, 0.90)
MONTAGE_CLICKS = (1, 2, 5, 20)
PAINTERS = {"disk_painter_average": "average", "disk_painter_tight": "tight"}
NUM_EXAMPLES = 6


class Split(NamedTuple):
    """The slices an evaluation runs on."""

    slices: pipeline.SliceSet
    positions: np.ndarray


def rollout_options(
    config: ml_collections.ConfigDict, *, radius: str | None = None
) -> RolloutOptions:
    """Returns the robot user of the configuration, by default with its evaluation radius."""
    capacity = max(config.eval.num_clicks, config.eval.validation_clicks)
    return RolloutOptions(
        capacity=capacity,
        keep=tuple(k for k in MONTAGE_CLICKS if k <= config.eval.num_clicks),
        threshold=config.inference.threshold,
        rule=config.clicks.next_click,
        radius=radius or config.clicks.radius_eval,
        fixed_radius=config.clicks.fixed_radius,
        seed=config.seed,
        inference=inference_options(config),
    )


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
        scales_radius=config.clicks.radius_eval != "fixed",
    )
    return InferenceOptions(options.pipeline, options.flip, zoom)


def compile_for(
    config: ml_collections.ConfigDict,
    model: InteractiveModel | None,
    variables: Any,
    mesh: Mesh,
    *,
    radius: str | None = None,
    size: int | None = None,
) -> rollouts.CompiledRollout:
    """Compiles the configured rollout of a network, or of the painter where `model` is None."""
    options = rollout_options(config, radius=radius)
    return rollouts.compile_rollout(
        make_rollout_step(model, options),
        variables,
        size=size or config.data.size,
        batch_size=config.eval.batch_size,
        capacity=options.capacity,
        mesh=mesh,
    )


def folds_of(config: ml_collections.ConfigDict) -> pipeline.Folds:
    """Returns the cross-validation of the configuration."""
    return pipeline.Folds(config.data.folds, config.data.fold, config.data.split_seed)


def open_for_evaluation(config: ml_collections.ConfigDict, directory: Path, split: str) -> Split:
    """Opens a split, cut to `eval.max_slices` slices spread over its patients."""
    slices = pipeline.open_split(directory, split, folds=folds_of(config))
    return Split(
        slices, pipeline.spread_over_patients(slices.rows, max_slices=config.eval.max_slices)
    )


def evaluate(
    config: ml_collections.ConfigDict,
    directory: Path,
    model: InteractiveModel,
    variables: Any,
    out_dir: Path,
    *,
    steps: int,
    mesh: Mesh,
    compiled: rollouts.CompiledRollout | None = None,
) -> Path:
    """Evaluates a network beside its reference rows and writes the report.

    Args:
      config: The resolved configuration.
      directory: The prepared dataset.
      model: The network.
      variables: Its variables, replicated over `mesh`.
      out_dir: Where the report goes.
      steps: Training steps behind `variables`, for the record.
      mesh: The devices.
      compiled: The rollout compiled for training's validation, if it fits.

    Returns:
      The path of `summary.json`.
    """
    split = open_for_evaluation(config, directory, config.data.split)
    compiled = compiled or compile_for(config, model, variables, mesh)
    painters = {
        name: compile_for(config, None, (), mesh, radius=radius)
        for name, radius in PAINTERS.items()
    }
    with _progress_bar((1 + len(PAINTERS)) * len(split.positions)) as bar:
        outcome = _run(config, compiled, variables, split, mesh, bar.update)
        painted = {
            name: _run(config, painter, (), split, mesh, bar.update)
            for name, painter in painters.items()
        }
    first = painted["disk_painter_average"]
    flooded, tolerance = _flooding(
        config, directory, split, first.first_yx, painters["disk_painter_average"], mesh
    )
    per_click = {
        "model": outcome.iou,
        "disk_as_mask": first.disk_iou[:, None],
        **{name: results.iou for name, results in painted.items()},
        "flooding": flooded[:, None],
    }
    rows = _summary_rows(per_click, outcome, tolerance)
    summary = {**_facts(config, directory, split, steps, mesh), "rows": rows}
    examples = _examples(config, compiled, variables, split, outcome.iou, mesh)
    if not parallel.is_first_host():
        return Path(out_dir) / "summary.json"
    rows_of = [split.slices.rows[int(p)] for p in split.positions]
    return report.write_report(out_dir, summary, per_click, rows_of, examples)


def _progress_bar(total: int) -> tqdm:
    silent = not parallel.is_first_host()
    return tqdm(total=total, desc="evaluate", unit="image", file=sys.stderr, disable=silent)


def _run(
    config: ml_collections.ConfigDict,
    compiled: rollouts.CompiledRollout,
    variables: Any,
    split: Split,
    mesh: Mesh,
    on_batch: Callable[[int], Any],
) -> rollouts.Results:
    return rollouts.run_rollouts(
        compiled,
        variables,
        split.slices,
        split.positions,
        num_clicks=config.eval.num_clicks,
        mesh=mesh,
        window_hu=override_window(config),
        on_batch=on_batch,
    )


def override_window(config: ml_collections.ConfigDict) -> tuple[float, ...]:
    """Returns the window that overrides the stored one: only full-HU slices can take another."""
    return tuple(config.data.window_hu) if config.data.variant == "raw" else ()


def _summary_rows(
    per_click: dict[str, np.ndarray], outcome: rollouts.Results, tolerance_hu: float
) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {
        name: {"iou": _floats(iou.mean(axis=0))} for name, iou in per_click.items()
    }
    rows["model"] |= _click_metrics(outcome.iou)
    rows["model"]["seconds_per_click"] = outcome.seconds / outcome.clicks_computed
    rows["flooding"]["tolerance_hu"] = tolerance_hu
    return rows


def _click_metrics(iou: np.ndarray) -> dict[str, Any]:
    names = [f"{100 * t:.0f}" for t in NOC_THRESHOLDS]
    noc = [metrics.num_clicks_to_reach(iou, t) for t in NOC_THRESHOLDS]
    nof = [metrics.never_reached(iou, t) for t in NOC_THRESHOLDS]
    return {
        "noc": dict(zip(names, (float(np.mean(v)) for v in noc), strict=True)),
        "nof": dict(zip(names, (float(np.mean(v)) for v in nof), strict=True)),
        "iterative_iou_error": float(metrics.iterative_iou_error(iou.mean(axis=0))),
    }


def _flooding(
    config: ml_collections.ConfigDict,
    directory: Path,
    split: Split,
    first_yx: np.ndarray,
    painter: rollouts.CompiledRollout,
    mesh: Mesh,
) -> tuple[np.ndarray, float]:
    """Floods from each first click, with the tolerance that is best on the training split."""
    train = pipeline.open_split(directory, "train", folds=folds_of(config))
    positions = pipeline.spread_over_patients(train.rows, max_slices=config.eval.flooding_slices)
    seeds = rollouts.run_rollouts(painter, (), train, positions, num_clicks=1, mesh=mesh).first_yx
    rows = [pipeline.read_row(train, int(p), window_hu=override_window(config)) for p in positions]
    widest = max((row.window_hu for row in rows), key=lambda window: window[1] - window[0])
    best, _ = flooding.search_tolerance(
        np.stack([flooding_image(row) for row in rows]),
        np.stack([row.target for row in rows]),
        [_pixel(yx) for yx in seeds],
        flooding.default_tolerances(
            (float(widest[0]), float(widest[1])), count=config.eval.flooding_tolerances
        ),
    )
    ious = []
    for position, yx in zip(split.positions, first_yx, strict=True):
        row = pipeline.read_row(split.slices, int(position), window_hu=override_window(config))
        mask = flooding.flood(flooding_image(row), _pixel(yx), best)
        ious.append(float(metrics.iou(mask[None], (row.target > 0)[None])[0]))
    return np.asarray(ious), best


def _pixel(yx: np.ndarray) -> tuple[int, int]:
    return int(round(float(yx[0]))), int(round(float(yx[1])))


def flooding_image(row: Any) -> np.ndarray:
    """Returns the slice in HU, clipped to its window: what the network sees too."""
    low, high = row.window_hu
    return np.clip(row.image_hu.astype(np.float32), low, high)


def _examples(
    config: ml_collections.ConfigDict,
    compiled: rollouts.CompiledRollout,
    variables: Any,
    split: Split,
    iou: np.ndarray,
    mesh: Mesh,
) -> list[Example]:
    """Replays the best, middle and worst slices (by mean IoU over the clicks) for the montage."""
    num_clicks = config.eval.num_clicks
    order = np.argsort(-iou.mean(axis=1), kind="stable")
    count = min(NUM_EXAMPLES, compiled.batch_size, len(order))
    picks = np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))
    chosen = order[picks]
    batch, outcome = rollouts.outcome_of(
        compiled,
        variables,
        split.slices,
        split.positions[chosen],
        num_clicks=num_clicks,
        mesh=mesh,
        window_hu=override_window(config),
    )
    keep = [k for k in MONTAGE_CLICKS if k <= num_clicks]
    examples = []
    for i, (position, pick) in enumerate(zip(split.positions[chosen], picks, strict=True)):
        row = split.slices.rows[int(position)]
        low, high = batch.window_hu[i]
        examples.append(
            Example(
                image=np.clip((batch.image_hu[i] - low) / (high - low), 0, 1),
                target=batch.target[i] > 0,
                clicks_yx=outcome.clicks.yx[i],
                clicks_radius=outcome.clicks.radius[i],
                clicks_positive=outcome.clicks.is_positive[i],
                clicks_exist=outcome.clicked[i],
                masks={k: outcome.masks[i, j] for j, k in enumerate(keep)},
                ious={k: float(outcome.iou[i, k - 1]) for k in keep},
                title=f"{row['volume']}, slice {row['slice_index']} "
                f"(rank {pick + 1} of {len(order)})",
            )
        )
    return examples


def _facts(
    config: ml_collections.ConfigDict, directory: Path, split: Split, steps: int, mesh: Mesh
) -> dict[str, Any]:
    rows = [split.slices.rows[int(p)] for p in split.positions]
    packages = ("jax", "flax", "optax", "numpy", "scikit-image")
    index = json.loads((directory / pipeline.INDEX_FILE).read_text(encoding="utf-8"))
    return {
        "dataset": config.data.name,
        "split": config.data.split,
        "num_images": len(rows),
        "num_patients": len({row["patient"] for row in rows}),
        "seed": config.seed,
        "steps": steps,
        "model": config.model.name,
        "encoding": f"{config.clicks.radius_eval} radius",
        "next_click": config.clicks.next_click,
        "threshold": config.inference.threshold,
        "inference": _describe_inference(inference_options(config)),
        "config_name": f"{config.name}:{config.words}" if config.words else config.name,
        "data": index.get("options", {}),
        "versions": {
            "python": platform.python_version(),
            "ecc_jax": ecc_jax.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "device": parallel.describe_devices(mesh),
    }


def _describe_inference(options: InferenceOptions) -> str:
    """Returns the test-time treatment in words; rows of one table should share it."""
    zoom = options.zoom
    words = ["whole slice"]
    if options.pipeline == "zoom_in":
        words = [f"zoom-in after click {zoom.skip_clicks} ({zoom.rule} side {zoom.target} pixels)"]
    return ", ".join([*words, "mirror image averaged"] if options.flip else words)


def _floats(values: np.ndarray) -> list[float]:
    return [float(v) for v in values]
