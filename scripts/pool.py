"""Writes one report of several evaluations: the folds of a cross-validation, seeds, or both.

    python scripts/pool.py runs/fold0 runs/fold1 runs/fold2 --out runs/pooled
    python scripts/pool.py runs/seed0 runs/seed1 runs/seed2 --out runs/three_seeds

A run is a workdir or a report's folder. Folds (other slices) are put side by side; seeds (the same
slices) are averaged slice by slice; any mix is allowed. Only the rows that every run has remain.
The last line on stdout is the path of summary.json; beside it are report.md, per_click.csv and the
figures, without the montage. Results of other users (robustness, cvpr25) are not pooled.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ecc_jax import console
from ecc_jax.evaluation import pooling
from ecc_jax.evaluation.report import write_report
from ecc_jax.evaluation.rows import method_of


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="workdir, or a report's folder")
    parser.add_argument(
        "--out",
        required=True,
        type=console.path_argument,
        metavar="DIR",
        help="folder of the pooled report",
    )
    arguments = parser.parse_args(argv)
    try:
        console.say_path(write(arguments.runs, arguments.out))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    return 0


def write(paths: Sequence[str], out: Path) -> Path:
    """Writes the pooled report; returns the path of summary.json.

    Raises:
      ValueError: A run is named twice, is the output folder, or does not fit the others.
    """
    runs = [pooling.load_run(path) for path in paths]
    folders = [Path(run.sources[0]).resolve() for run in runs]
    if len(set(folders)) < len(folders):
        raise ValueError(f"a run is named twice in {', '.join(paths)}; name each once")
    if out.resolve() in folders:
        raise ValueError(f"--out {out} is one of the runs and would be overwritten; pass another")
    pooled = pooling.pool(runs)
    method_of(pooled.rows)
    left_out = sorted({name for run in runs for name in run.rows} - set(pooled.rows))
    if left_out:
        print(f"not in every run, left out: {', '.join(left_out)}", file=sys.stderr)
    summary = {**pooled.summary, "pooling": describe(pooled)}
    for name, counts in pooling.mean_click_counts(runs, pooled).items():
        summary["rows"][name] |= counts
    return write_report(out, summary, pooled.rows, pooled.slices, [])


def describe(pooled: pooling.Run) -> str:
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


if __name__ == "__main__":
    sys.exit(console.run(main))
