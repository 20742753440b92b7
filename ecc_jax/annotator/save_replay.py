"""A log of prompts -> the same masks, by whatever answers prompts."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Num

from ecc_jax.annotator.packing import unpack
from ecc_jax.annotator.save_lesions import Lesion
from ecc_jax.annotator.save_prompts import (
    Prompt,
    PromptLog,
    SlicePrompts,
    mask_hash,
    upright_shape,
    view_of,
)
from ecc_jax.data.slices import turn, turn_back
from ecc_jax.volumes import Volume

# Sides of a voxel that differ by less are equal but for rounding.
SQUARE = 0.01


class Upright(NamedTuple):
    """An upright slice with its prompts.

    Attributes:
      slice_index: Position of the slice on the slice axis.
      image_hu: Hounsfield units, one per voxel.
      prompts: In order.
      window_hu: In which the network is to see it.
      prior: Mask to begin with; None for none.
    """

    slice_index: int
    image_hu: Num[np.ndarray, "r c"]
    prompts: tuple[Prompt, ...]
    window_hu: tuple[float, float]
    prior: Bool[np.ndarray, "r c"] | None


Answer = Callable[[Upright], Bool[np.ndarray, "r c"]]


@runtime_checkable
class Predictor(Protocol):
    """What answers clicks on square pixels; `predictor.InteractivePredictor` does."""

    def set_image(self, image: Any, *, window_hu: Any = None) -> None:
        """Starts on a new slice."""

    def add_click(
        self, y: Any, x: Any, radius: Any, is_positive: Any = True
    ) -> Bool[np.ndarray, "h w"]:
        """Answers one more click."""


def replay(log: PromptLog, volume: Volume, answer: Answer, *, check: bool = True) -> list[Lesion]:
    """Returns the lesions that the prompts of a log make.

    Args:
      log: The prompts.
      volume: The volume they were made on; its file may be another one of the same voxels.
      answer: Gives the mask of an upright slice, voxel by voxel; `by_predictor` makes one.
      check: Whether masks must be those of the log, bit for bit. Another network, machine or
        version may give others.

    Raises:
      ValueError: Another volume, or masks differ from those of the log.
    """
    view = view_of(volume, slice_axis=log.view.slice_axis)
    for what, ours, logged in (
        ("shape", view.shape, log.view.shape),
        ("orientation", tuple(view.orientation), tuple(log.view.orientation)),
        ("voxels (identity)", view.identity, log.view.identity),
    ):
        if ours != logged:
            raise ValueError(
                f"{volume.path}: the prompts were made on another volume: {what} {logged}, got "
                f"{ours}; open the volume they belong to"
            )
    found, differ = [], []
    for lesion in log.lesions:
        masks = {}
        for each in lesion.slices:
            mask = turn_back(answer(_upright(log, volume, each)), log.view.orientation)
            masks[each.slice_index] = mask
            if each.mask_sha256 and mask_hash(mask) != each.mask_sha256:
                differ.append(f"slice {each.slice_index} of {lesion.name!r}")
        axis = log.view.slice_axis
        found.append(Lesion(lesion.name, masks, axis, lesion.tracking_uid, lesion.finding))
    if differ and check:
        raise ValueError(
            f"{len(differ)} masks differ from those of the log (the first: {differ[0]}); replay "
            f"with the network that made them, {log.model or 'not named in the log'}, or with "
            "check=False"
        )
    return found


def by_predictor(predictor: Predictor, volume: Volume, *, slice_axis: int) -> Answer:
    """Returns what answers prompts by a predictor that is shown one pixel per voxel.

    Args:
      predictor: The network.
      volume: The volume; its pixels must be square, since a disk would not be one otherwise.
      slice_axis: Array axis along which slices are taken.

    Raises:
      ValueError: Oblong pixels.
    """
    rows, columns = np.delete(volume.spacing_mm, slice_axis)
    if abs(rows - columns) > SQUARE * min(rows, columns):
        raise ValueError(
            f"{volume.path}: expected square pixels, got {rows:g} x {columns:g} mm; replay with "
            "what resamples them"
        )

    def answer(upright: Upright) -> Bool[np.ndarray, "r c"]:
        # A predictor without such masks has no argument for them either.
        first = {} if upright.prior is None else {"first_mask": upright.prior}
        predictor.set_image(upright.image_hu, window_hu=upright.window_hu, **first)
        mask = np.zeros(upright.image_hu.shape, bool) if upright.prior is None else upright.prior
        for prompt in upright.prompts:
            mask = predictor.add_click(*prompt)
        return mask

    return answer


def _upright(log: PromptLog, volume: Volume, each: SlicePrompts) -> Upright:
    image = np.moveaxis(volume.image_hu, log.view.slice_axis, 0)[each.slice_index]
    prior = unpack(each.prior, upright_shape(log.view)) if each.prior else None
    return Upright(
        each.slice_index, turn(image, log.view.orientation), each.prompts, each.window_hu, prior
    )
