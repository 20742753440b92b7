"""Volumes with known lesions to propagate: which of a folder, and how they are opened.

A lesion is the largest connected part of what a label marks.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from ecc_jax.annotator import documents
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.sources import sources_of
from ecc_jax.data import seen
from ecc_jax.data.seen import Seen
from ecc_jax.data.slices import turn
from ecc_jax.volumes import identity_of, read_label, why_implausible

# Of a lesion of one slice nothing can be carried.
LEAST_SLICES = 2


class Files(NamedTuple):
    """A volume in a folder: its name, whose it is, and its files."""

    volume: str
    patient: str
    image: Path
    label: Path


class Limits(NamedTuple):
    """Which volumes are wanted, in the order in which this is asked.

    Attributes:
      only: Found in the names of those that are meant; None means all.
      one_per_patient: Whether a patient's first admitted volume is taken alone.
      least_slices: That a lesion has, `LEAST_SLICES` at least.
      unseen: Whether patients that shaped the weights are left out.
      offset: So many of those admitted are left out at the beginning.
      every: Of the others every so many-th is taken.
      most: At most so many; 0 means all.
    """

    only: re.Pattern[str] | None = None
    one_per_patient: bool = False
    least_slices: int = LEAST_SLICES
    unseen: bool = False
    offset: int = 0
    every: int = 1
    most: int = 0


class Choice(NamedTuple):
    """The volumes that are taken.

    Attributes:
      files: In the order in which they were given.
      left_out: How many others there are, by the reason.
      seen: Their patients that shaped the weights, sorted.
      not_axial: Names of the volumes whose slices are known to be not axial.
    """

    files: list[Files]
    left_out: dict[str, int]
    seen: list[str]
    not_axial: list[str]


class Case(NamedTuple):
    """A lesion whose true masks are known.

    Attributes:
      document: The volume, as the annotator shows it.
      truth: The lesion on its upright slices, in voxels.
      start: The slice on which it is largest, the first of several.
    """

    document: Document
    truth: Bool[np.ndarray, "d h w"]
    start: int

    @property
    def others(self) -> list[int]:
        """The slices of the lesion but for the first one."""
        return [int(i) for i in np.flatnonzero(self.truth.any((1, 2))) if i != self.start]

    @property
    def beyond(self) -> list[int]:
        """The slices without it."""
        return np.flatnonzero(~self.truth.any((1, 2))).tolist()


class _Look(NamedTuple):
    """What decides whether a volume is taken.

    Attributes:
      slices: Of its lesion; 0 if it has none.
      is_axial: Whether its slices are, as far as is known.
      rows: Identities of the scan, as an index has them.
    """

    slices: int
    is_axial: bool
    rows: list[dict[str, str]]


def choose(
    found: Sequence[Files],
    limits: Limits,
    *,
    lesion_labels: Sequence[int],
    history: Sequence[Seen] = (),
    progress: Callable[[Any], Any] = iter,
) -> Choice:
    """Returns which volumes of a folder are taken; looks at no more of them than it needs.

    A patient is seen where the weights have seen any of the patient's volumes, by content.

    Args:
      found: All volumes.
      limits: Which are wanted.
      lesion_labels: Values that mean lesion.
      history: Who shaped the weights.
      progress: Wraps the volumes that are looked at, such as in a progress bar.

    Raises:
      ValueError: None is left, or a file is broken or no CT.
    """
    chooser = _Chooser(found, limits, lesion_labels, history)
    steps = islice(chooser.admitted(progress), limits.offset, None, limits.every)
    taken = list(islice(steps, limits.most or None))
    left_out = chooser.left_out
    rest = len(found) - len(taken) - left_out.total()
    if rest:
        left_out["by --every, --offset or --most"] = rest
    if not taken:
        raise ValueError(
            f"none of {len(found)} volumes is left to measure ({counted(left_out)}); ask for less, "
            "or give other volumes"
        )
    patients = sorted({files.patient for files in taken})
    return Choice(
        taken,
        dict(left_out),
        [name for name in patients if chooser.is_seen(name)],
        [files.volume for files in taken if not chooser.look(files).is_axial],
    )


def counted(left_out: dict[str, int]) -> str:
    """Returns in words how many volumes are left out."""
    return ", ".join(f"{number} {why}" for why, number in left_out.items()) or "none"


def open_case(image: Path, label: Path, *, lesion_labels: Sequence[int]) -> Case | None:
    """Reads a volume as the annotator opens it, with the truth.

    Args:
      image: A NIfTI file, HU.
      label: On the same grid.
      lesion_labels: Values that mean lesion.

    Returns:
      None where the label holds none of these values.

    Raises:
      ValueError: A file cannot be read, the grids differ, or the image is no CT.
    """
    (source,) = sources_of(image)
    document = documents.open_source(source)
    if why := why_implausible(document.volume.image_hu):
        raise ValueError(f"{image}: expected a CT: {why}")
    labels = read_label(label, like=document.volume.geometry)
    return case_of(document, np.isin(labels, lesion_labels))


def case_of(document: Document, marked: Bool[np.ndarray, "a b c"]) -> Case | None:
    """Returns the largest part of a mask, parts being connected by faces, edges and corners.

    Args:
      document: The volume.
      marked: In its array order.

    Returns:
      None where nothing is marked.
    """
    parts, number = ndimage.label(marked, np.ones((3, 3, 3)))
    if not number:
        return None
    largest = parts == 1 + np.argmax(np.bincount(parts.flat)[1:])
    slices = np.moveaxis(largest, document.axis, 0)
    truth = np.stack([turn(values, document.orientation) for values in slices])
    return Case(document, truth, int(np.argmax(truth.sum((1, 2)))))


class _Chooser:
    """Looks at each volume once."""

    def __init__(
        self,
        found: Sequence[Files],
        limits: Limits,
        lesion_labels: Sequence[int],
        history: Sequence[Seen],
    ) -> None:
        self._found, self._limits = found, limits
        self._labels, self._history = lesion_labels, history
        self._looks: dict[str, _Look] = {}
        self.left_out: Counter[str] = Counter()

    def admitted(self, progress: Callable[[Any], Any]) -> Iterator[Files]:
        """Yields the volumes before any is left out by its order; counts the others."""
        patients: set[str] = set()
        for files in progress(self._found):
            why = self._why_not(files, patients)
            if why:
                self.left_out[why] += 1
                continue
            patients.add(files.patient)
            yield files

    def _why_not(self, files: Files, patients: set[str]) -> str:
        """Returns why a volume is not admitted, nothing if it is."""
        limits = self._limits
        if limits.only and not limits.only.search(files.volume):
            return "not named by --only"
        if limits.one_per_patient and files.patient in patients:
            return "of a patient that has one already"
        slices = self.look(files).slices
        if not slices:
            return f"without a lesion (label {' or '.join(map(str, self._labels))})"
        if slices < limits.least_slices:
            return f"with a lesion of fewer than {limits.least_slices} slices"
        if limits.unseen and self.is_seen(files.patient):
            return "of patients that shaped the weights"
        return ""

    def is_seen(self, patient: str) -> bool:
        """Returns whether the weights have seen any volume of a patient."""
        if not self._history:
            return False
        own = [self.look(files) for files in self._found if files.patient == patient]
        rows = [row for each in own for row in each.rows]
        return any(seen.find_seen(self._history, rows, None).values())

    def look(self, files: Files) -> _Look:
        """Returns what decides about a volume."""
        if files.volume not in self._looks:
            self._looks[files.volume] = self._looked(files)
        return self._looks[files.volume]

    def _looked(self, files: Files) -> _Look:
        case = open_case(files.image, files.label, lesion_labels=self._labels)
        if case is None:
            return _Look(0, True, [])
        document, slices = case.document, sorted([case.start, *case.others])
        row = {"patient": files.patient, "volume": files.volume}
        row["volume_id"] = identity_of(document.volume.image_hu)
        ids = [identity_of(documents.slice_of(document, index)) for index in slices]
        edges = set(documents.letters_of(document).values())
        is_axial = not edges & {"S", "I"}
        return _Look(len(slices), is_axial, [{**row, "slice_id": one} for one in ids])
