"""Balanced draws of training slices: a group, a patient of it, one of that patient's slices.

With every slice once per pass, a patient of ten times as many slices counts ten times as much, and
so does a source of many patients beside one of few. Here groups get weights, and the patients of a
group count alike.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

RULES = ("slices", "patients")


class Group(NamedTuple):
    """Patients that are drawn alike.

    Attributes:
      name: The regular expression that they match; empty where all patients are one group.
      weight: Share of the rows, relative to the weights of the other groups.
      patients: For each patient the positions of its slices.
    """

    name: str
    weight: float
    patients: list[list[int]]


class Draws(Sequence[int]):
    """The position of every row of an endless training.

    Row `number` is a pure function of (groups, seed, number): three numbers of the Philox
    generator choose group, patient and slice, so that no order of reading and no resume changes
    it.
    """

    def __init__(self, groups: Sequence[Group], seed: int) -> None:
        """Prepares the draws.

        Args:
          groups: At least one, as `find_groups` returns them.
          seed: At least 0.
        """
        self._patients = [group.patients for group in groups]
        self._ends = np.cumsum([group.weight for group in groups])
        self._seed = seed

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, number: Any) -> Any:
        # The counter of a row leaves its lowest word to the generator: rows share no numbers.
        raw = np.random.Philox(key=[self._seed, 0], counter=[0, int(number), 0, 0]).random_raw(3)
        group, patient, row = (int(value >> 11) * 2.0**-53 for value in raw.tolist())
        index = np.searchsorted(self._ends, group * self._ends[-1], side="right")
        patients = self._patients[min(int(index), len(self._patients) - 1)]
        slices = patients[int(patient * len(patients))]
        return slices[int(row * len(slices))]


def parse_group(text: str) -> tuple[re.Pattern[str], float]:
    """Returns expression and weight of a group, written as in `^LIDC_=3`.

    Raises:
      ValueError: No `=`, no regular expression before the last one, or no positive number after it.
    """
    name, _, number = text.rpartition("=")
    try:
        pattern, weight = re.compile(name), float(number)
    except (re.error, ValueError) as error:
        raise ValueError(f"{text!r}: {error}") from error
    if not name or not 0 < weight < np.inf:
        raise ValueError(f"{text!r}: an expression and a positive weight are needed")
    return pattern, weight


def find_groups(
    rows: Sequence[Mapping[str, Any]], positions: np.ndarray, texts: Sequence[str]
) -> list[Group]:
    """Returns the groups of the patients of some slices.

    Args:
      rows: The index of a split.
      positions: The slices that are trained on.
      texts: Groups as `parse_group` reads them. An expression is searched in the patient's name;
        the first that matches counts. Empty means one group of all patients.

    Raises:
      ValueError: A patient that matches no group, or a group without patients.
    """
    order = sorted(positions.tolist(), key=lambda i: _place(rows[i]))
    slices: dict[str, list[int]] = {}
    for position in order:
        slices.setdefault(rows[position]["patient"], []).append(position)
    if not texts:
        return [Group("", 1.0, list(slices.values()))]
    parsed = [parse_group(text) for text in texts]
    members: list[list[list[int]]] = [[] for _ in parsed]
    strangers = []
    for patient, own in slices.items():
        found = next((i for i, (rule, _) in enumerate(parsed) if rule.search(patient)), None)
        if found is None:
            strangers.append(patient)
        else:
            members[found].append(own)
    if strangers:
        raise ValueError(
            f"train.groups: {len(strangers)} of {len(slices)} patients match none of "
            f"{', '.join(texts)}: {', '.join(strangers[:3])}{', ...' * (len(strangers) > 3)}; add "
            "a group, such as '.*=1' for all others"
        )
    empty = [text for text, own in zip(texts, members, strict=True) if not own]
    if empty:
        raise ValueError(
            f"train.groups: no patient for {', '.join(empty)} among {len(slices)}, such as "
            f"{', '.join(list(slices)[:3])} (the first group that matches counts); correct or "
            "remove it"
        )
    return [
        Group(pattern.pattern, weight, own)
        for (pattern, weight), own in zip(parsed, members, strict=True)
    ]


def describe(groups: Sequence[Group], num_slices: int) -> str:
    """Returns in one line how rows are drawn.

    Args:
      groups: The groups; empty where every slice comes once per pass.
      num_slices: Training slices.
    """
    if not groups:
        return f"rows: each of {num_slices} slices once per pass"
    total = sum(group.weight for group in groups)
    told = [
        f"{group.name or 'all'}: weight {group.weight:g} ({group.weight / total:.1%} of the rows), "
        f"{len(group.patients)} patients, {sum(map(len, group.patients))} slices"
        for group in groups
    ]
    return f"rows: a group by weight, a patient of it, a slice of the patient; {'; '.join(told)}"


def _place(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["patient"], row["volume"], row["slice_index"]
