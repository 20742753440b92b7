r"""Tables 1 to 6 of the thesis: ours beside its numbers, as Markdown, CSV and LaTeX.

    python scripts/thesis_tables.py RUN... [--out DIR]   # from finished runs, and folders of them
    python scripts/thesis_tables.py --run quick          # a miniature on the phantom, in an hour
    python scripts/thesis_tables.py --plan               # every command of the full reproduction

A run is recognised by its configuration: network, clicks, dataset; several seeds or folds of one
cell are pooled. What is missing is shown with the command that makes it. Table 1 is of prepared
datasets, Table 2 of the classical.json of scripts/classical.py among the RUNs.

--run quick prepares the phantom's lung, kidney, liver and pancreas in place of LIDC, KITS, LITS and
MD PANC, searches the classical methods, trains small networks, and evaluates each RITM on all sets.
It ends after --minutes; the same command goes on where it was stopped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecc_jax import atomic, console, places
from ecc_jax.catalog import INDEX_FILE
from ecc_jax.thesis import campaign, markup, plan, rows, runs_of, tables
from tfds_builders import options, prepared_index


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 with one line on stderr, or 130 after an interrupt."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.plan and arguments.run:
        parser.error("--plan shows the full reproduction, --run does the quick one: choose one")
    if arguments.images_per_second <= 0 or arguments.epochs <= 0 or arguments.minutes < 0:
        parser.error("--images-per-second and --epochs must be above 0, --minutes not below")
    if not (arguments.plan or arguments.run or arguments.runs):
        parser.error("name at least one RUN (a workdir, a report, or a folder of them), or --plan")
    return console.resumable(lambda: _work(arguments))


def _work(arguments: argparse.Namespace) -> None:
    """Prints the plan, or runs the miniature if asked and writes the tables."""
    out = arguments.out or Path("runs/thesis_quick" if arguments.run else "runs/thesis")
    if arguments.run:
        out = Path(places.absolute(out))  # its runs are made in another folder
    complete = plan.full(
        out,
        data=arguments.data,
        images_per_second=arguments.images_per_second,
        epochs=arguments.epochs,
    )
    if arguments.plan:
        print(plan.text(complete, arguments.images_per_second, arguments.epochs))
        return
    paths, miniature = list(arguments.runs), plan.quick(out, steps=arguments.steps)
    if arguments.run:
        outcome = campaign.run(miniature, minutes=arguments.minutes, say=_say)
        if outcome.left:
            _say(f"time is up, {len(outcome.left)} runs are left; the same command goes on")
        paths.append(str(out / "runs"))
    found = runs_of.find(paths)
    is_small = bool(arguments.run) or any(report.is_stand_in for report in found.reports)
    chosen = miniature if is_small else complete
    filled = tables.fill(found, _indices(arguments.root), chosen)
    text = markup.markdown(filled)
    for name, content in (
        ("tables.csv", markup.csv_text(filled)),
        ("tables.tex", markup.latex(filled)),
        ("tables.md", text),
    ):
        atomic.write_text(out / name, content)
    print(text)
    console.say_path(out / "tables.md")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _indices(root: Path | None) -> list[dict[str, Any]]:
    """Returns the indices of the prepared datasets, each with its directory."""
    top = root or options.default_root()
    names = (*rows.SETS, rows.synthetic_name())
    places = [
        path.parent for name in names for path in sorted(top.glob(f"{name}/*/*/{INDEX_FILE}"))
    ]
    return [
        {**prepared_index.read_index(place), "directory": str(place)}
        for place in places
        if prepared_index.is_complete(place)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path, add = console.path_argument, parser.add_argument
    add("runs", nargs="*", type=path, metavar="RUN", help="workdir, report, or folder of them")
    add("--out", type=path, help="folder of the tables (and, with --run, of the runs)")
    add("--root", type=path, help="prepared data for Table 1 ($TFDS_DATA_DIR)")
    add("--run", choices=["quick"], help="train and evaluate the miniature first")
    add("--minutes", type=float, default=60.0, help="time for --run; 0 = no limit (default: 60)")
    add(
        "--steps",
        type=int,
        default=plan.QUICK_STEPS,
        help=f"training steps of --run ({plan.QUICK_STEPS})",
    )
    add("--plan", action="store_true", help="print the commands of the full reproduction")
    add("--data", default="DIR", help="for --plan: raw data, DIR/lidc_2d, DIR/kits_2d and so on")
    add("--epochs", type=int, default=100, help="for --plan: epochs of a training (100)")
    add(
        "--images-per-second",
        type=float,
        default=80.0,
        help="for --plan: rows per second of training on your GPU (assumed: 80)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(console.run(main))
