"""One NIfTI volume and its label -> lesion slices and records; runs in worker processes.

What was read is kept in a cache folder, one file per volume, so that a killed build continues.
"""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ecc_jax import volumes
from ecc_jax.data.readers import READER_BITS
from ecc_jax.volumes import FileRemark
from ecc_jax.volumes.grids import Match
from tfds_builders import label_checks, raw_files, slice_builder
from tfds_builders.label_checks import Found
from tfds_builders.options import DataOptions
from tfds_builders.planes import plane_of
from tfds_builders.remarks import Remark, collected
from tfds_builders.slice_builder import SliceVolume, VolumeEntry
from tfds_builders.words import short

# What the cache holds of a volume beside the columns of its records.
REMARKS_KEY = "remarks"


class VolumeFiles(NamedTuple):
    """The files of one volume.

    Attributes:
      volume: Its name, unique in the dataset.
      patient: Whose it is.
      image: Hounsfield units.
      label: Label values.
      source: The image's path inside the raw folder.
      window_hu: Lower and upper HU of its window.
      readers: Bit k of a voxel is set where reader k drew; None where nobody tells.
    """

    volume: str
    patient: str
    image: Path
    label: Path
    source: str
    window_hu: tuple[float, float]
    readers: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [self.image, self.label, *filter(None, [self.readers])]


class Rules(NamedTuple):
    """How the volumes of a dataset are read.

    Attributes:
      options: Resolved options.
      slice_axis: Array axis of the slices; None means the axis of the largest spacing, else the
        last.
      known_labels: Values that a label may hold; empty means any.
      match_by_index: Image and label belong together voxel by voxel, whatever origin and voxel
        size their headers name.
      doubt_labels: Nobody named the values that mean lesion: a label that is none is refused.
      cache: Folder of what has been read.
      has_readers: Whether records hold what each reader drew.
    """

    options: DataOptions
    slice_axis: int | None
    known_labels: tuple[int, ...]
    match_by_index: bool
    doubt_labels: bool
    cache: Path
    has_readers: bool = False


class Task(NamedTuple):
    """One volume to read, and how."""

    files: VolumeFiles
    rules: Rules


class Problem(NamedTuple):
    """Why a volume gives no slice.

    Attributes:
      volume: Its name.
      reason: One line: the file, what is wrong, what to do.
      is_broken: False if the volume is sound and holds no lesion.
    """

    volume: str
    reason: str
    is_broken: bool = True


class Survey(NamedTuple):
    """What the label of a volume says.

    Attributes:
      slice_areas: Lesion voxels of each slice that has any.
      found: The values that the label holds.
      plane: The anatomical plane of the slices.
      remarks: What is odd about it.
    """

    slice_areas: dict[int, int]
    found: Found
    plane: str
    remarks: list[Remark]


def survey_volume(task: Task) -> Survey | Problem:
    """Returns what the label of a volume says, or why it cannot be used."""
    stored = _cache_file(task, ".json")
    try:
        return _parsed(json.loads(stored.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        pass  # not there yet, or cut short by a power failure
    files, rules = task
    lesion = rules.options.lesion_labels
    try:
        with collected() as remarks:
            geometry = volumes.read_geometry(files.image)
            labels = _read_label(task, geometry)
        voxels = label_checks.count_values(labels)
        _check_values(files, rules, list(voxels))
        if rules.doubt_labels:
            label_checks.refuse_image(files.label, labels, voxels)
    except ValueError as error:
        return Problem(files.volume, str(error))
    axis = volumes.slice_axis(geometry.spacing_mm, rules.slice_axis)
    others = tuple(i for i in range(3) if i != axis)
    areas = np.count_nonzero(is_lesion(labels, lesion), axis=others)
    places = {}
    if rules.doubt_labels:
        places = label_checks.places_of_others(labels, voxels, lesion)
    survey = Survey(
        {int(i): int(areas[i]) for i in np.flatnonzero(areas)},
        Found(voxels, places),
        plane_of(geometry, axis),
        remarks,
    )
    if survey.slice_areas:
        text = json.dumps(survey).encode()
        _write(stored, lambda file: file.write(text))
    return survey


def entry_of(files: VolumeFiles, survey: Survey) -> VolumeEntry:
    """Returns what the plan of a dataset needs to know of a surveyed volume."""
    extra = {"source": files.source}
    return VolumeEntry(files.volume, files.patient, survey.slice_areas, files.window_hu, extra)


def stage_volume(task: Task) -> list[Remark] | Problem:
    """Reads a surveyed volume, keeps the records of its slices in the cache, returns remarks."""
    stored = _cache_file(task, ".npz")
    try:
        with np.load(stored, allow_pickle=False) as file:
            return [Remark(*remark) for remark in json.loads(str(file[REMARKS_KEY]))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # as above
    survey = survey_volume(task)
    if isinstance(survey, Problem):
        return survey
    entry = entry_of(task.files, survey)
    indices = slice_builder.chosen_slices(entry, task.rules.options.subset)
    try:
        with collected() as remarks:
            rows = list(make_records(task, entry, indices))
    except ValueError as error:
        return Problem(task.files.volume, str(error))
    columns: dict[str, Any] = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    columns[REMARKS_KEY] = np.asarray(json.dumps(remarks))
    _write(stored, lambda file: np.savez(file, **columns))
    return remarks


def load_records(
    task: Task, entry: VolumeEntry, indices: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yields the records of some slices from the cache, or from the raw files if it lacks them.

    Raises:
      ValueError: The raw files are needed and broken.
    """
    try:
        with np.load(_cache_file(task, ".npz"), allow_pickle=False) as file:
            columns = {key: file[key] for key in file.files if key != REMARKS_KEY}
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
    bits = _read_readers(task, volume.geometry)
    axis = volumes.slice_axis(volume.spacing_mm, task.rules.slice_axis)
    mask = is_lesion(labels, task.rules.options.lesion_labels)
    spacing = list(volume.spacing_mm)
    first = spacing.pop(axis)
    return SliceVolume(
        np.moveaxis(volume.image_hu, axis, 0),
        np.moveaxis(mask, axis, 0),
        (first, spacing[0], spacing[1]),
        volumes.display_orientation(volume.geometry, slice_axis=axis),
        reader_bits=None if bits is None else np.moveaxis(bits, axis, 0),
        # Who drew nothing in the whole volume leaves no trace in it.
        num_readers=0 if bits is None else int(np.bitwise_or.reduce(bits, axis=None)).bit_count(),
    )


def is_lesion(labels: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Returns which voxels hold one of a few values; many times faster than `np.isin`."""
    mask = labels == wanted[0]
    for value in wanted[1:]:
        mask |= labels == value
    return mask


def _parsed(stored: list[Any]) -> Survey:
    """Returns a survey from its JSON form, in which keys are text and tuples are lists.

    Raises:
      ValueError: It is something else.
    """
    try:
        areas, (voxels, places), plane, remarks = stored
        return Survey(
            {int(index): area for index, area in areas.items()},
            Found(
                {int(value): number for value, number in voxels.items()},
                {int(value): place for value, place in places.items()},
            ),
            plane,
            [Remark(*remark) for remark in remarks],
        )
    except (TypeError, AttributeError) as error:
        raise ValueError("not a stored survey") from error


def _read_label(task: Task, geometry: volumes.Geometry) -> np.ndarray:
    match: Match = "index" if task.rules.match_by_index else "geometry"
    return volumes.read_label(task.files.label, like=geometry, match=match)


def _read_readers(task: Task, geometry: volumes.Geometry) -> np.ndarray | None:
    """Returns bit k set where reader k drew, nothing where nobody tells; None in other sets.

    Raises:
      ValueError: Broken, on another grid than the image, or values that are no eight bits.
    """
    if not task.rules.has_readers:
        return None
    path = task.files.readers
    if path is None:
        text = "no file tells what its readers drew; add one, or evaluate it by another protocol"
        warnings.warn(FileRemark(task.files.image, "no readers", text), stacklevel=2)
        return np.zeros(geometry.shape, np.uint8)
    bits = volumes.read_label(path, like=geometry)
    low, high = int(bits.min()), int(bits.max())
    if low < 0 or high >= 2**READER_BITS:
        raise ValueError(
            f"{path}: expected values 0..{2**READER_BITS - 1}, bit k set where reader k drew, got "
            f"{low}..{high}; write the sum of 2 ** k over the readers who drew, k from 0 to "
            f"{READER_BITS - 1}"
        )
    return bits.astype(np.uint8, copy=False)


def _check_values(files: VolumeFiles, rules: Rules, values: list[int]) -> None:
    """Refuses labels that cannot be those of the dataset."""
    if not rules.known_labels:
        return
    known = {*rules.known_labels, *rules.options.lesion_labels}
    unknown = [value for value in values if value not in known]
    if unknown:
        raise ValueError(
            f"{files.label}: unknown label values {short(unknown)}; this dataset has "
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
    states = (raw_files.states(path.parent, [path]) for path in files.paths)
    facts = [*(str(fact) for fact in files if fact is not None), *states]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    return rules.cache / f"{digest}{suffix}"


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file that is there as a whole or not at all, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        write(file)
    os.replace(temporary, path)
