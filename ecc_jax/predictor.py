"""Clicking on one slice from Python: what a browser, a notebook or a test calls.

  predictor = runs.load_predictor("runs/...")
  predictor.set_image(slice_hu, window_hu=(-150, 250))
  mask = predictor.add_click(y=120, x=88, radius=9.5, is_positive=True)

Research use only.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ecc_jax.data.window import apply_window
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions, make_predict
from ecc_jax.interaction import Session, interact, start
from ecc_jax.types import Click, InteractiveModel

Number = float | int | np.number  # what a mouse event or an array hands over


class InteractivePredictor:
    """A network, a slice, and the clicks so far; each click is one compiled call.

    The first click on a slice of a new shape compiles; further clicks and slices do not.
    """

    def __init__(
        self,
        model: InteractiveModel,
        variables: Any,
        *,
        options: InferenceOptions = FULL_FRAME,
        threshold: float = 0.5,
        capacity: int = 64,
    ) -> None:
        """Prepares a network; compiles nothing yet.

        Args:
          model: The network.
          variables: Its variables.
          options: How it is run.
          threshold: A pixel is lesion where its probability is above.
          capacity: Most clicks per slice.
        """

        def transition(variables: Any, image: jax.Array, session: Session, click: Click) -> Session:
            return interact(make_predict(model, variables, options), image, session, click)

        self._transition = jax.jit(transition)
        self._variables = jax.tree.map(jnp.asarray, variables)
        self._threshold = threshold
        self._capacity = capacity
        self._image: jax.Array | None = None
        self._sessions: list[Session] = []  # before the first click, after it, ...
        self._undone: list[Session] = []  # the latest to redo last

    def set_image(
        self, image: np.ndarray, *, window_hu: tuple[Number, Number] | None = None
    ) -> None:
        """Starts on a new slice, without clicks.

        Args:
          image: [h w] Hounsfield units, or values in [0, 1] if there is no window.
          window_hu: Lower and upper end of the window that maps to 0 and 1.

        Raises:
          ValueError: Not two axes, values that are not finite, an empty window, or values outside
            [0, 1] without a window. The former slice stays.
        """
        values = np.asarray(image, np.float32)
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(f"expected an image [h w], got shape {list(values.shape)}")
        if not np.isfinite(values).all():
            raise ValueError("the image holds values that are not finite; replace them first")
        if window_hu is None and (values.min() < 0 or values.max() > 1):
            raise ValueError(
                f"expected values in [0, 1], got {values.min():g}..{values.max():g}; pass "
                "window_hu=(low, high) for Hounsfield units"
            )
        low, high = window_hu or (0.0, 1.0)
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"expected window_hu=(low, high) with low < high, got {window_hu}")
        window = jnp.array([[low, high]], jnp.float32)
        self._image = apply_window(jnp.asarray(values)[None], window)[..., None]
        self.reset()

    def add_click(
        self, y: Number, x: Number, radius: Number, is_positive: bool = True
    ) -> Bool[np.ndarray, "h w"]:
        """Answers one more click; what was undone can then no longer be redone.

        Args:
          y: Row of the disk's centre, pixels.
          x: Column of the disk's centre, pixels.
          radius: Radius of the disk, pixels: that of the drag, or the static one of a network
            trained with static disks.
          is_positive: True marks lesion, False background.

        Returns:
          The new mask.

        Raises:
          ValueError: No image, a centre outside it, a radius that is not a positive number, or
            too many clicks. Nothing changes then.
        """
        image = self._checked_image()
        height, width = image.shape[1:3]
        if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
            raise ValueError(
                f"expected a click inside the image, 0 <= y <= {height - 1} and "
                f"0 <= x <= {width - 1}, got y={y}, x={x}"
            )
        if not 0 < radius < math.inf:
            raise ValueError(f"expected a positive, finite radius in pixels, got {radius}")
        if self.num_clicks >= self._capacity:
            raise ValueError(
                f"expected at most {self._capacity} clicks; undo one, or make the predictor with a "
                "larger capacity"
            )
        click = Click(
            yx=jnp.array([[y, x]], jnp.float32),
            radius=jnp.array([radius], jnp.float32),
            is_positive=jnp.array([is_positive], bool),
            exists=jnp.array([True]),
        )
        self._sessions.append(self._transition(self._variables, image, self._sessions[-1], click))
        self._undone.clear()
        return self.mask

    def undo(self) -> Bool[np.ndarray, "h w"]:
        """Takes the newest click back and returns the mask before it, bit for bit.

        Raises:
          ValueError: There is no click.
        """
        self._checked_image()
        if not self.num_clicks:
            raise ValueError("there is no click to undo")
        self._undone.append(self._sessions.pop())
        return self.mask

    def redo(self) -> Bool[np.ndarray, "h w"]:
        """Brings the click back that was undone last, and returns its mask.

        Raises:
          ValueError: Nothing was undone since the newest click.
        """
        self._checked_image()
        if not self._undone:
            raise ValueError("there is no click to redo")
        self._sessions.append(self._undone.pop())
        return self.mask

    def reset(self) -> None:
        """Removes all clicks for good.

        Raises:
          ValueError: There is no image.
        """
        self._sessions = [start(self._checked_image(), capacity=self._capacity)]
        self._undone = []

    @property
    def num_clicks(self) -> int:
        """The number of clicks that the mask answers."""
        return max(0, len(self._sessions) - 1)

    @property
    def prob(self) -> Float[np.ndarray, "h w"]:
        """Lesion probability; 0 before the first click."""
        self._checked_image()
        return np.asarray(self._sessions[-1].prob[0, ..., 0])

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Whether each pixel is lesion."""
        return self.prob > self._threshold

    def _checked_image(self) -> jax.Array:
        if self._image is None:
            raise ValueError("there is no image; call set_image first")
        return self._image
