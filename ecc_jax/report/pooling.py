"""Reports read back from their folders, and put together: folds, seeds, or both."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecc_jax.places import expanded
from ecc_jax.report import facts as facts_of
from ecc_jax.report import summary
from ecc_jax.report.click_log import read_click_log
from ecc_jax.report.facts import FACTS, VARIOUS, common
from ecc_jax.report.measures import MEASURES
from ecc_jax.report.methods import clicked_methods, subject_of
from ecc_jax.report.results import ClickRecord, MethodFacts, MethodResult, Summary
from ecc_jax.report.write import Draw, draw_pictures, write_report

SliceKey = tuple[str, str, int]


class Run(NamedTuple):
    """An evaluation read back.

    Attributes:
      sources: The folders it comes from.
      facts: What was evaluated on what; see `facts.FACTS`.
      results: Scores and facts by method.
      slices: One dict per slice.
      num_runs: How many runs evaluated each slice, one entry per slice.
    """

    sources: list[str]
    facts: dict[str, Any]
    results: dict[str, MethodResult]
    slices: list[dict[str, Any]]
    num_runs: np.ndarray


class Pooled(NamedTuple):
    """A pooled report.

    Attributes:
      path: Its summary.json.
      left_out: Methods that are not in every run.
    """

    path: Path
    left_out: list[str]


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
    results, slices = read_click_log(folder / "per_click.csv")
    written = read_summary(folder / "summary.json")
    for name, method in written.methods.items():
        if name in results:
            results[name] = results[name]._replace(facts=method.facts)
    return Run([str(folder)], written.facts, results, slices, np.ones(len(slices), int))


def read_summary(path: Path) -> Summary:
    """Reads summary.json.

    Raises:
      ValueError: It is none.
    """
    try:
        return Summary.from_json(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}); evaluate again") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no summary of a report ({error}); evaluate again") from error


def slice_key(entry: dict[str, Any]) -> SliceKey:
    """Returns what tells a slice from every other of its dataset."""
    return str(entry["patient"]), str(entry["volume"]), int(entry["slice_index"])


def restrict(run: Run, keys: Sequence[SliceKey]) -> Run:
    """Returns the run cut to some of its slices, in their order."""
    where = {slice_key(entry): i for i, entry in enumerate(run.slices)}
    index = np.array([where[key] for key in keys], int)
    results = {name: _take(result, index) for name, result in run.results.items()}
    return run._replace(
        results=results, slices=[run.slices[i] for i in index], num_runs=run.num_runs[index]
    )


def write_pooled(paths: Sequence[str], out: Path, *, draw: Draw | None = draw_pictures) -> Pooled:
    """Writes one report of several runs; methods that are not in every run are left out.

    Args:
      paths: Workdirs or folders of reports.
      out: Folder of the pooled report.
      draw: Draws the pictures; None draws none.

    Raises:
      ValueError: A run is named twice, is the output folder, or does not fit the others.
    """
    runs = [load_run(path) for path in paths]
    folders = [Path(run.sources[0]).resolve() for run in runs]
    if len(set(folders)) < len(folders):
        raise ValueError(f"a run is named twice in {', '.join(paths)}; name each once")
    if out.resolve() in folders:
        raise ValueError(f"--out {out} is one of the runs and would be overwritten; pass another")
    pooled = pool(runs)
    subject_of(pooled.results)
    left_out = sorted({name for run in runs for name in run.results} - set(pooled.results))
    facts = {**pooled.facts, "pooling": describe(pooled)}
    results = _with_click_counts(runs, pooled)
    return Pooled(write_report(out, facts, results, pooled.slices, [], draw=draw), left_out)


def describe(pooled: Run) -> str:
    """Returns how the runs were put together."""
    least, most = int(pooled.num_runs.min()), int(pooled.num_runs.max())
    text = f"{len(pooled.sources)} runs"
    if most == 1:
        return f"{text}, each slice in one of them"
    each = f"{most}" if least == most else f"{least} to {most}"
    return (
        f"{text}, each slice in {each} of them: scores averaged slice by slice; NoC and NoF taken "
        "in every run, then averaged; noc.png is of the averaged scores"
    )


def pool(runs: Sequence[Run]) -> Run:
    """Puts runs together, slice by slice.

    Slices that several runs evaluated (seeds) get the mean of their scores, so every slice weighs
    the same; slices of one run only (folds) are taken as they are. Only methods and measures that
    every run has remain, cut to the fewest clicks.

    Raises:
      ValueError: The runs are of different datasets or surface units, share no method, or disagree
        about the area of a lesion.
    """
    _check_facts(runs)
    slices = _united_slices(runs)
    keys = [slice_key(entry) for entry in slices]
    names = [name for name in runs[0].results if all(name in run.results for run in runs)]
    if not names:
        listed = "; ".join(f"{run.sources[0]}: {sorted(run.results)}" for run in runs)
        raise ValueError(f"the runs share no row, got {listed}; pool runs of the same methods")
    results = {}
    for name in names:
        parts = [run.results[name] for run in runs]
        shared = [m for m in parts[0].scores if all(m in part.scores for part in parts)]
        scores = {m: _average(runs, keys, [part.scores[m] for part in parts]) for m in shared}
        width = scores["iou"].shape[1]
        scores = {m: values[:, :width] for m, values in scores.items()}
        clicks = _joined_clicks(runs, keys, name, width)
        results[name] = MethodResult(scores, clicks, _method_facts([p.facts for p in parts]))
    number = dict.fromkeys(keys, 0)
    for run in runs:
        for entry, count in zip(run.slices, run.num_runs, strict=True):
            number[slice_key(entry)] += int(count)
    sources = [source for run in runs for source in run.sources]
    counts = np.array(list(number.values()))
    return Run(sources, _facts(runs, results, slices), results, slices, counts)


def _with_click_counts(runs: Sequence[Run], pooled: Run) -> dict[str, MethodResult]:
    """Returns the pooled results with NoC and NoF taken in every run, averaged slice by slice.

    Those of the averaged curves would differ: NoC is no linear measure.
    """
    keys = [slice_key(entry) for entry in pooled.slices]
    convention = facts_of.nof_convention(pooled.facts)

    def mean(counts: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
        return {
            key: float(_average(runs, keys, [count[key][:, None] for count in counts]).mean())
            for key in counts[0]
        }

    results = dict(pooled.results)
    for name in clicked_methods(pooled.results):
        width = results[name].scores["iou"].shape[1]
        curves = [run.results[name].scores["iou"][:, :width] for run in runs]
        noc = mean([summary.clicks_to_reach(curve) for curve in curves])
        nof = mean([summary.failures(curve, convention) for curve in curves])
        facts = results[name].facts._replace(noc=noc, nof=nof)
        results[name] = results[name]._replace(facts=facts)
    return results


def _check_facts(runs: Sequence[Run]) -> None:
    """Refuses to put together what has different names or units."""
    for fact in FACTS:
        if fact.scope == "shared":
            check_shared(runs, fact.key, fact.remedy, parts=fact.parts)
    lengths = {run.results[subject_of(run.results)].scores["iou"].shape[1] for run in runs}
    if len(lengths) > 1:
        raise ValueError(f"the runs must have the same number of clicks, got {sorted(lengths)}")


def check_shared(runs: Sequence[Run], key: str, remedy: str, *, parts: Sequence[str] = ()) -> None:
    """Refuses runs that differ in a fact.

    Args:
      runs: What is put together or compared.
      key: Of the fact.
      remedy: What to do about it.
      parts: The entries of a nested fact to look at; all without.

    Raises:
      ValueError: The runs differ.
    """
    for part in parts or ("",):
        found = [run.facts.get(key) for run in runs]
        values = [str(v.get(part)) if part and isinstance(v, dict) else str(v) for v in found]
        if len(set(values)) > 1:
            listed = ", ".join(f"{r.sources[0]}: {v}" for r, v in zip(runs, values, strict=True))
            fact = f"{key} {part}".strip()
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
    records = [run.results[name].clicks for run in runs]
    found = [slice_key(entry) for run in runs for entry in run.slices]
    known = [record for record in records if record is not None]
    if len(known) < len(records) or len(found) > len(keys):
        return None
    # Without a slice in common, the order of the runs is the order of the keys.
    return ClickRecord(
        *(np.concatenate([part[:, :width] for part in parts]) for parts in zip(*known, strict=True))
    )


def _facts(
    runs: Sequence[Run], results: dict[str, MethodResult], slices: list[dict[str, Any]]
) -> dict[str, Any]:
    """Returns the facts of the pooled report: what the runs share, and what is counted anew."""
    versions = [run.facts.get("versions", {}) for run in runs]
    facts = {
        **facts_of.pooled_facts([run.facts for run in runs]),
        "num_images": len(slices),
        "num_patients": len({str(entry["patient"]) for entry in slices}),
        "seeds": [run.facts.get("seed") for run in runs],
        "sources": [source for run in runs for source in run.sources],
        "versions": {
            name: common([part.get(name) for part in versions])
            for name in dict.fromkeys(key for part in versions for key in part)
        },
    }
    surface = next((run.facts["surface"] for run in runs if run.facts.get("surface")), None)
    names = [measure.name for measure in MEASURES if measure.in_mm]
    measured = [r.scores[name] for r in results.values() for name in names if name in r.scores]
    if surface and measured:
        undefined = int(np.isnan(measured[0]).any(axis=1).sum())
        facts["surface"] = {**surface, "num_undefined": undefined}
    return facts


def _method_facts(found: Sequence[MethodFacts]) -> MethodFacts:
    """Returns what is known of a method beside its scores, where the runs agree on it."""
    agreed = {
        name: common([getattr(facts, name) for facts in found]) for name in MethodFacts._fields
    }
    known = MethodFacts(**{key: None if v == VARIOUS else v for key, v in agreed.items()})
    seconds = [facts.seconds_per_click for facts in found]
    timed = [value for value in seconds if value is not None]
    # Medians of single clicks have no mean; clicks are counted by whoever pools.
    return known._replace(
        seconds_per_click=float(np.mean(timed)) if len(timed) == len(found) else None,
        latency=None,
        noc=None,
        nof=None,
    )


def _take(result: MethodResult, index: np.ndarray) -> MethodResult:
    scores = {measure: values[index] for measure, values in result.scores.items()}
    clicks = result.clicks
    if clicks is not None:
        clicks = ClickRecord(*(part[index] for part in clicks))
    return result._replace(scores=scores, clicks=clicks)
