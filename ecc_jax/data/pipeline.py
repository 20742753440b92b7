"""Prepared slices -> batches: array_record files, read by grain, sharded by host and by device.

The host only reads int16 slices and uint8 masks. Everything after that (window, augmentation,
clicks, network) happens on the device, inside the compiled steps.
"""

import collections
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np

from ecc_jax.catalog import INDEX_FILE, SPLITS
from ecc_jax.data.sampling import Draws, Group
from ecc_jax.data.slices import fold_split, stored_pixel_mm
from ecc_jax.types import Batch


class SliceSet(NamedTuple):
    """The slices of one split, random access.

    Attributes:
      records: `records[i]` is a dict of arrays (image, mask, window_hu, ...).
      index: For each record what is known without decoding it: patient, volume, volume_id,
        slice_id, slice_index, lesion_area.
    """

    records: Sequence[dict[str, Any]]
    index: list[dict[str, Any]]  # type: ignore[assignment]  # hides tuple.index, on purpose

    def __len__(self) -> int:
        return len(self.index)


class Folds(NamedTuple):
    """A k-fold cross-validation by patient in place of the prepared split.

    Attributes:
      folds: How many; 0 keeps the prepared split.
      fold: The one that is tested.
      seed: Seed of the folds.
    """

    folds: int = 0
    fold: int = 0
    seed: int = 0


NO_FOLDS = Folds()


class _Concatenated(Sequence[dict[str, Any]]):
    """Several record sources behind one index."""

    def __init__(self, parts: list[Sequence[dict[str, Any]]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        return self._parts[part][int(index) - start]


def open_split(directory: str | Path, split: str, *, folds: Folds = NO_FOLDS) -> SliceSet:
    """Opens a split (train, validation, test or all) of a prepared dataset.

    Args:
      directory: The prepared dataset.
      split: train, validation, test or all.
      folds: If not 0 folds, all slices are divided anew: one prepared dataset serves every fold.

    Raises:
      ValueError: The directory holds no prepared dataset, the split is unknown or empty, or there
        are too few patients for the folds.
    """
    if folds.folds and split in SPLITS:
        return _fold(open_split(directory, "all"), split, folds)
    import tensorflow_datasets as tfds  # seconds to import, so not before it is needed

    directory = Path(directory)
    if not (directory / INDEX_FILE).is_file():
        raise ValueError(
            f"{directory} is not a prepared dataset: {INDEX_FILE} is missing; prepare it with "
            "scripts/build_dataset.py, or delete the folder to have it prepared again"
        )
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, all; got {split!r}")
    index = json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))["splits"]
    builder = tfds.builder_from_directory(str(directory))
    names = [name for name in (SPLITS if split == "all" else (split,)) if index[name]["patient"]]
    if not names:
        raise ValueError(f"split {split!r} of {directory} holds no slice")
    parts = [builder.as_data_source(split=name) for name in names]
    rows = [row for name in names for row in _rows(index[name])]
    records = parts[0] if len(parts) == 1 else _Concatenated(parts)
    if len(records) != len(rows):
        raise ValueError(
            f"{directory}: {INDEX_FILE} lists {len(rows)} slices, found {len(records)}"
        )
    return SliceSet(records, rows)


def _fold(everything: SliceSet, split: str, folds: Folds) -> SliceSet:
    """Returns the slices of the patients that a fold puts into a split."""
    sizes = collections.Counter(row["patient"] for row in everything.index)
    names = sorted(sizes)
    chosen = fold_split(names, [sizes[name] for name in names], **folds._asdict())[split]
    return only_patients(everything, chosen)


def only_patients(slices: SliceSet, patients: Collection[str]) -> SliceSet:
    """Returns the slices of some patients, in their order."""
    wanted = set(patients)
    positions = [i for i, row in enumerate(slices.index) if row["patient"] in wanted]
    index = [slices.index[i] for i in positions]
    return SliceSet(_Part(slices.records, positions), index)


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    names = ("patient", "volume", "volume_id", "slice_id", "slice_index", "lesion_area")
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(columns[name] for name in names), strict=True)
    ]


def spread_over_patients(rows: list[dict[str, Any]], *, max_slices: int) -> np.ndarray:
    """Returns at most `max_slices` positions, as many as possible from different patients.

    Patients take turns; each gives its slices in an order that spreads over its range. The choice
    is deterministic and does not depend on the order of the records. 0 returns every position.
    """
    if not max_slices or len(rows) <= max_slices:
        return np.arange(len(rows))
    queues = [_spread(group) for group in _by_patient(rows).values()]
    chosen: list[int] = []
    turn = 0
    while len(chosen) < max_slices:
        chosen.extend(queue[turn] for queue in queues if turn < len(queue))
        turn += 1
    return np.sort(np.asarray(chosen[:max_slices]))


def limit_per_patient(rows: list[dict[str, Any]], *, max_slices: int) -> np.ndarray:
    """Returns the positions of at most `max_slices` slices of every patient; 0 keeps all."""
    if not max_slices:
        return np.arange(len(rows))
    groups = _by_patient(rows).values()
    return np.sort(np.concatenate([_spread(group)[:max_slices] for group in groups]))


def _by_patient(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    order = sorted(
        range(len(rows)),
        key=lambda i: (rows[i]["patient"], rows[i]["volume"], rows[i]["slice_index"]),
    )
    groups: dict[str, list[int]] = {}
    for position in order:
        groups.setdefault(rows[position]["patient"], []).append(position)
    return groups


def _spread(positions: list[int]) -> list[int]:
    """Orders positions so that every prefix covers the range: middle, quarters, eighths, ..."""
    fraction = np.asarray([_bit_reversed(i + 1) for i in range(2 * len(positions))])
    order = list(dict.fromkeys(int(f * len(positions)) for f in fraction))
    rest = [i for i in range(len(positions)) if i not in set(order)]
    return [positions[i] for i in (*order, *rest)]


def _bit_reversed(i: int) -> float:
    value, scale = 0.0, 0.5
    while i:
        value += scale * (i & 1)
        i, scale = i >> 1, scale / 2
    return value


def _to_batch(record: dict[str, Any], position: int) -> Batch:
    values: dict[str, Any] = {
        "image_hu": np.asarray(record["image"], np.int16),
        "window_hu": np.asarray(record["window_hu"], np.float32),
        "target": np.asarray(record["mask"], np.uint8),
        "valid": np.asarray(True),
        "position": np.asarray(position, np.int32),
        "pixel_mm": np.asarray(stored_pixel_mm(record), np.float32),
    }
    return Batch(**values)


def abstract_batch(batch_size: int, size: int) -> Any:
    """Returns the shapes and dtypes of a `Batch` of slices of size x size pixels."""
    record = {
        "image": np.zeros((size, size), np.int16),
        "window_hu": np.zeros(2, np.float32),
        "mask": np.zeros((size, size), np.uint8),
    }
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape), x.dtype), _to_batch(record, 0)
    )


class _Part(Sequence[dict[str, Any]]):
    """Some records of a source."""

    def __init__(self, records: Sequence[dict[str, Any]], positions: list[int]) -> None:
        self._records, self._positions = records, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Any:
        return self._records[self._positions[int(index)]]


class _Chosen:
    """Random access to chosen positions of a split, as `Batch` rows."""

    def __init__(
        self,
        slices: SliceSet,
        positions: np.ndarray | Sequence[int],
        window_hu: tuple[float, ...] = (),
    ) -> None:
        self._slices, self._positions, self._window = slices, positions, window_hu

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Batch:
        position = int(self._positions[int(index)])
        row = _to_batch(self._slices.records[position], position)
        if self._window:
            window: Any = np.asarray(self._window, np.float32)
            row = row._replace(window_hu=window)
        return row


def train_batches(
    slices: SliceSet,
    positions: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    threads: int = 4,
    window_hu: tuple[float, ...] = (),
    groups: Sequence[Group] = (),
) -> Iterator[Batch]:
    """Yields this host's rows of every training batch, endlessly, reshuffled at each pass.

    With groups there are no passes: every row is drawn anew, see `sampling.Draws`.

    Batch `step` is a pure function of (positions or groups, seed, step): a resumed run asks for
    `first_step` and continues exactly where the interrupted one stopped.

    Args:
      slices: The training split.
      positions: The slices of it that are trained on.
      batch_size: Rows over all hosts.
      seed: Of the order, or of the draws.
      first_step: The step of the first batch.
      threads: That read; 0 reads in the caller's.
      window_hu: HU window in place of the stored ones; empty keeps these.
      groups: Of the same slices, to draw from by weight; empty takes every slice once per pass.
    """
    hosts, host = jax.process_count(), jax.process_index()
    if groups:
        rows = grain.MapDataset.source(_Chosen(slices, Draws(groups, seed), window_hu))[host::hosts]
    else:
        source = grain.MapDataset.source(_Chosen(slices, positions, window_hu))
        rows = source.seed(seed).shuffle()[host::hosts].repeat()
    local = batch_size // hosts
    # Batches of one row are as many as the rows, a number that grain's own count overflows.
    dataset = rows.map(_alone) if local == 1 else rows.batch(local, batch_fn=stack)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, 2))
    iterator = iter(dataset.to_iter_dataset(options))
    iterator.set_state({"next_index": first_step})
    return iterator


def _alone(row: Batch) -> Batch:
    """Returns one row as a batch."""
    return stack([row])


def stack(rows: Sequence[Batch]) -> Batch:
    """Stacks rows along a new batch axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def eval_batches(
    slices: SliceSet,
    positions: np.ndarray,
    *,
    batch_size: int,
    window_hu: tuple[float, ...] = (),
) -> Iterator[Batch]:
    """Yields this host's rows of the chosen slices in order, the last batch padded.

    Padding repeats the last slice with `valid` False and `position` -1.
    """
    hosts, host = jax.process_count(), jax.process_index()
    local = batch_size // hosts
    source = _Chosen(slices, positions, window_hu)
    for start in range(0, len(positions), batch_size):
        wanted = start + host * local + np.arange(local)
        rows = [source[min(int(i), len(positions) - 1)] for i in wanted]
        batch: Any = stack(rows)
        valid = wanted < len(positions)
        where = np.where(valid, batch.position, -1).astype(np.int32)
        yield batch._replace(valid=valid, position=where)


def read_row(slices: SliceSet, position: int, *, window_hu: tuple[float, ...] = ()) -> Batch:
    """Returns one slice as a `Batch` row without batch axis, for host-side methods."""
    return _Chosen(slices, np.asarray([position]), window_hu)[0]
