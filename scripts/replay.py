"""Answers the clicks of a report again and compares: python scripts/replay.py REPORT.

REPORT is the folder with per_click.csv (or a run's workdir). The logged clicks are given to the
run's best weights once more, in batches of the same shape. Checked are the scores after every
click, and that the simulated user would have placed each click there: same pixel and sign, same
radius. On the same machine and versions the scores are the same bit for bit; elsewhere pixels at
the threshold may turn over, which --tolerance allows for.

Exit code: 0 the report holds, 1 it does not, 2 it cannot be replayed.
"""

import argparse
import sys

import numpy as np
from absl import logging
from tqdm import tqdm

from ecc_jax import console, runs
from ecc_jax.evaluation.replay import Replayed
from tfds_builders.preparation import prepare_for


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = console.path_argument
    parser.add_argument("report", type=path, help="folder with per_click.csv, or a run's workdir")
    parser.add_argument("--workdir", type=path, help="the run, where it is not above the report")
    parser.add_argument("--row", default="model", help="which row of the table (default: model)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest difference of a score (1e-6)"
    )
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax reports routine matters as warnings
    try:
        with tqdm(desc="replay", unit="image", file=sys.stderr, delay=1.0) as bar:
            found = runs.replay(
                args.report, prepare_for, workdir=args.workdir, method=args.row, on_batch=bar.update
            )
    except (ValueError, OSError) as error:
        console.complain(error)
        return 2
    return tell(found, args.tolerance)


def tell(found: Replayed, tolerance: float) -> int:
    """Prints what was found; returns the exit code."""
    agreed, total = int(found.agrees.sum()), found.agrees.size
    print(f"clicks as the simulated user places them: {agreed} of {total}")
    for name, value in found.difference.items():
        print(f"largest difference of {name}: {value:.3g}")
    worst = np.nanmax(list(found.difference.values()))
    holds = agreed == total and worst <= tolerance
    if worst == 0 and holds:
        print("The report holds: every click and every score is the same.")
    elif holds:
        print(f"The report holds within {tolerance:g}.")
    else:
        first = np.argwhere(~found.agrees)
        if first.size:
            print(f"First click that differs: slice {first[0, 0] + 1}, click {first[0, 1] + 1}.")
        print(f"The report does NOT hold (tolerance {tolerance:g}).")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(console.run(main))
