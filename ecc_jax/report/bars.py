"""Bar charts: IoU by lesion size, and how many clicks the slices needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecc_jax.report import measures
from ecc_jax.report.figures import STYLES, bare, save
from ecc_jax.report.tables import Measures, label_of
from ecc_jax.report.methods import CONTROLS, Row, method_of

_HATCHES = ("", "//", "..", "\\\\", "xx")


def draw_strata(
    path: Path, strata: Sequence[Mapping[str, Any]], rows: Measures, *, title: str
) -> Path:
    """Draws mean IoU of the method and its controls by lesion size, with 95 % intervals.

    Args:
      path: PNG file to write.
      strata: Of a summary, at least one group.
      rows: The `rows` of the summary, for their labels.
      title: What was evaluated.

    Returns:
      `path`.
    """
    method = method_of(rows)
    names = [method, *(name for name in CONTROLS if name in strata[0]["rows"])]
    length = len(strata[0]["rows"][method]["iou"])
    clicks = sorted({1, min(5, length)})
    figure = Figure(figsize=(4.9 * max(len(clicks), 1.3), 4.9), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    panels = figure.subplots(1, len(clicks), sharey=True, squeeze=False)[0]
    for axes, click in zip(panels, clicks, strict=True):
        _draw_groups(axes, strata, names, click, rows)
        axes.set_title(f"after click {click}", fontsize=10)
    panels[0].set_ylabel("mean IoU (whiskers: 95 % interval)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return save(figure, path)


def _draw_groups(
    axes: Axes,
    strata: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    click: int,
    rows: Measures,
) -> None:
    """Draws one panel: a group of bars for each lesion size."""
    width = 0.82 / len(names)
    for slot, name in enumerate(names):
        entries = [group["rows"][name] for group in strata]
        heights = np.array([_at(entry["iou"], click) for entry in entries])
        places = np.arange(len(strata)) + (slot - (len(names) - 1) / 2) * width
        axes.bar(
            places,
            heights,
            0.92 * width,
            label=label_of(name, rows),
            color=STYLES[name]["color"] if name != "blank_image" else "#999999",
            hatch=_HATCHES[slot % len(_HATCHES)],
            edgecolor="white",
            lw=0,
        )
        for place, height, entry in zip(places, heights, entries, strict=True):
            if entry["iou_interval"]:
                low = _at(entry["iou_interval"]["low"], click)
                high = _at(entry["iou_interval"]["high"], click)
                # A percentile interval need not hold the mean; a whisker cannot be negative.
                reach = [[max(0.0, height - low)], [max(0.0, high - height)]]
                axes.errorbar(place, height, reach, color="black", lw=1.1, capsize=2.5)
    labels = [
        f"{group['size']}\n{group['lesion_area'][0]:.0f} to {group['lesion_area'][1]:.0f} px\n"
        f"{group['num_images']} slices, {group['num_patients']} patients"
        for group in strata
    ]
    axes.set_xticks(np.arange(len(strata)), labels, fontsize=8.5)
    axes.set_ylim(0, 1.0)
    bare(axes)
    axes.grid(visible=False, axis="x")


def _at(curve: Sequence[float], click: int) -> float:
    """Returns a row's value at a click, its last where it made fewer."""
    return float(curve[min(click, len(curve)) - 1])


def draw_noc(
    path: Path,
    rows: Mapping[str, Row],
    labels: Mapping[str, str],
    *,
    nof_convention: str,
    title: str,
) -> Path:
    """Draws how many clicks the slices needed to reach each threshold, failures apart.

    Args:
      path: PNG file to write.
      rows: Scores of the rows to show, two at most.
      labels: Their names.
      nof_convention: What a success at the last click is, see `metrics.never_reached`.
      title: What was evaluated.

    Returns:
      `path`.
    """
    figure = Figure(figsize=(10.4, 3.9), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10.5)
    keys = list(measures.clicks_to_reach(np.ones((1, 1))))
    panels = figure.subplots(1, len(keys), sharey=True)
    for axes, key in zip(panels, keys, strict=True):
        _draw_histogram(axes, rows, labels, key, nof_convention)
        axes.set_title(f"until IoU is {key} % or more", fontsize=10)
    panels[0].set_ylabel("share of slices")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return save(figure, path)


def _draw_histogram(
    axes: Axes,
    rows: Mapping[str, Row],
    labels: Mapping[str, str],
    key: str,
    nof_convention: str,
) -> None:
    """Draws one panel: bars by number of clicks, and the failures on the right of a gap."""
    length = max(row.scores["iou"].shape[1] for row in rows.values())
    width = 0.84 / len(rows)
    gap = max(1.0, 0.1 * length)
    for slot, (name, row) in enumerate(rows.items()):
        shares = click_shares(row.scores["iou"], key, nof_convention)
        shares = np.insert(shares, -1, np.zeros(length + 1 - shares.size))
        places = np.append(np.arange(1.0, length + 1), length + 1 + gap)
        axes.bar(
            places + (slot - (len(rows) - 1) / 2) * width,
            shares,
            width,
            label=labels[name],
            color=STYLES[name]["color"],
            hatch=_HATCHES[slot],
            edgecolor="white",
            lw=0,
        )
    axes.axvline(length + 0.5 + gap / 2, color="#888888", lw=0.8, ls=":")
    ticks = [1, *range(5, length + 1, 5)] if length > 10 else list(range(1, length + 1))
    axes.set_xticks([*ticks, length + 1 + gap], [*map(str, ticks), "failed"], fontsize=8.5)
    axes.set_xlabel("clicks")
    bare(axes)
    axes.grid(visible=False, axis="x")


def click_shares(iou: np.ndarray, key: str, nof_convention: str) -> np.ndarray:
    """Returns the shares of slices that need 1, 2, ... k clicks, then of those that fail."""
    clicks = measures.clicks_to_reach(iou)[key]
    failed = measures.failures(iou, nof_convention)[key]
    counts = np.bincount(clicks[~failed] - 1, minlength=iou.shape[1])
    return np.append(counts, failed.sum()) / len(iou)
