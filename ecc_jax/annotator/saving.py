"""What a format is handed to save, and what a person is told of it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.state import Lesion

NO_PIXEL, NOT_DRAWN = "no pixel", "nothing is drawn"
# A lesion with its masks on upright slices, by slice index.
Masked = tuple[Lesion, Mapping[int, Bool[np.ndarray, "h w"]]]


class ToSave(NamedTuple):
    """What a format of `savers` is handed.

    Attributes:
      document: The volume.
      lesions: Each with its masks; `data.slices.turn_back` takes one to the array order of the
        source.
      folder: Of the session, where files go.
      network: Hash of what answered all masks; empty if several networks did.
    """

    document: Document
    lesions: tuple[Masked, ...]
    folder: Path
    network: str = ""


class LeftOut(NamedTuple):
    """What a file does not hold.

    Attributes:
      lesion: Its name.
      slices: Indices of its slices that are left out, from 0; none: the whole lesion is.
      why: `NO_PIXEL` or `NOT_DRAWN`.
    """

    lesion: str
    slices: tuple[int, ...]
    why: str


class Saved(NamedTuple):
    """What was saved.

    Attributes:
      files: That were written.
      left_out: What is not in them because it is empty.
      unfinished: Names of lesions that are saved although nobody has said that they are finished.
    """

    files: list[Path]
    left_out: list[LeftOut]
    unfinished: list[str]


# Writes files and returns them; raises ValueError in one line.
Saver = Callable[[ToSave], list[Path]]


def left_out(lesions: Iterable[Masked], *, has_disks: bool) -> list[LeftOut]:
    """Returns which lesions and slices a file does not hold.

    Args:
      lesions: With their masks.
      has_disks: Whether the file holds disks, those that have left no pixel as well.
    """
    found = []
    for lesion, masks in lesions:
        empty = () if has_disks else tuple(k for k, mask in masks.items() if not mask.any())
        if not masks:
            found.append(LeftOut(lesion.name, (), NOT_DRAWN))
        elif empty:
            is_whole = len(empty) == len(masks)
            found.append(LeftOut(lesion.name, () if is_whole else empty, NO_PIXEL))
    return found
