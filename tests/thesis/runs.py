"""Fabricated runs: the configuration that a leaf gives, and a small report."""

import json
from pathlib import Path

import numpy as np

from ecc_jax import config as schema
from tests.loading import load
from tests.reports import slices_of, write_small

ROOT = Path(__file__).parents[2]
RISING = np.linspace(0.5, 0.88, 20)[None] + np.zeros((4, 1))


def tree_of(spec, *keys):
    """Returns the configuration of `leaf:words` with keys as on a command line."""
    leaf, _, words = spec.partition(":")
    module = load(ROOT / "configs" / f"{leaf}.py")
    tree = module.get_config(words)
    for entry in keys:
        schema.set_from_text(tree, entry)
    return tree


def _write(folder, report, values, *, curves=None, slices=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    rows = {"model": RISING, "disk_painter_tuned": RISING - 0.1} if curves is None else curves
    facts = {"dataset": values["data"]["name"], "seed": values["seed"]}
    facts["model"] = values["model"]["name"]
    write_small(report, rows, slices or slices_of("ppqq"), **facts)


def training(folder, spec, *keys, **report):
    """Writes the workdir of a finished training; returns it."""
    _write(folder, folder / "report", schema.to_dict(tree_of(spec, *keys)), **report)
    return folder


def evaluation(run, name, *, at=None, report=None, **keys):
    """Writes an evaluation of a run with other keys, under its reports or elsewhere."""
    folder = at or run / "report" / name
    tree = schema.from_dict(json.loads((run / "config.json").read_text()))
    for key, value in keys.items():
        schema.set_key(tree, key, value)
    _write(folder, folder, schema.to_dict(tree), **(report or {}))
    return folder
