"""Which reports fill which cell of the thesis's tables and figures."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecc_jax import catalog, places
from ecc_jax import config as schema
from ecc_jax.report import pooling
from ecc_jax.report.classical import JSON_FILE as CLASSICAL_FILE
from ecc_jax.thesis import rows

CONFIG_FILE, SUMMARY_FILE = "config.json", "summary.json"
_NOT_SEARCHED = frozenset({"checkpoints", "tensorboard", "cache"})
# Keys in which the runs of one cell may differ: seeds, folds, and what changes no score.
_FREE = frozenset(
    {
        *("name", "words", "seed", "data.root", "data.path", "data.fold", "data.read_threads"),
        *("eval.save_masks", "eval.latency_clicks", "eval.baselines", "eval.batch_size"),
        "train.log_every",
    }
)
_OF_USE = ("clicks", "inference")


class Cell(NamedTuple):
    """What a report tells of.

    Attributes:
      row: The network with its clicks.
      trained_on: A name of `rows.SETS`.
      tested_on: The same.
      subset: full, or small: one slice of each scan, the thesis's sets with suffix S.
      augmentation: `augment.name`.
    """

    row: rows.Row
    trained_on: str
    tested_on: str
    subset: str
    augmentation: str


class Report(NamedTuple):
    """A report that fills a cell.

    Attributes:
      folder: Where summary.json and per_click.csv lie.
      cell: What it tells of.
      is_stand_in: Whether the phantom's organs stand for the thesis's sets.
      config: The configuration of the evaluation.
      workdir: Of the network's training; None for a report that lies elsewhere.
    """

    folder: Path
    cell: Cell
    is_stand_in: bool
    config: dict[str, Any]
    workdir: Path | None


class Found(NamedTuple):
    """What lies in the folders that were given.

    Attributes:
      reports: Those that fill a cell.
      classical: Files of classical methods.
      left_out: The other reports, with the reason.
    """

    reports: list[Report]
    classical: list[Path]
    left_out: list[tuple[Path, str]]


def find(paths: Sequence[str | os.PathLike[str]]) -> Found:
    """Returns what some folders hold for the thesis's tables.

    Args:
      paths: Workdirs, folders of reports, and folders that hold many of them at any depth.

    Raises:
      ValueError: A path is not there, or real sets and the phantom's stand-ins are mixed.
    """
    reports, classical, left_out = [], [], []
    for folder, names in folders(paths):
        if CLASSICAL_FILE in names:
            classical.append(folder / CLASSICAL_FILE)
        if SUMMARY_FILE in names:
            try:
                reports.append(read(folder))
            except ValueError as error:
                left_out.append((folder, str(error)))
    kinds = {report.is_stand_in: report.folder for report in reports}
    if len(kinds) > 1:
        raise ValueError(
            f"{kinds[True]} is of the phantom, which stands for the thesis's sets, {kinds[False]} "
            "of a set itself; make tables of one kind at a time"
        )
    return Found(reports, classical, left_out)


def folders(paths: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[Path, set[str]]]:
    """Yields every folder under some paths once, with the names of its files.

    Raises:
      ValueError: A path is not there.
    """
    seen = set()
    for path in paths:
        top = places.expanded(path)
        if not top.is_dir():
            raise ValueError(f"{top} is not a folder; pass workdirs, reports or folders of them")
        for place, below, files in os.walk(top):
            below[:] = sorted(name for name in below if name not in _NOT_SEARCHED)
            folder = Path(place)
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder, set(files)


def read(folder: Path) -> Report:
    """Returns a report with the cell that it fills.

    Raises:
      ValueError: It fills none; says why.
    """
    config, trained, workdir = configs_of(folder)
    row = rows.row_of(config)
    rows.check_protocol(config)
    if trained is not None:
        for group in _OF_USE:
            for key, value in trained[group].items():
                if config[group][key] != value:
                    raise ValueError(
                        f"evaluated with {group}.{key}={config[group][key]}, the run has {value}"
                    )
    tested_on, is_stand_in = rows.set_of(config["data"])
    trained_on, is_too = rows.set_of(data_of_training(config, trained))
    if is_stand_in != is_too:
        raise ValueError("trained on a real set and tested on the phantom, or the reverse")
    if not is_stand_in:
        rows.check_whole(config)
    cell = Cell(row, trained_on, tested_on, config["data"]["subset"], config["augment"]["name"])
    return Report(folder, cell, is_stand_in, config, workdir)


def configs_of(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None, Path | None]:
    """Returns the configuration of an evaluation, and that of its run with its workdir.

    None for a run that is elsewhere.

    Raises:
      ValueError: There is none, or it is damaged.
    """
    own = folder / CONFIG_FILE
    resolved = folder.resolve()
    # A run keeps its own report in RUN/report, others in RUN/report/NAME.
    near = list(resolved.parents)[:2]
    above = next((p for p in near if (p / CONFIG_FILE).is_file()), None)
    if not own.is_file():
        if above is None:
            raise ValueError(f"{folder}: no {CONFIG_FILE} (a pooled report?); pass its runs")
        config = _read_config(above / CONFIG_FILE)
        return config, config, above
    config = _read_config(own)
    trained = None if above is None else _read_config(above / CONFIG_FILE)
    if trained is not None and trained["model"] != config["model"]:
        trained = above = None  # a folder of somebody else's run
    return config, trained, above


def _read_config(path: Path) -> dict[str, Any]:
    """Returns a recorded configuration, completed by the defaults.

    Raises:
      ValueError: It is damaged.
    """
    try:
        return schema.to_dict(schema.from_dict(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def data_of_training(config: dict[str, Any], trained: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the group `data` that a network was trained with.

    Raises:
      ValueError: Nobody recorded it.
    """
    if trained is not None:
        return trained["data"]
    named = [word for word in config["words"].split(",") if word in catalog.DATASETS]
    if not named:
        raise ValueError(
            "nothing tells what the network was trained on; leave the report in its run's folder"
        )
    return {**config["data"], "name": named[0], "sources": []}


def in_cell(found: Found, **wanted: Any) -> list[Report]:
    """Returns the reports whose cell has some values.

    Args:
      found: What `find` returned.
      **wanted: Fields of `Cell` with their values.
    """
    return [
        report
        for report in found.reports
        if all(getattr(report.cell, key) == value for key, value in wanted.items())
    ]


def pool(reports: Sequence[Report]) -> pooling.Run:
    """Returns the reports of one cell as one: seeds averaged slice by slice, folds side by side.

    Raises:
      ValueError: They differ in more than seeds and folds, so that their mean has no meaning.
    """
    first, *others = (settings(report.config) for report in reports)
    for report, config in zip(reports[1:], others, strict=True):
        for key, value in first.items():
            # A key that only one of them has names its set, whose data.name differs as well.
            if key in config and config[key] != value:
                raise ValueError(
                    f"{reports[0].folder} has {key}={value!r}, {report.folder} {config[key]!r}, "
                    "and both fill one cell; leave one of them away"
                )
    return pooling.pool([pooling.load_run(report.folder) for report in reports])


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Returns what runs that are pooled agree on: all keys but seeds, folds, and what costs time.

    Args:
      config: A recorded configuration, complete.

    Returns:
      Values by key, as `group.key`.
    """
    free = _FREE - {f"data.{naming_key(config['data'])}"}
    return {key: value for key, value in _flat(config).items() if key not in free}


def naming_key(data: dict[str, Any]) -> str:
    """Returns the key of `data` that tells sets of one name apart; empty where the name does."""
    name = data["name"]
    return catalog.DATASETS[name].names_within if name in catalog.DATASETS else ""


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for group, values in config.items():
        entries = values.items() if isinstance(values, dict) else [("", values)]
        flat |= {f"{group}.{key}" if key else group: value for key, value in entries}
    return flat
