"""Prepares a dataset by name: options in, directory of record files out."""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from ecc_jax import atomic, catalog, places
from tfds_builders import earlier, planes
from tfds_builders.options import DataOptions, module_of, options_of, resolve, used_options
from tfds_builders.prepared_index import is_complete, read_index


def prepare_for(config: Any) -> Path:
    """Returns the prepared dataset of a run's configuration, building it if its source is at hand.

    Raises:
      ValueError: What to download and where to put it, or what is wrong with the source.
    """
    return prepare(options_of(config.data))


def prepare(options: DataOptions, *, progress: bool = True) -> Path:
    """Returns the directory of the prepared dataset, building it first if it is not there.

    The directory's name carries a hash of every option that matters and of the state of the raw
    files, so other options or an edited folder never meet records that do not belong to them.
    A directory is renamed into place only when it is complete; processes that want the same one
    wait for each other.

    Args:
      options: What to prepare.
      progress: Show progress bars on stderr.

    Returns:
      A directory with `index.json` and array_record files; open it with
      `tensorflow_datasets.builder_from_directory`.

    Raises:
      ValueError: An option is invalid, the raw data are missing or broken, or the disk is full.
    """
    options = resolve(options)
    builder_class = builder_of(options.name)
    target = _target(builder_class, options)
    if not is_complete(target):
        with _locked(target):
            if not is_complete(target):
                _build(builder_class, options, target, progress=progress)
    index = read_index(target)
    if options.strict:
        _refuse_skipped(target, index)
    if not options.mixed_planes:
        planes.refuse_mixed(options.name, index["remarks"])
    return target


def builder_of(name: str) -> Any:
    """Returns the builder class of a dataset; imports TFDS."""
    return importlib.import_module(module_of(name)).Builder


def _target(builder_class: Any, options: DataOptions) -> Path:
    """Returns the directory of the dataset, which may not be there yet."""
    try:
        facts = builder_class.source_facts(options)
    except ValueError:
        # A raw folder that is there and broken is an error; one that is gone may have been used.
        has_raw = bool(options.path) and os.path.exists(options.path)
        reuses = builder_class.REUSES_PREPARED and not has_raw
        prepared = earlier.find_prepared(builder_class, options) if reuses else None
        if prepared is None:
            raise
        return prepared
    folder = Path(options.root) / options.name / config_name(builder_class, options, facts)
    return folder / str(builder_class.VERSION)


def _refuse_skipped(directory: Path, index: dict[str, Any]) -> None:
    skipped = index["skipped"]
    if skipped:
        volume, reason = next(iter(skipped.items()))
        raise ValueError(
            f"strict: {directory} lacks {len(skipped)} broken volumes, the first is {volume}: "
            f"{reason}"
        )


def config_name(builder_class: Any, options: DataOptions, facts: dict[str, Any]) -> str:
    """Returns the directory name for resolved options and the facts of the raw data."""
    used = used_options(builder_class, options)
    default_window = catalog.DATASETS[options.name].window_hu
    text = json.dumps([used, default_window, facts], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{options.size}_{options.variant}_{options.subset}_{digest}"


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the lock of one prepared directory; the second process waits for the first.

    Raises:
      PlaceError: The folder takes no files, now or while the block runs.
    """
    folder = target.parent.parent

    def wait() -> None:
        sys.stderr.write(f"waiting for the process that prepares {target}\n")

    with (
        places.writing(
            folder, elsewhere="pass a writable --config.data.root=DIR or set TFDS_DATA_DIR"
        ),
        atomic.locked(folder / f".{target.parent.name}.lock", on_busy=wait),
    ):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS's warning that the configuration is custom: ours always are."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _build(builder_class: Any, options: DataOptions, target: Path, *, progress: bool) -> None:
    """Builds beside the target and renames; the caller holds the lock."""
    from tfds_builders import slice_builder  # imports TFDS

    config = target.parent.name
    prefix = f".{config}.incomplete-"
    for leftover in target.parent.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    superseded = earlier.superseded(builder_class, target)
    if superseded:
        warnings.warn(superseded, stacklevel=4)
    staging = Path(tempfile.mkdtemp(dir=target.parent.parent, prefix=prefix))
    try:
        slice_config = slice_builder.SliceConfig(name=config, options=options, progress=progress)
        with _quiet():
            builder = builder_class(data_dir=staging, config=slice_config)
        built = builder.build()
        changes = earlier.changes(builder_class, options, read_index(built))
        if changes:
            warnings.warn(changes, stacklevel=4)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(built, target)
        builder.discard_cache()
    finally:
        shutil.rmtree(staging, ignore_errors=True)
