"""What figures are drawn from, fabricated: reports with examples, results of classical methods."""

import json

import numpy as np

from ecc_jax.report import classical as report
from ecc_jax.report.example_file import EXAMPLES_FILE, write_examples
from tests.reports import example, slices_of
from tests.thesis.runs import training

K = 20
SLICES = slices_of("ppqq")


def curve(first, last):
    """Returns the IoU of four slices over 20 clicks, no two slices alike."""
    return np.linspace(first, last, K)[None] + np.array([[-0.03], [-0.01], [0.0], [0.04]])


def run(folder, spec, *keys, first=0.5, last=0.9, title="small", clicks=K):
    """Writes a run with a report and two examples; returns its workdir."""
    curves = {"model": curve(first, last), "disk_painter_tuned": curve(0.4, 0.8)}
    curves = {name: values[:, :clicks] for name, values in curves.items()}
    training(folder, spec, *keys, curves=curves, slices=SLICES)
    shown = [example(clicks)._replace(title=f"lesion of {i} pixels: {title}") for i in (10, 20)]
    write_examples(folder / "report" / EXAMPLES_FILE, shown)
    return folder


def classical(folder, *, with_own=True):
    """Writes what scripts/classical.py writes, with two examples; returns the folder."""
    folder.mkdir(parents=True)
    grid = [0.5, 1.0, 1.5, 2.0]
    split = {"iou": 0.3, "interval": [0.2, 0.4], "slices": 9, "patients": 4}
    split |= {"oracle_iou": 0.6, "oracle_interval": [0.5, 0.7]}
    methods = {
        name: {
            "label": name.replace("_", " "),
            "parameter": parameter,
            "unit": unit,
            "grid": grid,
            "search": {"iou": [0.1, 0.31, 0.2, 0.15], "dice": [0.2, 0.4, 0.3, 0.25]},
            "best": 1.0,
            "splits": {"train": split, "validation": split, "test": split},
        }
        for name, parameter, unit in (
            ("flooding", "tolerance", ""),
            ("active_contour", "radius of the first circle", "px"),
        )
    }
    found = {"format": 1, "dataset": "lidc_2d", "split_sizes": {"test": 9}, "methods": methods}
    (folder / "classical.json").write_text(json.dumps({**found, "contrasts": {}}))
    yy, xx = np.mgrid[:64, :64]
    arrays = {}
    for i, radius in enumerate((8, 10)):
        target = np.hypot(yy - 30, xx - 34) <= radius
        arrays |= {f"image_{i}": (0.3 + 0.4 * target).astype(np.float16), f"target_{i}": target}
        arrays[f"seed_{i}"] = np.array([30, 34])
        for name, size in (("flooding", 5), ("active_contour", 12 - 2 * i)):
            arrays[f"{name}_{i}"] = np.hypot(yy - 30, xx - 34) <= size
            if with_own:
                arrays[f"{name}_oracle_{i}"] = target
                arrays[f"{name}_oracle_parameter_{i}"] = np.float64(1.5)
    np.savez_compressed(folder / "classical_examples.npz", **arrays)
    return folder


def searched(folder):
    """Lets the package write an active contour's search: radius 4 fits one slice, 12 the other."""
    yy, xx = np.mgrid[:64, :64]
    disks = {radius: np.hypot(yy - 32, xx - 32) <= radius for radius in (4, 12)}
    ious = {split: np.array([[0.9, 0.1], [0.8, 0.2]]) for split in ("train", "validation")}
    ious["test"] = np.array([[1.0, 0.1], [0.1, 1.0]])
    examples = [
        report.Example(
            image=0.3 + 0.4 * disks[own],
            target=disks[own],
            seed_yx=(32.0, 32.0),
            radius=8.0,
            masks={"active_contour": disks[4]},
            oracle_masks={"active_contour": disks[own]},
            oracle_values={"active_contour": float(own)},
        )
        for own in (4, 12)
    ]
    found = report.Searched(
        dataset="lidc_2d",
        sizes={split: 2 for split in ious},
        slices={split: slices_of("pq") for split in ious},
        methods={"active_contour": report.Scored(np.array([4.0, 12.0]), ious, grid_size=2)},
        options={"subset": "full", "kind": "", "split_rule": "patient"},
        folds={"folds": 0, "fold": 0, "seed": 0},
    )
    return report.write(found, examples, folder).parent


def texts_of(figure):
    """Returns what is written inside the panels of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]
