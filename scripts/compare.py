"""Compares two evaluations slice by slice: A minus B with 95 % intervals over patients.

    python scripts/compare.py runs/dynamic runs/static
    python scripts/compare.py runs/dynamic runs/dynamic --row-b disk_painter_tuned
    python scripts/compare.py runs/a_seed0+runs/a_seed1 runs/b_seed0+runs/b_seed1 --measure dice
    python scripts/compare.py runs/fold0,runs/fold1 runs/other0,runs/other1 --clicks 1,5 --out cmp

A run is a workdir or a report's folder. A side may be several runs joined with "+" or ",": folds
(other slices) are put side by side, seeds (the same slices) are averaged slice by slice, any mix
is allowed. Both sides must have the same slices. A difference is paired, and patients, not slices,
are resampled, so the interval tells the spread over patients, not over training runs;
several seeds on each side average the latter out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ecc_jax import atomic, console, places
from ecc_jax.evaluation import pooling
from ecc_jax.evaluation.figures import draw_difference
from ecc_jax.evaluation.intervals import Band, Difference, mean_defined, paired_difference
from ecc_jax.evaluation.markdown import number, table, with_interval
from ecc_jax.evaluation.pooling import Run, slice_key
from ecc_jax.evaluation.rows import MEASURES

_NAMED = 3
# Measures of which less is better.
_DOWNWARDS = ("hd95",)
# What both sides must share for a difference to mean something.
_SURFACE_FACTS = {"nsd": ("surface unit", "surface tolerance"), "hd95": ("surface unit",)}
_NAMES = {"iou": "IoU", "dice": "Dice", "nsd": "NSD", "hd95": "HD95"}


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
      run: Its runs, pooled.
      row: The row compared.
      scores: Its scores, [slices clicks].
    """

    run: Run
    row: str
    scores: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        print(_compare(arguments))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    path = console.path_argument
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_a", metavar="RUN_A", help="run, or runs joined with + or ,")
    parser.add_argument("run_b", metavar="RUN_B", help="the same for the other side")
    parser.add_argument("--row", default="model", help="row of both sides (default: model)")
    parser.add_argument("--row-b", default="", help="row of side B, where it is another")
    parser.add_argument("--measure", default="iou", choices=MEASURES)
    parser.add_argument(
        "--clicks", default="1,2,5,20", help="clicks to print; those not made are left out"
    )
    parser.add_argument(
        "--intersect", action="store_true", help="compare the shared slices where the sets differ"
    )
    parser.add_argument("--json", type=path, metavar="FILE", help="write all clicks as JSON")
    parser.add_argument("--out", type=path, metavar="DIR", help="write difference.png there")
    return parser


def _compare(arguments: argparse.Namespace) -> str:
    """Returns the text of a comparison, and writes the files asked for."""
    wanted = _click_numbers(arguments.clicks)
    runs = [_open_side(arguments.run_a), _open_side(arguments.run_b)]
    runs = _on_shared_slices(*runs, intersect=arguments.intersect)
    names = (arguments.row, arguments.row_b or arguments.row)
    for fact in _SURFACE_FACTS.get(arguments.measure, ()):
        pooling.check_shared(runs, fact, "evaluate both with the same eval settings")
    sides = [_side(run, name, arguments.measure) for run, name in zip(runs, names, strict=True)]
    length = min(side.scores.shape[1] for side in sides)
    sides = [side._replace(scores=side.scores[:, :length]) for side in sides]
    patients = [entry["patient"] for entry in sides[0].run.slices]
    gap = paired_difference(sides[0].scores, sides[1].scores, patients)
    better = shares_better(sides[0].scores, sides[1].scores, arguments.measure)
    facts = pooling.differing_facts(sides[0].run.summary, sides[1].run.summary)
    if arguments.json:
        record = _record(arguments, sides, gap, better, facts)
        text = json.dumps(record, indent=1, allow_nan=False)
        atomic.write_text(arguments.json, text + "\n")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        draw_difference(
            arguments.out / "difference.png",
            gap,
            title=f"A: {_describe(sides[0])}\nB: {_describe(sides[1])}",
            label=f"{_NAMES[arguments.measure]}, A minus B",
        )
    clicks = [click for click in wanted if click <= length] or [length]
    return _text(arguments.measure, sides, gap, better, facts, clicks)


def _click_numbers(text: str) -> list[int]:
    try:
        clicks = sorted({int(part) for part in text.split(",")})
    except ValueError:
        clicks = [0]
    if clicks[0] < 1:
        raise ValueError(f"--clicks must be whole numbers from 1 on, as 1,2,5,20; got {text!r}")
    return clicks


def _open_side(text: str) -> Run:
    """Returns the pooled runs of a side; a path that exists is one run, whatever its name."""
    is_one = places.expanded(text).exists()
    texts = [text] if is_one else text.replace("+", ",").split(",")
    paths = [places.expanded(part) for part in texts]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{text} names a run twice; name each once")
    return pooling.pool([pooling.load_run(path) for path in paths])


def _on_shared_slices(a: Run, b: Run, *, intersect: bool) -> list[Run]:
    """Returns both runs in the order of A's slices; see `--intersect`."""
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
    if name not in run.rows:
        raise ValueError(
            f"{' + '.join(run.sources)} has no row {name!r}, only {', '.join(run.rows)}; choose "
            "one of them with --row and --row-b"
        )
    scores = run.rows[name].scores
    if measure not in scores:
        raise ValueError(
            f"row {name!r} of {' + '.join(run.sources)} has no {measure}, only "
            f"{', '.join(scores)}; choose one of them with --measure"
        )
    return Side(run, name, scores[measure])


def shares_better(a: np.ndarray, b: np.ndarray, measure: str) -> dict[str, np.ndarray]:
    """Returns per click, and last of the sum over clicks, on which share of slices A is better.

    Returns:
      `better` and `equal`, each [k + 1], shares of the slices where both are defined; NaN where
      there are none.
    """
    gap = a.astype(np.float64) - b.astype(np.float64)
    gap = np.concatenate([gap, gap.sum(axis=1, keepdims=True)], axis=1)
    size = np.abs(a) + np.abs(b)
    size = np.concatenate([size, size.sum(axis=1, keepdims=True)], axis=1)
    # Sums and means of equal float32 scores may differ in their last digit.
    gap[np.abs(gap) <= 1e-6 * size] = 0.0
    sign = np.sign(-gap if measure in _DOWNWARDS else gap)
    undefined = np.isnan(gap)
    return {
        name: mean_defined(np.where(undefined, np.nan, sign == value))
        for name, value in (("better", 1), ("equal", 0))
    }


def _text(
    measure: str,
    sides: Sequence[Side],
    gap: Difference,
    better: dict[str, np.ndarray],
    facts: list[tuple[str, str, str]],
    clicks: Sequence[int],
) -> str:
    """Returns the comparison as Markdown."""
    entries = sides[0].run.slices
    patients = len({entry["patient"] for entry in entries})
    means = [mean_defined(side.scores) for side in sides]
    totals = [mean_defined(side.scores.sum(axis=1, keepdims=True))[0] for side in sides]
    lines = []
    for click in clicks:
        i = click - 1
        bounds = _bounds(gap.band, i)
        cells = [number(mean[i], ".3f") for mean in means]
        cells += [with_interval(gap.mean[i], *bounds), *_shares(better, i)]
        lines.append([f"click {click}", *cells])
    total = with_interval(gap.total, *_bounds(gap.total_band, 0))
    lines.append(
        ["sum of clicks", *(number(v, ".3f") for v in totals), total, *_shares(better, -1)]
    )
    less = ", smaller is better" if measure in _DOWNWARDS else ""
    heading = [f"{_NAMES[measure]}{less}", "A", "B", "A − B (95 % interval)", "A better", "equal"]
    parts = [
        f"A: {_describe(sides[0])}\nB: {_describe(sides[1])}",
        f"{len(entries)} slices of {patients} patients, paired slice by slice."
        + ("" if gap.band else " No intervals: they need at least two patients."),
        table(heading, lines),
    ]
    undefined = int(np.isnan(sides[0].scores + sides[1].scores).any(axis=1).sum())
    if undefined:
        parts.append(
            f"On {undefined} slices {_NAMES[measure]} is not defined: they are left out of the "
            "difference."
        )
    if facts:
        parts += [
            "Warning: the sides differ in more than their results. Make sure that only what you "
            "compare differs:",
            table(["fact", "A", "B"], facts),
        ]
    return "\n\n".join(parts)


def _describe(side: Side) -> str:
    """Returns which runs a side is, and how they were put together."""
    runs, counts = side.run.sources, side.run.num_runs
    text = f"{' + '.join(runs)}, row {side.row}"
    if len(runs) == 1:
        return text
    each = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()}–{counts.max()}"
    way = "folds side by side" if counts.max() == 1 else f"slices averaged over {each} runs"
    return f"{text} ({len(runs)} runs: {way})"


def _bounds(band: Band | None, index: int) -> tuple[float | None, float | None]:
    return (None, None) if band is None else (float(band.low[index]), float(band.high[index]))


def _shares(better: dict[str, np.ndarray], index: int) -> list[str]:
    return [number(float(better[name][index]), ".1%") for name in ("better", "equal")]


def _record(
    arguments: argparse.Namespace,
    sides: Sequence[Side],
    gap: Difference,
    better: dict[str, np.ndarray],
    facts: list[tuple[str, str, str]],
) -> dict[str, Any]:
    """Returns the comparison for machines, every click."""
    entries = sides[0].run.slices
    means = [mean_defined(side.scores) for side in sides]
    clicks = [
        {
            "click": i + 1,
            "a": _plain(means[0][i]),
            "b": _plain(means[1][i]),
            "difference": _plain(gap.mean[i]),
            "interval": _plain_bounds(gap.band, i),
            "share_better": _plain(better["better"][i]),
            "share_equal": _plain(better["equal"][i]),
        }
        for i in range(gap.mean.size)
    ]
    total = {
        "difference": _plain(gap.total),
        "interval": _plain_bounds(gap.total_band, 0),
        "share_better": _plain(better["better"][-1]),
        "share_equal": _plain(better["equal"][-1]),
    }
    described = [
        {"runs": side.run.sources, "row": side.row, "text": _describe(side)} for side in sides
    ]
    return {
        "a": described[0],
        "b": described[1],
        "measure": arguments.measure,
        "num_images": len(entries),
        "num_patients": len({entry["patient"] for entry in entries}),
        "clicks": clicks,
        "sum": total,
        "differing_facts": [dict(zip(("fact", "a", "b"), fact, strict=True)) for fact in facts],
    }


def _plain(value: Any) -> float | None:
    """Returns a number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)


def _plain_bounds(band: Band | None, index: int) -> list[float] | None:
    low, high = _bounds(band, index)
    return None if low is None or high is None or np.isnan(low) else [low, high]


if __name__ == "__main__":
    sys.exit(console.run(main))
