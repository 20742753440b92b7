"""Pictures of single cases: CT, disks, outlines and IoU, click by click."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from ecc_jax.report.figures import save

TARGET, PREDICTION, FRAME = "#FFE000", "#00D8FF", "#FFFFFF"
POSITIVE, NEGATIVE = "#2BE86B", "#FF4B4B"
# Inches.
_PANEL, _GAP, _TITLE, _HEADER, _LEGEND_LINE = 2.2, 0.08, 0.27, 0.3, 0.2
_MIN_ZOOM = 32


class Example(NamedTuple):
    """One case of the montage.

    Attributes:
      image: Windowed slice in [0, 1].
      target: Ground truth.
      clicks_yx: Disk centres in click order, pixels.
      clicks_radius: Disk radii, pixels.
      clicks_positive: True marks lesion, False background.
      clicks_exist: False where the user had nothing left to click.
      masks: Predicted mask by click number (1-based).
      ious: IoU by click number.
      title: Line above the row, e.g. the case and why it is shown.
    """

    image: Float[np.ndarray, "h w"]
    target: Bool[np.ndarray, "h w"]
    clicks_yx: Float[np.ndarray, "k 2"]
    clicks_radius: Float[np.ndarray, " k"]
    clicks_positive: Bool[np.ndarray, " k"]
    clicks_exist: Bool[np.ndarray, " k"]
    masks: dict[int, Bool[np.ndarray, "h w"]]
    ious: dict[int, float]
    title: str


def draw_montage(
    path: Path, examples: list[Example], *, clicks: tuple[int, ...] = (1, 2, 5, 20)
) -> Path:
    """Draws one row per example: the whole slice, then a close-up after each of some clicks.

    Args:
      path: PNG file to write.
      examples: Cases, top to bottom.
      clicks: Click numbers wanted as columns. Those no example has a mask for are skipped, and
        the last one that exists is always shown.

    Returns:
      `path`.

    Raises:
      ValueError: If there are no examples or none has a mask.
    """
    columns = _columns(examples, clicks)
    per_line = {1: 2, 2: 3}.get(len(columns), 6)
    legend_height = _LEGEND_LINE * (6 // per_line) + 0.3
    width = _GAP + (_PANEL + _GAP) * (1 + len(columns))
    height = _HEADER + (_PANEL + _TITLE) * len(examples) + legend_height
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")

    def panel(row: int, column: int) -> Axes:
        left = _GAP + column * (_PANEL + _GAP)
        bottom = height - _HEADER - (row + 1) * (_PANEL + _TITLE)
        box = (left / width, bottom / height, _PANEL / width, _PANEL / height)
        return figure.add_axes(box, facecolor="black", xticks=[], yticks=[])

    headings = ["whole slice", *(f"after click {click}" for click in columns)]
    for index, heading in enumerate(headings):
        centre = (_GAP + index * (_PANEL + _GAP) + _PANEL / 2) / width
        figure.text(centre, 1 - 0.21 / height, heading, ha="center", fontsize=10, weight="bold")
    for row, example in enumerate(examples):
        zoom = zoom_box(example)
        above = height - _HEADER - row * (_PANEL + _TITLE) - _TITLE + 0.06
        figure.text(_GAP / width, above / height, example.title, fontsize=9)
        _draw_overview(panel(row, 0), example, zoom)
        for column, click in enumerate(columns):
            _draw_close_up(panel(row, column + 1), example, click, zoom)
    _draw_legend(figure, per_line)
    return save(figure, path)


def zoom_box(example: Example) -> tuple[int, int, int, int]:
    """Returns the square to show: lesion and disks inside, at least twice the lesion's size.

    Returns:
      Half-open (y0, x0, y1, x1), within the slice unless the slice is narrower than the square
      that fits its longer side.
    """
    height, width = example.target.shape
    corners = []
    lesion_side = 0.0
    if example.target.any():
        rows = np.flatnonzero(example.target.any(axis=1))
        cols = np.flatnonzero(example.target.any(axis=0))
        corners += [(rows[0], cols[0]), (rows[-1] + 1, cols[-1] + 1)]
        lesion_side = 1.0 + max(float(np.ptp(rows)), float(np.ptp(cols)))
    for slot in np.flatnonzero(example.clicks_exist):
        yx, radius = example.clicks_yx[slot], example.clicks_radius[slot]
        corners += [tuple(yx - radius), tuple(yx + radius + 1)]
    if not corners:
        corners = [(0, 0), (height, width)]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    side = int(np.ceil(max(2 * lesion_side, 1.15 * max(high - low), _MIN_ZOOM)))
    side = min(side, max(height, width))
    starts = [
        int(np.clip(round(centre - side / 2), min(0, size - side), max(0, size - side)))
        for centre, size in zip((low + high) / 2, (height, width), strict=True)
    ]
    return starts[0], starts[1], starts[0] + side, starts[1] + side


def _columns(examples: list[Example], clicks: tuple[int, ...]) -> list[int]:
    """Returns the click numbers to show: the wanted ones that exist, and the last."""
    known = {click for example in examples for click in example.masks}
    if not known:
        raise ValueError(
            f"a montage needs at least one example with a mask, got {len(examples)} examples "
            "without any; pass the masks of click 1 and of the last click"
        )
    return sorted({click for click in clicks if click in known} | {max(known)})


def draw_slice(axes: Axes, example: Example, box: tuple[int, int, int, int]) -> None:
    """Draws the part of the slice in a square box; what lies outside the slice stays black."""
    y0, x0, y1, x1 = box
    axes.imshow(example.image, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axes.set_xlim(x0 - 0.5, x1 - 0.5)
    axes.set_ylim(y1 - 0.5, y0 - 0.5)


def _draw_overview(axes: Axes, example: Example, zoom: tuple[int, int, int, int]) -> None:
    """Draws the whole slice with the close-up's frame."""
    height, width = example.image.shape
    side = max(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    draw_slice(axes, example, (top, left, top + side, left + side))
    y0, x0, y1, x1 = zoom
    axes.add_patch(
        Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=FRAME, lw=1.0)
    )


def _draw_close_up(
    axes: Axes, example: Example, click: int, zoom: tuple[int, int, int, int]
) -> None:
    """Draws the lesion's surroundings with outlines and the disks up to `click`."""
    draw_slice(axes, example, zoom)
    placed = np.flatnonzero(example.clicks_exist[:click])
    for slot in placed:
        draw_click(axes, example, int(slot), is_newest=bool(slot == placed[-1]))
    if click in example.masks:
        draw_outline(axes, example.masks[click], PREDICTION, "solid", 1.3)
    draw_outline(axes, example.target, TARGET, (0, (3.0, 2.0)), 1.2)
    if click in example.ious:
        last = f" (last click: {placed.size})" if placed.size < click else ""
        corner_text(axes, f"IoU {example.ious[click]:.2f}{last}")


def draw_click(axes: Axes, example: Example, slot: int, *, is_newest: bool) -> None:
    """Draws one click of an example, see `draw_disk`."""
    y, x = map(float, example.clicks_yx[slot])
    radius, is_positive = float(example.clicks_radius[slot]), bool(example.clicks_positive[slot])
    draw_disk(axes, y, x, radius, is_positive=is_positive, is_newest=is_newest)


def draw_disk(
    axes: Axes, y: float, x: float, radius: float, *, is_positive: bool, is_newest: bool
) -> None:
    """Draws one click: bold if it is the newest, else faint, so that many stay readable.

    Disks lie under the outlines; the bold one is wider than them, so a prediction that follows the
    disk shows as a line with two edges.

    Args:
      axes: Where the slice is drawn, pixel centres at whole numbers.
      y: Row of the centre, pixels.
      x: Column of the centre, pixels.
      radius: Radius, pixels.
      is_positive: True marks lesion, False background.
      is_newest: Whether no click came after it.
    """
    colour, marker, size = (POSITIVE, "o", 2.6) if is_positive else (NEGATIVE, "x", 3.6)
    circle = Circle(
        (x, y),
        radius,
        fill=False,
        edgecolor=colour,
        lw=1.8 if is_newest else 0.6,
        alpha=1.0 if is_newest else 0.5,
        zorder=1.5 if is_newest else 1.2,
    )
    axes.add_patch(circle)
    axes.plot(x, y, marker, color=colour, ms=size, mew=1.0, alpha=1.0 if is_newest else 0.75)


def draw_outline(
    axes: Axes,
    mask: Bool[np.ndarray, "h w"],
    colour: str,
    style: str | tuple[int, tuple[float, float]],
    width: float,
) -> None:
    """Draws the outline of a mask; the frame of zeros closes it at the border of the slice.

    Args:
      axes: Where the slice is drawn, pixel centres at whole numbers.
      mask: What is outlined; an empty one leaves nothing.
      colour: Of the line.
      style: Of the line, as in matplotlib.
      width: Of the line, points.
    """
    if not mask.any():
        return
    padded = np.pad(mask.astype(np.float32), 1)
    rows, cols = (np.arange(-1, size + 1) for size in mask.shape)
    axes.contour(
        cols, rows, padded, levels=[0.5], colors=[colour], linestyles=[style], linewidths=[width]
    )


def corner_text(axes: Axes, text: str, *, size: float = 9) -> None:
    """Writes on a dark plate in the lower left corner, readable on any tissue; `size` in points."""
    plate = {"facecolor": "black", "edgecolor": "none", "alpha": 0.65, "pad": 2.0}
    axes.text(0.03, 0.035, text, transform=axes.transAxes, color="white", fontsize=size, bbox=plate)


def _draw_legend(figure: Figure, per_line: int) -> None:
    """Draws the key below the rows, on the dark ground its colours are made for."""
    handles = [
        Line2D([], [], color=TARGET, ls=(0, (3.0, 2.0)), lw=1.6, label="ground truth"),
        Line2D([], [], color=PREDICTION, lw=1.8, label="prediction"),
        _disk_key(POSITIVE, "lesion click (disk, centre)", "o"),
        _disk_key(NEGATIVE, "background click", "x"),
        Line2D([], [], color="white", lw=0, label="newest click: bold"),
        Line2D([], [], color=FRAME, marker="s", mfc="none", lw=0, ms=9, label="close-up"),
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=per_line,
        fontsize=8.5,
        facecolor="#303030",
        edgecolor="none",
        framealpha=1.0,
        labelcolor="white",
        handlelength=2.2,
        columnspacing=1.6,
    )


def _disk_key(colour: str, label: str, marker: str) -> Line2D:
    """Returns the legend entry of a click."""
    return Line2D([], [], color=colour, marker=marker, ms=4.5, mew=1.2, lw=1.0, label=label)
