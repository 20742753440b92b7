"""combined_2d: slices of several datasets, equally many or all, each in its own window."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from ecc_jax import catalog
from ecc_jax.catalog import INDEX_FILE, SPLITS
from ecc_jax.data import slices as slice_rules
from tfds_builders import slice_builder
from tfds_builders.options import DataOptions
from tfds_builders.preparation import builder_of, prepare
from tfds_builders.prepared_index import read_index

SOURCES = ("lidc_2d", "kits_2d", "lits_2d", "md_panc_2d")
# The thesis's split of these cannot be reproduced; their patients are split instead.
SPLIT_BY_PATIENT = ("lidc_2d",)


class Builder(slice_builder.RecordBuilder):
    """Slices of several datasets, of every one as many as the smallest has in the same split.

    With the option `balanced` off, all slices of every one, for training that balances by itself.
    A slice stays in the split in which its own dataset has it, and keeps its window.

    Source: thesis section 3.1 and Table 1.
    """

    VERSION = tfds.core.Version("2.3.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        **slice_builder.RecordBuilder.RELEASE_NOTES,
        "2.3.0": "A synthetic patient has one identity, whatever the size and kind.",
    }
    BUILDER_CONFIGS = slice_builder.named_configs("combined_2d")
    USED_OPTIONS = ("sources", "balanced")
    EXTRA_FEATURES = ("source", "dataset", "organ")
    REUSES_PREPARED = True

    @classmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Prepares the sources and returns what they hold.

        Raises:
          ValueError: A source is neither prepared nor to be had from its raw data.
        """
        facts = {}
        for name, directory in prepared_sources(options).items():
            index = read_index(directory)
            text = json.dumps([index["splits"], index["version"], index["files"]])
            facts[name] = hashlib.sha256(text.encode()).hexdigest()
        return facts

    @property
    def skipped(self) -> dict[str, str]:
        """Broken volumes of the sources; see the base class."""
        return {
            f"{name}/{volume}": reason
            for name, index in self._indices.items()
            for volume, reason in index["skipped"].items()
        }

    @property
    def without_lesion(self) -> list[str]:
        """Volumes without lesion of the sources; see the base class."""
        return [
            f"{name}/{volume}"
            for name, index in self._indices.items()
            for volume in index["without_lesion"]
        ]

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        self._directories = prepared_sources(self.options)
        self._indices = {name: read_index(path) for name, path in self._directories.items()}
        for name, index in self._indices.items():
            for kind, texts in index["remarks"].items():
                own = {f"{name}/{volume}": text for volume, text in texts.items()}
                self.remarks.setdefault(kind, {}).update(own)
        self._chosen = {split: self._choose(split) for split in SPLITS}
        num_slices = sum(len(kept) for chosen in self._chosen.values() for kept in chosen.values())
        slice_builder.check_disk(Path(self.data_dir), num_slices, self.options.size)
        return {split: self._generate_examples(split) for split in SPLITS}

    def _choose(self, split: str) -> dict[str, list[int]]:
        """Returns the positions in each source's split."""
        names = {}
        for source, index in self._indices.items():
            table = index["splits"][split]
            rows = zip(table["volume"], table["slice_index"], strict=True)
            names[source] = [f"{volume}/{number}" for volume, number in rows]
        if not self.options.balanced:
            return {source: list(range(len(slices))) for source, slices in names.items()}
        return slice_rules.balanced_sample(names, self.options.split_seed)

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, positions in self._chosen[split].items():
            builder = tfds.builder_from_directory(str(self._directories[name]))
            source = builder.as_data_source(split=split)
            for position in self.bar(positions, f"write {split} of {name}"):
                record = self._combined(name, source[position])
                yield f"{record['volume']}/{record['slice_index']}", record

    def _combined(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        """Returns a source's record with what tells the sources apart."""
        features = self.info.features.keys()
        record = {key: row[key] for key in features if key in row}
        volume = row["volume"].decode()
        origin = row["source"].decode() if "source" in row else volume
        dataset, kind = catalog.split_source(name)
        return {
            **record,
            # Different datasets may use the same names.
            "patient": f"{name}/{row['patient'].decode()}",
            "volume": f"{name}/{volume}",
            "source": f"{name}/{origin}",
            "dataset": name,
            "organ": kind or catalog.DATASETS[dataset].organ,
        }


def prepared_sources(options: DataOptions) -> dict[str, Path]:
    """Returns the prepared directory of every source, preparing it from raw data if need be.

    A source is looked for in `options.path`/name, as a prepared directory or as raw data, and
    without that among the prepared datasets of `options.root`.

    Raises:
      ValueError: Fewer than two sources, or some are not to be had; names each with its remedy.
    """
    names = options.sources or SOURCES
    if len(set(names)) != len(names) or len(names) < 2 or options.name in names:
        raise ValueError(
            f"data.sources must be two or more different datasets, got {', '.join(names)}; the "
            f"default is {', '.join(SOURCES)}"
        )
    directories, missing = {}, []
    for name in names:
        raw = Path(options.path) / name if options.path else None
        if raw and (raw / INDEX_FILE).is_file():
            directories[name] = _checked(raw, source_options(options, name))
            continue
        path = str(raw) if raw and raw.is_dir() else ""
        source = source_options(options, name)._replace(path=path)
        try:
            directories[name] = prepare(source)
        except ValueError as error:
            missing.append(f"{name}: {error}")
    if missing:
        folders = " and ".join([", ".join(f"DIR/{n}" for n in names[:-1]), f"DIR/{names[-1]}"])
        raise ValueError(
            f"{options.name} lacks {len(missing)} of {len(names)} sources; prepare them first, or "
            f"pass --config.data.path=DIR with their raw data in {folders} ({'; '.join(missing)})"
        )
    return directories


def source_options(options: DataOptions, name: str) -> DataOptions:
    """Returns the options under which a source is prepared."""
    rule = "patient" if name in SPLIT_BY_PATIENT else options.split_rule
    dataset, kind = catalog.split_source(name)
    own = options._replace(name=dataset, sources=(), split_rule=rule, kind=kind or options.kind)
    return own._replace(lesion_labels=(), labels_by_default=None)


def _checked(directory: Path, options: DataOptions) -> Path:
    """Returns a prepared directory that was made with the options that must agree."""
    index = read_index(directory)
    version = str(builder_of(options.name).VERSION)
    if index["version"] != version:
        raise ValueError(
            f"{directory} was prepared by version {index['version']}, its records lack what "
            f"version {version} needs; put the raw data there"
        )
    stored = index["options"]
    for key in ("size", "variant", "subset", "split_rule"):
        wanted = getattr(options, key)
        if stored[key] != wanted:
            raise ValueError(
                f"{directory} was prepared with {key} {stored[key]!r}, wanted {wanted!r}; prepare "
                "it again, or put the raw data there"
            )
    return directory
