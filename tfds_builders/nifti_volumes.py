"""One NIfTI volume and its label -> lesion slices and records; runs in worker processes.

What was read is kept in a cache folder, one file per volume, so that a killed build continues.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ecc_jax import volumes
from tfds_builders import slice_builder
from tfds_builders.preparation import DataOptions
from tfds_builders.slice_builder import SliceVolume, VolumeEntry

# Label values are counted in pieces of this many voxels: counting needs 8 bytes for each.
COUNT_VOXELS = 2**22


class VolumeFiles(NamedTuple):
    """The files of one volume.

    Attributes:
      volume: Its name, unique in the dataset.
      patient: Whose it is.
      image: Hounsfield units.
      label: Label values.
      source: The image's path inside the raw folder.
      window_hu: Lower and upper HU of its window.
    """

    volume: str
    patient: str
    image: Path
    label: Path
    source: str
    window_hu: tuple[float, float]


class Rules(NamedTuple):
    """How the volumes of a dataset are read.

    Attributes:
      options: Resolved options.
      slice_axis: Array axis of the slices; None means the axis of the largest spacing, else the
        last.
      known_labels: Values that a label may hold; empty means any.
      match_by_index: Image and label belong together voxel by voxel, whatever their headers say.
      cache: Folder of what has been read.
    """

    options: DataOptions
    slice_axis: int | None
    known_labels: tuple[int, ...]
    match_by_index: bool
    cache: Path


class Task(NamedTuple):
    """One volume to read, and how."""

    files: VolumeFiles
    rules: Rules


class Problem(NamedTuple):
    """Why a volume gives no slice.

    Attributes:
      volume: Its name.
      reason: One line: the file, what is wrong, what to do.
      label_values: The values of its label, where it was sound but without lesion.
      is_broken: False if the volume is sound and holds no lesion.
    """

    volume: str
    reason: str
    label_values: tuple[int, ...] = ()
    is_broken: bool = True


def survey_volume(task: Task) -> VolumeEntry | Problem:
    """Returns the lesion slices of a volume, from its label alone, or why it has none."""
    stored = _cache_file(task, ".json")
    try:
        areas = json.loads(stored.read_text(encoding="utf-8"))
        return _entry(task.files, {int(index): area for index, area in areas.items()})
    except (OSError, ValueError):
        pass  # not there yet, or cut short by a power failure
    files, rules = task
    try:
        geometry = volumes.read_geometry(files.image)
        labels = _read_label(task, geometry)
        values = label_values(labels)
        _check_values(files, rules, values)
    except ValueError as error:
        return Problem(files.volume, str(error))
    axis = slice_axis(geometry.spacing_mm, rules.slice_axis)
    others = tuple(i for i in range(3) if i != axis)
    areas = np.count_nonzero(np.isin(labels, rules.options.lesion_labels), axis=others)
    if not areas.any():
        reason = f"{files.label}: no lesion, label values {', '.join(map(str, values))}"
        return Problem(files.volume, reason, tuple(values), is_broken=False)
    slice_areas = {int(i): int(areas[i]) for i in np.flatnonzero(areas)}
    text = json.dumps(slice_areas).encode()
    _write(stored, lambda file: file.write(text))
    return _entry(files, slice_areas)


def stage_volume(task: Task) -> Problem | None:
    """Reads a surveyed volume and keeps the records of its slices in the cache."""
    stored = _cache_file(task, ".npz")
    if stored.is_file():
        return None
    entry = survey_volume(task)
    if isinstance(entry, Problem):
        return entry
    indices = slice_builder.chosen_slices(entry, task.rules.options.subset)
    try:
        rows = list(make_records(task, entry, indices))
    except ValueError as error:
        return Problem(task.files.volume, str(error))
    columns: dict[str, Any] = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    _write(stored, lambda file: np.savez(file, **columns))
    return None


def load_records(
    task: Task, entry: VolumeEntry, indices: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yields the records of some slices from the cache, or from the raw files if it lacks them.

    Raises:
      ValueError: The raw files are needed and broken.
    """
    try:
        with np.load(_cache_file(task, ".npz"), allow_pickle=False) as file:
            columns = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        yield from make_records(task, entry, indices)
        return
    row_of = {int(index): row for row, index in enumerate(columns["slice_index"])}
    for index in indices:
        row = {key: column[row_of[index]] for key, column in columns.items()}
        # Numbers and text are 0-d here; the writer wants them plain.
        yield {key: value if np.ndim(value) else value.item() for key, value in row.items()}


def make_records(
    task: Task, entry: VolumeEntry, indices: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yields the records of some slices from the raw files.

    Raises:
      ValueError: A file is broken.
    """
    volume = slice_builder.identified(read_slices(task))
    air = float(volume.image_hu.min())
    for index in indices:
        yield slice_builder.make_record(volume, entry, index, task.rules.options, air=air)


def read_slices(task: Task) -> SliceVolume:
    """Reads a volume, slices first.

    Raises:
      ValueError: A file is broken.
    """
    volume = volumes.read_volume(task.files.image)
    labels = _read_label(task, volume.geometry)
    axis = slice_axis(volume.spacing_mm, task.rules.slice_axis)
    mask = np.isin(labels, task.rules.options.lesion_labels)
    spacing = list(volume.spacing_mm)
    first = spacing.pop(axis)
    return SliceVolume(
        np.moveaxis(volume.image_hu, axis, 0),
        np.moveaxis(mask, axis, 0),
        (first, spacing[0], spacing[1]),
        volumes.display_orientation(volume.geometry, slice_axis=axis),
    )


def slice_axis(spacing_mm: tuple[float, float, float], chosen: int | None) -> int:
    """Returns the chosen axis, else the one axis of largest spacing, else the last."""
    if chosen is not None:
        return chosen
    order = np.argsort(spacing_mm)
    # A per cent: in-plane spacings of one scan differ by rounding only.
    is_unique = spacing_mm[order[2]] > 1.01 * spacing_mm[order[1]]
    return int(order[2]) if is_unique else 2


def label_values(labels: np.ndarray) -> list[int]:
    """Returns the distinct values of a label, rising."""
    if labels.dtype != np.uint8:
        return [int(value) for value in np.unique(labels)]
    flat = labels.ravel(order="K")
    counts = np.zeros(256, np.int64)
    for start in range(0, flat.size, COUNT_VOXELS):
        counts += np.bincount(flat[start : start + COUNT_VOXELS], minlength=256)
    return [int(value) for value in np.flatnonzero(counts)]


def _entry(files: VolumeFiles, slice_areas: dict[int, int]) -> VolumeEntry:
    extra = {"source": files.source}
    return VolumeEntry(files.volume, files.patient, slice_areas, files.window_hu, extra)


def _read_label(task: Task, geometry: volumes.Geometry) -> np.ndarray:
    files, rules = task
    if not rules.match_by_index:
        return volumes.read_label(files.label, like=geometry)
    labels = volumes.read_label(files.label)
    if labels.shape != geometry.shape:
        raise ValueError(
            f"{files.label}: label shape {labels.shape} differs from image shape {geometry.shape} "
            f"of {files.image}; copy or download both again"
        )
    return labels


def _check_values(files: VolumeFiles, rules: Rules, values: list[int]) -> None:
    """Refuses labels that cannot be those of the dataset."""
    if not rules.known_labels:
        return
    known = {*rules.known_labels, *rules.options.lesion_labels}
    unknown = [str(value) for value in values if value not in known]
    if unknown:
        raise ValueError(
            f"{files.label}: unknown label values {', '.join(unknown)}; this dataset has "
            f"{', '.join(map(str, rules.known_labels))}; copy or download the file again"
        )
    if values == [0]:
        raise ValueError(
            f"{files.label}: the label is empty, not even the organ is marked; copy or download "
            "the file again"
        )


def _cache_file(task: Task, suffix: str) -> Path:
    """Returns where a volume is kept; the name follows the state of its files."""
    files, rules = task
    states = [path.stat() for path in (files.image, files.label)]
    facts = [*map(str, files), *((state.st_size, state.st_mtime_ns) for state in states)]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    return rules.cache / f"{digest}{suffix}"


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file that is there as a whole or not at all, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        write(file)
    os.replace(temporary, path)
