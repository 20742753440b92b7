"""Sliders and buttons to click without a mouse on the picture; needs ipywidgets."""

from typing import Any

import ipywidgets

from ecc_jax.notebook.clicking import Clicker, Mark
from ecc_jax.notebook.drawing import png

_KINDS = {"lesion": True, "background": False}


def controls(clicker: Clicker) -> ipywidgets.VBox:
    """Returns sliders for row, column and radius, buttons to click and undo, and the picture.

    The dashed disk is the next click; it is answered when the button is pressed.

    Args:
      clicker: The slice; its clicks so far are kept.
    """
    height, width = clicker.ct.image.shape
    last = clicker.clicks[-1] if clicker.clicks else Mark((height - 1) / 2, (width - 1) / 2, 10.0)
    y = _slider("y (row)", last.y, 0.0, height - 1.0)
    x = _slider("x (column)", last.x, 0.0, width - 1.0)
    radius = _slider("radius", last.radius, 0.5, max(height, width) / 2)
    kind = ipywidgets.ToggleButtons(options=list(_KINDS), description="marks")
    picture, message = ipywidgets.Image(format="png"), ipywidgets.Label()

    def preview() -> Mark:
        return Mark(y.value, x.value, radius.value, _KINDS[kind.value])

    def show(mark: Mark | None) -> None:
        picture.value = png(clicker, preview=mark)

    def button(text: str, action: Any) -> ipywidgets.Button:
        made = ipywidgets.Button(description=text)

        def pressed(_: Any) -> None:
            message.value = ""
            try:
                action()
            # What an action refuses would otherwise go to a log that nobody sees.
            except ValueError as error:
                message.value = str(error)
            show(None)

        made.on_click(pressed)
        return made

    for widget in (y, x, radius, kind):
        widget.observe(lambda _: show(preview()), names="value")
    buttons = [
        button("Click", lambda: clicker.click(*preview())),
        button("Undo", clicker.undo),
        button("Start again", clicker.restart),
    ]
    show(preview())
    rows = [y, x, radius, kind, ipywidgets.HBox(buttons), message, picture]
    return ipywidgets.VBox(rows)


def _slider(text: str, value: float, low: float, high: float) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(
        value=value,
        min=low,
        max=high,
        step=0.5,
        description=text,
        # Every value draws the picture anew.
        continuous_update=False,
        layout=ipywidgets.Layout(width="32em"),
    )
