"""Reports read back from their folders, and put together: folds, seeds, or both."""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ecc_jax.evaluation import measures
from ecc_jax.evaluation.click_log import read_click_log
from ecc_jax.evaluation.rows import ClickRecord, Row, clicked_rows, method_of
from ecc_jax.places import expanded

VARIOUS = "various"
# Facts of one run that no pooled report has: results, and what is counted anew.
_OF_ONE_RUN = (
    "rows",
    "strata",
    "robustness",
    "cvpr25",
    "num_images",
    "num_patients",
    "seed",
    "seeds",
    "sources",
    "surface",
    "versions",
    "left_out_patients",
)
# What decides over the numbers: runs that differ in it are no folds or seeds of one experiment.
_SHARED_FACTS = (
    "protocol",
    "encoding",
    "next_click",
    "enclosing",
    "start_from",
    "threshold",
    "inference",
    "model",
)
SliceKey = tuple[str, str, int]


class Run(NamedTuple):
    """An evaluation read back.

    Attributes:
      sources: The folders it comes from.
      summary: Its summary.json.
      rows: Scores by row name.
      slices: One dict per slice.
      num_runs: How many runs evaluated each slice, one entry per slice.
    """

    sources: list[str]
    summary: dict[str, Any]
    rows: dict[str, Row]
    slices: list[dict[str, Any]]
    num_runs: np.ndarray


def load_run(path: str | os.PathLike[str]) -> Run:
    """Reads a report.

    Args:
      path: A report's folder, or the workdir of a run with its `report` folder.

    Raises:
      ValueError: No complete report there, or one of an earlier version.
    """
    path = expanded(path)
    for folder in (path, path / "report"):
        if (folder / "per_click.csv").is_file() and (folder / "summary.json").is_file():
            break
    else:
        raise ValueError(
            f"{path} holds no report (summary.json and per_click.csv, there or in its folder "
            "'report'); pass a run's workdir or a report's folder, and let the run finish"
        )
    rows, slices = read_click_log(folder / "per_click.csv")
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder / 'summary.json'} is no JSON ({error}); evaluate again"
        ) from error
    return Run([str(folder)], summary, rows, slices, np.ones(len(slices), int))


def slice_key(entry: dict[str, Any]) -> SliceKey:
    """Returns what tells a slice from every other of its dataset."""
    return str(entry["patient"]), str(entry["volume"]), int(entry["slice_index"])


def restrict(run: Run, keys: Sequence[SliceKey]) -> Run:
    """Returns the run cut to some of its slices, in their order."""
    where = {slice_key(entry): i for i, entry in enumerate(run.slices)}
    index = np.array([where[key] for key in keys], int)
    rows = {name: _take(row, index) for name, row in run.rows.items()}
    return run._replace(
        rows=rows, slices=[run.slices[i] for i in index], num_runs=run.num_runs[index]
    )


def pool(runs: Sequence[Run]) -> Run:
    """Puts runs together, slice by slice.

    Slices that several runs evaluated (seeds) get the mean of their scores, so every slice weighs
    the same; slices of one run only (folds) are taken as they are. Only rows and measures that
    every run has remain, cut to the fewest clicks.

    Raises:
      ValueError: The runs are of different datasets or surface units, share no row, or disagree
        about the area of a lesion.
    """
    _check_facts(runs)
    slices = _united_slices(runs)
    keys = [slice_key(entry) for entry in slices]
    names = [name for name in runs[0].rows if all(name in run.rows for run in runs)]
    if not names:
        listed = "; ".join(f"{run.sources[0]}: {sorted(run.rows)}" for run in runs)
        raise ValueError(f"the runs share no row, got {listed}; pool runs of the same methods")
    rows = {}
    for name in names:
        parts = [run.rows[name] for run in runs]
        shared = [m for m in parts[0].scores if all(m in part.scores for part in parts)]
        scores = {m: _average(runs, keys, [part.scores[m] for part in parts]) for m in shared}
        width = scores["iou"].shape[1]
        scores = {m: values[:, :width] for m, values in scores.items()}
        rows[name] = Row(scores, _joined_clicks(runs, keys, name, width))
    number = dict.fromkeys(keys, 0)
    for run in runs:
        for entry, count in zip(run.slices, run.num_runs, strict=True):
            number[slice_key(entry)] += int(count)
    sources = [source for run in runs for source in run.sources]
    return Run(sources, _facts(runs, rows, slices), rows, slices, np.array(list(number.values())))


def mean_click_counts(runs: Sequence[Run], pooled: Run) -> dict[str, dict[str, Any]]:
    """Returns NoC and NoF by row, taken in every run and averaged slice by slice.

    Those of the averaged curves would differ: NoC is no linear measure.
    """
    keys = [slice_key(entry) for entry in pooled.slices]
    convention = pooled.summary.get("nof_convention", "success")
    found: dict[str, dict[str, Any]] = {}
    for name in clicked_rows(pooled.rows):
        width = pooled.rows[name].scores["iou"].shape[1]
        curves = [run.rows[name].scores["iou"][:, :width] for run in runs]
        found[name] = {}
        counted = {
            "noc": [measures.clicks_to_reach(curve) for curve in curves],
            "nof": [measures.failures(curve, convention) for curve in curves],
        }
        for measure, counts in counted.items():
            found[name][measure] = {
                key: float(_average(runs, keys, [c[key][:, None] for c in counts]).mean())
                for key in counts[0]
            }
    return found


def differing_facts(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns name and both values of the facts in which two summaries differ, results aside."""
    left, right = _flat(first), _flat(second)
    names = [*left, *(name for name in right if name not in left)]
    return [
        (name, left.get(name, "–"), right.get(name, "–"))
        for name in names
        if left.get(name, "–") != right.get(name, "–")
    ]


def _flat(summary: dict[str, Any]) -> dict[str, str]:
    """Returns the facts of a summary as text, one level of nesting as `outer.inner`."""
    skipped = {"rows", "strata", "robustness", "cvpr25", "training_seconds", "sources"}
    flat: dict[str, str] = {}
    for name, value in summary.items():
        if name not in skipped:
            entries = value.items() if isinstance(value, dict) else [("", value)]
            flat |= {f"{name}.{key}" if key else name: str(item) for key, item in entries}
    return flat


def _check_facts(runs: Sequence[Run]) -> None:
    """Refuses to put together what has different names or units."""
    settings = "evaluate all runs with the same eval settings"
    names = "slices of different datasets have no common names; pool each dataset alone"
    for fact, remedy in (
        ("dataset", names),
        ("nof_convention", settings),
        ("surface unit", settings),
        ("surface tolerance", settings),
        *((fact, settings) for fact in _SHARED_FACTS),
        ("split_seed", "folds of different divisions overlap; train all folds with one split_seed"),
    ):
        check_shared(runs, fact, remedy)
    lengths = {run.rows[method_of(run.rows)].scores["iou"].shape[1] for run in runs}
    if len(lengths) > 1:
        raise ValueError(f"the runs must have the same number of clicks, got {sorted(lengths)}")


def check_shared(runs: Sequence[Run], fact: str, remedy: str) -> None:
    """Refuses runs that differ in a fact of their summaries.

    Args:
      runs: What is put together or compared.
      fact: Key of the summary, or outer and inner key with a blank between.
      remedy: What to do about it.

    Raises:
      ValueError: The runs differ.
    """
    key, _, part = fact.partition(" ")
    found = [run.summary.get(key) for run in runs]
    values = [str(value.get(part)) if isinstance(value, dict) else str(value) for value in found]
    if len(set(values)) > 1:
        listed = ", ".join(f"{run.sources[0]}: {v}" for run, v in zip(runs, values, strict=True))
        raise ValueError(f"the runs must share their {fact}, got {listed}; {remedy}")


def _united_slices(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns each slice once, in the order of the runs."""
    united: dict[SliceKey, dict[str, Any]] = {}
    for run in runs:
        for entry in run.slices:
            known = united.setdefault(slice_key(entry), entry)
            check_same_lesion(known, entry, run.sources[0])
    return list(united.values())


def check_same_lesion(known: dict[str, Any], entry: dict[str, Any], source: str) -> None:
    """Refuses a slice whose lesion has another area than in another run.

    Raises:
      ValueError: The areas differ: the runs saw different data.
    """
    if known["lesion_area"] != entry["lesion_area"]:
        raise ValueError(
            f"{' / '.join(map(str, slice_key(entry)))} has a lesion of {known['lesion_area']} px "
            f"in one run and {entry['lesion_area']} px in {source}: different data; evaluate both "
            "on the same prepared dataset"
        )


def _average(
    runs: Sequence[Run], keys: Sequence[SliceKey], values: Sequence[np.ndarray]
) -> np.ndarray:
    """Returns the mean over the runs that have a slice, [keys k], cut to the fewest columns."""
    where = {key: i for i, key in enumerate(keys)}
    width = min(array.shape[1] for array in values)
    total, number = np.zeros((len(keys), width)), np.zeros((len(keys), 1))
    for run, array in zip(runs, values, strict=True):
        index = [where[slice_key(entry)] for entry in run.slices]
        total[index] += array[:, :width]
        number[index] += 1
    return total / number


def _joined_clicks(
    runs: Sequence[Run], keys: Sequence[SliceKey], name: str, width: int
) -> ClickRecord | None:
    """Returns the clicks of folds; None where a slice has the clicks of several runs, or none."""
    records = [run.rows[name].clicks for run in runs]
    found = [slice_key(entry) for run in runs for entry in run.slices]
    known = [record for record in records if record is not None]
    if len(known) < len(records) or len(found) > len(keys):
        return None
    # Without a slice in common, the order of the runs is the order of the keys.
    return ClickRecord(
        *(np.concatenate([part[:, :width] for part in parts]) for parts in zip(*known, strict=True))
    )


def _facts(
    runs: Sequence[Run], rows: dict[str, Row], slices: list[dict[str, Any]]
) -> dict[str, Any]:
    """Returns the facts of the pooled report; what differs between the runs is `various`."""
    summaries = [run.summary for run in runs]
    names = [n for n in dict.fromkeys(key for s in summaries for key in s) if n not in _OF_ONE_RUN]
    facts = {name: _common([summary.get(name) for summary in summaries]) for name in names}
    versions = [summary.get("versions", {}) for summary in summaries]
    seeds = [summary.get("seed") for summary in summaries]
    facts |= {
        "num_images": len(slices),
        "num_patients": len({str(entry["patient"]) for entry in slices}),
        "seed": _common(seeds),
        "seeds": seeds,
        "sources": [source for run in runs for source in run.sources],
        "versions": {
            name: _common([part.get(name) for part in versions])
            for name in dict.fromkeys(key for part in versions for key in part)
        },
        "rows": {name: _row_facts(name, summaries) for name in rows},
    }
    surface = next((s["surface"] for s in summaries if s.get("surface")), None)
    measured = [row.scores[m] for row in rows.values() for m in ("nsd", "hd95") if m in row.scores]
    if surface and measured:
        facts["surface"] = {
            **surface,
            "num_undefined": int(np.isnan(measured[0]).any(axis=1).sum()),
        }
    return facts


def _row_facts(name: str, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what a report knows of a row beside its scores, where the runs agree on it."""
    entries = [summary.get("rows", {}).get(name, {}) for summary in summaries]
    facts = {}
    for key in ("label", "tolerance_hu", "first_weight", "later_weight"):
        value = _common([entry.get(key) for entry in entries])
        if value not in (None, VARIOUS):
            facts[key] = value
    seconds = [entry.get("seconds_per_click") for entry in entries]
    if all(value is not None for value in seconds):
        facts["seconds_per_click"] = float(np.mean(seconds))
    return facts


def _common(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else VARIOUS


def _take(row: Row, index: np.ndarray) -> Row:
    scores = {measure: values[index] for measure, values in row.scores.items()}
    clicks = row.clicks
    return Row(scores, None if clicks is None else ClickRecord(*(part[index] for part in clicks)))
