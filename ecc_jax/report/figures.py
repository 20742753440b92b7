"""The figures of a report: curves, gains, paired differences, bars by lesion size and by clicks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from ecc_jax.report.intervals import Difference
from ecc_jax.report.methods import BLACK, BY_NAME, CONTROLS, SUBJECTS, Look, ordered, subject_of
from ecc_jax.report.results import MethodResult, Stratum
from ecc_jax.report.summary import clicks_to_reach, failures
from ecc_jax.report.tables import Methods, gains_of, label_of, short_label

# Of methods that are no part of `METHODS`.
_UNKNOWN = Look("#666666", "-", ".", 4.0, 1.2)
_MOST_SERIES = 9
_HATCHES = ("", "//", "..", "\\\\", "xx")


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure without the date and version that would make equal figures differ."""
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def bare(axes: Axes) -> None:
    """Leaves of the frame what is read: two axes and a faint grid behind the data."""
    axes.grid(color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def click_ticks(clicks: int) -> list[int]:
    """Returns whole click numbers to label: all of a few, of many the first and every fifth."""
    if clicks <= 10:
        return list(range(1, clicks + 1))
    return [1, *range(5, clicks + 1, 5)]


def look_of(name: str) -> Look:
    """Returns how a method is drawn."""
    return BY_NAME[name].look if name in BY_NAME else _UNKNOWN


def shown(methods: Methods) -> list[str]:
    """Returns the methods of a figure: all, or the readable number of the important ones."""
    names = ordered(methods)
    for name in [name for name in names if look_of(name).is_dispensable]:
        if len(names) > _MOST_SERIES:
            names.remove(name)
    return names


def draw_curves(path: Path, methods: Methods, *, title: str) -> Path:
    """Draws IoU per click on the left, the gain of the subject over the controls on the right.

    Args:
      path: PNG file to write.
      methods: Of a summary, with their intervals and gains.
      title: What was evaluated.

    Returns:
      `path`.
    """
    figure = Figure(figsize=(10.4, 5.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    figure.suptitle(title, fontsize=10.5)
    plot_iou(left, methods)
    plot_gains(right, methods)
    clicks = len(methods[subject_of(methods)].means["iou"])
    _click_axis(left, clicks, first=min(look_of(name).first_click for name in methods))
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
    look = look_of(SUBJECTS[0])
    axes.plot(clicks, gap.mean, **_line(look))
    if gap.band is not None:
        axes.fill_between(clicks, gap.band.low, gap.band.high, color=look.color, alpha=0.18, lw=0)
    shaded = "" if gap.band is None else " (shaded: 95 % interval over patients)"
    axes.set_title(f"{title}{shaded}", fontsize=9, wrap=True)
    axes.set_ylabel(label)
    _click_axis(axes, gap.mean.size)
    return save(figure, path)


def draw_strata(path: Path, strata: Sequence[Stratum], methods: Methods, *, title: str) -> Path:
    """Draws mean IoU of the subject and its controls by lesion size, with 95 % intervals.

    Args:
      path: PNG file to write.
      strata: Of a summary, at least one group.
      methods: Of the summary, for their labels.
      title: What was evaluated.

    Returns:
      `path`.
    """
    length = len(strata[0].methods[subject_of(methods)].means["iou"])
    clicks = sorted({1, min(5, length)})
    figure = Figure(figsize=(4.9 * max(len(clicks), 1.3), 4.9), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(1, len(clicks), sharey=True, squeeze=False)[0]
    for axes, click in zip(panels, clicks, strict=True):
        plot_strata(axes, strata, methods, click=click)
        axes.set_title(f"after click {click}", fontsize=10)
    panels[0].set_ylabel("mean IoU (whiskers: 95 % interval)")
    return _with_legend(figure, panels[0], path)


def draw_noc(
    path: Path,
    results: Mapping[str, MethodResult],
    labels: Mapping[str, str],
    *,
    nof_convention: str,
    title: str,
) -> Path:
    """Draws how many clicks the slices needed to reach each threshold, failures apart.

    Args:
      path: PNG file to write.
      results: Scores of the methods to show, two at most.
      labels: Their names.
      nof_convention: What a success at the last click is, see `curves.never_reached`.
      title: What was evaluated.

    Returns:
      `path`.
    """
    figure = Figure(figsize=(10.4, 3.9), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    keys = list(clicks_to_reach(np.ones((1, 1))))
    panels = figure.subplots(1, len(keys), sharey=True)
    for axes, key in zip(panels, keys, strict=True):
        plot_clicks(axes, results, labels, key=key, nof_convention=nof_convention)
        axes.set_title(f"until IoU is {key} % or more", fontsize=10)
    panels[0].set_ylabel("share of slices")
    return _with_legend(figure, panels[0], path)


def plot_iou(axes: Axes, methods: Methods) -> None:
    """Draws the mean IoU of every method; the initial mask stands before the first click."""
    lowest = 1.0
    subject = subject_of(methods)
    for name in shown(methods):
        look, curve = look_of(name), np.asarray(methods[name].means["iou"], np.float64)
        lowest = min(lowest, float(np.nanmin(curve)))
        clicks = np.arange(curve.size) + look.first_click
        axes.plot(clicks, curve, label=label_of(name, methods), **_line(look))
    band = methods[subject].iou_interval
    if band:
        clicks = np.arange(1, len(band.low) + 1)
        colour = look_of(subject).color
        axes.fill_between(clicks, band.low, band.high, color=colour, alpha=0.15, lw=0)
    axes.set_ylim(max(0.0, np.floor(10 * lowest - 0.3) / 10), 1.005)
    axes.set_ylabel("mean IoU")
    axes.set_title(f"IoU after each click{' (shaded: 95 % interval)' * bool(band)}", fontsize=10)
    _legend_below(axes, columns=2)


def plot_gains(axes: Axes, methods: Methods) -> None:
    """Draws the subject minus each control per click."""
    axes.axhline(0, color=BLACK, lw=1.0)
    for name, gain in gains_of(methods).items():
        look, clicks = look_of(name), np.arange(1, len(gain.per_click) + 1)
        label = f"over {short_label(name, methods)}"
        axes.plot(clicks, gain.per_click, label=label, **_line(look))
        if gain.interval:
            low, high = gain.interval
            axes.fill_between(clicks, low, high, color=look.color, alpha=0.13, lw=0)
    axes.set_ylabel("gain in mean IoU (above 0: the image helped)")
    axes.set_title("Method minus controls that see no image", fontsize=10)
    if len(axes.lines) > 1:
        _legend_below(axes, columns=1)


def plot_strata(axes: Axes, strata: Sequence[Stratum], methods: Methods, *, click: int) -> None:
    """Draws the IoU at a click: a group of bars for each lesion size."""
    present = strata[0].methods
    names = [subject_of(methods), *(name for name in CONTROLS if name in present)]
    width = 0.82 / len(names)
    for slot, name in enumerate(names):
        entries = [group.methods[name] for group in strata]
        heights = np.array([_at(entry.means["iou"], click) for entry in entries])
        places = np.arange(len(strata)) + (slot - (len(names) - 1) / 2) * width
        label = label_of(name, methods)
        axes.bar(places, heights, 0.92 * width, label=label, **_bar(name, slot))
        for place, height, entry in zip(places, heights, entries, strict=True):
            if entry.iou_interval:
                low, high = (_at(bound, click) for bound in entry.iou_interval)
                # A percentile interval need not hold the mean; a whisker cannot be negative.
                reach = [[max(0.0, height - low)], [max(0.0, high - height)]]
                axes.errorbar(place, height, reach, color="black", lw=1.1, capsize=2.5)
    labels = [
        f"{group.size}\n{group.lesion_area[0]:.0f} to {group.lesion_area[1]:.0f} px\n"
        f"{group.num_images} slices, {group.num_patients} patients"
        for group in strata
    ]
    axes.set_xticks(np.arange(len(strata)), labels, fontsize=8.5)
    axes.set_ylim(0, 1.0)
    bare(axes)
    axes.grid(visible=False, axis="x")


def plot_clicks(
    axes: Axes,
    results: Mapping[str, MethodResult],
    labels: Mapping[str, str],
    *,
    key: str,
    nof_convention: str,
) -> None:
    """Draws bars by number of clicks to a threshold, and the failures on the right of a gap."""
    length = max(result.scores["iou"].shape[1] for result in results.values())
    width = 0.84 / len(results)
    gap = max(1.0, 0.1 * length)
    for slot, (name, result) in enumerate(results.items()):
        shares = click_shares(result.scores["iou"], key, nof_convention)
        shares = np.insert(shares, -1, np.zeros(length + 1 - shares.size))
        places = np.append(np.arange(1.0, length + 1), length + 1 + gap)
        places += (slot - (len(results) - 1) / 2) * width
        axes.bar(places, shares, width, label=labels[name], **_bar(name, slot))
    axes.axvline(length + 0.5 + gap / 2, color="#888888", lw=0.8, ls=":")
    ticks = click_ticks(length)
    axes.set_xticks([*ticks, length + 1 + gap], [*map(str, ticks), "failed"], fontsize=8.5)
    axes.set_xlabel("clicks")
    bare(axes)
    axes.grid(visible=False, axis="x")


def click_shares(iou: np.ndarray, key: str, nof_convention: str) -> np.ndarray:
    """Returns the shares of slices that need 1, 2, ... k clicks, then of those that fail."""
    clicks = clicks_to_reach(iou)[key]
    failed = failures(iou, nof_convention)[key]
    counts = np.bincount(clicks[~failed] - 1, minlength=iou.shape[1])
    return np.append(counts, failed.sum()) / len(iou)


def _line(look: Look) -> dict[str, Any]:
    """Returns what matplotlib calls a look."""
    line = {"color": look.color, "ls": look.line, "marker": look.marker}
    hollow = {"mfc": "none"} if look.is_hollow else {}
    return {**line, "lw": look.width, "ms": look.size, **hollow}


def _bar(name: str, slot: int) -> dict[str, Any]:
    """Returns how the bars of a method look in their place of each group."""
    look = look_of(name)
    hatch = _HATCHES[slot % len(_HATCHES)]
    return {"color": look.bar or look.color, "hatch": hatch, "edgecolor": "white", "lw": 0}


def _at(curve: Sequence[float], click: int) -> float:
    """Returns a method's value at a click, its last where it made fewer."""
    return float(curve[min(click, len(curve)) - 1])


def _click_axis(axes: Axes, clicks: int, *, first: int = 1) -> None:
    """Labels the horizontal axis with whole clicks, from 0 where there is something before."""
    margin = max(0.4, 0.025 * clicks)
    axes.set_xlim(first - margin, clicks + margin)
    axes.xaxis.set_major_locator(FixedLocator([*range(first, 1), *click_ticks(clicks)]))
    axes.set_xlabel("clicks")
    bare(axes)


def _legend_below(axes: Axes, *, columns: int) -> None:
    """Puts the legend under the panel, where it can hide no curve."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=3.2,
    )


def _with_legend(figure: Figure, panel: Axes, path: Path) -> Path:
    """Puts the legend of one panel under all of them, and writes the figure."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return save(figure, path)
