"""Pictures of a dataset: lesion areas, Hounsfield units, and a sheet of slices with outlines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecc_jax.report.dataset import AREA_EDGES, SMALL_AREA, hu_histogram
from ecc_jax.report.figures import bare, save
from ecc_jax.report.methods import BLUE, GREEN, RED

# Told apart by the colour-blind, and in grey by their line styles.
_SPLITS = {"train": (BLUE, "-"), "validation": (RED, "--"), "test": (GREEN, ":")}
_OUTLINE, _FRAME = "#FFE000", "#FFFFFF"
# Inches.
_PANEL, _GAP, _CAPTION, _HEADER = 2.4, 0.08, 0.36, 0.3
_COLUMNS = 6
# A close-up is added where the lesion takes less than this part of the slice's side.
_SMALL_SHARE = 0.12


class Panel(NamedTuple):
    """One slice of the sheet.

    Attributes:
      image: Windowed slice in [0, 1].
      mask: Lesion.
      caption: Two short lines below it.
    """

    image: Float[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    caption: str


def draw_areas(path: Path, areas: dict[str, dict[str, Any]], *, title: str) -> Path:
    """Draws the histogram of lesion areas of each split, with medians; returns `path`.

    Args:
      path: PNG file to write.
      areas: By split, the result of `dataset.area_summary`.
      title: What is shown.
    """
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for split, values in areas.items():
        colour, style = _SPLITS[split]
        shares = np.asarray(values["histogram"], float)
        shares /= shares.sum()
        # The last bin is open: it ends in the drawing where one of the usual width would.
        edges = [*AREA_EDGES, AREA_EDGES[-1] ** 2 / AREA_EDGES[-2]]
        label = f"{split}, median {values['median']:.0f} px"
        axes.stairs(shares, edges, color=colour, ls=style, lw=1.7, label=label)
        axes.axvline(values["median"], color=colour, ls=style, lw=0.9)
    axes.axvline(SMALL_AREA, color="#666666", lw=0.9)
    top = axes.get_xaxis_transform()
    axes.text(
        SMALL_AREA * 1.06,
        0.98,
        f"{SMALL_AREA} px",
        transform=top,
        fontsize=8,
        color="#444444",
        va="top",
    )
    smallest = min(values["min"] for values in areas.values())
    largest = max(values["max"] for values in areas.values())
    axes.set_xscale("log")
    axes.set_xlim(max(smallest * 0.7, 0.9), max(largest, SMALL_AREA) * 1.5)
    axes.set_xlabel("lesion area on the stored slice (pixels)")
    axes.set_ylabel("share of slices")
    _finish(axes, title)
    return save(figure, path)


def draw_hu(path: Path, counts: dict[str, Int[np.ndarray, " v"]], *, title: str) -> Path:
    """Draws the distribution of HU of all pixels and of lesion pixels; returns `path`.

    Args:
      path: PNG file to write.
      counts: Pixels per HU as `dataset.summarize` gives them.
      title: What is shown.
    """
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    present = np.flatnonzero(counts["all"]) - 2**15
    low, high = (int(present[0]), int(present[-1])) if present.size else (0, 1)
    styles = {"all": (BLUE, "-", "all pixels"), "lesion": (RED, "--", "lesion pixels")}
    for key, (colour, style, label) in styles.items():
        edges, shares = hu_histogram(counts[key], low, high)
        axes.stairs(shares, edges, color=colour, ls=style, lw=1.7, label=label)
    axes.set_xlim(low, high)
    axes.set_xlabel("Hounsfield units, inside the window")
    axes.set_ylabel(f"share of pixels per {edges[1] - edges[0]:.0f} HU")
    _finish(axes, title)
    return save(figure, path)


def draw_sheet(path: Path, panels: Sequence[Panel], *, title: str) -> Path:
    """Draws slices with the outline of the lesion, six to a row; returns `path`.

    Small lesions have a close-up in the opposite corner; its place on the slice is framed.
    """
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    width = _GAP + columns * (_PANEL + _GAP)
    height = _HEADER + rows * (_PANEL + _CAPTION) + _GAP
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    figure.text(_GAP / width, 1 - 0.21 / height, title, fontsize=10, weight="bold")
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        left = _GAP + column * (_PANEL + _GAP)
        bottom = height - _HEADER - (row + 1) * (_PANEL + _CAPTION) + _CAPTION
        box = (left / width, bottom / height, _PANEL / width, _PANEL / height)
        axes = figure.add_axes(box, facecolor="black", xticks=[], yticks=[])
        _draw_panel(axes, panel)
        below = (bottom - 0.04) / height
        figure.text(left / width, below, panel.caption, fontsize=7, va="top", linespacing=1.15)
    return save(figure, path)


def close_up(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int] | None:
    """Returns the square around a small lesion, half-open (y0, x0, y1, x1), None if it is large."""
    ys, xs = np.nonzero(mask)
    size = min(mask.shape)
    if not ys.size:
        return None
    extent = 1 + max(int(np.ptp(ys)), int(np.ptp(xs)))
    if extent >= _SMALL_SHARE * size:
        return None
    side = max(2 * extent, size // 8)
    starts = [
        int(np.clip((values.min() + values.max() + 1) // 2 - side // 2, 0, length - side))
        for values, length in zip((ys, xs), mask.shape, strict=True)
    ]
    return starts[0], starts[1], starts[0] + side, starts[1] + side


def _draw_panel(axes: Axes, panel: Panel) -> None:
    _draw_slice(axes, panel, width=0.9)
    zoom = close_up(panel.mask)
    if zoom is None:
        return
    y0, x0, y1, x1 = zoom
    axes.add_patch(
        Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=_FRAME, lw=0.6)
    )
    height, width = panel.mask.shape
    left = 0.6 if x0 + x1 < width else 0.0
    bottom = 0.6 if y0 + y1 > height else 0.0
    inset = axes.inset_axes((left, bottom, 0.4, 0.4), xticks=[], yticks=[])
    _draw_slice(inset, panel, width=1.1)
    inset.set_xlim(x0 - 0.5, x1 - 0.5)
    inset.set_ylim(y1 - 0.5, y0 - 0.5)
    inset.spines[:].set_color(_FRAME)


def _draw_slice(axes: Axes, panel: Panel, *, width: float) -> None:
    axes.imshow(panel.image, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    if panel.mask.any():
        axes.contour(panel.mask.astype(float), levels=[0.5], colors=[_OUTLINE], linewidths=[width])


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    bare(axes)
    axes.legend(fontsize=8.5, frameon=False)
