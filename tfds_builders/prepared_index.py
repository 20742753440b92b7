"""The index of a prepared dataset: written beside the records, told as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ecc_jax import catalog
from ecc_jax.catalog import INDEX_FILE, SPLITS
from ecc_jax.places import expanded
from tfds_builders.options import DataOptions, default_root
from tfds_builders.remarks import Remarks
from tfds_builders.words import short

MAX_REASONS = 20


def write_index(
    directory: Path,
    options: DataOptions,
    columns: dict[str, dict[str, list[Any]]],
    *,
    version: str,
    windows: set[tuple[float, ...]],
    skipped: dict[str, str],
    without_lesion: Sequence[str],
    remarks: Remarks,
) -> None:
    """Writes `index.json`: what readers need to choose slices without decoding records.

    Layout: {"name", "version", "options", "window_hu": [low, high] or null if volumes differ,
    "counts": {split: {slices, volumes, patients}}, "skipped": {volume: reason},
    "without_lesion": [volume], "remarks": {kind: {volume: text}}, "splits": {split: {patient,
    volume, volume_id, slice_id, slice_index, lesion_area}},
    "files": {file: bytes}}; the lists run in the order of `as_data_source(split)`.
    """
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
        "version": version,
        "options": options._asdict(),
        "window_hu": min(windows) if len(windows) == 1 else None,
        "counts": counts,
        "skipped": skipped,
        "without_lesion": list(without_lesion),
        "remarks": remarks,
        "splits": columns,
        "files": {path.name: path.stat().st_size for path in sorted(directory.iterdir())},
    }
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=1), encoding="utf-8")


def summary(index: dict[str, Any]) -> str:
    """Returns what a prepared dataset holds, beside the thesis's numbers where there are any.

    Args:
      index: Content of `index.json`.
    """
    counts, options = index["counts"], index["options"]
    # The thesis's numbers are those of its own sources.
    is_own = not options.get("sources")
    expected = catalog.TABLE_1.get(index["name"], {}).get(options["subset"]) if is_own else None
    total = {key: sum(counts[split][key] for split in SPLITS) for key in counts["train"]}
    if options["split_rule"] == "thesis":  # the same volume may be in several splits
        for key in ("volume", "patient"):
            values = {name for table in index["splits"].values() for name in table[key]}
            total[f"{key}s"] = len(values)
    rows = [(split, counts[split]) for split in SPLITS] + [("total", total)]
    lines = [
        f"{index['name']}: {options['subset']}, {options['variant']}, {options['size']} x "
        f"{options['size']} pixels, split by {options['split_rule']}, seed {options['split_seed']}",
        f"{'':12s}{'slices':>9s}{'volumes':>9s}{'patients':>10s}" + ("   thesis" * bool(expected)),
    ]
    thesis = (*expected, sum(expected)) if expected else ()
    for i, (name, row) in enumerate(rows):
        line = f"{name:12s}{row['slices']:9d}{row['volumes']:9d}{row['patients']:10d}"
        lines.append(line + (f"{thesis[i]:9d}" if thesis else ""))
    if index["without_lesion"]:
        lines.append(f"{len(index['without_lesion'])} volumes hold no lesion")
    if index.get("excluded"):
        lines.append(f"{len(index['excluded'])} excluded by the dataset's rule; see {INDEX_FILE}")
    if index["skipped"]:
        lines.append(f"{len(index['skipped'])} volumes skipped:")
        shown = list(index["skipped"].items())[:MAX_REASONS]
        lines += [f"  {volume}: {reason}" for volume, reason in shown]
        if len(shown) < len(index["skipped"]):
            lines.append(f"  and {len(index['skipped']) - len(shown)} more; see {INDEX_FILE}")
    if index["remarks"]:
        lines.append(f"remarks (all of them in {INDEX_FILE}):")
    for kind, texts in index["remarks"].items():
        names = sorted(texts)
        lines.append(f"  {kind}: {len(names)} ({short(names, 3)}); {texts[names[0]]}")
    return "\n".join(lines)


def read_index(directory: Path) -> dict[str, Any]:
    """Returns the index of a prepared directory."""
    return json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))


def is_complete(directory: Path) -> bool:
    """Returns whether a prepared directory holds its index and every file the index lists."""
    try:
        files = json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))["files"]
        return all((directory / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def find(name: str, root: str, wanted: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Returns the prepared directory of a dataset; of one in several versions, the newest.

    Args:
      name: A dataset, or its prepared directory, which is taken whatever is wanted.
      root: Folder of prepared data; empty means `default_root()`.
      wanted: Options that it must have been prepared with, as `options.selection` gives them.

    Raises:
      ValueError: None, or more than one.
    """
    given = expanded(name)
    if (given / INDEX_FILE).is_file():
        return given.resolve()
    folder = (expanded(root) if root else default_root()) / given
    found = [p.parent for p in sorted(folder.glob(f"[!.]*/*/{INDEX_FILE}"))]
    complete = [path for path in found if is_complete(path)]
    # Of each folder the last is kept.
    found = list({path.parent: path for path in sorted(complete, key=_version)}.values())
    if not found:
        raise ValueError(
            f"no prepared dataset in {folder}; prepare it with scripts/build_dataset.py {name}, or "
            "pass --root"
        )
    everything = found
    found = [path for path in found if _has(path, wanted)]
    if not found:
        asked = ", ".join(f"{key}={value}" for key, value in wanted.items())
        raise ValueError(
            f"{name} is not prepared with {asked} in {folder}; prepare it so with "
            f"scripts/build_dataset.py, or pass one of {', '.join(map(str, everything))}"
        )
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise ValueError(f"{name} is prepared {len(found)} times, pass one directory: {listed}")
    return found[0]


def _version(directory: Path) -> tuple[int, ...]:
    """Returns the version that prepared a directory, to sort by."""
    return tuple(int(part) if part.isdigit() else -1 for part in directory.name.split("."))


def _has(directory: Path, wanted: Mapping[str, Any]) -> bool:
    """Returns whether a prepared directory was made with some options."""
    own = read_index(directory)["options"] if wanted else {}
    return all(own.get(key) == value for key, value in wanted.items())
