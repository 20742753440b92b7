"""The runs that figures are drawn from: which method each is, and where its examples lie."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ecc_jax import config as schema
from ecc_jax.places import expanded
from ecc_jax.report import pooling
from ecc_jax.report.example_file import EXAMPLES_FILE, read_examples
from ecc_jax.report.methods import subject_of
from ecc_jax.report.montage import Example
from ecc_jax.report.pooling import Run
from ecc_jax.thesis import rows
from ecc_jax.thesis.runs_of import CLASSICAL_FILE, CONFIG_FILE, SUMMARY_FILE

# Keys in which runs of one method differ: they are its seeds and folds, and are pooled.
_REPEATS = ("name", "words", "seed", "data.fold", "data.root")
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
      augmentation: `augment.name`.
      config: The configuration of its first evaluation.
      run: Its scores.
    """

    label: str
    family: str
    clicks: str
    dataset: str
    augmentation: str
    config: dict[str, Any]
    run: Run

    @property
    def iou(self) -> Float[np.ndarray, "m k"]:
        """IoU of every slice after every click."""
        return self.run.results[subject_of(self.run.results)].scores["iou"]

    @property
    def folder(self) -> Path:
        """The folder of the first report."""
        return Path(self.run.sources[0])


class Inputs(NamedTuple):
    """What figures are drawn from.

    Attributes:
      methods: Of the runs that were given.
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
        found = list(_outputs(expanded(path)))
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


def examples_of(method: Method) -> list[Example]:
    """Returns the slices that runs on the same data share, as the method answered them.

    Raises:
      Missing: Its report holds none.
    """
    path = method.folder / EXAMPLES_FILE
    if not path.is_file():
        raise Missing(
            f"{path} is missing, as in reports of earlier versions; evaluate again with python -m "
            f"ecc_jax.main --mode=evaluate --workdir={workdir_of(method.folder)} --out=DIR, and "
            "pass DIR in the place of this run"
        )
    return read_examples(path)


def workdir_of(report: Path) -> Path:
    """Returns the run that a report belongs to, or the report's folder where none is above it."""
    above = (p for p in report.resolve().parents if (p / "checkpoints").is_dir())
    return next(above, report)


def _outputs(path: Path) -> list[Path]:
    """Returns the folders below a path that hold a result, of a run only its main report."""
    for folder in (path, path / "report"):
        if any((folder / name).is_file() for name in (SUMMARY_FILE, CLASSICAL_FILE)):
            return [folder]
    if not path.is_dir() or (path / CONFIG_FILE).is_file():
        return []
    return [found for part in sorted(path.iterdir()) if part.is_dir() for found in _outputs(part)]


def _methods(reports: Sequence[Path]) -> list[Method]:
    groups: dict[str, list[Path]] = {}
    configs: dict[str, dict[str, Any]] = {}
    for folder in reports:
        config = _config_of(folder)
        same = json.dumps(_without(config, _REPEATS), sort_keys=True, default=str)
        groups.setdefault(same, []).append(folder)
        configs.setdefault(same, config)
    found = [_method(configs[same], folders) for same, folders in groups.items()]
    names = Counter((method.dataset, method.label) for method in found)
    return [
        method._replace(label=f"{method.label} ({_name_of(method.folder)})")
        if names[method.dataset, method.label] > 1
        else method
        for method in found
    ]


def _name_of(report: Path) -> str:
    """Returns what a person called the folder of a report."""
    return report.resolve().parent.name if report.name == "report" else report.name


def _method(config: dict[str, Any], folders: Sequence[Path]) -> Method:
    run = pooling.pool([pooling.load_run(folder) for folder in folders])
    model, data = config["model"], config["data"]
    family = model["name"].partition("_")[0]
    is_fixed = config["clicks"]["radius"] == "fixed"
    is_mixed = not is_fixed and model["encoding"] != "disk"
    try:
        label = rows.row_of(config).label
    except ValueError:
        label = f"{_FAMILIES.get(family, model['name'])}, {model['encoding']}"
    try:
        column, is_stand_in = rows.set_of(data)
        small = "_S" if data["subset"] == "small" else ""
        dataset = f"{rows.label_of(column)}{small}{' (phantom)' if is_stand_in else ''}"
    except ValueError:
        dataset = str(data["name"])
    return Method(
        label=label,
        family=family,
        clicks="static" if is_fixed else "mixed" if is_mixed else "dynamic",
        dataset=dataset,
        augmentation=config["augment"]["name"],
        config=config,
        run=run,
    )


def _config_of(report: Path) -> dict[str, Any]:
    """Returns the configuration of an evaluation, completed by the defaults."""
    for folder in (report, *report.resolve().parents):
        path = folder / CONFIG_FILE
        if path.is_file():
            try:
                return schema.to_dict(schema.from_dict(json.loads(path.read_text("utf-8"))))
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{path} is damaged ({error}); evaluate again") from error
    raise ValueError(
        f"{report}: no {CONFIG_FILE} there or above it (a pooled report?); pass its runs"
    )


def _without(config: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Returns a configuration without some keys, as group.key."""
    return {
        name: {k: v for k, v in value.items() if f"{name}.{k}" not in keys}
        if isinstance(value, dict)
        else value
        for name, value in config.items()
        if name not in keys
    }
