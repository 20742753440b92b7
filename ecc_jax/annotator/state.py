"""What a person has drawn in a volume, at one moment: lesions, and on each slice their disks.

Plain values that never change. Nothing here computes a mask: a mask follows from the slice and an
`Annotation` alone, see `answers`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Refused(ValueError):
    """An event that does not fit the session; nothing has changed."""


class Missing(Refused):
    """An event about a lesion, slice or ring that is not there."""


class Ring(NamedTuple):
    """A disk that was dragged.

    Attributes:
      id: Its number in the session, from 1; never used again.
      y: Row of its centre, voxels of the upright slice.
      x: Column of its centre.
      radius: Display pixels.
      positive: True marks lesion, False background.
    """

    id: int
    y: float
    x: float
    radius: float
    positive: bool


class Annotation(NamedTuple):
    """All that the mask of one lesion on one slice follows from, besides the slice.

    Attributes:
      rings: In the order in which they are answered.
      window_hu: In which the network looks at the slice.
      prior: Mask to begin with, packed by `packing.pack`; empty for none.
      is_propagated: Whether it is as propagation left it, so that the next one may replace it; no
        mask depends on it.
    """

    rings: tuple[Ring, ...]
    window_hu: tuple[float, float]
    prior: str = ""
    is_propagated: bool = False


class Lesion(NamedTuple):
    """One lesion.

    Attributes:
      id: Its number in the session, from 1.
      name: What a person calls it.
      colour: "#rrggbb".
      finished: Whether the person is done with it.
      slices: By slice index; slices without rings are left out.
    """

    id: int
    name: str
    colour: str
    finished: bool = False
    slices: Mapping[int, Annotation] = {}


class State(NamedTuple):
    """What a volume's session holds at one moment.

    Attributes:
      lesions: By number, in the order in which they were begun.
      next_lesion: Number of the next lesion.
      next_ring: Number of the next ring.
    """

    lesions: Mapping[int, Lesion] = {}
    next_lesion: int = 1
    next_ring: int = 1


class Frame(NamedTuple):
    """What events are checked against.

    Attributes:
      num_slices: Slices of the volume.
      shape: Rows and columns of an upright slice, voxels.
      display_shape: The same in display pixels; no radius is longer than its diagonal.
    """

    num_slices: int
    shape: tuple[int, int]
    display_shape: tuple[int, int]


def changed(before: State, after: State) -> list[tuple[int, int]]:
    """Returns lesion and slice of every annotation that differs between two states."""
    pairs = set()
    for number in before.lesions.keys() | after.lesions.keys():
        slices = [
            state.lesions[number].slices if number in state.lesions else {}
            for state in (before, after)
        ]
        for index in slices[0].keys() | slices[1].keys():
            if slices[0].get(index) != slices[1].get(index):
                pairs.add((number, index))
    return sorted(pairs)


def lesion_of(state: State, number: Any) -> Lesion:
    """Returns a lesion by its number.

    Raises:
      Missing: There is none.
    """
    lesion = state.lesions.get(number) if is_whole(number) else None
    if lesion is None:
        raise Missing(f"there is no lesion {number!r:.40}; there are {[*state.lesions] or 'none'}")
    return lesion


def check_slice(frame: Frame, index: Any) -> int:
    """Returns the index of a slice.

    Raises:
      Missing: There is no such slice.
    """
    if not is_whole(index) or not 0 <= index < frame.num_slices:
        raise Missing(
            f"expected a slice index of 0 to {frame.num_slices - 1} (from 0), got {index!r:.40}"
        )
    return index


def plain(state: State) -> list[dict[str, Any]]:
    """Returns lesions in plain types, for JSON; packed masks left out."""
    return [
        {
            "id": lesion.id,
            "name": lesion.name,
            "colour": lesion.colour,
            "finished": lesion.finished,
            "slices": [
                {
                    "slice": index,
                    "window_hu": list(annotation.window_hu),
                    "is_propagated": annotation.is_propagated,
                    "rings": [ring._asdict() for ring in annotation.rings],
                }
                for index, annotation in sorted(lesion.slices.items())
            ],
        }
        for lesion in state.lesions.values()
    ]


def is_whole(value: Any) -> bool:
    """Returns whether a value of JSON is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
