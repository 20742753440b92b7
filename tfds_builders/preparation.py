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
SPLITS = ("train", "validation", "test")
VARIANTS = ("windowed", "raw")
SUBSETS = ("full", "small")
SPLIT_RULES = ("patient", "thesis")
# What the named configurations of the builders, and of scripts/build_dataset.py, stand for.
CONFIGS: dict[str, dict[str, Any]] = {
    "full": {},
    "small": {"subset": "small"},
    "full_thesis": {"split_rule": "thesis"},
    "small_thesis": {"subset": "small", "split_rule": "thesis"},
    "raw": {"variant": "raw"},
}
MIN_SIZE, MAX_SIZE = 16, 4096

# Modules with a class `Builder`; imported when needed, because TFDS takes seconds to import.
BUILDERS = {
    "ct_phantom_2d": "tfds_builders.ct_phantom_2d.ct_phantom_2d_dataset_builder",
    "ct_folder_2d": "tfds_builders.ct_folder_2d.ct_folder_2d_dataset_builder",
    "lidc_2d": "tfds_builders.lidc_2d.lidc_2d_dataset_builder",
    "kits_2d": "tfds_builders.kits_2d.kits_2d_dataset_builder",
    "lits_2d": "tfds_builders.lits_2d.lits_2d_dataset_builder",
    "md_panc_2d": "tfds_builders.md_panc_2d.md_panc_2d_dataset_builder",
    "combined_2d": "tfds_builders.combined_2d.combined_2d_dataset_builder",
}


class DataOptions(NamedTuple):
    """Everything that decides what a prepared dataset holds.

    Attributes:
      name: A name in `ecc_jax.catalog.DATASETS`.
      root: Folder of prepared datasets; empty means `default_root()`.
      path: Folder of the raw data. Empty, or gone: the prepared dataset must be at hand.
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
      sources: Datasets that combined_2d joins; empty means the four of the thesis.
      strict: Refuse a dataset of which a volume is broken, instead of leaving that volume out.
      jobs: Processes that read volumes; the records do not depend on it.
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
    sources: tuple[str, ...] = ()
    strict: bool = False
    jobs: int = 1


def default_root() -> Path:
    """Returns where prepared datasets live: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    configured = os.environ.get("TFDS_DATA_DIR")
    return Path(configured).expanduser() if configured else Path.home() / "tensorflow_datasets"


def prepare_for(config: Any) -> Path:
    """Returns the prepared dataset of a run's configuration, building it if its source is at hand.

    Raises:
      ValueError: What to download and where to put it, or what is wrong with the source.
    """
    data = config.data
    options = DataOptions(
        name=data.name,
        root=data.root,
        path=data.path,
        size=data.size,
        variant=data.variant,
        subset=data.subset,
        patient_regex=data.patient_regex,
        lesion_labels=tuple(data.lesion_labels),
        allow_empty=data.allow_empty,
        slice_axis=None if data.slice_axis < 0 else data.slice_axis,
        window_hu=tuple(data.window_hu) or None,
        split_rule=data.split_rule,
        split_seed=data.split_seed,
        kind=data.phantom_kind,
        num_patients=data.phantom_patients,
        sources=tuple(data.sources),
    )
    return prepare(options)


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
    builder_class = importlib.import_module(BUILDERS[options.name]).Builder
    target = _target(builder_class, options)
    if not is_complete(target):
        with _locked(target):
            if not is_complete(target):
                _build(builder_class, options, target, progress=progress)
    if options.strict:
        _refuse_skipped(target)
    return target


def _target(builder_class: Any, options: DataOptions) -> Path:
    """Returns the directory of the dataset, which may not be there yet."""
    try:
        facts = builder_class.source_facts(options)
    except ValueError:
        # A raw folder that is there and broken is an error; one that is gone may have been used.
        has_raw = bool(options.path) and os.path.exists(options.path)
        reuses = builder_class.REUSES_PREPARED and not has_raw
        prepared = find_prepared(builder_class, options) if reuses else None
        if prepared is None:
            raise
        return prepared
    folder = Path(options.root) / options.name / config_name(builder_class, options, facts)
    return folder / str(builder_class.VERSION)


def find_prepared(builder_class: Any, options: DataOptions) -> Path | None:
    """Returns the dataset prepared with these options, whatever became of its raw data, or None.

    Args:
      builder_class: The dataset's builder.
      options: Resolved options. With a path, only what was prepared from it counts.

    Raises:
      ValueError: Raw data in several states were prepared with these options.
    """
    used = used_options(builder_class, options)
    wanted = json.loads(json.dumps(used))
    found = []
    folder = Path(options.root) / options.name
    for directory in sorted(folder.glob(f"[!.]*/{builder_class.VERSION}")):
        if is_complete(directory):
            stored = read_index(directory)["options"]
            if options.path not in ("", stored["path"]):
                continue
            if all(key in stored and stored[key] == wanted[key] for key in wanted):
                found.append(directory)
    if len(found) > 1:
        raise ValueError(
            f"{options.name} is prepared {len(found)} times with these options: "
            f"{', '.join(map(str, found))}; pass --config.data.path=DIR of the raw data, or delete "
            "all but one"
        )
    return found[0] if found else None


def read_index(directory: Path) -> dict[str, Any]:
    """Returns the index of a prepared directory."""
    return json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))


def _refuse_skipped(directory: Path) -> None:
    skipped = read_index(directory)["skipped"]
    if skipped:
        volume, reason = next(iter(skipped.items()))
        raise ValueError(
            f"strict: {directory} lacks {len(skipped)} broken volumes, the first is {volume}: "
            f"{reason}"
        )


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
            f"{info.how_to_get}; or convert it to NIfTI and use ct_folder_2d "
            f"({catalog.DATASETS['ct_folder_2d'].how_to_get})"
        )
    for key, value, valid in (
        ("variant", options.variant, VARIANTS),
        ("subset", options.subset, SUBSETS),
        ("split_rule", options.split_rule, SPLIT_RULES),
        ("slice_axis", options.slice_axis, (None, -1, 0, 1, 2)),
        *(("sources", source, tuple(catalog.DATASETS)) for source in options.sources),
    ):
        if value not in valid:
            raise ValueError(f"data.{key} must be one of {valid}; got {value!r}")
    if not MIN_SIZE <= options.size <= MAX_SIZE:
        raise ValueError(f"data.size must be in {MIN_SIZE}..{MAX_SIZE} pixels; got {options.size}")
    if options.jobs < 1:
        raise ValueError(f"jobs must be at least 1 process; got {options.jobs}")
    try:
        re.compile(options.patient_regex)
    except re.error as error:
        raise ValueError(
            f"data.patient_regex is not a regular expression: {options.patient_regex!r}, {error}"
        ) from error
    return options._replace(
        root=str(root),
        path=str(Path(options.path).expanduser().resolve()) if options.path else "",
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
    used = used_options(builder_class, options)
    default_window = catalog.DATASETS[options.name].window_hu
    text = json.dumps([used, default_window, facts], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{options.size}_{options.variant}_{options.subset}_{digest}"


def used_options(builder_class: Any, options: DataOptions) -> dict[str, Any]:
    """Returns the options that change the records of a dataset."""
    common = ("size", "variant", "subset", "window_hu", "split_rule", "split_seed")
    return {key: getattr(options, key) for key in (*common, *builder_class.USED_OPTIONS)}


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
        builder.discard_cache()
    finally:
        shutil.rmtree(staging, ignore_errors=True)
