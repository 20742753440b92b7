"""The slice with disks and mask, as a figure or as the bytes of a PNG."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from ecc_jax.notebook.clicking import Clicker, Mark
from ecc_jax.report.montage import (
    FRAME,
    NEGATIVE,
    POSITIVE,
    PREDICTION,
    Example,
    draw_disk,
    draw_outline,
    zoom_box,
)

_MASK_ALPHA = 0.3


def draw(clicker: Clicker, *, preview: Mark | None = None) -> Figure:
    """Draws the whole slice and, beside it, a close-up around the clicks, with disks and mask.

    Args:
      clicker: Slice, clicks and mask.
      preview: A click that is not made yet, drawn as a dashed disk.
    """
    height, width = clicker.ct.image.shape
    has_disks = bool(clicker.clicks) or preview is not None
    figure = Figure(figsize=(10.0 if has_disks else 6.0, 5.2), dpi=100, layout="constrained")
    figure.suptitle(f"{clicker.ct.describe()}\n{clicker.describe()}", fontsize=9)
    panels = figure.subplots(1, 1 + has_disks, squeeze=False)[0]
    for axes in panels:
        _draw_slice(axes, clicker, preview)
        axes.set(xlabel="x (pixels)", ylabel="y (pixels)")
    panels[0].set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if has_disks:
        _frame(panels[0], panels[1], zoom_box(_example(clicker, preview)))
    return figure


def _frame(whole: Axes, close: Axes, box: tuple[int, int, int, int]) -> None:
    """Shows a square in the close-up, and its frame in the whole slice."""
    y0, x0, y1, x1 = box
    whole.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=FRAME))
    close.set(xlim=(x0 - 0.5, x1 - 0.5), ylim=(y1 - 0.5, y0 - 0.5), facecolor="black")


def png(clicker: Clicker, *, preview: Mark | None = None) -> bytes:
    """Returns what `draw` draws as the bytes of a PNG."""
    buffer = io.BytesIO()
    draw(clicker, preview=preview).savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_slice(axes: Axes, clicker: Clicker, preview: Mark | None) -> None:
    low, high = clicker.ct.window_hu or (0.0, 1.0)
    axes.imshow(clicker.ct.image, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    mask = clicker.mask
    tint = np.zeros((*mask.shape, 4), np.float32)
    tint[mask] = (0.0, 0.85, 1.0, _MASK_ALPHA)
    axes.imshow(tint, interpolation="nearest")
    draw_outline(axes, mask, PREDICTION, "solid", 1.3)
    for number, click in enumerate(clicker.clicks, 1):
        is_newest = number == len(clicker.clicks)
        y, x, radius, is_lesion = click
        bold = is_newest and preview is None
        draw_disk(axes, y, x, radius, is_positive=is_lesion, is_newest=bold)
    if preview is not None:
        colour = POSITIVE if preview.is_lesion else NEGATIVE
        centre = (preview.x, preview.y)
        axes.add_patch(Circle(centre, preview.radius, fill=False, edgecolor=colour, ls="--"))


def _example(clicker: Clicker, preview: Mark | None) -> Example:
    """Returns what the close-up must show, in the form of the report's montage."""
    marks = [*clicker.clicks, *([] if preview is None else [preview])]
    return Example(
        image=clicker.ct.image,
        target=clicker.mask,
        clicks_yx=np.array([(mark.y, mark.x) for mark in marks]).reshape(-1, 2),
        clicks_radius=np.array([mark.radius for mark in marks]),
        clicks_positive=np.array([mark.is_lesion for mark in marks], bool),
        clicks_exist=np.ones(len(marks), bool),
        masks={},
        ious={},
        title="",
    )
