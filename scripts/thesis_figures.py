"""Draws the figures of the thesis from what runs wrote: PDF for print, PNG, captions.

    python scripts/thesis_figures.py runs/ritm_static runs/ritm_dynamic --out figures
    python scripts/thesis_figures.py runs/ablation runs/classical --data lidc_2d --config full
    python scripts/thesis_figures.py --data ct_phantom_2d --only 8,11,12

RUN is a workdir, a report's folder, the folder that scripts/classical.py wrote, or a folder that
holds such. Runs that differ in seed or fold only are pooled. Figures 8, 10, 11 and 12 need a
prepared dataset alone: by default that of the run of most clicks, where it lies. A figure that
lacks something is listed with the command that makes it; the others are drawn. The last line on
stdout is the path of index.md, which holds the captions. Exit code 1: nothing was drawn.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ecc_jax import catalog, console
from ecc_jax.thesis import figures
from ecc_jax.thesis.figures_runs import Inputs, Missing, open_inputs
from tfds_builders import options, prepared_index


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = _parse(argv)
    try:
        numbers = figures.numbers_of(arguments.only)
        inputs = open_inputs(arguments.runs)
        inputs = inputs._replace(data=_data(arguments, inputs))
        bar = tqdm(numbers, desc="draw", unit="figure", file=sys.stderr, delay=1.0)
        drawn = figures.draw_figures(inputs, arguments.out, numbers=numbers, progress=lambda _: bar)
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    for number, lack in drawn.missing.items():
        print(f"figure {number} is missing: {lack}", file=sys.stderr)
    for paths in drawn.files.values():
        for path in paths:
            console.say_path(path)
    console.say_path(drawn.captions)
    return 0 if drawn.files else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="*", help="workdir, report, or a folder of them")
    add(
        "--data",
        default="",
        help="a dataset, or a prepared directory; default: that of the run of most clicks",
    )
    add("--root", default="", help="folder of prepared data ($TFDS_DATA_DIR)")
    several = "of a set that is prepared several times"
    add("--config", default="", choices=options.CONFIGS, help=f"the one {several}")
    add("--kind", default="", help=f"organ of the phantom, {several}")
    add("--only", default="", metavar="N,N", help="numbers of figures; default: all")
    out = Path("runs/thesis_figures")
    add("--out", type=console.path_argument, default=out, metavar="DIR", help=f"default {out}")
    arguments = parser.parse_args(argv)
    if not arguments.runs and not arguments.data:
        parser.error("nothing to draw from; pass RUN folders, or --data for figures 8 and 10 to 12")
    return arguments


def _data(arguments: argparse.Namespace, inputs: Inputs) -> Path | Missing:
    """Returns the prepared dataset that is named, else that of the run of most clicks."""
    if arguments.data:
        wanted = options.selection(arguments.config, arguments.kind)
        return prepared_index.find(arguments.data, arguments.root, wanted)
    if not inputs.methods:
        return inputs.data
    own = inputs.methods[0].config["data"]
    wanted = {key: own[key] for key in ("subset", "split_rule", "variant", "size")}
    if catalog.DATASETS[own["name"]].organ == "synthetic":
        wanted["kind"] = own["phantom_kind"]
    try:
        return prepared_index.find(own["name"], arguments.root or own["root"], wanted)
    except ValueError as error:
        return Missing(f"{error}; then pass --data")


if __name__ == "__main__":
    sys.exit(console.run(main))
