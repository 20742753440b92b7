"""The search of the classical methods as files: scores, their intervals, examples."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from ecc_jax import atomic
from ecc_jax.classical.methods import METHODS
from ecc_jax.classical.search import best_value
from ecc_jax.report import intervals

FORMAT = 1
JSON_FILE = "classical.json"
CSV_FILE = "classical_per_slice.csv"
EXAMPLES_FILE = "classical_examples.npz"
# Options of the dataset, by which results are told apart.
RECORDED = ("subset", "kind", "split_rule")
TUNED_ON, TESTED_ON = "train", "test"
# The bar of every method that is started by the disk.
BAR = "disk"
COLUMNS = "method,split,slice,patient,iou,dice,oracle_iou,oracle_parameter"


class Scored(NamedTuple):
    """One method on the slices of every split.

    Attributes:
      values: Of its parameter.
      iou: By split, one row per slice, one column per value.
      grid_size: Values of the whole grid, of which a quick search tries some.
    """

    values: Float64[np.ndarray, " v"]
    iou: Mapping[str, Float64[np.ndarray, "m v"]]
    grid_size: int

    @property
    def best(self) -> float:
        """The value of the highest mean IoU on the training slices."""
        return best_value(self.iou[TUNED_ON], self.values.tolist())

    def at_best(self, split: str) -> Float64[np.ndarray, " m"]:
        """Returns the IoU of each slice with the best value."""
        return self.iou[split][:, int(np.flatnonzero(self.values == self.best)[0])]

    def oracle(self, split: str) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
        """Returns the highest IoU of each slice, and the smallest value that reaches it."""
        order = np.argsort(self.values, kind="stable")
        table = self.iou[split][:, order]
        return table.max(axis=1), self.values[order][table.argmax(axis=1)]


class Searched(NamedTuple):
    """What a search found.

    Attributes:
      dataset: Its name.
      sizes: Slices of every split, searched or not.
      slices: By split what the index says of each searched slice: patient, volume, slice_index.
      methods: By name in `METHODS`; what is left out was not asked for.
      options: Of the prepared dataset, as its index has them.
      folds: Of the cross-validation: folds (0: the prepared split), fold, seed.
    """

    dataset: str
    sizes: Mapping[str, int]
    slices: Mapping[str, Sequence[Mapping[str, Any]]]
    methods: Mapping[str, Scored]
    options: Mapping[str, Any]
    folds: Mapping[str, int]


class Example(NamedTuple):
    """One test slice with what each method makes of it.

    Attributes:
      image: The slice, its window mapped to 0..1.
      target: The lesion.
      seed_yx: The first click, pixels.
      radius: Of its disk, pixels.
      masks: By method, with its best value.
      oracle_masks: By method, with the value that is best for this slice.
      oracle_values: By method, that value.
    """

    image: Float[np.ndarray, "h w"]
    target: Bool[np.ndarray, "h w"]
    seed_yx: tuple[float, float]
    radius: float
    masks: Mapping[str, Bool[np.ndarray, "h w"]]
    oracle_masks: Mapping[str, Bool[np.ndarray, "h w"]]
    oracle_values: Mapping[str, float]


def dice_of(iou: Float64[np.ndarray, "*s"]) -> Float64[np.ndarray, "*s"]:
    """Returns the Dice coefficient (F1) of two masks by their IoU.

    >>> dice_of(np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.667, 1.0]
    """
    return 2 * iou / (1 + iou)


def summarize(found: Searched) -> dict[str, Any]:
    """Returns the content of classical.json.

    Layout: {"format", "dataset", "options": {"subset", "kind", "split_rule"}, "folds": {"folds",
    "fold", "seed"}, "split_sizes": {split: slices}, "methods": {name: {"label", "parameter",
    "unit", "grid": [value], "grid_size": values of the whole grid, "search": {"iou", "dice": [mean
    on train by value]}, "best", "splits": {split: {"iou", "interval": [low, high], "dice",
    "slices", "patients", "oracle_iou", "oracle_interval"}}}}, "references": the same for the disk
    alone, "contrasts": {"A - B": {"difference", "interval"}}}. Scores are means over slices,
    intervals those of 95 % by bootstrap over patients, null with fewer than two. An oracle has the
    best value of every slice. Contrasts are paired, on the test split.

    Args:
      found: The tables.
    """
    entries = {name: _method(name, scored, found) for name, scored in found.methods.items()}
    return {
        "format": FORMAT,
        "dataset": found.dataset,
        "options": {name: found.options.get(name, "") for name in RECORDED},
        "folds": dict(found.folds),
        "split_sizes": dict(found.sizes),
        "methods": {name: entry for name, entry in entries.items() if name != BAR},
        "references": {name: entry for name, entry in entries.items() if name == BAR},
        "contrasts": _contrasts(found),
    }


def per_slice(found: Searched) -> str:
    """Returns the content of classical_per_slice.csv.

    A slice is called volume/slice_index; scores are those of the value that is best on train.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS.split(","))
    for name, scored in found.methods.items():
        for split, entries in found.slices.items():
            best, values = scored.oracle(split)
            mine = scored.at_best(split)
            for entry, *numbers in zip(entries, mine, dice_of(mine), best, values, strict=True):
                where = f"{entry['volume']}/{entry['slice_index']}"
                shown = [f"{number:.6g}" for number in numbers]
                writer.writerow([name, split, where, entry["patient"], *shown])
    return text.getvalue()


def write(found: Searched, examples: Sequence[Example], out: Path) -> Path:
    """Writes classical.json, classical_per_slice.csv and classical_examples.npz.

    The examples hold, for i from 0: image_i (float16, the window mapped to 0..1), target_i (bool),
    seed_i (row, column of the first click, pixels), radius_i (of its disk, pixels), and of each
    method NAME_i (bool), the mask with the value that is best on train, NAME_oracle_i (bool), that
    with the value that is best for the slice, and NAME_oracle_parameter_i, the latter value.

    Args:
      found: The tables.
      examples: Test slices.
      out: The folder.

    Returns:
      The path of classical.json, which is written last.
    """
    arrays: dict[str, np.ndarray] = {}
    for i, example in enumerate(examples):
        arrays[f"image_{i}"] = np.asarray(example.image, np.float16)
        arrays[f"target_{i}"] = np.asarray(example.target, bool)
        arrays[f"seed_{i}"] = np.asarray(example.seed_yx, np.float32)
        arrays[f"radius_{i}"] = np.asarray(example.radius, np.float32)
        arrays |= {f"{name}_{i}": mask for name, mask in example.masks.items()}
        arrays |= {f"{name}_oracle_{i}": mask for name, mask in example.oracle_masks.items()}
        for name, value in example.oracle_values.items():
            arrays[f"{name}_oracle_parameter_{i}"] = np.asarray(value, np.float64)
    atomic.write_arrays(out / EXAMPLES_FILE, arrays)
    atomic.write_text(out / CSV_FILE, per_slice(found))
    path = out / JSON_FILE
    atomic.write_text(path, json.dumps(summarize(found), indent=1, allow_nan=False) + "\n")
    return path


def table(summary: Mapping[str, Any]) -> str:
    """Returns the scores on the test split as a table in plain text.

    Args:
      summary: Content of classical.json.
    """
    lines = [f"{'':30s}{'best on train':>34s}{'IoU':>8s}{'95 %':>16s}{'Dice':>8s}{'oracle':>8s}"]
    for entry in (*summary["references"].values(), *summary["methods"].values()):
        test = entry["splits"][TESTED_ON]
        best = f"{entry['best']:g} {entry['unit']}"
        lines.append(
            f"{entry['label']:30s}{best:>34s}{test['iou']:8.3f}{_range(test['interval']):>16s}"
            f"{test['dice']:8.3f}{test['oracle_iou']:8.3f}"
        )
    for pair, contrast in summary["contrasts"].items():
        lines.append(f"{pair}: {contrast['difference']:+.3f} ({_range(contrast['interval'])})")
    return "\n".join(lines)


def _range(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _method(name: str, scored: Scored, found: Searched) -> dict[str, Any]:
    method, train = METHODS[name], scored.iou[TUNED_ON]
    return {
        "label": method.label,
        "parameter": method.parameter,
        "unit": method.unit,
        "grid": scored.values.tolist(),
        "grid_size": scored.grid_size,
        "search": {
            "iou": train.mean(axis=0).tolist(),
            "dice": dice_of(train).mean(axis=0).tolist(),
        },
        "best": scored.best,
        "splits": {split: _split(scored, split, found.slices[split]) for split in found.slices},
    }


def _split(scored: Scored, split: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    patients = [entry["patient"] for entry in entries]
    mine, (best, _) = scored.at_best(split), scored.oracle(split)
    return {
        "iou": float(mine.mean()),
        "interval": _bounds(intervals.bootstrap_mean(mine[:, None], patients)),
        "dice": float(dice_of(mine).mean()),
        "slices": len(entries),
        "patients": len(set(patients)),
        "oracle_iou": float(best.mean()),
        "oracle_interval": _bounds(intervals.bootstrap_mean(best[:, None], patients)),
    }


def _contrasts(found: Searched) -> dict[str, Any]:
    """Returns the methods that a disk starts minus the same without it, and minus the disk."""
    contrasts = {}
    patients = [entry["patient"] for entry in found.slices[TESTED_ON]]
    for name in found.methods:
        plain = METHODS[name].plain
        for other in (plain, BAR) if plain else ():
            if other in found.methods:
                mine, bar = (found.methods[n].at_best(TESTED_ON)[:, None] for n in (name, other))
                gap = intervals.paired_difference(mine, bar, patients)
                contrasts[f"{name} - {other}"] = {
                    "difference": float(gap.mean[0]),
                    "interval": _bounds(gap.band),
                }
    return contrasts


def _bounds(band: intervals.Band | None) -> list[float] | None:
    return None if band is None else [float(band.low[0]), float(band.high[0])]
