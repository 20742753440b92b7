"""What all 2-D CT datasets share: features, splits, size fit, records, index.

A dataset is a subclass called `Builder` with three methods: `source_facts` (what identifies the
raw data), `survey` (which slices hold lesions) and `read` (one volume, slices first). All the rest
is here, so that every dataset is stored alike.
"""

import abc
import collections
import contextlib
import dataclasses
import io
import itertools
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from ecc_jax.data import slices as slice_rules
from ecc_jax.volumes import ARRAY_ORDER, Orientation
from tfds_builders.preparation import INDEX_FILE, DataOptions

SPLITS = ("train", "validation", "test")
BYTES_PER_PIXEL = 3  # int16 image and uint8 mask
# The writer spills uncompressed records to disk before it writes the compressed ones.
DISK_FACTOR = 1.5
INT16 = np.iinfo(np.int16)


class VolumeEntry(NamedTuple):
    """One volume as the survey sees it.

    Attributes:
      volume: Its name, unique in the dataset.
      patient: Whose it is; a patient is never in two splits.
      slice_areas: Lesion pixels of each slice that has any, by slice index.
      window_hu: Lower and upper HU of its window.
    """

    volume: str
    patient: str
    slice_areas: dict[int, int]
    window_hu: tuple[float, float]


class SliceVolume(NamedTuple):
    """One volume with the slice axis first, slices in array order.

    Attributes:
      image_hu: Hounsfield units [s h w].
      mask: Lesion voxels, bool or 0/1 [s h w].
      spacing_mm: Voxel size along s, h and w.
      orientation: How its slices become upright; the default for slices that are.
    """

    image_hu: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple[float, float, float]
    orientation: Orientation = ARRAY_ORDER


@dataclasses.dataclass(eq=False)
class SliceConfig(tfds.core.BuilderConfig):
    """A `BuilderConfig` that carries resolved `DataOptions`."""

    options: DataOptions = DataOptions("")
    progress: bool = True


class SliceBuilder(tfds.core.GeneratorBasedBuilder):
    """Base class of the 2-D CT datasets."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.0.0": "Slices in display order, fit_orientation in the record.",
        "1.0.0": "Slices in array order.",
    }
    # Options beside the common ones (size, variant, subset, window_hu, split_*) that change the
    # records of this dataset.
    USED_OPTIONS: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abc.abstractmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns JSON-able facts that identify the state of the raw data.

        Raises:
          ValueError: The raw data are not at hand; says what to get and where to put it.
        """

    @abc.abstractmethod
    def survey(self) -> Sequence[VolumeEntry]:
        """Returns every volume with at least one lesion slice. Show progress with `self.bar`.

        Raises:
          ValueError: The raw data are broken.
        """

    @abc.abstractmethod
    def read(self, entry: VolumeEntry) -> SliceVolume:
        """Returns a surveyed volume.

        Raises:
          ValueError: The raw data are broken.
        """

    @property
    def options(self) -> DataOptions:
        """The resolved options of this build."""
        return self.builder_config.options

    def bar(self, items: Sequence[Any], what: str) -> Any:
        """Returns `items` under a progress bar on stderr."""
        show = self.builder_config.progress
        return tqdm(items, desc=f"{self.name}: {what}", file=sys.stderr, disable=not show)

    def build(self) -> Path:
        """Writes records and index; returns the version directory.

        Raises:
          ValueError: The raw data are broken or the disk is too small.
        """
        tfds.disable_progress_bar()  # ours counts volumes, and TFDS prints to stdout
        with contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare(file_format="array_record")
        directory = Path(self.data_dir)
        write_index(directory, self.options, self._jobs, self._columns())
        return directory

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.options.size

        def array(shape: tuple[int, ...], dtype: Any) -> Any:
            return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

        features = {
            "image": array((size, size), np.int16),
            "mask": array((size, size), np.uint8),
            "window_hu": array((2,), np.float32),
            "patient": tfds.features.Text(),
            "volume": tfds.features.Text(),
            "slice_index": np.int32,
            "spacing_mm": array((3,), np.float32),
            "lesion_area": np.int32,
            "fit_original_shape": array((2,), np.int32),
            "fit_padding": array((2, 2), np.int32),
            "fit_orientation": array((3,), np.uint8),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        self._jobs = plan(self.survey(), self.options)
        num_slices = sum(len(job[1]) for jobs in self._jobs.values() for job in jobs)
        check_disk(Path(self.data_dir), num_slices, self.options.size)
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for entry, indices in self.bar(self._jobs[split], f"write {split}"):
            volume = self.read(entry)
            air = float(volume.image_hu.min())
            for index in indices:
                record = make_record(volume, entry, index, self.options, air=air)
                yield f"{entry.patient}/{entry.volume}/{index}", record

    def _columns(self) -> dict[str, dict[str, list[Any]]]:
        """Reads back what was written: the index must have the order that readers see."""
        columns = {}
        for split in SPLITS:
            source = self.as_data_source(split=split)
            rows = [source[i] for i in self.bar(range(len(source)), f"index {split}")]
            columns[split] = {
                "patient": [row["patient"].decode() for row in rows],
                "volume": [row["volume"].decode() for row in rows],
                "slice_index": [int(row["slice_index"]) for row in rows],
                "lesion_area": [int(row["lesion_area"]) for row in rows],
            }
        return columns


Jobs = dict[str, list[tuple[VolumeEntry, list[int]]]]


def plan(entries: Sequence[VolumeEntry], options: DataOptions) -> Jobs:
    """Returns for each split the volumes to read and the slices to store.

    The split by patient is computed on all lesion slices for either subset, so a patient who
    trains the full set never tests the small one.

    Raises:
      ValueError: Fewer than three patients (`thesis`: four slices) have lesions.
    """
    entries = sorted(entries, key=lambda entry: (entry.patient, entry.volume))
    pairs = [(entry, index) for entry in entries for index in _chosen_slices(entry, options.subset)]
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


def _chosen_slices(entry: VolumeEntry, subset: str) -> list[int]:
    areas = entry.slice_areas
    if subset == "small":
        return [min(areas, key=lambda index: (-areas[index], index))]
    return sorted(areas)


def make_record(
    volume: SliceVolume, entry: VolumeEntry, index: int, options: DataOptions, *, air: float
) -> dict[str, Any]:
    """Returns the record of one slice, in display order.

    The image is fitted before it is clipped, so a `windowed` record is the clipped `raw` one.

    Args:
      volume: The volume, slices first.
      entry: Its entry of the survey.
      index: The slice.
      options: Resolved options.
      air: Hounsfield units of padding.
    """
    image, mask, fit = slice_rules.fit_to_size(
        np.asarray(volume.image_hu[index], np.float32),
        np.asarray(volume.mask[index], bool),
        options.size,
        air=air,
        orientation=volume.orientation,
    )
    between, rows, columns = volume.spacing_mm
    if volume.orientation.transpose:
        rows, columns = columns, rows
    low, high = entry.window_hu if options.variant == "windowed" else (INT16.min, INT16.max)
    return {
        "image": np.rint(np.clip(image, low, high)).astype(np.int16),
        "mask": mask.astype(np.uint8),
        "window_hu": np.asarray(entry.window_hu, np.float32),
        "patient": entry.patient,
        "volume": entry.volume,
        "slice_index": index,
        "spacing_mm": np.asarray((between, rows, columns), np.float32),
        "lesion_area": int(mask.sum()),
        "fit_original_shape": np.asarray(fit.original_shape, np.int32),
        "fit_padding": np.asarray(fit.padding, np.int32),
        "fit_orientation": np.asarray(fit.orientation, np.uint8),
    }


def check_disk(directory: Path, num_slices: int, size: int) -> None:
    """Refuses to start what the disk cannot hold.

    Raises:
      ValueError: Fewer bytes are free than the records may need while they are written.
    """
    need = int(DISK_FACTOR * num_slices * size * size * BYTES_PER_PIXEL)
    free = shutil.disk_usage(directory).free
    if need > free:
        raise ValueError(
            f"{num_slices} slices of {size} x {size} pixels need up to {need / 1e9:.1f} GB in "
            f"{directory}, {free / 1e9:.1f} GB are free; free space, lower --config.data.size, or "
            "pass another --config.data.root"
        )


def write_index(
    directory: Path,
    options: DataOptions,
    jobs: Jobs,
    columns: dict[str, dict[str, list[Any]]],
) -> None:
    """Writes `index.json`: what readers need to choose slices without decoding records.

    Layout: {"name", "version", "options", "window_hu": [low, high] or null if volumes differ,
    "counts": {split: {slices, volumes, patients}}, "splits": {split: {patient, volume,
    slice_index, lesion_area}}, "files": {file: bytes}}; the lists run in the order of
    `as_data_source(split)`.
    """
    windows = sorted({entry.window_hu for split in jobs.values() for entry, _ in split})
    counts = {
        split: {
            "slices": len(table["patient"]),
            "volumes": len(set(table["volume"])),
            "patients": len(set(table["patient"])),
        }
        for split, table in columns.items()
    }
    index = {
        "name": options.name,
        "version": str(SliceBuilder.VERSION),
        "options": options._asdict(),
        "window_hu": windows[0] if len(windows) == 1 else None,
        "counts": counts,
        "splits": columns,
        "files": {path.name: path.stat().st_size for path in sorted(directory.iterdir())},
    }
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=1), encoding="utf-8")
