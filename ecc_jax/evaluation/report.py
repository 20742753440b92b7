"""The report of an evaluation: summary.json, report.md, per_click.csv, curves.png, montage.png.

Everything here runs on the host, on numbers that are already there.
"""

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ecc_jax.evaluation import report_text
from ecc_jax.evaluation.figures import PAINTERS, Band, draw_curves
from ecc_jax.evaluation.montage import Example, draw_montage

_REQUIRED = (
    "dataset",
    "split",
    "num_images",
    "num_patients",
    "seed",
    "steps",
    "versions",
    "device",
    "rows",
)
_SLICE_FIELDS = ("patient", "volume", "slice_index", "lesion_area")


def write_report(
    directory: str | os.PathLike[str],
    summary: dict[str, Any],
    per_click: dict[str, Float[np.ndarray, "m _"]],
    slices: list[dict[str, Any]],
    examples: list[Example],
) -> Path:
    """Writes the report of one evaluation; `summary.json` comes last, so it vouches for the rest.

    Args:
      directory: Folder to write to; made if missing, files of an earlier report are replaced.
      summary: Facts and mean values: dataset, split, num_images, num_patients, seed, steps,
        versions, device and `rows` (row name to its measures; `model` at least). `nof` is the
        share of images, 0..1. Optional: model, encoding, config_name, training_seconds.
      per_click: IoU of every image after every click, by row name; k may differ between rows.
      slices: One dict per image with patient, volume, slice_index and lesion_area (pixels).
      examples: Cases for the montage; none, no montage.

    Returns:
      Path of `summary.json`.

    Raises:
      ValueError: If the summary lacks a key or the images do not match the slices.
    """
    _check(summary, per_click, slices)
    summary = _plain(summary)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    path.unlink(missing_ok=True)
    bands = _bands(per_click, [row["patient"] for row in slices])
    _write_csv(folder / "per_click.csv", per_click, slices)
    title = f"{summary['dataset']}, {summary['split']} split: {report_text.extent(summary)}"
    draw_curves(folder / "curves.png", summary["rows"], title=title, bands=bands)
    pictures = ["curves.png"]
    if examples:
        draw_montage(folder / "montage.png", examples)
        pictures.append("montage.png")
    else:
        (folder / "montage.png").unlink(missing_ok=True)
    text = report_text.markdown(summary, per_click, slices, bands, pictures)
    _write_atomic(folder / "report.md", text)
    _write_atomic(path, json.dumps(_without_nan(summary), indent=2, allow_nan=False) + "\n")
    return path


def _check(
    summary: dict[str, Any], per_click: dict[str, np.ndarray], slices: list[dict[str, Any]]
) -> None:
    """Refuses incomplete summaries and arrays that do not fit the slices."""
    missing = [key for key in _REQUIRED if key not in summary]
    if missing:
        raise ValueError(f"summary must have the keys {_REQUIRED}; {missing} are missing, add them")
    if "model" not in summary["rows"]:
        raise ValueError(f"summary['rows'] must have 'model', got {sorted(summary['rows'])}")
    for entry in slices:
        if not set(_SLICE_FIELDS) <= set(entry):
            raise ValueError(
                f"every slice must have {_SLICE_FIELDS}, got {sorted(entry)}; add them"
            )
    for name, iou in per_click.items():
        if iou.ndim != 2 or iou.shape[0] != len(slices):
            raise ValueError(
                f"per_click[{name!r}] must have one row for each of {len(slices)} slices and one "
                f"column per click, got shape {iou.shape}; pass IoU without the padding rows"
            )


def _bands(per_click: dict[str, np.ndarray], patients: list[Any]) -> dict[str, Band]:
    """Returns 95 % intervals of the model's curve and of its gain over each painter.

    Patients, not slices, are drawn with replacement: slices of one patient are alike, and counting
    them as independent would make the intervals too narrow. Fewer than two patients, no interval.
    """
    if "model" not in per_click or len(set(patients)) < 2:
        return {}
    model = per_click["model"]
    curves = {"model": model}
    for name in PAINTERS:
        if name in per_click:
            shared = min(model.shape[1], per_click[name].shape[1])
            curves[name] = model[:, :shared] - per_click[name][:, :shared]
    _, owner = np.unique(np.asarray([str(p) for p in patients]), return_inverse=True)
    slices_of = np.bincount(owner).astype(np.float64)
    share = np.full(slices_of.size, 1 / slices_of.size)
    draws = np.random.default_rng(0).multinomial(slices_of.size, share, size=report_text.RESAMPLES)
    bands = {}
    for name, values in curves.items():
        totals = np.zeros((slices_of.size, values.shape[1]))
        np.add.at(totals, owner, values)
        means = (draws @ totals) / (draws @ slices_of)[:, None]
        bands[name] = Band(*np.percentile(means, (2.5, 97.5), axis=0))
    return bands


def _write_csv(path: Path, per_click: dict[str, np.ndarray], slices: list[dict[str, Any]]) -> None:
    """Writes one line per image and row; rows with fewer clicks leave the last cells empty."""
    clicks = max((iou.shape[1] for iou in per_click.values()), default=0)
    heading = ["patient", "volume", "slice", "area", "row"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading + [f"iou_{click}" for click in range(1, clicks + 1)])
        for index, entry in enumerate(slices):
            for name, iou in per_click.items():
                cells = [f"{value:.6f}" for value in iou[index]]
                cells += [""] * (clicks - len(cells))
                writer.writerow([*(entry[field] for field in _SLICE_FIELDS), name, *cells])


def _write_atomic(path: Path, text: str) -> None:
    """Writes a file that is either there in full or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _plain(value: Any) -> Any:
    """Returns the value in Python's own types: arrays as lists, NumPy scalars as numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _without_nan(value: Any) -> Any:
    """Returns plain values with null for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
