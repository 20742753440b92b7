"""What all 2-D CT datasets share: features, splits, size fit, records, index.

A dataset is a subclass of `SliceBuilder` called `Builder` with three methods: `source_facts` (what
identifies the raw data), `survey` (which slices hold lesions) and `read` (one volume, slices
first). All the rest is here, so that every dataset is stored alike.
"""

import abc
import contextlib
import dataclasses
import functools
import io
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from ecc_jax.catalog import SPLITS
from ecc_jax.data import slices as slice_rules
from ecc_jax.data.readers import READER_BITS
from ecc_jax.volumes import ARRAY_ORDER, Orientation, identity_of
from tfds_builders import record_checks, remarks
from tfds_builders.options import CONFIGS, DataOptions, resolve
from tfds_builders.prepared_index import write_index
from tfds_builders.split_plan import VolumeEntry, plan
from tfds_builders.split_plan import chosen_slices as chosen_slices

BYTES_PER_PIXEL = 3  # int16 image and uint8 mask
# The writer spills uncompressed records to disk before it writes the compressed ones.
DISK_FACTOR = 1.5
INDEX_TEXTS = ("patient", "volume", "volume_id", "slice_id")
INDEX_NUMBERS = ("slice_index", "lesion_area")
INT16 = np.iinfo(np.int16)


class SliceVolume(NamedTuple):
    """One volume with the slice axis first, slices in array order.

    Attributes:
      image_hu: Hounsfield units [s h w].
      mask: Lesion voxels, bool or 0/1 [s h w].
      spacing_mm: Voxel size along s, h and w.
      orientation: How its slices become upright; the default for slices that are.
      identity: Tells the scan from others, whatever its files are called; empty takes it from the
        image.
      reader_bits: Bit k is set where reader k drew [s h w]; None without readers.
      num_readers: How many readers could have drawn in the volume.
    """

    image_hu: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple[float, float, float]
    orientation: Orientation = ARRAY_ORDER
    identity: str = ""
    reader_bits: np.ndarray | None = None
    num_readers: int = 0


@dataclasses.dataclass(eq=False)
class SliceConfig(tfds.core.BuilderConfig):
    """A `BuilderConfig` that carries resolved `DataOptions`."""

    options: DataOptions = DataOptions("")
    progress: bool = True


def named_configs(name: str) -> list[SliceConfig]:
    """Returns the named configurations of a dataset; see `preparation.CONFIGS`."""
    return [
        SliceConfig(
            name=config,
            description=", ".join(f"{key} {value}" for key, value in changes.items()),
            options=DataOptions(name)._replace(**changes),
        )
        for config, changes in CONFIGS.items()
    ]


class RecordBuilder(tfds.core.GeneratorBasedBuilder):
    """Base class of the 2-D CT datasets: what a record holds, and the index."""

    VERSION = tfds.core.Version("2.2.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.2.0": "Identities of slice and volume in the record; unknown spacing is NaN.",
        "2.1.0": "Source file in the record, volumes left out in the index.",
        "2.0.0": "Slices in display order, fit_orientation in the record.",
        "1.0.0": "Slices in array order.",
    }
    # Options beside the common ones (size, variant, subset, window_hu, split_*) that change the
    # records of this dataset.
    USED_OPTIONS: ClassVar[tuple[str, ...]] = ()
    # Text features beside the common ones; `VolumeEntry.extra` holds their values.
    EXTRA_FEATURES: ClassVar[tuple[str, ...]] = ()
    # Whether a dataset prepared with the same options does without its raw data.
    REUSES_PREPARED: ClassVar[bool] = False

    @classmethod
    @abc.abstractmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns JSON-able facts that identify the state of the raw data.

        Raises:
          ValueError: The raw data are not at hand; says what to get and where to put it.
        """

    @property
    def has_readers(self) -> bool:
        """Whether records hold what each of several readers drew."""
        return False

    @functools.cached_property
    def options(self) -> DataOptions:
        """The resolved options of this build."""
        return resolve(self.builder_config.options)

    @functools.cached_property
    def remarks(self) -> remarks.Remarks:
        """What is odd about volumes; grows while they are read and written."""
        return {}

    @property
    def skipped(self) -> dict[str, str]:
        """Broken volumes that were left out, with the reason; known after the survey."""
        return {}

    @property
    def without_lesion(self) -> list[str]:
        """Sound volumes that hold no lesion; known after the survey."""
        return []

    def discard_cache(self) -> None:
        """Removes what a killed build would have continued from."""

    def bar(self, items: Iterable[Any], what: str, *, total: int | None = None) -> Any:
        """Returns `items` under a progress bar with the time left, on stderr."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        return tqdm(
            items,
            desc=f"{self.name}: {what}",
            total=total,
            file=sys.stderr,
            disable=not self.builder_config.progress,
        )

    def build(self) -> Path:
        """Writes records and index; returns the version directory.

        Raises:
          ValueError: The raw data are broken or the disk is too small.
        """
        tfds.disable_progress_bar()  # ours counts volumes, and TFDS prints to stdout
        with contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare(file_format="array_record")
        directory = Path(self.data_dir)
        self._write_index(directory)
        return directory

    def _say_remarks(self, columns: dict[str, dict[str, list[Any]]]) -> None:
        stored = {volume for table in columns.values() for volume in table["volume"]}
        for line in remarks.lines(self.remarks, self.name, total=len(stored)):
            warnings.warn(line, stacklevel=5)

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
            "volume_id": tfds.features.Text(),
            "slice_id": tfds.features.Text(),
            "slice_index": np.int32,
            "spacing_mm": array((3,), np.float32),
            "lesion_area": np.int32,
            "fit_original_shape": array((2,), np.int32),
            "fit_padding": array((2, 2), np.int32),
            "fit_orientation": array((3,), np.uint8),
            **{key: tfds.features.Text() for key in self.EXTRA_FEATURES},
        }
        if self.has_readers:
            features |= {"reader_masks": array((size, size), np.uint8), "num_readers": np.int32}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
        )

    def _write_index(self, directory: Path) -> None:
        """Reads back what was written: the index must have the order that readers see."""
        columns: dict[str, dict[str, list[Any]]] = {}
        windows: set[tuple[float, ...]] = set()
        for split in SPLITS:
            source = self.as_data_source(split=split)
            table: dict[str, list[Any]] = {key: [] for key in (*INDEX_TEXTS, *INDEX_NUMBERS)}
            for i in self.bar(range(len(source)), f"index {split}"):
                row = source[i]
                windows.add(tuple(row["window_hu"].tolist()))
                for key in INDEX_TEXTS:
                    table[key].append(row[key].decode())
                for key in INDEX_NUMBERS:
                    table[key].append(int(row[key]))
            columns[split] = table
        shared = record_checks.shared_content(columns)
        if shared:
            self.remarks[record_checks.SHARED] = shared
        self._say_remarks(columns)
        write_index(
            directory,
            self.options,
            columns,
            version=str(self.VERSION),
            windows=windows,
            skipped=self.skipped,
            without_lesion=self.without_lesion,
            remarks=self.remarks,
        )


class SliceBuilder(RecordBuilder):
    """Base class of the datasets cut from volumes."""

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

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        self._jobs = plan(self.survey(), self.options)
        num_slices = sum(len(job[1]) for jobs in self._jobs.values() for job in jobs)
        check_disk(Path(self.data_dir), num_slices, self.options.size)
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for entry, indices in self.bar(self._jobs[split], f"write {split}"):
            records = self.records(entry, indices)
            for index in indices:
                with remarks.collected() as found:
                    record = next(records)
                found += record_checks.window_remarks(record)
                remarks.add(self.remarks, entry.volume, found)
                yield f"{entry.patient}/{entry.volume}/{index}", record

    def records(self, entry: VolumeEntry, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yields the records of some slices of a surveyed volume, in the order of `indices`."""
        volume = identified(self.read(entry))
        air = float(volume.image_hu.min())
        for index in indices:
            yield make_record(volume, entry, index, self.options, air=air)


def identified(volume: SliceVolume) -> SliceVolume:
    """Returns a volume that has its identity; taken once, not for every slice."""
    return volume._replace(identity=volume.identity or identity_of(volume.image_hu))


def make_record(
    volume: SliceVolume, entry: VolumeEntry, index: int, options: DataOptions, *, air: float
) -> dict[str, Any]:
    """Returns the record of one slice, in display order.

    The image is fitted before it is clipped, so a `windowed` record is the clipped `raw` one.

    Args:
      volume: The volume, slices first, with its identity.
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
    readers = {}
    if volume.reader_bits is not None:
        bits = _fit_bits(volume.reader_bits[index], options.size, volume.orientation)
        readers = {"reader_masks": bits, "num_readers": volume.num_readers}
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
        "volume_id": volume.identity,
        "slice_id": identity_of(volume.image_hu[index]),
        "slice_index": index,
        "spacing_mm": np.asarray((between, rows, columns), np.float32),
        "lesion_area": int(mask.sum()),
        "fit_original_shape": np.asarray(fit.original_shape, np.int32),
        "fit_padding": np.asarray(fit.padding, np.int32),
        "fit_orientation": np.asarray(fit.orientation, np.uint8),
        **readers,
        **(entry.extra or {}),
    }


def _fit_bits(bits: np.ndarray, size: int, orientation: Orientation) -> np.ndarray:
    """Returns reader masks fitted as the mask of the record is, each by itself."""
    fitted = np.zeros((size, size), np.uint8)
    nothing = np.zeros(bits.shape, np.float32)
    for bit in range(READER_BITS):
        own = (bits >> np.uint8(bit)) & 1
        if own.any():
            _, mask, _ = slice_rules.fit_to_size(
                nothing, own, size, air=0.0, orientation=orientation
            )
            fitted |= mask.astype(np.uint8) << np.uint8(bit)
    return fitted


def check_disk(
    directory: Path, num_slices: int, size: int, *, factor: float = DISK_FACTOR, present: int = 0
) -> None:
    """Refuses to start what the disk cannot hold.

    Args:
      directory: Where the records go.
      num_slices: Slices to be written.
      size: Their side, pixels.
      factor: Bytes needed at the peak, over those of the uncompressed records.
      present: Bytes of these that an interrupted build has written already.

    Raises:
      ValueError: Fewer bytes are free than the records may need while they are written.
    """
    need = int(factor * num_slices * size * size * BYTES_PER_PIXEL) - present
    free = shutil.disk_usage(directory).free
    if need > free:
        raise ValueError(
            f"{num_slices} slices of {size} x {size} pixels need up to {need / 1e9:.1f} GB in "
            f"{directory}, {free / 1e9:.1f} GB are free; free space, lower --config.data.size, or "
            "pass another --config.data.root"
        )
