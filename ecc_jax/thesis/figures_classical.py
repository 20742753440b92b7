"""Figures 2, 13 and 14: flooding and active contours, from what scripts/classical.py wrote."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from ecc_jax.report import montage
from ecc_jax.report.classical import JSON_FILE as CLASSICAL_FILE
from ecc_jax.report.figures import bare
from ecc_jax.report.measures import BY_NAME
from ecc_jax.report.methods import BLUE, RED
from ecc_jax.report.montage import Example
from ecc_jax.thesis import figures_style as style
from ecc_jax.thesis import published
from ecc_jax.thesis.figures_runs import Inputs, Missing

CLASSICAL_EXAMPLES = "classical_examples.npz"
FLOODING, CONTOUR = map(published.method_of, ("Flooding", "Active Contours"))
_COMMAND = "scripts/classical.py"
_AGAIN = f"write it again with {_COMMAND}"
_START_LOOK: dict[str, Any] = {"color": "#FF4B4B", "ls": "--", "lw": 1.1}


class Classical(NamedTuple):
    """What scripts/classical.py found.

    Attributes:
      folder: Where it wrote.
      dataset: Its name.
      methods: By name, entries of classical.json.
      arrays: Examples, for i = 0, 1, ...: image_i, target_i, seed_i (row, column) and NAME_i, the
        mask of a method; NAME_oracle_i and NAME_oracle_parameter_i, the mask with the parameter
        that is best for the slice, and that parameter, which earlier files lack.
    """

    folder: Path
    dataset: str
    methods: dict[str, dict[str, Any]]
    arrays: dict[str, np.ndarray]

    @property
    def number(self) -> int:
        """How many examples there are."""
        return sum(name.startswith("image_") for name in self.arrays)

    def iou(self, name: str, i: int) -> float:
        """Returns the IoU of a method on an example."""
        mask, target = self.arrays[f"{name}_{i}"] > 0, self.arrays[f"target_{i}"] > 0
        return float((mask & target).sum() / max((mask | target).sum(), 1))


def read_classical(inputs: Inputs, *needed: str) -> Classical:
    """Reads the results and examples of classical methods.

    Args:
      inputs: What was given.
      *needed: Names of methods.

    Raises:
      Missing: No folder of scripts/classical.py was given, or it lacks examples or methods.
      ValueError: A file is damaged.
    """
    folder = inputs.classical
    if folder is None:
        raise Missing(f"no {CLASSICAL_FILE} was given; run {_COMMAND} and pass its --out folder")
    path = folder / CLASSICAL_EXAMPLES
    try:
        found = json.loads((folder / CLASSICAL_FILE).read_text(encoding="utf-8"))
        dataset, methods = str(found["dataset"]), dict(found["methods"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CLASSICAL_FILE} is damaged ({error}); {_AGAIN}") from error
    if not path.is_file():
        raise Missing(f"{path} is missing; {_AGAIN}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); {_AGAIN}") from error
    lacking = [name for name in needed if name not in methods or f"{name}_0" not in arrays]
    if lacking:
        raise Missing(f"{folder} has no {' and no '.join(lacking)}; {_AGAIN}")
    return Classical(folder, dataset, methods, arrays)


def both_methods(inputs: Inputs) -> tuple[Figure, str]:
    """Returns Figure 2: flooding and active contour on one slice, with what it shows.

    Raises:
      Missing: As `read_classical`.
    """
    found = read_classical(inputs, FLOODING, CONTOUR)
    names = (FLOODING, CONTOUR)
    chosen = max(range(found.number), key=lambda i: min(found.iou(name, i) for name in names))
    figure, axes = style.panels(1, 3)
    start = found.methods[CONTOUR]["best"]
    _draw_close_up(axes[0, 0], found, chosen, title="ground truth, click")
    for panel, name in zip(axes[0, 1:], names, strict=True):
        radius = start if name == CONTOUR else 0.0
        _draw_close_up(panel, found, chosen, name=name, start=radius, title=_named(found, name))
    style.label_panels(axes[0])
    style.key(figure, [style.TARGET_KEY, style.MASK_KEY, _START_KEY])
    return figure, (
        f"Classical methods on a slice of {found.dataset}: (a) the lesion and the click at its "
        f"centre, (b) flooding, (c) an active contour with its first circle ({start:g} pixels). "
        f"Of the {found.number} examples, the one on which the worse of the two masks is best; "
        f"parameters were searched on the training split."
    )


def search_of_flooding(inputs: Inputs) -> tuple[Figure, str]:
    """Returns Figure 13: the search for flooding's tolerance and an example.

    Raises:
      Missing: As `read_classical`.
    """
    return _search(read_classical(inputs, FLOODING), FLOODING, starts=False)


def search_of_contour(inputs: Inputs) -> tuple[Figure, str]:
    """Returns Figure 14: the search for the active contour's first radius and an example.

    Raises:
      Missing: As `read_classical`.
    """
    return _search(read_classical(inputs, CONTOUR), CONTOUR, starts=True)


def _search(found: Classical, name: str, *, starts: bool) -> tuple[Figure, str]:
    """Returns the curve of a search and an example, with what they show."""
    entry, own = found.methods[name], f"{name}_oracle"
    chosen = _example(found, name)
    has_own = f"{own}_{chosen}" in found.arrays
    figure = Figure(figsize=(style.WIDTH, 2.6), layout="constrained")
    columns = 3 if has_own else 2
    axes = figure.subplots(1, columns, width_ratios=[1.35, *[1.0] * (columns - 1)])
    _draw_search(axes[0], entry)
    best = entry["best"]
    shown = [(name, float(best), f"best on average: {best:g}")]
    parameter = found.arrays.get(f"{own}_parameter_{chosen}")
    if has_own and parameter is not None:
        shown.append((own, float(parameter), f"best of this slice: {float(parameter):g}"))
    for panel, (mask, value, title) in zip(axes[1:], shown, strict=False):
        panel.set(xticks=[], yticks=[])
        start = value if starts else 0.0
        _draw_close_up(panel, found, chosen, name=mask, start=start, title=title)
    style.label_panels(axes)
    handles = [style.TARGET_KEY, style.MASK_KEY, *([_START_KEY] if starts else [])]
    style.key(figure, handles)
    test = entry["splits"].get("test") or next(iter(entry["splits"].values()))
    example = "the same with the parameter that is best for this slice" if has_own else ""
    return figure, (
        f"{entry['label']} on {found.dataset}. (a) mean IoU and Dice on the training split by "
        f"{_axis(entry)}; the best mean IoU is "
        f"{max(entry['search']['iou']):.3f} at {best:g}. (b) an example with that value"
        f"{', (c) ' if example else ''}{example}. On the test split the mean IoU is "
        f"{test['iou']:.3f}{_extent(test['interval'])}, and "
        f"{test['oracle_iou']:.3f} with the best parameter of every slice, which nobody knows."
    )


def _example(found: Classical, name: str) -> int:
    """Returns the example whose own parameter gains the most, or the one of median IoU."""
    gains = [
        found.iou(f"{name}_oracle", i) - found.iou(name, i)
        for i in range(found.number)
        if f"{name}_oracle_{i}" in found.arrays
    ]
    if len(gains) == found.number:
        return int(np.argmax(gains))
    order = sorted(range(found.number), key=lambda i: found.iou(name, i))
    return order[len(order) // 2]


def _draw_search(axes: Axes, entry: dict[str, Any]) -> None:
    grid, search = entry["grid"], entry["search"]
    looks = ((BLUE, "-"), (RED, "--"))
    for (name, values), (colour, line) in zip(search.items(), looks, strict=True):
        axes.plot(grid, values, color=colour, ls=line, label=BY_NAME[name].label)
    best = entry["best"]
    axes.plot([best], [search["iou"][grid.index(best)]], "o", color=BLUE, ms=5, mfc="white")
    axes.set_xlabel(_axis(entry))
    axes.set_ylabel("mean over training slices")
    axes.set_ylim(bottom=0)
    axes.set_title("parameter search")
    bare(axes)
    axes.legend(frameon=False)


def _axis(entry: dict[str, Any]) -> str:
    """Returns the parameter with its unit; a factor has none."""
    return f"{entry['parameter']} ({entry['unit']})" if entry["unit"] else str(entry["parameter"])


def _extent(interval: Sequence[float] | None) -> str:
    """Returns an interval in words; there is none with fewer than two patients."""
    return f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""


def _named(found: Classical, name: str) -> str:
    entry = found.methods[name]
    return f"{entry['label']}\n{entry['parameter']} {entry['best']:g} {entry['unit']}".strip()


def _draw_close_up(
    axes: Axes, found: Classical, i: int, *, title: str, name: str = "", start: float = 0.0
) -> None:
    """Draws an example with the click and, where there is one, a mask and the first circle."""
    target = found.arrays[f"target_{i}"] > 0
    y, x = (float(value) for value in found.arrays[f"seed_{i}"][:2])
    one = np.ones(1, bool)
    example = Example(
        image=found.arrays[f"image_{i}"].astype(np.float32),
        target=target,
        clicks_yx=np.array([[y, x]]),
        clicks_radius=np.array([start]),
        clicks_positive=one,
        clicks_exist=one,
        masks={},
        ious={},
        title="",
    )
    montage.draw_slice(axes, example, montage.zoom_box(example))
    style.outline_target(axes, target)
    if name:
        style.outline_mask(axes, found.arrays[f"{name}_{i}"] > 0)
        montage.corner_text(axes, f"IoU {found.iou(name, i):.2f}", size=style.SMALL)
    if start:
        axes.add_patch(Circle((x, y), start, fill=False, **_START_LOOK))
    axes.plot(x, y, "o", color=montage.POSITIVE, ms=3)
    axes.set_title(title, fontsize=style.SMALL)


_START_KEY = Line2D([], [], **_START_LOOK, label="first circle")
