"""Clicks on a slice, kept beside the predictor that answers them, and the area of the mask."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from ecc_jax.notebook.images import Slice
from ecc_jax.predictor import InteractivePredictor


class Mark(NamedTuple):
    """A click: centre and radius of its disk in pixels, and whether it marks lesion."""

    y: float
    x: float
    radius: float
    is_lesion: bool = True


class Clicker:
    """A slice under the hand: clicks, undo, mask and area.

    Attributes:
      ct: The slice.
      clicks: The clicks that the mask answers.
    """

    def __init__(self, predictor: InteractivePredictor, ct: Slice) -> None:
        """Puts a slice under a predictor, which drops the slice it had.

        Raises:
          ValueError: An empty window.
        """
        self.ct = ct
        self.clicks: list[Mark] = []
        predictor.set_image(ct.image, window_hu=ct.window_hu)
        self._own, self._image = predictor, predictor.image

    # What people write is checked by the predictor and named in one line; hence Any.
    def click(self, y: Any, x: Any, radius: Any, is_lesion: Any = True) -> None:
        """Answers one more click.

        Args:
          y: Row of the disk's centre, pixels.
          x: Column of the disk's centre, pixels.
          radius: Radius of the disk, pixels.
          is_lesion: True marks lesion, False background.

        Raises:
          ValueError: Outside the slice, no positive radius, or the predictor has another slice
            by now. Nothing changes then.
        """
        self._predictor().add_click(y, x, radius, is_lesion)
        self.clicks.append(Mark(float(y), float(x), float(radius), bool(is_lesion)))

    def answer(self, clicks: Sequence[Any]) -> None:
        """Starts again with these clicks: (y, x, radius), or (y, x, radius, is_lesion).

        Raises:
          ValueError: A click that is none; those before it are answered.
        """
        self.restart()
        for number, click in enumerate(clicks, 1):
            try:
                if not isinstance(click, Sequence) or len(click) not in (3, 4):
                    raise ValueError(f"expected (y, x, radius, is_lesion), got {click!r}")
                self.click(*click)
            except ValueError as error:
                raise ValueError(f"click {number} of {len(clicks)}: {error}") from None

    def undo(self) -> None:
        """Takes the newest click back.

        Raises:
          ValueError: There is no click, or the predictor has another slice by now.
        """
        self._predictor().undo()
        self.clicks.pop()

    def restart(self) -> None:
        """Removes all clicks."""
        self._predictor().reset()
        self.clicks.clear()

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Whether each pixel is lesion."""
        return self._predictor().mask

    @property
    def area_mm2(self) -> float:
        """The area of the mask; NaN if the pixel size is unknown."""
        return int(self.mask.sum()) * math.prod(self.ct.pixel_mm)

    def _predictor(self) -> InteractivePredictor:
        """Returns the predictor; of another slice its masks would be those of a stranger."""
        if self._own.image is not self._image:
            raise ValueError(
                "the predictor has another slice by now; run the cell that reads the slice again"
            )
        return self._own

    def describe(self) -> str:
        """Returns clicks and area in one line."""
        count, pixels = len(self.clicks), int(self.mask.sum())
        area = "" if math.isnan(self.area_mm2) else f" = {self.area_mm2:.1f} mm²"
        clicks = "1 click" if count == 1 else f"{count} clicks"
        return f"{clicks}: {pixels} pixels{area or ', pixel size unknown'}"
