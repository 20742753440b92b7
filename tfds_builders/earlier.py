"""Datasets that were prepared before: found again, or compared with what is there now."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ecc_jax.catalog import INDEX_FILE, SPLITS
from tfds_builders.options import DataOptions, used_options
from tfds_builders.prepared_index import is_complete, read_index
from tfds_builders.words import short

MAX_VOLUMES = 3
# What older versions did that did not know an option; others that they lack could not be used.
BEFORE = {"balanced": True}


class _Volume(NamedTuple):
    """What an index says of a volume.

    Attributes:
      identity: Its identity.
      areas: Slice and lesion area of its records, rising.
    """

    identity: str
    areas: tuple[tuple[int, int], ...]


def find_prepared(builder_class: Any, options: DataOptions) -> Path | None:
    """Returns the dataset prepared with these options, whatever became of its raw data, or None.

    Args:
      builder_class: The dataset's builder.
      options: Resolved options. With a path, only what was prepared from it counts.

    Raises:
      ValueError: Raw data in several states were prepared with these options, or an older version
        prepared them.
    """
    found = _prepared(builder_class, options, str(builder_class.VERSION))
    if len(found) > 1:
        raise ValueError(
            f"{options.name} is prepared {len(found)} times with these options: "
            f"{', '.join(map(str, found))}; pass --config.data.path=DIR of the raw data, or delete "
            "all but one"
        )
    if found:
        return found[0]
    older = _prepared(builder_class, options, "*")
    if older:
        raise ValueError(
            f"{options.name}: {older[-1]} was prepared by version {older[-1].name} and cannot be "
            f"used again: its records lack what version {builder_class.VERSION} needs, such as the "
            "identities that tell who was trained on; pass --config.data.path=DIR of the raw data "
            "to prepare it anew"
        )
    return None


def superseded(builder_class: Any, target: Path) -> str:
    """Returns a line on what an older version prepared of the same data, or nothing.

    Args:
      builder_class: The dataset's builder.
      target: The directory that is about to be built.
    """
    older = [d for d in sorted(target.parent.glob("*")) if d != target and is_complete(d)]
    if not older:
        return ""
    note = builder_class.RELEASE_NOTES[str(builder_class.VERSION)].rstrip(".")
    return (
        f"{older[-1]} was prepared by version {older[-1].name}; version {builder_class.VERSION} "
        f"prepares these data anew ({note}); delete the older one to free its space"
    )


def changes(builder_class: Any, options: DataOptions, index: dict[str, Any]) -> str:
    """Returns a line on what changed in a raw folder since it was last prepared, or nothing.

    Args:
      builder_class: The dataset's builder.
      options: Resolved options.
      index: Of the dataset just built, not yet in its place.
    """
    before = _prepared(builder_class, options, str(builder_class.VERSION)) if options.path else []
    if not before:
        return ""
    latest = max(before, key=lambda directory: (directory / INDEX_FILE).stat().st_mtime_ns)
    old, new = _volumes(read_index(latest)), _volumes(index)
    parts = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
    told = [
        f"{len(names)} {what} ({short(names, MAX_VOLUMES)})"
        for what, names in parts.items()
        if names
    ]
    if not told:
        return ""
    return (
        f"{options.path} was prepared before in another state; its volumes since: "
        f"{', '.join(told)}; split and folds are drawn anew, so the test part may now hold "
        "patients whom an earlier run trained on: runs check this when they are resumed or "
        "evaluated"
    )


def _prepared(builder_class: Any, options: DataOptions, version: str) -> list[Path]:
    """Returns complete datasets prepared with these options from this path, or from any."""
    wanted = json.loads(json.dumps(used_options(builder_class, options)))
    found = []
    folder = Path(options.root) / options.name
    for directory in sorted(folder.glob(f"[!.]*/{version}")):
        if not is_complete(directory):
            continue
        stored = read_index(directory)["options"]
        if options.path not in ("", stored.get("path")):
            continue
        if all(stored.get(key, BEFORE.get(key, value)) == value for key, value in wanted.items()):
            found.append(directory)
    return found


def _volumes(index: dict[str, Any]) -> dict[str, _Volume]:
    areas: dict[str, list[tuple[int, int]]] = {}
    identities = {}
    for split in SPLITS:
        table = index["splits"][split]
        for volume, identity, number, area in zip(
            *(table[key] for key in ("volume", "volume_id", "slice_index", "lesion_area")),
            strict=True,
        ):
            identities[volume] = identity
            areas.setdefault(volume, []).append((number, area))
    return {
        volume: _Volume(identity, tuple(sorted(areas[volume])))
        for volume, identity in identities.items()
    }
