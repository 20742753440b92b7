"""Curves: IoU per click, and what the network adds to the disks it was given."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

# Okabe-Ito colours; every row also has a line style or marker of its own, so the figure reads in
# grey and to the colour-blind.
_BLUE, _ORANGE, _GREEN, _PURPLE, _BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"

LABELS = {
    "model": "model",
    "disk_painter_average": "disk painter, average radius",
    "disk_painter_tight": "disk painter, tight radius",
    "disk_as_mask": "first disk as mask",
    "flooding": "flood fill, tuned tolerance",
}
PAINTERS = ("disk_painter_average", "disk_painter_tight")
_STYLES: dict[str, dict[str, Any]] = {
    "model": {"color": _BLUE, "ls": "-", "marker": "o", "lw": 2.0, "ms": 4.5},
    "disk_painter_average": {"color": _ORANGE, "ls": "--", "marker": "s", "lw": 1.6, "ms": 3.8},
    "disk_painter_tight": {"color": _GREEN, "ls": ":", "marker": "^", "lw": 1.8, "ms": 4.2},
    "disk_as_mask": {"color": _BLACK, "ls": "none", "marker": "D", "ms": 9.0, "mfc": "none"},
    "flooding": {"color": _PURPLE, "ls": "none", "marker": "P", "ms": 9.0},
}


class Band(NamedTuple):
    """A 95 % interval per click."""

    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]


def draw_curves(
    path: Path, rows: dict[str, dict[str, Any]], *, title: str, bands: dict[str, Band]
) -> Path:
    """Draws IoU per click on the left, the gain of the model over the painters on the right.

    Args:
      path: PNG file to write.
      rows: The `rows` of a summary: row name to measures, with `iou` per click in each.
      title: What was evaluated.
      bands: Intervals to shade: key "model" for the curve, painter names for the gains over them.

    Returns:
      `path`.
    """
    figure = Figure(figsize=(9.6, 5.0), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    figure.suptitle(title, fontsize=10.5)
    _draw_iou(left, rows, bands)
    _draw_gain(right, rows, bands)
    clicks = len(rows["model"]["iou"])
    for axes in (left, right):
        margin = max(0.4, 0.025 * clicks)
        axes.set_xlim(1 - margin, clicks + margin)
        axes.xaxis.set_major_locator(FixedLocator(_ticks(clicks)))
        axes.set_xlabel("clicks")
        axes.grid(color="#DDDDDD", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def _ticks(clicks: int) -> list[int]:
    """Returns whole click numbers to label: all of a few, of many the first and every fifth."""
    if clicks <= 10:
        return list(range(1, clicks + 1))
    return [1, *range(5, clicks + 1, 5)]


def _draw_iou(axes: Axes, rows: dict[str, dict[str, Any]], bands: dict[str, Band]) -> None:
    """Draws the mean IoU of every row."""
    lowest = 1.0
    for name, label in LABELS.items():
        if name not in rows:
            continue
        curve = np.asarray(rows[name]["iou"], np.float64)
        lowest = min(lowest, float(np.nanmin(curve)))
        clicks = np.arange(1, curve.size + 1)
        axes.plot(clicks, curve, label=label, **_STYLES[name])
        # The other bands belong to gains, not to curves.
        if name == "model" and name in bands:
            axes.fill_between(clicks, *bands[name], color=_BLUE, alpha=0.15, lw=0)
    axes.set_ylim(max(0.0, np.floor(10 * lowest - 0.3) / 10), 1.005)
    axes.set_ylabel("mean IoU")
    shaded = " (shaded: 95 % interval)" if "model" in bands else ""
    axes.set_title(f"IoU after each click{shaded}", fontsize=10)
    _legend_below(axes, columns=2)


def _draw_gain(axes: Axes, rows: dict[str, dict[str, Any]], bands: dict[str, Band]) -> None:
    """Draws model minus painter per click."""
    model = np.asarray(rows["model"]["iou"], np.float64)
    axes.axhline(0, color=_BLACK, lw=1.0)
    for name in PAINTERS:
        if name not in rows:
            continue
        painter = np.asarray(rows[name]["iou"], np.float64)
        shared = min(model.size, painter.size)
        clicks = np.arange(1, shared + 1)
        label = f"over {LABELS[name].removeprefix('disk ')}"
        axes.plot(clicks, model[:shared] - painter[:shared], label=label, **_STYLES[name])
        if name in bands:
            axes.fill_between(clicks, *bands[name], color=_STYLES[name]["color"], alpha=0.13, lw=0)
    axes.set_ylabel("gain in mean IoU (above 0: the image helped)")
    axes.set_title("Model minus disk painter", fontsize=10)
    if len(axes.lines) > 1:
        _legend_below(axes, columns=1)


def _legend_below(axes: Axes, *, columns: int) -> None:
    """Puts the legend under the panel, where it can hide no curve."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        handlelength=3.2,
    )
