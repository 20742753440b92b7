"""Which volumes are read and which slices are stored in each split."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ecc_jax.catalog import SPLITS
from ecc_jax.data import slices as slice_rules
from tfds_builders.options import DataOptions


class VolumeEntry(NamedTuple):
    """One volume as the survey sees it.

    Attributes:
      volume: Its name, unique in the dataset.
      patient: Whose it is; a patient is never in two splits.
      slice_areas: Lesion pixels of each slice that has any, by slice index.
      window_hu: Lower and upper HU of its window.
      extra: What its records hold beside the common features.
    """

    volume: str
    patient: str
    slice_areas: dict[int, int]
    window_hu: tuple[float, float]
    extra: dict[str, str] | None = None


Jobs = dict[str, list[tuple[VolumeEntry, list[int]]]]


def plan(entries: Sequence[VolumeEntry], options: DataOptions) -> Jobs:
    """Returns for each split the volumes to read and the slices to store.

    The split by patient is computed on all lesion slices for either subset, so a patient who
    trains the full set never tests the small one.

    Raises:
      ValueError: Fewer than three patients (`thesis`: four slices) have lesions.
    """
    entries = sorted(entries, key=lambda entry: (entry.patient, entry.volume))
    pairs = [(entry, index) for entry in entries for index in chosen_slices(entry, options.subset)]
    if options.split_rule == "thesis":
        positions = slice_rules.thesis_split_indices(len(pairs), options.split_seed)
        chosen = {split: [pairs[i] for i in positions[split]] for split in SPLITS}
    else:
        patients = _split_patients(entries, options.split_seed)
        chosen = {
            split: [pair for pair in pairs if pair[0].patient in patients[split]]
            for split in SPLITS
        }
    return {
        split: [
            (entry, [index for _, index in group])
            for entry, group in _grouped_by_volume(chosen[split])
        ]
        for split in SPLITS
    }


def _split_patients(entries: Sequence[VolumeEntry], seed: int) -> dict[str, set[str]]:
    sizes: collections.Counter[str] = collections.Counter()
    for entry in entries:
        sizes[entry.patient] += len(entry.slice_areas)
    split = slice_rules.patient_split(list(sizes), list(sizes.values()), seed)
    return {name: set(patients) for name, patients in split.items()}


def _grouped_by_volume(
    pairs: Sequence[tuple[VolumeEntry, int]],
) -> Iterator[tuple[VolumeEntry, list[tuple[VolumeEntry, int]]]]:
    """Groups neighbouring pairs of one volume, so that each volume is read once per split."""
    for _, group in itertools.groupby(pairs, key=lambda pair: pair[0].volume):
        members = list(group)
        yield members[0][0], members


def chosen_slices(entry: VolumeEntry, subset: str) -> list[int]:
    """Returns the slices of a volume that a subset holds, rising.

    `full` is every slice with lesion; `small` the one of the largest lesion area, the first of
    several.
    """
    areas = entry.slice_areas
    if subset == "small":
        return [min(areas, key=lambda index: (-areas[index], index))]
    return sorted(areas)
