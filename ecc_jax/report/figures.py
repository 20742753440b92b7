"""Curves: IoU per click, what a method adds to the clicks it was given, and paired differences."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from ecc_jax.report.intervals import Difference
from ecc_jax.report.tables import Measures, label_of
from ecc_jax.report.methods import CONTROLS, method_of, ordered

# Okabe-Ito colours; every row also has a line style and marker of its own, so the figures read in
# grey and to the colour-blind.
BLUE, RED, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
ORANGE, SKY = "#E69F00", "#56B4E9"
STYLES: dict[str, dict[str, Any]] = {
    "model": {"color": BLUE, "ls": "-", "marker": "o", "lw": 2.0, "ms": 4.5},
    "external": {"color": SKY, "ls": "-", "marker": "D", "lw": 1.8, "ms": 3.8},
    "disk_painter_average": {"color": RED, "ls": "--", "marker": "s", "lw": 1.6, "ms": 3.8},
    "disk_painter_tight": {"color": GREEN, "ls": ":", "marker": "^", "lw": 1.8, "ms": 4.2},
    "disk_painter_tuned": {"color": ORANGE, "ls": "-.", "marker": "v", "lw": 1.6, "ms": 4.2},
    "blank_image": {"color": BLACK, "ls": (0, (5, 1.5)), "marker": "x", "lw": 1.3, "ms": 4.5},
    "random_walker": {"color": PURPLE, "ls": (0, (1, 1)), "marker": "p", "lw": 1.6, "ms": 4.5},
    "disk_as_mask": {"color": BLACK, "ls": "none", "marker": "D", "ms": 9.0, "mfc": "none"},
    "start_mask": {"color": BLACK, "ls": "none", "marker": "<", "ms": 7.0, "mfc": "none"},
    "flooding": {"color": PURPLE, "ls": "none", "marker": "P", "ms": 9.0},
    "best_reader": {"color": GREEN, "ls": "none", "marker": "*", "ms": 11.0},
}
_UNKNOWN = {"color": "#666666", "ls": "-", "marker": ".", "lw": 1.2, "ms": 4.0}
_MOST_SERIES = 9
# Left out of a crowded figure, in this order: the disk is the painter's first point, and the tuned
# painter is the one to beat.
_DISPENSABLE = ("disk_as_mask", "disk_painter_tight")


def draw_curves(path: Path, rows: Measures, *, title: str) -> Path:
    """Draws IoU per click on the left, the gain of the method over the controls on the right.

    Args:
      path: PNG file to write.
      rows: The `rows` of a summary, with their intervals and gains.
      title: What was evaluated.

    Returns:
      `path`.
    """
    figure = Figure(figsize=(10.4, 5.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    figure.suptitle(title, fontsize=10.5)
    _draw_iou(left, rows)
    _draw_gain(right, rows)
    clicks = len(rows[method_of(rows)]["iou"])
    _click_axis(left, clicks, start="start_mask" in rows)
    _click_axis(right, clicks)
    return save(figure, path)


def draw_difference(path: Path, gap: Difference, *, title: str, label: str) -> Path:
    """Draws a paired difference per click with its interval.

    Args:
      path: PNG file to write.
      gap: The difference, all clicks.
      title: Which runs.
      label: What the vertical axis is.
    """
    figure = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    clicks = np.arange(1, gap.mean.size + 1)
    axes.axhline(0, color=BLACK, lw=1.0)
    axes.plot(clicks, gap.mean, **STYLES["model"])
    if gap.band is not None:
        axes.fill_between(clicks, gap.band.low, gap.band.high, color=BLUE, alpha=0.18, lw=0)
    shaded = "" if gap.band is None else " (shaded: 95 % interval over patients)"
    axes.set_title(f"{title}{shaded}", fontsize=9, wrap=True)
    axes.set_ylabel(label)
    _click_axis(axes, gap.mean.size)
    return save(figure, path)


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure without the date and version that would make equal figures differ."""
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def bare(axes: Axes) -> None:
    """Leaves of the frame what is read: two axes and a faint grid behind the data."""
    axes.grid(color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _click_axis(axes: Axes, clicks: int, *, start: bool = False) -> None:
    """Labels the horizontal axis with whole clicks, from 0 where there is something before."""
    margin = max(0.4, 0.025 * clicks)
    axes.set_xlim((0 if start else 1) - margin, clicks + margin)
    axes.xaxis.set_major_locator(FixedLocator([0] * start + _ticks(clicks)))
    axes.set_xlabel("clicks")
    bare(axes)


def _ticks(clicks: int) -> list[int]:
    """Returns whole click numbers to label: all of a few, of many the first and every fifth."""
    if clicks <= 10:
        return list(range(1, clicks + 1))
    return [1, *range(5, clicks + 1, 5)]


def drawn(rows: Measures) -> list[str]:
    """Returns the rows that a figure shows: all, or the readable number of the important ones."""
    names = ordered(rows)
    for name in _DISPENSABLE:
        if len(names) > _MOST_SERIES and name in names:
            names.remove(name)
    return names


def _draw_iou(axes: Axes, rows: Measures) -> None:
    """Draws the mean IoU of every row; the initial mask stands before the first click."""
    lowest = 1.0
    method = method_of(rows)
    for name in drawn(rows):
        curve = np.asarray(rows[name]["iou"], np.float64)
        lowest = min(lowest, float(np.nanmin(curve)))
        clicks = np.arange(curve.size) + (0 if name == "start_mask" else 1)
        axes.plot(clicks, curve, label=label_of(name, rows), **STYLES.get(name, _UNKNOWN))
    band = rows[method].get("iou_interval")
    if band:
        clicks = np.arange(1, len(band["low"]) + 1)
        colour = STYLES[method]["color"]
        axes.fill_between(clicks, band["low"], band["high"], color=colour, alpha=0.15, lw=0)
    axes.set_ylim(max(0.0, np.floor(10 * lowest - 0.3) / 10), 1.005)
    axes.set_ylabel("mean IoU")
    axes.set_title(f"IoU after each click{' (shaded: 95 % interval)' * bool(band)}", fontsize=10)
    legend_below(axes, columns=2)


def _draw_gain(axes: Axes, rows: Measures) -> None:
    """Draws the method minus each control per click."""
    method = method_of(rows)
    axes.axhline(0, color=BLACK, lw=1.0)
    gains = rows[method].get("gain_over", {})
    for name in CONTROLS:
        if name not in gains:
            continue
        gain = gains[name]
        clicks = np.arange(1, len(gain["per_click"]) + 1)
        label = f"over {label_of(name, rows).removeprefix('disk ')}"
        axes.plot(clicks, gain["per_click"], label=label, **STYLES[name])
        if gain["interval"]:
            low, high = gain["interval"]["low"], gain["interval"]["high"]
            axes.fill_between(clicks, low, high, color=STYLES[name]["color"], alpha=0.13, lw=0)
    axes.set_ylabel("gain in mean IoU (above 0: the image helped)")
    axes.set_title("Method minus controls that see no image", fontsize=10)
    if len(axes.lines) > 1:
        legend_below(axes, columns=1)


def legend_below(axes: Axes, *, columns: int) -> None:
    """Puts the legend under the panel, where it can hide no curve."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=3.2,
    )
