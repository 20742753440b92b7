"""Options of a prepared dataset: what there is to choose, checked and filled in."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecc_jax import catalog
from ecc_jax.catalog import SPLIT_RULES, SUBSETS, VARIANTS
from ecc_jax.places import absolute, expanded

# What the named configurations of the builders, and of scripts/build_dataset.py, stand for.
CONFIGS: dict[str, dict[str, Any]] = {
    "full": {},
    "small": {"subset": "small"},
    "full_thesis": {"split_rule": "thesis"},
    "small_thesis": {"subset": "small", "split_rule": "thesis"},
    "raw": {"variant": "raw"},
}
MIN_SIZE, MAX_SIZE = 16, 4096

# Options whose key in a configuration has another name.
_KEYS = {"kind": "phantom_kind", "num_patients": "phantom_patients"}


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
      kind: Organ of the phantom (lung, kidney, liver, pancreas, mixed, limb, all).
      num_patients: Patients of the phantom.
      sources: Datasets that combined_2d joins; empty means the four of the thesis. The phantom's
        may name their kind, see `catalog.split_source`.
      balanced: Whether combined_2d keeps equally many slices of each source, or all of them.
      strict: Refuse a dataset of which a volume is broken, instead of leaving that volume out.
      mixed_planes: Accept volumes cut along different anatomical planes in one set.
      labels_by_default: Whether nobody named `lesion_labels`; `resolve` fills it in, None before.
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
    balanced: bool = True
    strict: bool = False
    mixed_planes: bool = False
    labels_by_default: bool | None = None
    jobs: int = 1


def default_root() -> Path:
    """Returns where prepared datasets live: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    configured = os.environ.get("TFDS_DATA_DIR")
    return expanded(configured) if configured else Path.home() / "tensorflow_datasets"


def options_of(data: Any) -> DataOptions:
    """Returns the options in the group `data` of a run's configuration."""
    keys = {field: _KEYS.get(field, field) for field in DataOptions._fields}
    return DataOptions(**{field: data[key] for field, key in keys.items() if key in data})


def selection(config: str, kind: str) -> dict[str, Any]:
    """Returns the options that tell prepared sets of one name apart.

    Args:
      config: A name in `CONFIGS`; empty means any.
      kind: Organ of the phantom; empty means any.
    """
    default = DataOptions("")
    named = {
        key: CONFIGS[config].get(key, getattr(default, key))
        for key in ("subset", "split_rule", "variant") * bool(config)
    }
    return named | ({"kind": kind} if kind else {})


def module_of(name: str) -> str:
    """Returns the module that holds the `Builder` of a dataset."""
    return f"tfds_builders.{name}.{name}_dataset_builder"


def resolve(options: DataOptions) -> DataOptions:
    """Returns validated options with the catalog's defaults filled in.

    Raises:
      ValueError: An option is not valid; the message names the valid values.
    """
    name = options.name
    if name not in catalog.DATASETS:
        raise ValueError(f"data.name must be one of {', '.join(catalog.DATASETS)}; got {name!r}")
    info = catalog.DATASETS[name]
    root = expanded(options.root) if options.root else default_root()
    for key, value, valid in (
        ("variant", options.variant, VARIANTS),
        ("subset", options.subset, SUBSETS),
        ("split_rule", options.split_rule, SPLIT_RULES),
        ("slice_axis", options.slice_axis, (None, -1, 0, 1, 2)),
        *(
            ("sources", catalog.split_source(source)[0], tuple(catalog.DATASETS))
            for source in options.sources
        ),
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
    by_default = options.labels_by_default
    return options._replace(
        root=str(root),
        path=absolute(options.path) if options.path else "",
        lesion_labels=tuple(sorted(set(options.lesion_labels or info.lesion_labels))),
        labels_by_default=not options.lesion_labels if by_default is None else by_default,
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


def used_options(builder_class: Any, options: DataOptions) -> dict[str, Any]:
    """Returns the options that change the records of a dataset."""
    common = ("size", "variant", "subset", "window_hu", "split_rule", "split_seed")
    return {key: getattr(options, key) for key in (*common, *builder_class.USED_OPTIONS)}
