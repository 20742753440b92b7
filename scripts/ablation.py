r"""Trains variants that differ in one thing, and says what that thing is worth.

    python scripts/ablation.py --list                                   # the studies and their rows
    python scripts/ablation.py --data DIR --out runs/ablation --only no_prior,iterative
    python scripts/ablation.py --study methods                          # on the phantom
    python scripts/ablation.py --study methods --data DIR --folds 2 \
        --set "data.window_hu=(-1000.,400.)" --set "data.patient_regex=^(LIDC_\d+)_"

parts: the flagship with each of its parts taken away; DIR is what `configs/ecc.py:shipped` takes as
data.path. methods: the thesis's networks, encodings and augmentations at the size of `quick`, all
with one sampler; DIR is an own folder, without it the phantom is used. Every variant is a run of
its own with the same seed on the same patients, tested on others. The same command goes on where it
was stopped; compiled programs are shared through OUT/cache. Tables give IoU after some clicks and
differences with 95 % intervals over patients (not over training runs).
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecc_jax import atomic, commands, console, places
from ecc_jax.report import compare
from ecc_jax.report.tables import number, table, with_interval

CLICKS = (1, 2, 3, 5, 10, 20)
WHOLE = "full"


class Variant(NamedTuple):
    """One row.

    Attributes:
      description: In plain words.
      overrides: Keys of the configuration with their values.
      leaf: The file in configs/.
      of: The row whose weights are evaluated with these keys; empty trains weights of its own.
    """

    description: str
    overrides: tuple[str, ...] = ()
    leaf: str = "ecc.py"
    of: str = ""


class Study(NamedTuple):
    """Rows and what they are compared in.

    Attributes:
      variants: By name.
      contrasts: Pairs of names; of each the second is subtracted from the first.
      common: Keys that all rows share.
    """

    variants: dict[str, Variant]
    contrasts: tuple[tuple[str, str], ...]
    common: tuple[str, ...]


_ITERATIVE = "train.source=iterative"
_PARTS = {
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
_HYBRID = ("model.encoding=hybrid",)
_DRAGGED = ("model.encoding=disk", "train.radius=normal", "clicks.radius=average")
_SEES_MASK = ("model.prev_mask=yes",)
_MERGES = ("inference.progressive_merge=True",)
_FOCAL, _FOCAL_D = "focalclick_static", "focalclick_dynamic"
_UNETPP = "unetpp.py"
_METHODS = {
    "ritm_static": Variant("RITM, static disks", leaf="ritm_static.py"),
    "ritm_dynamic": Variant("RITM, dynamic disks", leaf="ritm_dynamic.py"),
    "ritm_hybrid": Variant("RITM, first disk dynamic", leaf="ritm_hybrid.py"),
    _FOCAL: Variant("FocalClick, static disks", leaf=f"{_FOCAL}.py"),
    _FOCAL_D: Variant("FocalClick, dynamic disks", leaf=f"{_FOCAL_D}.py"),
    "focalclick_hybrid": Variant("FocalClick, first disk dynamic", _HYBRID, f"{_FOCAL_D}.py"),
    "unetpp_decaying": Variant("U-Net++, decaying clicks", leaf=_UNETPP),
    "unetpp_mask": Variant("U-Net++, decaying clicks, previous mask", _SEES_MASK, _UNETPP),
    "unetpp_dynamic": Variant("U-Net++, dynamic disks", _DRAGGED, _UNETPP),
    "unetpp_dynamic_mask": Variant(
        "U-Net++, dynamic disks, previous mask", (*_DRAGGED, *_SEES_MASK), _UNETPP
    ),
    "own_crops": Variant(
        "FocalClick, static, own crops", ("augment.name=focalclick",), f"{_FOCAL}.py"
    ),
    "optimal_crop": Variant(
        "FocalClick, static, Optimal Crop", ("augment.name=optimal_crop",), f"{_FOCAL}.py"
    ),
    "merge_static": Variant("FocalClick, static, Progressive Merge", _MERGES, of=_FOCAL),
    "merge_dynamic": Variant("FocalClick, dynamic, Progressive Merge", _MERGES, of=_FOCAL_D),
}
_CONTRASTS = (
    ("ritm_dynamic", "ritm_static"),
    (_FOCAL_D, _FOCAL),
    ("ritm_hybrid", "ritm_static"),
    ("ritm_hybrid", "ritm_dynamic"),
    ("focalclick_hybrid", _FOCAL),
    ("focalclick_hybrid", _FOCAL_D),
    (_FOCAL, "ritm_static"),
    (_FOCAL_D, "ritm_dynamic"),
    ("unetpp_decaying", "ritm_static"),
    ("unetpp_mask", "unetpp_decaying"),
    ("unetpp_dynamic", "unetpp_decaying"),
    ("unetpp_dynamic_mask", "unetpp_dynamic"),
    ("own_crops", _FOCAL),
    ("optimal_crop", _FOCAL),
    ("merge_static", _FOCAL),
    ("merge_dynamic", _FOCAL_D),
)
STUDIES = {
    "parts": Study(
        _PARTS,
        tuple((name, WHOLE) for name in _PARTS if name != WHOLE),
        (
            *("data.folds=2", "validation.slices=96", "eval.max_slices=300"),
            # What was chosen for the shipped weights alone; a whole slice has no orientations.
            *("eval.latency_clicks=0", "inference.threshold=0.5", "inference.orientations=1"),
        ),
    ),
    "methods": Study(
        _METHODS,
        _CONTRASTS,
        ("eval.max_slices=192", "eval.latency_clicks=0", "eval.baselines=('blank_image',)"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or that of the first run that failed."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        for name, study in STUDIES.items():
            print(f"{name}:")
            for row, variant in study.variants.items():
                keys = " ".join(variant.overrides) or "-"
                print(f"  {row:20}{variant.description}: {keys}")
        return 0
    study = STUDIES[arguments.study]
    try:
        names = _chosen(study, arguments)
    except ValueError as error:
        console.complain(error)
        return 1
    for fold in range(max(1, arguments.folds)):
        for name in names:
            code = commands.run_once(
                _command(name, study, arguments, fold),
                commands.environment(arguments.out / "cache"),
                mark=arguments.out / "done" / f"{name}-{fold}.json",
                say=functools.partial(print, flush=True),
            )
            if code:
                return code
    text = results_table(study, names, [_reports(name, study, arguments) for name in names])
    atomic.write_text(arguments.out / "ablation.md", text + "\n")
    print(text)
    console.say_path(arguments.out / "ablation.md")
    return 0


def _chosen(study: Study, arguments: argparse.Namespace) -> list[str]:
    """Returns the rows that are wanted and those that they are compared with or made of."""
    wanted = set(filter(None, arguments.only.split(","))) or set(study.variants)
    unknown = sorted(wanted - set(study.variants))
    if unknown:
        raise ValueError(
            f"unknown variant {', '.join(unknown)}; {arguments.study} has: "
            f"{', '.join(study.variants)}"
        )
    is_parts = study is STUDIES["parts"]
    if is_parts and (arguments.data is None or arguments.folds):
        problem = "--data=DIR is missing" if arguments.data is None else "--folds is for methods"
        raise ValueError(
            f"{problem}; parts take one half of what configs/ecc.py:shipped is made of"
        )
    wanted |= {WHOLE} if is_parts else {study.variants[name].of for name in wanted}
    return [name for name in study.variants if name in wanted]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path, add = console.path_argument, parser.add_argument
    add("--list", action="store_true", help="show the studies with their variants and leave")
    add("--study", choices=STUDIES, default="parts", help="which variants (default: parts)")
    add("--data", type=path, help="folder of the raw data")
    add("--root", type=path, help="prepared data, see data.root")
    add("--out", type=path, default=Path("runs/ablation"), help="folder of the runs")
    add("--only", default="", help="names of variants, with commas; empty = all")
    add("--steps", type=int, default=1200, help="training steps of each")
    add("--folds", type=int, default=0, help="of methods: test every patient once, in so many runs")
    add(
        "--set",
        dest="keys",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="key of the configuration for all runs; may be given several times",
    )
    return parser


def _folder(name: str, arguments: argparse.Namespace, fold: int) -> Path:
    return arguments.out / name / f"fold{fold}" if arguments.folds else arguments.out / name


def _reports(name: str, study: Study, arguments: argparse.Namespace) -> str:
    """Returns where the reports of a row lie, those of its folds together."""
    folds = range(max(1, arguments.folds))
    return "+".join(str(_folder(name, arguments, fold)) for fold in folds)


def _command(name: str, study: Study, arguments: argparse.Namespace, fold: int) -> list[str]:
    """Returns the command that makes a row."""
    variant, folder = study.variants[name], places.absolute(_folder(name, arguments, fold))
    if variant.of:
        workdir = places.absolute(_folder(variant.of, arguments, fold))
        where = [f"--workdir={workdir}", f"--out={folder}"]
        values: tuple[str, ...] = ("eval.latency_clicks=0", *variant.overrides)
        return commands.main_command("--mode=evaluate", *where, keys=values)
    words = "shipped"
    if study is not STUDIES["parts"]:
        words = "quick" if arguments.data is None else "ct_folder_2d,quick"
    values = (
        f"data.root={places.absolute(arguments.root) if arguments.root else ''}",
        *((f"data.path={places.absolute(arguments.data)}",) if arguments.data else ()),
        *((f"data.folds={arguments.folds}", f"data.fold={fold}") if arguments.folds else ()),
        f"train.steps_per_epoch={max(1, arguments.steps // 4)}",
        "train.epochs=4",
        *(*study.common, *variant.overrides, *arguments.keys),
    )
    leaf = f"--config=configs/{variant.leaf}:{words}"
    return commands.main_command(leaf, f"--workdir={folder}", keys=values)


def results_table(study: Study, names: Sequence[str], reports: Sequence[str]) -> str:
    """Returns the tables of finished variants as Markdown: their scores, then the contrasts.

    Args:
      study: What they are of.
      names: The variants.
      reports: Of each a workdir or report, or those of its folds joined with "+".
    """
    sides = dict(zip(names, map(compare.open_side, reports), strict=True))
    first, heading = sides[names[0]], [f"IoU@{click}" for click in CLICKS]
    painter = _compared(first, first, "disk_painter_tuned", "model")
    scores = [["tuned painter, blind to the image", *_means(painter)]]
    for name, side in sides.items():
        blind = _compared(side, side, "model", "blank_image")
        scores += [[study.variants[name].description, *_means(blind)], ["", *_gaps(blind)]]
    contrasts = [
        [f"{a} − {b}", *_gaps(_compared(sides[a], sides[b], "model", "model"))]
        for a, b in study.contrasts
        if a in sides and b in sides
    ]
    parts = [table(["variant; below it minus its blanked image", *heading], scores)]
    if contrasts:
        parts.append(table(["difference", *heading], contrasts))
    return "\n\n".join(parts)


def _compared(a: Any, b: Any, row: str, other: str) -> list[dict[str, Any]]:
    """Returns the entries of some clicks: a row of A, one of B, and their difference."""
    entries = compare.to_json(compare.compare(a, b, methods=(row, other)))["clicks"]
    return [entries[click - 1] for click in CLICKS if click <= len(entries)]


def _means(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [number(entry["a"], ".3f") for entry in entries]


def _gaps(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [with_interval(entry["difference"], *entry["interval"]) for entry in entries]


if __name__ == "__main__":
    sys.exit(console.run(main))
