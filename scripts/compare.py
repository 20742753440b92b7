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

from ecc_jax import atomic, console
from ecc_jax.report import compare
from ecc_jax.report.measures import MEASURES


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        clicks = _click_numbers(arguments.clicks)
        comparison = compare.compare(
            compare.open_side(arguments.run_a),
            compare.open_side(arguments.run_b),
            methods=(arguments.row, arguments.row_b or arguments.row),
            measure=arguments.measure,
            intersect=arguments.intersect,
        )
        if arguments.json:
            text = json.dumps(compare.to_json(comparison), indent=1, allow_nan=False)
            atomic.write_text(arguments.json, text + "\n")
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            compare.draw(comparison, arguments.out / "difference.png")
        print(compare.markdown(comparison, clicks))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_a", metavar="RUN_A", help="run, or runs joined with + or ,")
    parser.add_argument("run_b", metavar="RUN_B", help="the same for the other side")
    parser.add_argument("--row", default="model", help="row of both sides (default: model)")
    parser.add_argument("--row-b", default="", help="row of side B, where it is another")
    parser.add_argument("--measure", default="iou", choices=[m.name for m in MEASURES])
    parser.add_argument(
        "--clicks", default="1,2,5,20", help="clicks to print; those not made are left out"
    )
    parser.add_argument(
        "--intersect", action="store_true", help="compare the shared slices where the sets differ"
    )
    path = console.path_argument
    parser.add_argument("--json", type=path, metavar="FILE", help="write all clicks as JSON")
    parser.add_argument("--out", type=path, metavar="DIR", help="write difference.png there")
    return parser


def _click_numbers(text: str) -> list[int]:
    try:
        clicks = sorted({int(part) for part in text.split(",")})
    except ValueError:
        clicks = [0]
    if clicks[0] < 1:
        raise ValueError(f"--clicks must be whole numbers from 1 on, as 1,2,5,20; got {text!r}")
    return clicks


if __name__ == "__main__":
    sys.exit(console.run(main))
