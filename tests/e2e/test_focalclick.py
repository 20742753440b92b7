"""FocalClick as a user types it: trained in both stages, evaluated by its own pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecc_jax import runs
from tests.e2e.commands import TINY, run_main

LEAF = [
    "--config=configs/focalclick_dynamic.py:ct_folder_2d,quick",
    "--config.model.name=focalclick_tiny",
    "--config.inference.focal_size=32",
    "--config.train.epochs=1",
    "--config.eval.baselines=()",
]


def test_a_network_without_refiner_is_refused_in_one_line_before_anything_is_prepared(tmp_path):
    result = run_main(
        tmp_path,
        "--config=configs/ritm_dynamic.py:quick",
        "--config.inference.pipeline=focalclick",
        f"--workdir={tmp_path / 'run'}",
    )
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert "needs a network with a refiner, one of focalclick_hrnet18s" in last
    assert "got model.name=ritm_hrnet18s" in last
    assert not (tmp_path / "run").exists() and not (tmp_path / "prepared").exists()


@pytest.mark.slow
def test_leaf_trains_evaluates_and_clicks(tmp_path, small_folder):
    workdir = tmp_path / "run"
    others = [
        flag
        for flag in TINY
        if not flag.startswith(("--config=", "--config.model", "--config.train.epochs"))
    ]
    result = run_main(
        tmp_path, *LEAF, *others, f"--config.data.path={small_folder}", f"--workdir={workdir}"
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(Path(result.stdout.strip().splitlines()[-1]).read_text())
    assert summary["inference"] == "target crop and focus crop, 32 pixels wide"
    assert len(summary["rows"]["model"]["iou"]) == 3
    predictor = runs.load_predictor(workdir, {"inference.progressive_merge": True})
    predictor.set_image(np.full((40, 40), 30), window_hu=(-150, 250))
    assert predictor.add_click(20, 18, 6.5).shape == (40, 40)
