"""What propagation is worth: carried masks against the true ones, and against the first one copied.

A lesion begins on its largest slice, once with the true mask and once with the network's answer to
a disk that is fitted to that.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ecc_jax.annotator import documents
from ecc_jax.annotator.answers import Answers, Place
from ecc_jax.annotator.propagation import fitted_disk, propagate
from ecc_jax.annotator.propagation_cases import Case
from ecc_jax.annotator.state import Annotation, Lesion, Ring
from ecc_jax.classical.search import iou_of
from ecc_jax.report.intervals import Band, bootstrap_mean, mean_defined, paired_difference

# Means are over the slices of a lesion that are at most so many away from the first one.
REACHES = (3, 10)
# Where the first mask comes from.
STARTS = ("truth", "network")
WAYS = ("copy", "propagated")
Masks = dict[int, Bool[np.ndarray, "h w"]]


class Score(NamedTuple):
    """How good the masks of one lesion are.

    Attributes:
      within: Mean IoU within each of `REACHES`; a slice without a mask counts 0.
      missed: Slices of the lesion without a mask.
      surplus: Slices without the lesion that have a mask.
    """

    within: tuple[float, ...]
    missed: int
    surplus: int


class Measured(NamedTuple):
    """One lesion from one start.

    Attributes:
      volume: Its name.
      patient: Whose it is.
      start: One of `STARTS`.
      others: Slices of the lesion but for the first one.
      beyond: Slices without it.
      copy: The first mask on every slice.
      propagated: The masks that propagation leaves.
    """

    volume: str
    patient: str
    start: str
    others: int
    beyond: int
    copy: Score
    propagated: Score


class Mean(NamedTuple):
    """One way from one start, over lesions.

    Attributes:
      start: One of `STARTS`.
      way: One of `WAYS`.
      within: Mean over the lesions, for each of `REACHES`.
      band: Its 95 % interval over patients; None with fewer than two.
      gain: By how much it exceeds the copy, lesion by lesion.
      gain_band: The interval of that.
      missed: Over all lesions.
      others: Slices that could be missed.
      surplus: Over all lesions.
      beyond: Slices that could be surplus.
    """

    start: str
    way: str
    within: Float[np.ndarray, " k"]
    band: Band | None
    gain: Float[np.ndarray, " k"]
    gain_band: Band | None
    missed: int
    others: int
    surplus: int
    beyond: int


def measure(case: Case, answers: Answers, *, volume: str, patient: str) -> list[Measured]:
    """Propagates a lesion both ways from each of `STARTS`.

    Args:
      case: With two slices of the lesion at least.
      answers: The network.
      volume: Name of the volume.
      patient: Whose it is.

    Raises:
      ValueError: The lesion has no other slice.
    """
    if not case.others:
        raise ValueError(f"{volume}: its lesion has one slice only, so nothing can be carried")
    document, start = case.document, case.start
    y, x, radius = fitted_disk(document, case.truth[start])
    window = documents.automatic_window(document, start, y=y, x=x, radius=radius)
    drawn = Annotation((Ring(1, y, x, radius, True),), window)
    answer = answers.answer(document, Place(document.source.id, start), drawn)
    counts = (len(case.others), len(case.beyond))
    return [
        Measured(
            volume,
            patient,
            name,
            *counts,
            copy=score(case, dict.fromkeys(range(document.num_slices), first)),
            propagated=score(case, _propagated(case, answers, drawn, first)),
        )
        for name, first in zip(STARTS, (case.truth[start], answer), strict=True)
    ]


def score(case: Case, masks: Masks) -> Score:
    """Returns how good masks are.

    Args:
      case: The lesion.
      masks: By slice; slices that were not reached are left out. That of the first is not read.
    """
    found = {
        index: float(iou_of(masks[index][None], case.truth[index])[0]) if index in masks else 0.0
        for index in case.others
    }
    return Score(
        tuple(
            float(np.mean([iou for i, iou in found.items() if abs(i - case.start) <= reach]))
            for reach in REACHES
        ),
        missed=sum(index not in masks for index in case.others),
        surplus=sum(index in masks for index in case.beyond),
    )


def means(rows: Sequence[Measured]) -> list[Mean]:
    """Returns every way from every start, over lesions that weigh the same.

    Intervals are by bootstrap over patients, see `report.intervals`.

    Args:
      rows: Of all lesions.
    """
    found = []
    for start in STARTS:
        chosen = [row for row in rows if row.start == start]
        patients = [row.patient for row in chosen]
        copied = np.array([row.copy.within for row in chosen])
        for way in WAYS:
            scores: list[Score] = [getattr(row, way) for row in chosen]
            values = np.array([each.within for each in scores])
            gain = paired_difference(values, copied, patients)
            found.append(
                Mean(
                    start,
                    way,
                    mean_defined(values),
                    bootstrap_mean(values, patients),
                    gain.mean,
                    gain.band,
                    missed=sum(each.missed for each in scores),
                    others=sum(row.others for row in chosen),
                    surplus=sum(each.surplus for each in scores),
                    beyond=sum(row.beyond for row in chosen),
                )
            )
    return found


def from_json(values: Any) -> Measured:
    """Returns what JSON has made of a `Measured`.

    Raises:
      ValueError: It is something else.
    """
    try:
        row = Measured(*values)
        copied, own = (Score(*each) for each in (row.copy, row.propagated))
        return row._replace(
            copy=copied._replace(within=tuple(copied.within)),
            propagated=own._replace(within=tuple(own.within)),
        )
    except TypeError as error:
        raise ValueError(f"expected a lesion that was measured, got {values!r:.60}") from error


def _propagated(
    case: Case, answers: Answers, drawn: Annotation, first: Bool[np.ndarray, "h w"]
) -> Masks:
    """Returns the masks that the network answers on every slice that a mask is carried to."""
    document, start = case.document, case.start
    lesion = Lesion(1, "lesion", "#ffffff", slices={start: drawn})

    def answer(index: int, annotation: Annotation) -> Bool[np.ndarray, "h w"]:
        if index == start:
            return first
        return answers.answer(document, Place(document.source.id, index), annotation)

    masks: Masks = {}
    for step in (-1, 1):
        entries = propagate(
            answer, document, lesion, start=start, step=step, most=document.num_slices
        )
        for entry in entries:
            ring = Ring(1, entry["y"], entry["x"], entry["radius"], True)
            # Remembered: propagation has asked for it.
            shown = Annotation((ring,), drawn.window_hu, entry["prior"])
            masks[entry["slice"]] = answer(entry["slice"], shown)
    return masks
