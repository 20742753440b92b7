"""A log of prompts -> the same masks, by whatever answers prompts."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Num

from ecc_jax.annotator import documents
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
from ecc_jax.annotator.sources import Source
from ecc_jax.data.slices import turn, turn_back
from ecc_jax.volumes import Volume


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


def replay(
    log: PromptLog, volume: Volume, answer: Answer, *, check: bool = True, network: str = ""
) -> list[Lesion]:
    """Returns the lesions that the prompts of a log make.

    Args:
      log: The prompts.
      volume: The volume they were made on; its file may be another one of the same voxels.
      answer: Gives the mask of an upright slice, voxel by voxel; `by_predictor` makes one.
      check: Whether masks must be those of the log, bit for bit. Another network, machine or
        version may give others.
      network: Hash of what answers, see `network.network_of`; empty if it is not known.

    Raises:
      ValueError: Another volume, another network, or masks differ from those of the log.
    """
    if check and network and log.network and network != log.network:
        raise ValueError(
            f"{volume.path}: the prompts were answered by the network {log.network} "
            f"({log.model or 'without a name'}), this one is {network}; replay with that one's "
            "run folder, or with check=False"
        )
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
                differ.append(f"slice index {each.slice_index} (from 0) of {lesion.name!r}")
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
    """Returns what answers prompts by a predictor, as the annotator does.

    Where voxels are oblong it is shown square pixels, and its mask is taken back to voxels.

    Args:
      predictor: The network.
      volume: The volume.
      slice_axis: Array axis along which slices are taken.
    """
    document = documents.shown_along(slice_axis, Source("", volume.path.name, "", None), volume)

    def answer(upright: Upright) -> Bool[np.ndarray, "r c"]:
        prior, first = upright.prior, {}
        # A predictor without such masks has no argument for them either.
        if prior is not None:
            first = {"first_mask": documents.display_mask(document, prior)}
        image = documents.display_image(document, upright.slice_index)
        predictor.set_image(image, window_hu=upright.window_hu, **first)
        mask = np.zeros(document.shape, bool) if prior is None else prior
        for y, x, radius, is_positive in upright.prompts:
            place = documents.display_point(document, y, x)
            found = predictor.add_click(*place, radius, is_positive)
            mask = documents.voxel_mask(document, found)
        return mask

    return answer


def _upright(log: PromptLog, volume: Volume, each: SlicePrompts) -> Upright:
    image = np.moveaxis(volume.image_hu, log.view.slice_axis, 0)[each.slice_index]
    prior = unpack(each.prior, upright_shape(log.view)) if each.prior else None
    return Upright(
        each.slice_index, turn(image, log.view.orientation), each.prompts, each.window_hu, prior
    )
