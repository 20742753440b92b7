"""Clicking on one slice from Python: what a browser, a notebook or a test calls.

  predictor = runs.load_predictor("runs/...")
  predictor.set_image(slice_hu, window_hu=(-150, 250))
  mask = predictor.add_click(y=120, x=88, radius=9.5, is_positive=True)

Research use only.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ecc_jax.data.window import apply_window
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions, make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Session, interact, start
from ecc_jax.types import Click, InteractiveModel


class InteractivePredictor:
    """A network, a slice, and the clicks so far; each click is one compiled call.

    The first click on a slice of a new shape compiles; further clicks and slices do not.
    """

    def __init__(
        self,
        model: Segmenter | InteractiveModel,
        variables: Any,
        *,
        options: InferenceOptions = FULL_FRAME,
        threshold: float = 0.5,
        capacity: int = 64,
    ) -> None:
        """Prepares a network; compiles nothing yet.

        Args:
          model: The network with its encoding; a network alone is told of clicks as disks.
          variables: Its variables.
          options: How it is run.
          threshold: A pixel is lesion where its probability is above.
          capacity: Most clicks per slice.
        """
        segmenter = model if isinstance(model, Segmenter) else Segmenter(model)

        def transition(variables: Any, image: jax.Array, session: Session, click: Click) -> Session:
            return interact(make_predict(segmenter, variables, options), image, session, click)

        self._transition = jax.jit(transition)
        self._variables = jax.tree.map(jnp.asarray, variables)
        self._threshold = threshold
        self._capacity = capacity
        self._image: jax.Array | None = None
        self._first_mask: jax.Array | None = None
        self._sessions: list[Session] = []  # before the first click, after it, ...
        self._undone: list[Session] = []  # the latest to redo last

    # What people hand over is checked here and named in one line; hence Any.
    def set_image(self, image: Any, *, window_hu: Any = None, first_mask: Any = None) -> None:
        """Starts on a new slice, without clicks.

        Args:
          image: [h w] Hounsfield units, or values in [0, 1] if there is no window; an array of
            integers or floats, or anything that `numpy.asarray` makes one of.
          window_hu: Lower and upper end of the window that maps to 0 and 1: a tuple, a list or
            an array of two numbers, such as the records of a dataset have.
          first_mask: [h w] of bools, a mask to correct, such as that of the slice before; None
            starts from nothing.

        Raises:
          ValueError: No numbers, not two axes, values that are not finite or masked, an empty
            window, values outside [0, 1] without a window, or a mask of another shape or type. The
            former slice stays.
        """
        values = _as_image(image)
        low, high = (0.0, 1.0) if window_hu is None else _as_window(window_hu)
        if window_hu is None and (values.min() < 0 or values.max() > 1):
            raise ValueError(
                f"expected values in [0, 1], got {values.min():g}..{values.max():g}; pass "
                "window_hu=(low, high) for Hounsfield units"
            )
        first = None if first_mask is None else _as_mask(first_mask, values.shape)
        window = jnp.array([[low, high]], jnp.float32)
        self._image = apply_window(jnp.asarray(values)[None], window)[..., None]
        self._first_mask = None if first is None else jnp.asarray(first)[None]
        self.reset()

    def add_click(
        self, y: Any, x: Any, radius: Any, is_positive: Any = True
    ) -> Bool[np.ndarray, "h w"]:
        """Answers one more click; what was undone can then no longer be redone.

        Args:
          y: Row of the disk's centre, pixels; like x and radius a number of Python, of NumPy or
            of an array without axes.
          x: Column of the disk's centre, pixels.
          radius: Radius of the disk, pixels: that of the drag, or the static one of a network
            trained with static disks. Not read where the network's encoding shows none, or no
            other than the first.
          is_positive: True marks lesion, False background; nothing else does.

        Returns:
          The new mask.

        Raises:
          ValueError: No image, a centre outside it, a radius that is not a positive number, a
            sign that is neither True nor False, or too many clicks. Nothing changes then.
        """
        image = self._checked_image()
        height, width = image.shape[1:3]
        y, x, radius = _as_number("y", y), _as_number("x", x), _as_number("radius", radius)
        is_positive = _as_sign(is_positive)
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
        """Removes all clicks for good; a first mask stays.

        Raises:
          ValueError: There is no image.
        """
        image = self._checked_image()
        self._sessions = [start(image, capacity=self._capacity, first_mask=self._first_mask)]
        self._undone = []

    @property
    def image(self) -> Float[jax.Array, "1 h w 1"] | None:
        """The slice in its window, the same array as long as no other is set; None before."""
        return self._image

    @property
    def num_clicks(self) -> int:
        """The number of clicks that the mask answers."""
        return max(0, len(self._sessions) - 1)

    @property
    def prob(self) -> Float[np.ndarray, "h w"]:
        """Lesion probability; before the first click that of the first mask, or 0."""
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


def _as_image(image: Any) -> Float[np.ndarray, "h w"]:
    """Returns an image as float32.

    Raises:
      ValueError: No finite numbers on two axes.
    """
    if np.ma.is_masked(image):
        raise ValueError("the image holds masked values; fill them first: image.filled(-1024)")
    try:
        array = np.asarray(image)
    except (ValueError, TypeError) as error:  # rows of unequal length, tensors on a GPU
        raise ValueError(f"expected an image [h w], got {_shown(image)}: {error}") from error
    # bfloat16 is no float to NumPy.
    if array.dtype.kind not in "iu" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"expected an image of integers or floats, got {array.dtype} ({type(image).__name__})"
        )
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"expected an image [h w], got shape {list(array.shape)}")
    with np.errstate(over="ignore"):  # too large is not finite, as is said below
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the image holds values that are not finite; replace them first")
    return values


def _as_mask(mask: Any, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """Returns a mask to begin with.

    Raises:
      ValueError: No bools, or another shape than the image.
    """
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != shape:
        raise ValueError(
            f"expected first_mask of bools and of the image's shape {list(shape)}, got "
            f"{array.dtype} of shape {list(array.shape)}; write mask > 0 for one of numbers"
        )
    return array


def _as_window(window_hu: Any) -> tuple[float, float]:
    """Returns both ends of a window.

    Raises:
      ValueError: Not two numbers, low < high.
    """
    is_ordered = isinstance(window_hu, Sequence | np.ndarray | jax.Array)
    try:
        ends = [_as_number("window_hu", end) for end in window_hu] if is_ordered else []
    except (ValueError, TypeError):
        ends = []
    if len(ends) != 2 or not -math.inf < ends[0] < ends[1] < math.inf:
        raise ValueError(
            "expected window_hu=(low, high), two finite numbers in HU with low < high, got "
            f"{_shown(window_hu)}"
        )
    return ends[0], ends[1]


def _as_number(name: str, value: Any) -> float:
    """Returns a number; True and False count as none.

    Raises:
      ValueError: It is none.
    """
    number = _as_scalar(value)
    is_number = isinstance(number, numbers.Real | np.integer | np.floating)
    if isinstance(number, bool | np.bool_) or not is_number:
        raise ValueError(f"expected {name} to be a number, got {_shown(value)}")
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _as_sign(value: Any) -> bool:
    """Returns whether a click is positive.

    Raises:
      ValueError: Neither True nor False; -1 and "negative", for instance, would count as true.
    """
    sign = _as_scalar(value)
    if not isinstance(sign, bool | np.bool_):
        raise ValueError(
            f"expected is_positive=True (lesion) or False (background), got {_shown(value)}"
        )
    return bool(sign)


def _as_scalar(value: Any) -> Any:
    """Returns what an array without axes holds, and anything else as it is."""
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        return np.asarray(value)[()]
    return value


def _shown(value: Any) -> str:
    """Returns a value for a message, in one line and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
