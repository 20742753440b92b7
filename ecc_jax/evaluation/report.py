"""The report of an evaluation: summary.json, report.md, per_click.csv and pictures.

Everything here runs on the host, on numbers that are already there.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecc_jax import atomic
from ecc_jax.evaluation import measures, report_text
from ecc_jax.evaluation.bars import draw_noc, draw_strata
from ecc_jax.evaluation.click_log import SLICE_FIELDS, write_click_log
from ecc_jax.evaluation.figures import draw_curves
from ecc_jax.evaluation.montage import Example, draw_montage
from ecc_jax.evaluation.report_tables import label_of
from ecc_jax.evaluation.rows import Row, method_of

_REQUIRED = (
    "dataset",
    "split",
    "num_images",
    "num_patients",
    "seed",
    "steps",
    "versions",
    "device",
)


def write_report(
    directory: str | os.PathLike[str],
    summary: Mapping[str, Any],
    rows: Mapping[str, Row],
    slices: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
) -> Path:
    """Writes the report of one evaluation; `summary.json` comes last, so it vouches for the rest.

    Args:
      directory: Folder to write to; made if missing, files of an earlier report are replaced.
      summary: Facts: dataset, split, num_images, num_patients, seed, steps, versions and device.
        Optional: what else the table of facts shows (see `report_text`), `nof_convention`
        ("success" or "ritm"), `surface` (unit, tolerance, num_undefined), `robustness`, `cvpr25`,
        and `rows`: by row name what its scores do not tell (label, seconds_per_click, latency,
        tolerance_hu, first_weight, later_weight), which is added to the measures computed here.
      rows: Scores of every slice by row name; one of `rows.METHODS` at least.
      slices: One dict per slice with patient, volume, slice_index and lesion_area (pixels).
      examples: Cases for the montage; none, no montage.

    Returns:
      Path of `summary.json`.

    Raises:
      ValueError: If the summary lacks a key or the scores do not match the slices.
    """
    _check(summary, rows, slices)
    summary = _with_measures(_plain(summary), rows, slices)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    path.unlink(missing_ok=True)
    write_click_log(folder / "per_click.csv", rows, slices)
    pictures = _draw(folder, summary, rows, examples)
    atomic.write_text(folder / "report.md", report_text.markdown(summary, pictures))
    atomic.write_text(path, json.dumps(_without_nan(summary), indent=2, allow_nan=False) + "\n")
    return path


def _with_measures(
    summary: dict[str, Any], rows: Mapping[str, Row], slices: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns the summary with the measures of the rows, in all and by lesion size."""
    convention = summary.get("nof_convention", "success")
    measured = measures.summarise(rows, nof_convention=convention)
    measures.add_intervals(measured, rows, [entry["patient"] for entry in slices])
    for name, facts in summary.get("rows", {}).items():
        measured[name] |= facts
    return {**summary, "rows": measured, "strata": measures.strata(rows, slices)}


def _draw(
    folder: Path, summary: dict[str, Any], rows: Mapping[str, Row], examples: Sequence[Example]
) -> list[str]:
    """Draws the pictures and returns their names; those of an earlier report are removed."""
    for name in ("curves.png", "strata.png", "noc.png", "montage.png"):
        (folder / name).unlink(missing_ok=True)
    measured = summary["rows"]
    title = f"{summary['dataset']}, {summary['split']} split: {report_text.extent(summary)}"
    pictures = [draw_curves(folder / "curves.png", measured, title=title)]
    if summary["strata"]:
        strata = summary["strata"]
        pictures.append(draw_strata(folder / "strata.png", strata, measured, title=title))
    method = method_of(rows)
    painter = measures.strongest(measured[method]["gain_over"], click=None)
    shown = {name: rows[name] for name in (method, painter) if name}
    pictures.append(
        draw_noc(
            folder / "noc.png",
            shown,
            {name: label_of(name, measured) for name in shown},
            nof_convention=summary.get("nof_convention", "success"),
            title=title,
        )
    )
    if examples:
        pictures.append(draw_montage(folder / "montage.png", list(examples)))
    return [picture.name for picture in pictures]


def _check(
    summary: Mapping[str, Any], rows: Mapping[str, Row], slices: Sequence[Mapping[str, Any]]
) -> None:
    """Refuses incomplete summaries and scores that do not fit the slices."""
    missing = [key for key in _REQUIRED if key not in summary]
    if missing:
        raise ValueError(f"summary must have the keys {_REQUIRED}; {missing} are missing, add them")
    method_of(rows)
    unknown = sorted(set(summary.get("rows", {})) - set(rows))
    if unknown:
        raise ValueError(
            f"summary['rows'] has {unknown}, rows has {sorted(rows)}; pass their scores"
        )
    for entry in slices:
        if not set(SLICE_FIELDS) <= set(entry):
            raise ValueError(f"every slice must have {SLICE_FIELDS}, got {sorted(entry)}; add them")
    for name, row in rows.items():
        width = row.scores["iou"].shape[1]
        for measure, scores in row.scores.items():
            if scores.shape != (len(slices), width):
                raise ValueError(
                    f"{measure} of {name!r} must have one row for each of {len(slices)} slices and "
                    f"{width} columns as its IoU, got shape {scores.shape}; pass scores without "
                    "the padding rows"
                )


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
