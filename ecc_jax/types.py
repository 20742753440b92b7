"""Array containers and protocols shared by every layer.

Axis letters: b batch, h w rows and columns, c channels, n click slots, k clicks of a rollout.
Coordinates are `yx` float pixels, pixel centres at integers. Containers are NamedTuples, so they
pass through `jit`, `scan` and `tree.map` unchanged.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

# What the networks accept: jax arrays under `jit`, NumPy arrays in eager calls.
AnyArray = Array | np.ndarray


class Click(NamedTuple):
    """One click per row of a batch.

    Attributes:
      yx: Disk centre (row, column), pixels.
      radius: Disk radius, pixels.
      is_positive: True marks lesion, False background.
      exists: False where the user had nothing left to click; the other fields are then 0.
    """

    yx: Float[Array, "b 2"]
    radius: Float[Array, " b"]
    is_positive: Bool[Array, " b"]
    exists: Bool[Array, " b"]


class Clicks(NamedTuple):
    """The clicks so far, in click order, in a buffer of fixed capacity n.

    Slots at index `count` and beyond are empty, whatever they hold.
    """

    yx: Float[Array, "b n 2"]
    radius: Float[Array, "b n"]
    is_positive: Bool[Array, "b n"]
    count: Int[Array, " b"]  # type: ignore[assignment]  # hides tuple.count, on purpose


class PlainClick(NamedTuple):
    """One click in plain Python numbers, for predictors outside JAX.

    Attributes:
      y: Row of the disk's centre, pixels, pixel centres at integers.
      x: Its column.
      radius: Disk radius, pixels.
      is_positive: True marks lesion, False background.
    """

    y: float
    x: float
    radius: float
    is_positive: bool


class Prediction(NamedTuple):
    """What a network returns.

    Attributes:
      logits: Unbounded scores at input size; sigmoid gives the lesion probability.
      aux_logits: Scores of the auxiliary head at input size; None where there is none.
      features: Feature map of stride 4 (OCR output, or the decoder of U-Net++).
    """

    logits: Float[Array, "b h w 1"]
    aux_logits: Float[Array, "b h w 1"] | None
    features: Float[Array, "b h4 w4 f"]


class Refinement(NamedTuple):
    """What FocalClick's refiner returns, all float32 at the size of the focus image.

    Attributes:
      logits: Refined scores; sigmoid gives the lesion probability.
      boundary_logits: Scores of "near the lesion's outline", the weight of the details.
      detail_logits: Scores decided from the focus image.
      coarse_logits: The coarse scores inside the box, resized.
    """

    logits: Float[Array, "b s t 1"]
    boundary_logits: Float[Array, "b s t 1"]
    detail_logits: Float[Array, "b s t 1"]
    coarse_logits: Float[Array, "b s t 1"]


class Batch(NamedTuple):
    """Slices as stored, before windowing; NumPy arrays on the host, jax arrays on the devices.

    Attributes:
      image_hu: Clipped (or, in `raw` sets, full) Hounsfield units.
      window_hu: Lower and upper end of the window that maps to 0 and 1.
      target: Ground-truth lesion mask, 0 or 1.
      valid: False for rows that only pad the last batch.
      position: Position of the slice in its split, for reports; -1 in padding.
      pixel_mm: Side of a pixel, mm; NaN where it is unknown or pixels are oblong.
    """

    image_hu: Num[Array, "b h w"]
    window_hu: Float[Array, "b 2"]
    target: Num[Array, "b h w"]
    valid: Bool[Array, " b"]
    position: Int[Array, " b"]
    pixel_mm: Float[Array, " b"]


@runtime_checkable
class Predict(Protocol):
    """A segmenter under the click loop. It receives clicks, not maps, so that it may crop."""

    def __call__(
        self,
        image: Float[Array, "b h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Float[Array, "b h w 1"]:
        """Returns the lesion probability at image size.

        Args:
          image: Windowed image in [0, 1].
          clicks: All clicks so far, the newest last.
          prev_mask: Lesion probability before the newest click.
        """
        ...


@runtime_checkable
class InteractiveModel(Protocol):
    """The calling convention of every network (`flax.linen.Module.apply`)."""

    def apply(
        self,
        variables: Any,
        image: Float[AnyArray, "b h w 3"],
        guidance: Float[AnyArray, "b h w g"],
        prev_mask: Float[AnyArray, "b h w 1"],
        *,
        train: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Returns a `Prediction`; with `mutable=["batch_stats"]` also the updated statistics."""
        ...
