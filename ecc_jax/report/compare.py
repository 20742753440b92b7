"""Two evaluations, or sets of them, compared slice by slice: A minus B.

A difference is paired, and patients, not slices, are resampled, so its interval tells the spread
over patients, not over training runs; several seeds on each side average the latter out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ecc_jax.places import expanded
from ecc_jax.report import facts, pooling
from ecc_jax.report.figures import draw_difference
from ecc_jax.report.intervals import Band, Difference, mean_defined, paired_difference
from ecc_jax.report.measures import BY_NAME, Measure
from ecc_jax.report.pooling import Run, slice_key
from ecc_jax.report.results import plain
from ecc_jax.report.tables import number, table, with_interval

_NAMED = 3


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
      run: Its runs, pooled.
      method: The method compared.
      scores: Its scores of the measure.
    """

    run: Run
    method: str
    scores: Float[np.ndarray, "m k"]


class Shares(NamedTuple):
    """On which share of the slices A is better: per click, and last of the sum over clicks.

    NaN where no slice has the measure on both sides.
    """

    better: Float[np.ndarray, " k_and_sum"]
    equal: Float[np.ndarray, " k_and_sum"]


class Comparison(NamedTuple):
    """A comparison of two sides.

    Attributes:
      measure: What is compared.
      sides: A and B, the same slices in the same order, cut to the clicks that both made.
      gap: A minus B.
      shares: On how many slices A is better.
      differing_facts: Name and both values of the facts in which the sides differ.
    """

    measure: Measure
    sides: tuple[Side, Side]
    gap: Difference
    shares: Shares
    differing_facts: list[tuple[str, str, str]]


def open_side(text: str) -> Run:
    """Returns the pooled runs of a side.

    Args:
      text: A workdir or a report's folder, or several joined with "+" or ","; a path that exists
        is one run, whatever its name.

    Raises:
      ValueError: A run is named twice, is no report, or does not fit the others.
    """
    is_one = expanded(text).exists()
    paths = [expanded(part) for part in ([text] if is_one else text.replace("+", ",").split(","))]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{text} names a run twice; name each once")
    return pooling.pool([pooling.load_run(path) for path in paths])


def compare(
    a: Run, b: Run, *, methods: tuple[str, str], measure: str = "iou", intersect: bool = False
) -> Comparison:
    """Compares a method of A with one of B, slice by slice.

    Args:
      a: Side A.
      b: Side B.
      methods: The method of A and that of B.
      measure: Name of the measure.
      intersect: Whether to take the shared slices where the sides differ in theirs.

    Raises:
      ValueError: The sides differ in slices, lesions or units, or lack method or measure.
    """
    chosen = BY_NAME[measure]
    runs = _on_shared_slices(a, b, intersect=intersect)
    for part in ["unit"] * chosen.in_mm + ["tolerance"] * chosen.has_tolerance:
        remedy = "evaluate both with the same eval settings"
        pooling.check_shared(runs, "surface", remedy, parts=(part,))
    first, second = (_side(run, name, measure) for run, name in zip(runs, methods, strict=True))
    length = min(first.scores.shape[1], second.scores.shape[1])
    first, second = (s._replace(scores=s.scores[:, :length]) for s in (first, second))
    patients = [entry["patient"] for entry in first.run.slices]
    return Comparison(
        measure=chosen,
        sides=(first, second),
        gap=paired_difference(first.scores, second.scores, patients),
        shares=shares_better(first.scores, second.scores, better=chosen.better),
        differing_facts=facts.differing_facts(first.run.facts, second.run.facts),
    )


def _on_shared_slices(a: Run, b: Run, *, intersect: bool) -> list[Run]:
    """Returns both runs in the order of A's slices; see `compare`."""
    in_a = {slice_key(entry): entry for entry in a.slices}
    in_b = {slice_key(entry): entry for entry in b.slices}
    only = {"A": [k for k in in_a if k not in in_b], "B": [k for k in in_b if k not in in_a]}
    shared = [key for key in in_a if key in in_b]
    if any(only.values()) and not (intersect and shared):
        listed = "; ".join(
            f"{len(keys)} only in {side} ({_first_names(keys)})"
            for side, keys in only.items()
            if keys
        )
        remedy = (
            "evaluate both on the same split and fold, or pass --intersect for the shared ones"
            if shared
            else "evaluate both on the same dataset and split"
        )
        raise ValueError(
            f"the sides differ in their slices, {len(shared)} shared: {listed}; {remedy}"
        )
    for key in shared:
        pooling.check_same_lesion(in_a[key], in_b[key], b.sources[0])
    return [pooling.restrict(a, shared), pooling.restrict(b, shared)]


def _first_names(keys: Sequence[pooling.SliceKey]) -> str:
    names = [" / ".join(map(str, key)) for key in keys[:_NAMED]]
    return ", ".join([*names, "…"] if len(keys) > _NAMED else names)


def _side(run: Run, name: str, measure: str) -> Side:
    if name not in run.results:
        raise ValueError(
            f"{' + '.join(run.sources)} has no row {name!r}, only {', '.join(run.results)}; choose "
            "one of them with --row and --row-b"
        )
    scores = run.results[name].scores
    if measure not in scores:
        raise ValueError(
            f"row {name!r} of {' + '.join(run.sources)} has no {measure}, only "
            f"{', '.join(scores)}; choose one of them with --measure"
        )
    return Side(run, name, scores[measure])


def shares_better(
    a: Float[np.ndarray, "m k"], b: Float[np.ndarray, "m k"], *, better: str
) -> Shares:
    """Returns on which shares of the slices A is better, and equal, where both are defined.

    Args:
      a: Scores of A.
      b: Scores of B.
      better: Whether "higher" or "lower" scores are better.
    """
    gap = a.astype(np.float64) - b.astype(np.float64)
    gap = np.concatenate([gap, gap.sum(axis=1, keepdims=True)], axis=1)
    size = np.abs(a) + np.abs(b)
    size = np.concatenate([size, size.sum(axis=1, keepdims=True)], axis=1)
    # Sums and means of equal float32 scores may differ in their last digit.
    gap[np.abs(gap) <= 1e-6 * size] = 0.0
    sign = np.sign(-gap if better == "lower" else gap)
    undefined = np.isnan(gap)
    return Shares(*(mean_defined(np.where(undefined, np.nan, sign == value)) for value in (1, 0)))


def describe(side: Side) -> str:
    """Returns which runs a side is, and how they were put together."""
    runs, counts = side.run.sources, side.run.num_runs
    text = f"{' + '.join(runs)}, row {side.method}"
    if len(runs) == 1:
        return text
    each = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()}–{counts.max()}"
    way = "folds side by side" if counts.max() == 1 else f"slices averaged over {each} runs"
    return f"{text} ({len(runs)} runs: {way})"


def markdown(comparison: Comparison, clicks: Sequence[int]) -> str:
    """Returns the comparison as Markdown.

    Args:
      comparison: What `compare` returns.
      clicks: The clicks wanted; those not made are left out, and without any the last is shown.
    """
    measure, (a, b), gap = comparison.measure, comparison.sides, comparison.gap
    length = gap.mean.size
    means = [mean_defined(side.scores) for side in (a, b)]
    lines = []
    for click in [click for click in clicks if click <= length] or [length]:
        i = click - 1
        cells = [number(mean[i], ".3f") for mean in means]
        cells += [with_interval(gap.mean[i], *_bounds(gap.band, i))]
        lines.append([f"click {click}", *cells, *_share_cells(comparison.shares, i)])
    totals = [number(mean_defined(s.scores.sum(axis=1, keepdims=True))[0], ".3f") for s in (a, b)]
    total = with_interval(gap.total, *_bounds(gap.total_band, 0))
    lines.append(["sum of clicks", *totals, total, *_share_cells(comparison.shares, -1)])
    less = ", smaller is better" if measure.better == "lower" else ""
    heading = [f"{measure.label}{less}", "A", "B", "A − B (95 % interval)", "A better", "equal"]
    num_images, num_patients = _numbers_of(comparison)
    parts = [
        f"A: {describe(a)}\nB: {describe(b)}",
        f"{num_images} slices of {num_patients} patients, paired slice by slice."
        + ("" if gap.band else " No intervals: they need at least two patients."),
        table(heading, lines),
    ]
    undefined = int(np.isnan(a.scores + b.scores).any(axis=1).sum())
    if undefined:
        parts.append(
            f"On {undefined} slices {measure.label} is not defined: they are left out of the "
            "difference."
        )
    if comparison.differing_facts:
        parts += [
            "Warning: the sides differ in more than their results. Make sure that only what you "
            "compare differs:",
            table(["fact", "A", "B"], comparison.differing_facts),
        ]
    # Reports of earlier versions do not tell.
    told = {name for name, *values in comparison.differing_facts if "–" not in values}
    if {"encoding", "sampler"} <= told:
        parts.append(
            "Not a comparison of encodings: clicks were also placed in another way in training "
            "(sampler). An encoding is credited between runs of the same sampler only."
        )
    return "\n\n".join(parts)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison for machines, every click; what is not defined is None."""
    gap, shares = comparison.gap, comparison.shares
    means = [mean_defined(side.scores) for side in comparison.sides]
    clicks = [
        {
            "click": i + 1,
            "a": means[0][i],
            "b": means[1][i],
            "difference": gap.mean[i],
            "interval": _plain_bounds(gap.band, i),
            "share_better": shares.better[i],
            "share_equal": shares.equal[i],
        }
        for i in range(gap.mean.size)
    ]
    total = {
        "difference": gap.total,
        "interval": _plain_bounds(gap.total_band, 0),
        "share_better": shares.better[-1],
        "share_equal": shares.equal[-1],
    }
    a, b = (
        {"runs": side.run.sources, "row": side.method, "text": describe(side)}
        for side in comparison.sides
    )
    num_images, num_patients = _numbers_of(comparison)
    differing = [
        dict(zip(("fact", "a", "b"), fact, strict=True)) for fact in comparison.differing_facts
    ]
    record = {
        "a": a,
        "b": b,
        "measure": comparison.measure.name,
        "num_images": num_images,
        "num_patients": num_patients,
        "clicks": clicks,
        "sum": total,
        "differing_facts": differing,
    }
    return plain(record)


def draw(comparison: Comparison, path: Path) -> Path:
    """Draws the difference per click; returns `path`."""
    a, b = (describe(side) for side in comparison.sides)
    label = f"{comparison.measure.label}, A minus B"
    return draw_difference(path, comparison.gap, title=f"A: {a}\nB: {b}", label=label)


def _numbers_of(comparison: Comparison) -> tuple[int, int]:
    """Returns the number of slices and of patients."""
    slices = comparison.sides[0].run.slices
    return len(slices), len({entry["patient"] for entry in slices})


def _bounds(band: Band | None, index: int) -> tuple[float | None, float | None]:
    return (None, None) if band is None else (float(band.low[index]), float(band.high[index]))


def _share_cells(shares: Shares, index: int) -> list[str]:
    return [number(float(values[index]), ".1%") for values in shares]


def _plain_bounds(band: Band | None, index: int) -> list[float] | None:
    low, high = _bounds(band, index)
    return None if low is None or high is None or np.isnan(low) else [low, high]
