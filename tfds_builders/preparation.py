"""Prepares a dataset by name: options in, directory of record files out."""

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from ecc_jax import catalog

INDEX_FILE = "index.json"
VARIANTS = ("windowed", "raw")
SUBSETS = ("full", "small")
SPLIT_RULES = ("patient", "thesis")
MIN_SIZE, MAX_SIZE = 16, 4096

# Modules with a class `Builder`; imported when needed, because TFDS takes seconds to import.
BUILDERS = {
    "ct_phantom_2d": "tfds_builders.ct_phantom_2d.ct_phantom_2d_dataset_builder",
    "ct_folder_2d": "tfds_builders.ct_folder_2d.ct_folder_2d_dataset_builder",
}


class DataOptions(NamedTuple):
    """Everything that decides what a prepared dataset holds.

    Attributes:
      name: A name in `ecc_jax.catalog.DATASETS`.
      root: Folder of prepared datasets; empty means `default_root()`.
      path: Folder of the raw data (ct_folder_2d).
      size: Slices are stored as size x size pixels.
      variant: `windowed` clips the stored HU to the window, `raw` keeps them all.
      subset: `full` is every lesion slice, `small` the largest lesion slice of each volume.
      patient_regex: Finds the patient in a volume's name (first group, else the whole match);
        empty means one patient per file.
      lesion_labels: Label values that mean lesion; empty means the catalog's.
      allow_empty: Skip volumes without a lesion instead of refusing them.
      slice_axis: Array axis of the slices; None or -1 means the axis of the largest spacing, else
        the last.
      window_hu: Lower and upper HU for every volume; None or empty means the dataset's own, which
        may differ between volumes.
      split_rule: `patient` splits whole patients, `thesis` splits slices (leaks patients).
      split_seed: Seed of the split.
      kind: Organ of the phantom (lung, kidney, liver, pancreas, mixed).
      num_patients: Patients of the phantom.
    """

    name: str
    root: str = ""
    path: str = ""
    size: int = 512
    variant: str = "windowed"
    subset: str = "full"
    patient_regex: str = ""
    lesion_labels: tuple[int, ...] = ()
    allow_empty: bool = False
    slice_axis: int | None = None
    window_hu: tuple[float, float] | tuple[()] | None = None
    split_rule: str = "patient"
    split_seed: int = 0
    kind: str = "mixed"
    num_patients: int = 120


def default_root() -> Path:
    """Returns where prepared datasets live: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    configured = os.environ.get("TFDS_DATA_DIR")
    return Path(configured).expanduser() if configured else Path.home() / "tensorflow_datasets"


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
    root = Path(options.root)
    builder_class = importlib.import_module(BUILDERS[options.name]).Builder
    facts = builder_class.source_facts(options)
    target = root / options.name / config_name(builder_class, options, facts)
    target = target / str(builder_class.VERSION)
    if is_complete(target):
        return target
    with _locked(target):
        if not is_complete(target):
            _build(builder_class, options, target, progress=progress)
    return target


def resolve(options: DataOptions) -> DataOptions:
    """Returns validated options with the catalog's defaults filled in.

    Raises:
      ValueError: An option is not valid; the message names the valid values.
    """
    name = options.name
    if name not in catalog.DATASETS:
        raise ValueError(f"data.name must be one of {', '.join(catalog.DATASETS)}; got {name!r}")
    info = catalog.DATASETS[name]
    root = Path(options.root).expanduser() if options.root else default_root()
    if name not in BUILDERS:
        raise ValueError(
            f"dataset {name!r} is not prepared under {root} and cannot be built by this version; "
            f"get {info.how_to_get}, convert it to NIfTI and use ct_folder_2d "
            f"({catalog.DATASETS['ct_folder_2d'].how_to_get})"
        )
    for key, value, valid in (
        ("variant", options.variant, VARIANTS),
        ("subset", options.subset, SUBSETS),
        ("split_rule", options.split_rule, SPLIT_RULES),
        ("slice_axis", options.slice_axis, (None, -1, 0, 1, 2)),
    ):
        if value not in valid:
            raise ValueError(f"data.{key} must be one of {valid}; got {value!r}")
    if not MIN_SIZE <= options.size <= MAX_SIZE:
        raise ValueError(f"data.size must be in {MIN_SIZE}..{MAX_SIZE} pixels; got {options.size}")
    try:
        re.compile(options.patient_regex)
    except re.error as error:
        raise ValueError(
            f"data.patient_regex is not a regular expression: {options.patient_regex!r}, {error}"
        ) from error
    return options._replace(
        root=str(root),
        lesion_labels=tuple(sorted(set(options.lesion_labels or info.lesion_labels))),
        slice_axis=None if options.slice_axis == -1 else options.slice_axis,
        window_hu=check_window(options.window_hu, where="data.window_hu")
        if options.window_hu
        else None,
    )


def check_window(window_hu: Sequence[float], *, where: str) -> tuple[float, float]:
    """Returns the window as two floats.

    Raises:
      ValueError: Not two finite numbers in rising order.
    """
    low, high = window_hu if len(window_hu) == 2 else (1.0, 0.0)
    if not -32768 <= low < high <= 32767:
        raise ValueError(
            f"{where} must be two HU, low < high, in int16 range; got {tuple(window_hu)}"
        )
    return float(low), float(high)


def config_name(builder_class: Any, options: DataOptions, facts: dict[str, Any]) -> str:
    """Returns the directory name for resolved options and the facts of the raw data."""
    common = ("size", "variant", "subset", "window_hu", "split_rule", "split_seed")
    used = {key: getattr(options, key) for key in (*common, *builder_class.USED_OPTIONS)}
    default_window = catalog.DATASETS[options.name].window_hu
    text = json.dumps([used, default_window, facts], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{options.size}_{options.variant}_{options.subset}_{digest}"


def is_complete(directory: Path) -> bool:
    """Returns whether a prepared directory holds its index and every file the index lists."""
    try:
        files = json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))["files"]
        return all((directory / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the lock of one prepared directory; the second process waits for the first."""
    folder = target.parent.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{target.parent.name}.lock").open("w")
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder}: {error.strerror}; pass a writable --config.data.root=DIR "
            "or set TFDS_DATA_DIR"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"waiting for the process that prepares {target}\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
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
    staging = Path(tempfile.mkdtemp(dir=target.parent.parent, prefix=prefix))
    try:
        slice_config = slice_builder.SliceConfig(name=config, options=options, progress=progress)
        with _quiet():
            builder = builder_class(data_dir=staging, config=slice_config)
        built = builder.build()
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(built, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
