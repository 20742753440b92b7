"""The runs that figures are drawn from: which method each is, and where its examples lie."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ecc_jax.report import pooling
from ecc_jax.report.classical import JSON_FILE as CLASSICAL_FILE
from ecc_jax.report.example_file import EXAMPLES_FILE, read_examples
from ecc_jax.report.methods import subject_of
from ecc_jax.report.montage import Example
from ecc_jax.report.pooling import Run
from ecc_jax.thesis import rows, runs_of
from ecc_jax.thesis.runs_of import CONFIG_FILE, SUMMARY_FILE

_FAMILIES = {row.family: row.label for row in rows.ROWS[:3]}


class Missing(ValueError):
    """Something that a figure is drawn from is not there; says what, and what makes it."""


class Method(NamedTuple):
    """Runs of one method on one dataset, pooled.

    Attributes:
      label: What the thesis calls it, or what it is.
      family: What the name of its network begins with.
      clicks: static, dynamic, or mixed: the first click dynamic, later ones static.
      dataset: What the set is called.
      trained_on: What the set of its training is called: `dataset` where it is the same; empty
        where nothing tells.
      augmentation: `augment.name`.
      config: The configuration of its first evaluation.
      run: Its scores.
    """

    label: str
    family: str
    clicks: str
    dataset: str
    trained_on: str
    augmentation: str
    config: dict[str, Any]
    run: Run

    @property
    def origin(self) -> str:
        """What a label adds about its training; nothing where that was on the same set."""
        return _origin(self.dataset, self.trained_on)

    @property
    def iou(self) -> Float[np.ndarray, "m k"]:
        """IoU of every slice after every click."""
        return self.run.results[subject_of(self.run.results)].scores["iou"]

    @property
    def num_clicks(self) -> int:
        """After how many clicks it was evaluated."""
        return self.iou.shape[1]

    @property
    def folder(self) -> Path:
        """The folder of the first report."""
        return Path(self.run.sources[0])


class Inputs(NamedTuple):
    """What figures are drawn from.

    Attributes:
      methods: Of the runs that were given, those of most clicks first.
      classical: The folder that scripts/classical.py wrote; None where none was given.
      data: A prepared dataset, or what to do to have one.
    """

    methods: list[Method]
    classical: Path | None
    data: Path | Missing

    def of_sets(self) -> dict[str, list[Method]]:
        """Returns the methods by dataset.

        Raises:
          Missing: There is none.
        """
        found: dict[str, list[Method]] = {}
        for method in self.methods:
            found.setdefault(method.dataset, []).append(method)
        if not found:
            raise Missing(
                "no run was given; train with python -m ecc_jax.main "
                f"--config=configs/{rows.RITM.leaf} (or all methods with scripts/ablation.py "
                "--study methods) and pass the workdirs"
            )
        return found


def open_inputs(paths: Sequence[str]) -> Inputs:
    """Reads what was given on a command line, without a prepared dataset.

    Args:
      paths: Workdirs, reports, the folder of scripts/classical.py, or folders that hold such.

    Raises:
      ValueError: A path holds nothing of this, or a report cannot be read.
    """
    reports: list[Path] = []
    classical: list[Path] = []
    for path in paths:
        found = _outputs(path)
        if not found:
            raise ValueError(
                f"{path} holds no report ({SUMMARY_FILE}) and no {CLASSICAL_FILE}; pass the "
                "workdirs of finished runs, or the folder that scripts/classical.py wrote"
            )
        reports += [folder for folder in found if (folder / SUMMARY_FILE).is_file()]
        classical += [folder for folder in found if (folder / CLASSICAL_FILE).is_file()]
    if len(set(classical)) > 1:
        raise ValueError(f"expected one {CLASSICAL_FILE}, got {', '.join(map(str, classical))}")
    methods = _methods(list(dict.fromkeys(reports)))
    data = Missing(
        "no prepared dataset; prepare one with scripts/build_dataset.py ct_phantom_2d and pass "
        "--data ct_phantom_2d"
    )
    return Inputs(methods, next(iter(classical), None), data)


def has_examples(method: Method) -> bool:
    """Returns whether `examples_of` finds some."""
    return (method.folder / EXAMPLES_FILE).is_file()


def examples_of(method: Method) -> list[Example]:
    """Returns the slices that runs on the same data share, as the method answered them.

    Raises:
      Missing: Its report holds none.
    """
    path = method.folder / EXAMPLES_FILE
    if not has_examples(method):
        *_, run = runs_of.configs_of(method.folder)
        again = (run / "report" if run else method.folder.parent) / "again"
        raise Missing(
            f"{path} is missing, as in reports of earlier versions; evaluate again with python -m "
            f"ecc_jax.main --mode=evaluate --workdir={run or 'RUN'} --out={again}, and pass that "
            "folder in the place of this one"
        )
    return read_examples(path)


def _outputs(path: str) -> list[Path]:
    """Returns the folders below a path that hold a result, of a run only its main report."""
    found: list[Path] = []
    tops: set[Path] = set()  # runs and reports: only the main one counts of what they hold
    for folder, names in runs_of.folders([path]):
        is_result = bool(names & {SUMMARY_FILE, CLASSICAL_FILE})
        above = tops.intersection(folder.parents)
        if is_result and all(folder == top / "report" for top in above):
            found.append(folder)
        if is_result or CONFIG_FILE in names:
            tops.add(folder)
    return found


def _methods(reports: Sequence[Path]) -> list[Method]:
    groups: dict[str, list[Path]] = {}
    recorded = {}
    for folder in reports:
        config, trained = recorded[folder] = _recorded(folder)
        # Networks of unknown training may be of different sets: none is averaged with another.
        named = [str(folder)] if trained is None else _identity(trained)
        key = json.dumps([runs_of.settings(config), named], sort_keys=True, default=str)
        groups.setdefault(key, []).append(folder)
    found = [_method(folders, *recorded[folders[0]]) for folders in groups.values()]
    names = Counter((method.dataset, method.label) for method in found)
    # A figure of one dataset takes the first: not one that was only evaluated after one click.
    found.sort(key=lambda method: -method.num_clicks)
    return [
        method._replace(label=f"{method.label} ({_name_of(method.folder)})")
        if names[method.dataset, method.label] > 1
        else method
        for method in found
    ]


def _recorded(report: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Returns the configuration of an evaluation, and the group `data` of the training.

    None where nothing tells what the network was trained on.
    """
    config, run, _ = runs_of.configs_of(report)
    try:
        return config, runs_of.data_of_training(config, run)
    except ValueError:
        return config, None


def _identity(data: dict[str, Any]) -> list[Any]:
    """Returns what tells a set from every other."""
    within = runs_of.naming_key(data)
    return [data["name"], data["subset"], list(data["sources"]), data[within] if within else ""]


def _name_of(report: Path) -> str:
    """Returns what a person called the folder of a report."""
    return report.resolve().parent.name if report.name == "report" else report.name


def _method(
    folders: Sequence[Path], config: dict[str, Any], trained: dict[str, Any] | None
) -> Method:
    """Returns some runs as one method, given what `_recorded` tells of the first."""
    run = pooling.pool([pooling.load_run(folder) for folder in folders])
    model, data = config["model"], config["data"]
    family = model["name"].partition("_")[0]
    is_fixed = config["clicks"]["radius"] == "fixed"
    is_mixed = not is_fixed and model["encoding"] != "disk"
    try:
        label = rows.row_of(config).label
    except ValueError:
        label = f"{_FAMILIES.get(family, model['name'])}, {model['encoding']}"
    dataset = trained_on = _called(data)
    if trained is None:
        trained_on = ""
    elif _identity(trained) != _identity(data):
        trained_on = _called(trained)
        within = runs_of.naming_key(trained)
        if within and trained_on == trained["name"]:
            trained_on += f" ({Path(str(trained[within])).name})"
    return Method(
        label=f"{label}{_origin(dataset, trained_on)}",
        family=family,
        clicks="static" if is_fixed else "mixed" if is_mixed else "dynamic",
        dataset=dataset,
        trained_on=trained_on,
        augmentation=config["augment"]["name"],
        config=config,
        run=run,
    )


def _origin(dataset: str, trained_on: str) -> str:
    if not trained_on:
        return ", training set unknown"
    return "" if trained_on == dataset else f", trained on {trained_on}"


def _called(data: dict[str, Any]) -> str:
    """Returns what a set is called, given the group `data` of a configuration."""
    try:
        column, is_stand_in = rows.set_of(data)
    except ValueError:
        return str(data["name"])
    small = "_S" if data["subset"] == "small" else ""
    return f"{rows.label_of(column)}{small}{' (phantom)' if is_stand_in else ''}"
