"""Searches the classical methods' one parameter on a prepared dataset, and says how they do.

    python scripts/classical.py ct_phantom_2d --quick
    python scripts/classical.py PREPARED_DIRECTORY --out runs/classical/lidc --jobs 4 --folds 2
    python scripts/classical.py kits_2d --config full --methods flooding --max-slices 200

Flooding and active contours as in the thesis, started from the first click, and both started from
the dynamic disk. The parameter with the highest mean IoU on train is used on validation and test.
Writes classical.json, classical_per_slice.csv and classical_examples.npz; the last line on stdout
is the path of classical.json. The same command goes on where a search was killed. An active contour
takes a tenth of a second to one second per slice and value: --max-slices and --jobs bound that.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from ecc_jax import console, places
from ecc_jax.catalog import SPLITS
from ecc_jax.classical import parts
from ecc_jax.classical.methods import METHODS, values_of
from ecc_jax.classical.search import Case
from ecc_jax.clicks.encoding import empty_clicks
from ecc_jax.clicks.user import RobotUser, next_click
from ecc_jax.data import pipeline
from ecc_jax.data.slice_reader import SliceReader
from ecc_jax.report import classical as report
from tfds_builders import options, prepared_index, workers

QUICK_SLICES, QUICK_VALUES = 24, 5
EXAMPLES = 6
_CLICK_ROWS = 16
_BAR = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 with one line on stderr, or 130 after an interrupt."""
    arguments = _parse(argv)

    def work() -> None:
        wanted = options.selection(arguments.config, arguments.kind)
        directory = prepared_index.find(arguments.name, arguments.root, wanted)
        default = Path("runs/classical") / "-".join(directory.parts[-3:-1])
        out = arguments.out or default
        with places.writing(out, elsewhere="choose another --out"):
            console.say_path(search(arguments, directory, out))

    return console.resumable(work)


def search(arguments: argparse.Namespace, directory: Path, out: Path) -> Path:
    """Searches, tests and writes; returns the path of classical.json.

    Args:
      arguments: Of the command line.
      directory: The prepared dataset.
      out: Folder of the results.
    """
    folds = pipeline.Folds(arguments.folds, arguments.fold, arguments.fold_seed)
    readers = {split: SliceReader(str(directory), split, folds) for split in SPLITS}
    chosen = {split: _positions(reader, arguments) for split, reader in readers.items()}
    clicks = {split: first_clicks(readers[split], chosen[split]) for split in SPLITS}
    window = _widest_window(readers["train"], chosen["train"])
    most = QUICK_VALUES if arguments.quick else None
    planned = {
        (name, split): parts.parts_of(
            name,
            readers[split].read,
            chosen[split],
            clicks[split],
            values_of(name, window, most=most),
            folder=out / "parts",
            source=f"{directory} {split} {folds}",
        )
        for name in (report.BAR, *arguments.methods)
        for split in SPLITS
    }
    tables = score_all(planned, jobs=arguments.jobs)
    index = {split: readers[split].slices().index for split in SPLITS}
    prepared = prepared_index.read_index(directory)
    found = report.Searched(
        dataset=prepared["name"],
        sizes={split: len(index[split]) for split in SPLITS},
        slices={split: [index[split][int(p)] for p in chosen[split]] for split in SPLITS},
        methods={
            name: report.Scored(
                values_of(name, window, most=most),
                {s: tables[name, s] for s in SPLITS},
                grid_size=len(values_of(name, window)),
            )
            for name in (report.BAR, *arguments.methods)
        },
        options=prepared["options"],
        folds=folds._asdict(),
    )
    examples = _examples(found, readers["test"], chosen["test"], clicks["test"])
    path = report.write(found, examples, out)
    print(report.table(report.summarize(found)), file=sys.stderr)
    return path


def score_all(
    planned: dict[tuple[str, str], list[parts.Part]], *, jobs: int
) -> dict[tuple[str, str], np.ndarray]:
    """Returns the table of IoU, slices by values, of every method and split.

    Args:
      planned: By method and split the parts.
      jobs: Processes.
    """
    everything = [part for group in planned.values() for part in group]
    # Small matrices: more threads of a process than this would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bar = tqdm(total=sum(part.work for part in everything), bar_format=_BAR, file=sys.stderr)

    def with_progress(results: Any) -> Any:
        for part, table in zip(everything, results, strict=True):
            bar.set_description(part.method, refresh=False)
            bar.update(part.work)
            yield table

    with bar, workers.results_in_order(parts.score_part, everything, jobs=jobs) as results:
        told = with_progress(results)
        return {key: parts.table_of(group, told) for key, group in planned.items()}


def first_clicks(reader: SliceReader, positions: np.ndarray) -> Float[np.ndarray, "m 3"]:
    """Returns row, column and radius (pixels) of each slice's first click.

    It is that of a session: the deepest pixel of the largest component, with the mean of tight and
    enclosing radius.

    Args:
      reader: Of the slices.
      positions: Which of them.
    """
    user = RobotUser().with_habit("average")

    @jax.jit
    def click(target: Any) -> Any:
        # Average radii and a steady hand draw nothing.
        keys = jax.random.split(jax.random.key(0), len(target))
        empty = empty_clicks(len(target), 1)
        found = next_click(keys, jnp.zeros_like(target), target, empty, user=user)
        return jnp.concatenate([found.yx, found.radius[:, None]], axis=1)

    rows = []
    starts = range(0, len(positions), _CLICK_ROWS)
    for start in tqdm(starts, desc=f"first clicks, {reader.split}", file=sys.stderr):
        masks = [reader.read(int(p))[1] != 0 for p in positions[start : start + _CLICK_ROWS]]
        padding = [np.zeros_like(masks[0])] * (_CLICK_ROWS - len(masks))
        rows.append(np.asarray(click(np.stack([*masks, *padding])))[: len(masks)])
    return np.concatenate(rows)


def _positions(reader: SliceReader, arguments: argparse.Namespace) -> np.ndarray:
    most = QUICK_SLICES if arguments.quick else arguments.max_slices
    return pipeline.spread_over_patients(reader.slices().index, max_slices=most)


def _widest_window(reader: SliceReader, positions: np.ndarray) -> tuple[float, float]:
    windows = {reader.window(int(p)) for p in positions}
    return max(windows, key=lambda window: window[1] - window[0])


def _examples(
    found: report.Searched, reader: SliceReader, positions: np.ndarray, clicks: np.ndarray
) -> list[report.Example]:
    """Returns test slices, evenly spread over those that were searched."""
    picked = np.linspace(0, len(positions) - 1, min(EXAMPLES, len(positions))).round().astype(int)
    oracles = {name: scored.oracle(reader.split)[1] for name, scored in found.methods.items()}
    examples = []
    for place in np.unique(picked):
        position = int(positions[place])
        image, target = reader.read(position)
        low, high = reader.window(position)
        y, x, radius = (float(value) for value in clicks[place])
        case = Case(image, (y, x), radius)
        own = {name: float(values[place]) for name, values in oracles.items()}
        masks, own_masks = {}, {}
        for name, scored in found.methods.items():
            both = np.unique([scored.best, own[name]])  # grids rise; a mask may take a second
            drawn = METHODS[name].segment(case, both)
            masks[name] = drawn[np.searchsorted(both, scored.best)]
            own_masks[name] = drawn[np.searchsorted(both, own[name])]
        shown = (image - low) / (high - low)
        examples.append(report.Example(shown, target != 0, (y, x), radius, masks, own_masks, own))
    return examples


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = [name for name in METHODS if name != report.BAR]
    add("name", help="a dataset, or a prepared directory")
    add("--root", default="", help="folder of prepared data ($TFDS_DATA_DIR)")
    several = "of a set that is prepared several times"
    add("--config", default="", choices=options.CONFIGS, help=f"the one {several}")
    add("--kind", default="", help=f"organ of the phantom, {several}")
    add("--out", type=console.path_argument, help="default runs/classical/<name>-<config>")
    add("--methods", nargs="+", choices=names, default=names, help="default: all")
    add("--max-slices", type=_count, default=0, help="of each split, over patients; 0: all")
    add("--jobs", type=_positive, default=1, help="processes (default 1)")
    add("--folds", type=_count, default=0, help="cross-validation by patient, as data.folds")
    add("--fold", type=_count, default=0, help="the fold that is tested")
    add("--fold-seed", type=_count, default=0, help="seed of the folds")
    quick = f"{QUICK_SLICES} slices of each split, {QUICK_VALUES} values of each parameter"
    add("--quick", action="store_true", help=quick)
    arguments = parser.parse_args(argv)
    if not arguments.folds and (arguments.fold or arguments.fold_seed):
        parser.error("--fold and --fold-seed need --folds")
    return arguments


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or a positive whole number, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(console.run(main))
