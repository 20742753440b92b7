"""Which patients a run may be tested on: the record in its workdir, held against prepared data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from ecc_jax import atomic, catalog
from ecc_jax import config as schema
from ecc_jax.data import pipeline, seen
from ecc_jax.data.seen import Admission, Seen, Source
from ecc_jax.places import absolute, run_folder
from ecc_jax.settings import folds_of
from ecc_jax.training import checkpoints

RECORD_FILE = "seen.json"
# Keys that decide who is in which split.
_SPLIT_KEYS = ("folds", "fold", "split_seed", "split_rule", "patient_regex")
NOT_RECORDED = (
    "not recorded: the run is of an earlier version, or its weights come from elsewhere, so nobody "
    "can tell whether these patients were trained on"
)


def for_training(
    config: ml_collections.ConfigDict, directory: Path, folder: Path
) -> tuple[tuple[Seen, ...], Admission]:
    """Returns who will have shaped a run, and who may be tested when it is done.

    Args:
      config: The resolved configuration.
      directory: The prepared dataset.
      folder: The run's workdir; a record in it is that of the run to resume.

    Raises:
      ValueError: Two splits share a scan, the data changed since the run began, or the weights to
        start from have seen patients that would be tested.
    """
    source = _source(config)
    rows = {split: _rows(config, directory, split) for split in pipeline.SPLITS}
    seen.check_apart(rows, source)
    own = seen.seen_by(str(folder), source, rows)
    history, before = (own, *_inherited(config)), read_record(folder)
    if checkpoints.complete_steps(folder / "checkpoints"):
        if before is None:
            return history, Admission((), NOT_RECORDED)
        _check_unchanged(before[0], own, folder)
    split = config.data.split
    tested = rows[split] if split in rows else [row for part in rows.values() for row in part]
    return history, seen.admit(history, tested, source, split=split)


def for_evaluation(
    config: ml_collections.ConfigDict,
    directory: Path,
    folder: Path,
    *,
    saved: ml_collections.ConfigDict,
    overrides: Mapping[str, Any],
) -> tuple[ml_collections.ConfigDict, Admission]:
    """Returns the configuration to evaluate, and who may be tested.

    The folds of a run divide a copy of its data too, but no data of which it has seen nobody.

    Args:
      config: What `merge_for_evaluation` returned.
      directory: The prepared dataset.
      folder: The run's workdir.
      saved: The run's configuration.
      overrides: Keys given by name.

    Raises:
      ValueError: Patients would be tested that the run has seen, or the record is damaged.
    """
    history = read_record(folder)
    if history is None:
        return config, Admission((), NOT_RECORDED)
    source, split = _source(config), config.data.split
    if config.data.folds and not is_own_data(saved, config) and "data.folds" not in overrides:
        everybody = pipeline.open_split(directory, "all").index
        if not any(seen.find_seen(history, everybody, source).values()):
            config = schema.from_dict(schema.to_dict(config))
            config.data.folds = config.data.fold = 0
    rows = _rows(config, directory, split)
    return config, seen.admit(history, rows, source, split=split)


def keep_patients_apart(
    saved: ml_collections.ConfigDict,
    merged: ml_collections.ConfigDict,
    overrides: Mapping[str, Any],
) -> None:
    """Gives an evaluation the split that its run was trained with.

    On the run's own data, and on the same dataset elsewhere, which may be a copy, whatever the
    configuration given beside the run says; other datasets are not divided into the run's folds.

    Raises:
      ValueError: Another split of the run's own data was asked for by name.
    """
    is_same_dataset = merged.data.name == saved.data.name
    is_own = is_own_data(saved, merged)
    for key in _SPLIT_KEYS:
        name = f"data.{key}"
        is_asked = name in overrides
        if not is_same_dataset:
            if key in ("folds", "fold") and not is_asked:
                merged.data[key] = 0
            elif key == "patient_regex" and not is_asked and merged.data[key] == saved.data[key]:
                merged.data[key] = ""  # names of the run's own data
        elif not is_asked:
            if is_own or key != "patient_regex":  # names elsewhere may be of another form
                merged.data[key] = saved.data[key]
        elif is_own and key == "patient_regex" and merged.data[key] != saved.data[key]:
            raise ValueError(
                f"{name}={merged.data[key]!r}: the run was trained with {saved.data[key]!r}, and "
                "nobody could tell its patients under other names; leave the key away"
            )
        elif is_own and merged.data.split != "all" and merged.data[key] != saved.data[key]:
            raise ValueError(
                f"{name}={merged.data[key]}: the run was trained with {saved.data[key]}, so its "
                "test patients would include some that it was trained on; leave the key away (or "
                "evaluate data.split=all, which leaves those out)"
            )


def is_own_data(saved: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> bool:
    """Returns whether a configuration names the data that a run was started with."""
    paths = {absolute(c.data.path) for c in (saved, config) if c.data.path}
    return config.data.name == saved.data.name and len(paths) <= 1


def read_record(folder: Path) -> tuple[Seen, ...] | None:
    """Returns who shaped a run and the weights that it started from; None if nobody wrote it down.

    Raises:
      ValueError: The record is damaged.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        history = seen.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} is damaged ({error}), and without it nobody knows who was trained on; restore "
            "it, or train anew"
        ) from error
    # The folder may have been moved since.
    return tuple(
        entry._replace(run=str(folder)) if not i else entry for i, entry in enumerate(history)
    )


def write_record(history: tuple[Seen, ...], folder: Path) -> None:
    """Writes who shapes a run, before it trains; a run of an earlier version stays without."""
    if not checkpoints.complete_steps(folder / "checkpoints"):
        atomic.write_text(folder / RECORD_FILE, json.dumps(seen.to_json(history)))


def _check_unchanged(before: Seen, own: Seen, folder: Path) -> None:
    """Refuses to go on training with other patients than before."""
    changed = seen.changes(before, own)
    if changed:
        raise ValueError(
            f"the data changed since {folder} began to train: {'; '.join(changed)}. Going on would "
            "mix its training and test patients; restore the data to resume, or start another "
            "--workdir"
        )


def _inherited(config: ml_collections.ConfigDict) -> tuple[Seen, ...]:
    """Returns who shaped the weights that a run starts from."""
    if not config.model.pretrained:
        return ()
    origin = run_folder(config.model.pretrained)
    record = read_record(origin)
    return (seen.unknown(str(origin)),) if record is None else record


def _rows(config: ml_collections.ConfigDict, directory: Path, split: str) -> seen.Rows:
    return pipeline.open_split(directory, split, folds=folds_of(config)).index


def _source(config: ml_collections.ConfigDict) -> Source:
    """Returns where the patients of a configuration come from."""
    data = config.data
    key = catalog.DATASETS[data.name].names_within
    is_joined = catalog.DATASETS[data.name].organ == "mixed"
    parts = [catalog.split_source(name)[0] for name in (data.sources if is_joined else [data.name])]
    is_drawn = any(catalog.DATASETS[name].organ == "synthetic" for name in parts)
    place, by_slice = data[key] if key else "", data.split_rule == "thesis"
    return Source(data.name, place, by_slice, drawn_px=data.size if is_drawn else 0)
