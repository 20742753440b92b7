"""The report of an evaluation: summary.json, report.md, per_click.csv and pictures.

Everything here runs on the host, on numbers that are already there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecc_jax import atomic
from ecc_jax.report import text
from ecc_jax.report.click_log import SLICE_FIELDS, write_click_log
from ecc_jax.report.facts import FACTS, missing_facts, nof_convention, title
from ecc_jax.report.figures import draw_curves, draw_noc, draw_strata
from ecc_jax.report.methods import subject_of
from ecc_jax.report.montage import Example, draw_montage
from ecc_jax.report.results import MethodResult, Summary, plain
from ecc_jax.report.summary import strongest, summary_of
from ecc_jax.report.tables import label_of

PICTURES = ("curves.png", "strata.png", "noc.png", "montage.png")
# (folder, summary, results, examples) -> names of the pictures drawn there.
Draw = Callable[
    [Path, Summary, Mapping[str, MethodResult], Sequence[Example]],
    list[str],
]


def draw_pictures(
    folder: Path,
    summary: Summary,
    results: Mapping[str, MethodResult],
    examples: Sequence[Example],
) -> list[str]:
    """Draws the pictures of a report and returns their file names.

    Args:
      folder: Where they go.
      summary: All figures of the report.
      results: Scores of every slice by method.
      examples: Cases for the montage; none, no montage.
    """
    facts, methods = summary.facts, summary.methods
    heading = title(facts)
    pictures = [draw_curves(folder / "curves.png", methods, title=heading)]
    if summary.strata:
        path = folder / "strata.png"
        pictures.append(draw_strata(path, summary.strata, methods, title=heading))
    subject = subject_of(methods)
    painter = strongest(methods[subject].gain_over or {}, click=None)
    chosen = {name: results[name] for name in (subject, painter) if name}
    pictures.append(
        draw_noc(
            folder / "noc.png",
            chosen,
            {name: label_of(name, methods) for name in chosen},
            nof_convention=nof_convention(facts),
            title=heading,
        )
    )
    if examples:
        pictures.append(draw_montage(folder / "montage.png", list(examples)))
    return [picture.name for picture in pictures]


def write_report(
    directory: str | Path,
    facts: Mapping[str, Any],
    results: Mapping[str, MethodResult],
    slices: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
    *,
    draw: Draw | None = draw_pictures,
) -> Path:
    """Writes the report of one evaluation; `summary.json` comes last, so it vouches for the rest.

    Args:
      directory: Folder to write to; made if missing, files of an earlier report are replaced.
      facts: What was evaluated on what, see `facts.FACTS`; and, where they were asked for, the
        results of `results.OF_PROTOCOLS` as summary.json has them.
      results: Scores of every slice by method; one of `methods.SUBJECTS` at least.
      slices: One dict per slice with patient, volume, slice_index and lesion_area (pixels).
      examples: Cases for the montage; none, no montage.
      draw: Draws the pictures; None draws none.

    Returns:
      Path of `summary.json`.

    Raises:
      ValueError: If a fact is missing or the scores do not match the slices.
    """
    _check(facts, results, slices)
    # Arrays and paths become what JSON knows.
    summary = summary_of(plain(facts), results, slices)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    for name in (path.name, *PICTURES):
        (folder / name).unlink(missing_ok=True)
    write_click_log(folder / "per_click.csv", results, slices)
    pictures = draw(folder, summary, results, examples) if draw else []
    atomic.write_text(folder / "report.md", text.markdown(summary, pictures))
    atomic.write_text(path, json.dumps(summary.to_json(), indent=2, allow_nan=False) + "\n")
    return path


def _check(
    facts: Mapping[str, Any],
    results: Mapping[str, MethodResult],
    slices: Sequence[Mapping[str, Any]],
) -> None:
    """Refuses incomplete facts and scores that do not fit the slices."""
    missing = missing_facts(facts)
    if missing:
        required = tuple(fact.key for fact in FACTS if fact.is_required)
        raise ValueError(f"facts must have the keys {required}; {missing} are missing, add them")
    subject_of(results)
    for entry in slices:
        if not set(SLICE_FIELDS) <= set(entry):
            raise ValueError(f"every slice must have {SLICE_FIELDS}, got {sorted(entry)}; add them")
    for name, result in results.items():
        width = result.scores["iou"].shape[1]
        for measure, scores in result.scores.items():
            if scores.shape != (len(slices), width):
                raise ValueError(
                    f"{measure} of {name!r} must have one row for each of {len(slices)} slices and "
                    f"{width} columns as its IoU, got shape {scores.shape}; pass scores without "
                    "the padding rows"
                )
