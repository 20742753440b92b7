"""The bounds of Optimal Crop: how much of a slice the lesions of the validation split take."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from ecc_jax.data.pipeline import SliceSet
from ecc_jax.ops.boxes import mask_box
from ecc_jax.ops.components import largest_component

_BATCH = 16


class CropBounds(NamedTuple):
    """The mean box of the largest object of each slice, and what follows from it.

    Attributes:
      height: Mean height, share of the slice's.
      width: Mean width, share of the slice's.
      slices: Slices with a lesion, which were measured.
      empty: Slices without, which were left out.
    """

    height: float
    width: float
    slices: int
    empty: int = 0

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest height and width of a crop, shares of the slice's."""
        return self.height + self.width, 3 * (self.height + self.width)

    def describe(self) -> str:
        """Returns a line for people."""
        low, high = self.bounds
        left_out = f" ({self.empty} without lesion left out)" if self.empty else ""
        return (
            f"crops of {low:.4f} to {high:.4f} of a slice's sides: the largest lesions of "
            f"{self.slices} validation slices{left_out} have boxes of {self.height:.4f} x "
            f"{self.width:.4f} on average"
        )


def measure_bounds(slices: SliceSet) -> CropBounds:
    """Returns the bounds of Optimal Crop, from every slice of the validation split.

    An object is a component of pixels that touch, be it at a corner; of equally large ones the
    first counts.

    Args:
      slices: The validation split, all of one size.

    Raises:
      ValueError: No slice holds a lesion.

    Source: thesis section 3.1, equation 3: b_low = h/H + w/W, b_high = 3 b_low. The code takes any
      contour of a slice in place of the largest object's, and rounds.
    """
    shares = []
    for masks in _masks(slices):
        box = np.asarray(_boxes(masks))
        sides = np.stack([box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]], axis=1)
        shares.append(sides / np.array(masks.shape[1:]))
    found = np.concatenate(shares)[: len(slices)] if shares else np.zeros((0, 2))
    found = found[found[:, 0] > 0]
    if not len(found):
        raise ValueError(
            f"augment.name=optimal_crop measures lesions on the validation slices, but none of the "
            f"{len(slices)} holds one; name the bounds, as in augment.bounds=(0.06, 0.18), or take "
            "another augment.name"
        )
    height, width = found.mean(axis=0).tolist()
    return CropBounds(height, width, len(found), len(slices) - len(found))


def to_json(measured: CropBounds) -> dict[str, Any]:
    """Returns plain values, the bounds among them, that `from_json` reads."""
    return {"crop_bounds": list(measured.bounds), **measured._asdict()}


def from_json(values: dict[str, Any]) -> CropBounds:
    """Returns what was measured.

    Raises:
      ValueError: The values are not those of `to_json`.
    """
    try:
        found = CropBounds(**{name: values[name] for name in CropBounds._fields})
        is_sound = found.bounds == tuple(values["crop_bounds"]) and 0 < found.bounds[0] <= 2
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error} is missing or no number") from error
    if not is_sound:
        raise ValueError("crop_bounds are not what height and width give")
    return found


@jax.jit
def _boxes(mask: Bool[Array, "b h w"]) -> Int[Array, "b 4"]:
    return mask_box(largest_component(mask))


def _masks(slices: SliceSet) -> Iterator[Any]:
    """Yields batches of masks, the last filled with its last one."""
    for start in range(0, len(slices), _BATCH):
        wanted = np.minimum(np.arange(start, start + _BATCH), len(slices) - 1)
        yield np.stack([np.asarray(slices.records[int(i)]["mask"]) > 0 for i in wanted])
