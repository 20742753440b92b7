"""Writes one report of several evaluations: the folds of a cross-validation, seeds, or both.

    python scripts/pool.py runs/fold0 runs/fold1 runs/fold2 --out runs/pooled
    python scripts/pool.py runs/seed0 runs/seed1 runs/seed2 --out runs/three_seeds

A run is a workdir or a report's folder. Folds (other slices) are put side by side; seeds (the same
slices) are averaged slice by slice; any mix is allowed. Only the methods that every run has remain.
The last line on stdout is the path of summary.json; beside it are report.md, per_click.csv and the
figures, without the montage. Results of other users (robustness, cvpr25) are not pooled.
"""

import argparse
import sys
from collections.abc import Sequence

from ecc_jax import console
from ecc_jax.report.pooling import write_pooled
from ecc_jax.report.write import Draw, draw_pictures


def main(argv: Sequence[str] | None = None, *, draw: Draw | None = draw_pictures) -> int:
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
        path, left_out = write_pooled(arguments.runs, arguments.out, draw=draw)
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    if left_out:
        print(f"not in every run, left out: {', '.join(left_out)}", file=sys.stderr)
    console.say_path(path)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
