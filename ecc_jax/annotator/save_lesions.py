"""Named lesions on the grid of a volume: what every writer of masks takes."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from ecc_jax.volumes import Geometry

Finding = Literal["lesion", "neoplasm"]
MAX_NAME = 64  # Of a label in DICOM.


class Lesion(NamedTuple):
    """A lesion: a name and a mask on each slice that was drawn.

    Attributes:
      name: What the user calls it.
      slices: Masks in array order, each of the shape of a slice, by position on the slice axis.
        Lesions may overlap. Arrays are not copied.
      slice_axis: Array axis along which the slices were taken.
      tracking_uid: DICOM UID that names the lesion for good; empty: each export makes one up.
      finding: What kind of thing it is said to be.
    """

    name: str
    slices: Mapping[int, Bool[np.ndarray, "h w"]]
    slice_axis: int = 0
    tracking_uid: str = ""
    finding: Finding = "lesion"


def check_lesions(lesions: Sequence[Lesion], geometry: Geometry) -> None:
    """Checks that lesions can be saved.

    Raises:
      ValueError: No lesion, one without pixels, masks on another grid, or names that are empty,
        twice there, too long for DICOM, or hold characters that a file cannot keep.
    """
    if not lesions:
        raise ValueError("there is no lesion to save; draw one")
    for lesion in lesions:
        check_name(lesion.name)
        check_on_grid(lesion, geometry)
        if not any(mask.any() for mask in lesion.slices.values()):
            raise ValueError(f"lesion {lesion.name!r} has no pixels; draw it or delete it")
    names = [lesion.name for lesion in lesions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two lesions are called {twice!r}; rename one")


def check_name(name: str) -> None:
    r"""Checks that every file format keeps a lesion's name as it is.

    Raises:
      ValueError: Empty, spaces at an end, more than 64 characters, a backslash, or characters that
        are not printable.
    """
    if not name or name != name.strip() or len(name) > MAX_NAME:
        raise ValueError(
            f"expected a lesion's name of 1 to {MAX_NAME} characters without spaces at its ends, "
            f"got {name[: 2 * MAX_NAME]!r}; rename it"
        )
    if not name.isprintable() or "\\" in name:
        raise ValueError(
            f"expected a lesion's name of printable characters without a backslash, got {name!r}; "
            "rename it"
        )


def check_on_grid(lesion: Lesion, geometry: Geometry) -> None:
    """Checks that a lesion's masks lie on the grid of a volume.

    Raises:
      ValueError: No such axis or slice, or a mask of another shape or of numbers.
    """
    if lesion.slice_axis not in (0, 1, 2):
        raise ValueError(f"expected a slice axis of 0, 1 or 2, got {lesion.slice_axis}")
    count = geometry.shape[lesion.slice_axis]
    expected = tuple(int(n) for n in np.delete(geometry.shape, lesion.slice_axis))
    for index, mask in lesion.slices.items():
        if not 0 <= index < count or mask.shape != expected:
            raise ValueError(
                f"lesion {lesion.name!r}: expected slice indices 0 to {count - 1} (from 0) of "
                f"shape {expected}, got slice index {index} of shape {mask.shape}"
            )
        # Numbers would choose rows instead of pixels.
        if mask.dtype != bool:
            raise ValueError(
                f"lesion {lesion.name!r}: expected masks of True and False, got {mask.dtype}; "
                "compare with 0"
            )


def by_frame(lesion: Lesion, geometry: Geometry) -> dict[int, Bool[np.ndarray, "h w"]]:
    """Returns the masks with pixels by position on the first array axis, whatever they were.

    Args:
      lesion: The lesion, checked.
      geometry: The grid of the volume.
    """
    if lesion.slice_axis == 0:
        found = dict(lesion.slices)
    else:
        whole = np.zeros(geometry.shape, bool)
        paint(whole, lesion, True)
        found = dict(enumerate(whole))
    return {index: mask for index, mask in sorted(found.items()) if mask.any()}


def paint(volume: np.ndarray, lesion: Lesion, value: int) -> None:
    """Sets the voxels of a lesion in an array [d h w]."""
    slices = np.moveaxis(volume, lesion.slice_axis, 0)
    for index, mask in lesion.slices.items():
        slices[index][mask] = value


def layers(lesions: Sequence[Lesion], geometry: Geometry) -> list[tuple[list[int], np.ndarray]]:
    """Spreads lesions over as few label maps as it takes that none overlap in one.

    Each lesion goes, in order, to the first map where it overlaps no other and a label is free.

    Returns:
      For each map the positions of its lesions and the map, uint8 [d h w]: 0, and 1, 2, ... for
      its lesions in order.
    """
    found: list[tuple[list[int], np.ndarray]] = []
    for number, lesion in enumerate(lesions):
        free = (
            (members, labels)
            for members, labels in found
            if len(members) < np.iinfo(np.uint8).max and not _overlaps(labels, lesion)
        )
        # Both file formats store the first axis fastest.
        members, labels = next(free, ([], np.zeros(geometry.shape, np.uint8, order="F")))
        if not members:
            found.append((members, labels))
        members.append(number)
        paint(labels, lesion, len(members))
    return found


def _overlaps(labels: np.ndarray, lesion: Lesion) -> bool:
    slices = np.moveaxis(labels, lesion.slice_axis, 0)
    return any(bool(slices[index][mask].any()) for index, mask in lesion.slices.items())
