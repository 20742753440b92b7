"""Trains the flagship with each of its parts taken away, and says what the part is worth.

    python scripts/ablation.py --list
    python scripts/ablation.py --data DIR --out runs/ablation --steps 600
    python scripts/ablation.py --data DIR --out runs/ablation --only no_prior,iterative

DIR is what `configs/ecc.py:shipped` takes as data.path. Every variant is a run of its own, on the
same half of the patients and with the same seed, tested on the other half; the same command goes
on where it was stopped. The table gives IoU after some clicks, below it the difference from
the flagship with its 95 % interval over patients (not over training runs).
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecc_jax import atomic, console, places
from ecc_jax.report import compare
from ecc_jax.report.tables import number, table, with_interval

ROOT = Path(__file__).parents[1]
CLICKS = (1, 2, 3, 5, 10, 20)
WHOLE = "full"


class Variant(NamedTuple):
    """What is changed in the flagship.

    Attributes:
      description: In plain words.
      overrides: Keys of the configuration with their values.
    """

    description: str
    overrides: tuple[str, ...] = ()


_ITERATIVE = "train.source=iterative"
VARIANTS = {
    WHOLE: Variant("the flagship"),
    "iterative": Variant("one click count per batch in place of sessions", (_ITERATIVE,)),
    "iterative_rows": Variant(
        "one click count per row in place of sessions", (_ITERATIVE, "train.click_counts=rows")
    ),
    "slice_view": Variant(
        "shown 128 x 128 pixels of the slice in place of the disk's square, not turned",
        (
            *("model.view=slice", "augment.view_turn=0.0"),
            *("augment.name=ritm", "augment.crop=(128,128)"),
        ),
    ),
    "no_prior": Variant("scores not added to the painter's", ("model.prior=none",)),
    "window_only": Variant("no grey values relative to the disk", ("model.intensity=window",)),
    "edits_everywhere": Variant("later clicks may change everything", ("model.edits=everywhere",)),
    "average_radius": Variant("every session drags average radii", ("train.habit_share=0.0",)),
    "all_habits": Variant("every session drags in its own way", ("train.habit_share=1.0",)),
    "steady": Variant("steady hands", ("train.jitter=0.0", "train.radius_spread=0.0")),
    "no_turn": Variant("squares not turned", ("augment.view_turn=0.0",)),
    "grid_96": Variant("a grid of 96 in place of 64", ("model.grid=96",)),
    "hrnet18s": Variant(
        "HRNet18-small on a grid of 96", ("model.name=ritm_hrnet18s", "model.grid=96")
    ),
    "hrnet32": Variant("HRNet32 on a grid of 96", ("model.name=ritm_hrnet32", "model.grid=96")),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or that of the first training that failed."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        for name, variant in VARIANTS.items():
            print(f"{name:18}{variant.description}: {' '.join(variant.overrides) or '-'}")
        return 0
    wanted = arguments.only.split(",") if arguments.only else list(VARIANTS)
    # All others are compared with the whole.
    names = [name for name in VARIANTS if name == WHOLE or name in wanted]
    unknown = sorted(set(filter(None, arguments.only.split(","))) - set(VARIANTS))
    if unknown or arguments.data is None:
        asked = f"unknown variant {', '.join(unknown)}" if unknown else "--data=DIR is missing"
        console.complain(f"{asked}; variants: {', '.join(VARIANTS)}")
        return 1
    for name in names:
        command = _command(name, arguments)
        print(" ".join(command), flush=True)
        code = subprocess.run(command, cwd=ROOT).returncode
        if code:
            return code
    text = results_table(arguments.out, names)
    atomic.write_text(arguments.out / "ablation.md", text + "\n")
    print(text)
    console.say_path(arguments.out / "ablation.md")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = console.path_argument
    parser.add_argument("--list", action="store_true", help="show the variants and leave")
    parser.add_argument("--data", type=path, help="folder of the raw data")
    parser.add_argument("--root", type=path, help="prepared data, see data.root")
    parser.add_argument(
        "--out", type=path, default=Path("runs/ablation"), help="folder of the runs"
    )
    parser.add_argument("--only", default="", help="names of variants, with commas; empty = all")
    parser.add_argument("--steps", type=int, default=1200, help="training steps of each")
    return parser


def _command(name: str, arguments: argparse.Namespace) -> list[str]:
    """Returns the training of one variant, evaluated on slices of nobody it has seen."""
    steps = max(1, arguments.steps // 4)
    values = (
        f"data.path={places.absolute(arguments.data)}",
        f"data.root={places.absolute(arguments.root) if arguments.root else ''}",
        "data.folds=2",
        f"train.steps_per_epoch={steps}",
        "train.epochs=4",
        "validation.slices=96",
        "eval.max_slices=300",
        "eval.latency_clicks=0",
        *VARIANTS[name].overrides,
    )
    return [
        *(sys.executable, "-m", "ecc_jax.main", "--config=configs/ecc.py:shipped"),
        f"--workdir={places.absolute(arguments.out / name)}",
        *(f"--config.{value}" for value in values),
    ]


def results_table(folder: Path, names: Sequence[str]) -> str:
    """Returns the table of finished variants as Markdown.

    Args:
      folder: Holds a run for each.
      names: The variants; the first, the whole, is what the others are compared with.
    """
    runs = {name: compare.open_side(str(folder / name)) for name in names}
    first = runs[names[0]]
    rows = _rows("tuned painter, blind to the image", first, first, row="disk_painter_tuned")
    for name in names:
        rows += _rows(VARIANTS[name].description, runs[name], first, row="model")
    return table(["variant", *(f"IoU@{click}" for click in CLICKS)], rows)


def _rows(label: str, run: Any, first: Any, *, row: str) -> list[list[str]]:
    """Returns the lines of one variant: its scores, and their difference from the flagship's."""
    compared = compare.to_json(compare.compare(run, first, methods=(row, "model")))["clicks"]
    cells = [compared[click - 1] for click in CLICKS]
    means = [number(cell["a"], ".3f") for cell in cells]
    if run is first and row == "model":
        return [[label, *means]]
    gaps = [with_interval(cell["difference"], *cell["interval"]) for cell in cells]
    return [[label, *means], ["", *gaps]]


if __name__ == "__main__":
    sys.exit(console.run(main))
