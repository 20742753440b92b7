"""How the thesis's figures look in print: widths, letters, panels with CT, and files."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ecc_jax import atomic
from ecc_jax.report import montage

# Inches: the text of an A4 page, a picture, an entry of a key. Points: no letter is smaller, so
# that they can be read in print.
WIDTH = 6.3
SMALL = 7.0
_LARGEST = 2.2
_ENTRY = 1.25
_PNG_DPI = 220
# Of what lies on CT; both are told apart by their lines, too.
BOX_A, BOX_B = "#56B4E9", "#E69F00"
_PRINT: dict[Any, Any] = {
    "pdf.fonttype": 42,  # letters stay letters, which can be searched and edited
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.dpi": 300.0,
}


def in_print() -> Any:
    """Returns the context in which figures for print are made and written."""
    return matplotlib.rc_context(_PRINT)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes a figure as PDF and as PNG; returns both paths.

    Neither holds a date or a version, which would make equal figures differ.

    Args:
      figure: Made within `in_print`.
      stem: The path without an ending.

    Raises:
      OSError: They cannot be written.
    """
    nothing = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    paths = []
    for kind, dpi in (("pdf", None), ("png", _PNG_DPI)):
        buffer = io.BytesIO()
        metadata = nothing.get(kind, {"Software": None})
        figure.savefig(buffer, format=kind, dpi=dpi or "figure", metadata=metadata)
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        atomic.write_bytes(paths[-1], buffer.getvalue())
    return paths


def panels(rows: int, columns: int, *, ratios: Sequence[float] = (), above: float = 0.34) -> Any:
    """Returns a figure, at most as wide as the page, and its panels for pictures, [rows columns].

    Args:
      rows: Of panels.
      columns: Of panels.
      ratios: Width over height of the pictures of each column; empty means squares.
      above: Room above each panel for what it is called, inches.
    """
    ratios = list(ratios) or [1.0] * columns
    side = min(WIDTH / sum(ratios), _LARGEST)
    height = rows * (side + above) + 0.3
    figure = Figure(figsize=(side * sum(ratios), height), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)
    for one in axes.flat:
        one.set(xticks=[], yticks=[], facecolor="black")
        one.spines[:].set_visible(False)
    return figure, axes


def show(axes: Axes, image: Float[np.ndarray, "h w"], *, title: str = "") -> None:
    """Draws a picture with grey values in [0, 1]."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axes.set_title(title, fontsize=SMALL)


def outline_target(axes: Axes, target: Bool[np.ndarray, "h w"]) -> None:
    """Draws the outline of the ground truth."""
    montage.draw_outline(axes, target, montage.TARGET, (0, (3.0, 2.0)), 1.0)


def outline_mask(axes: Axes, mask: Bool[np.ndarray, "h w"]) -> None:
    """Draws the outline of an answer."""
    montage.draw_outline(axes, mask, montage.PREDICTION, "solid", 1.1)


def frame(axes: Axes, box: Num[np.ndarray, "4"], *, colour: str, line: str = "-") -> None:
    """Draws a half-open box (y0, x0, y1, x1) in pixels."""
    y0, x0, y1, x1 = box.tolist()
    axes.add_patch(
        Rectangle(
            (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, ls=line, lw=1.2
        )
    )


def key(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Draws the key below pictures, on the dark ground its colours are made for."""
    columns = max(1, int(figure.get_figwidth() / _ENTRY))
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        facecolor="#303030",
        edgecolor="none",
        framealpha=1.0,
        labelcolor="white",
        handlelength=2.4,
    )


TARGET_KEY = Line2D([], [], color=montage.TARGET, ls=(0, (3.0, 2.0)), lw=1.4, label="ground truth")
MASK_KEY = Line2D([], [], color=montage.PREDICTION, lw=1.6, label="prediction")
POSITIVE_KEY = Line2D(
    [], [], color=montage.POSITIVE, marker="o", ms=4, lw=1.0, label="lesion click"
)
NEGATIVE_KEY = Line2D(
    [], [], color=montage.NEGATIVE, marker="x", ms=4, lw=1.0, label="background click"
)


def label_panels(axes: Iterable[Axes]) -> None:
    """Writes (a), (b), ... before the titles of panels."""
    for letter, one in zip("abcdefghijkl", axes, strict=False):
        one.set_title(f"({letter}) {one.get_title()}", fontsize=SMALL)
