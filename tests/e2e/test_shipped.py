"""The shipped weights as a user meets them: evaluated on an own folder, and trained on."""

import json

import pytest

from ecc_jax.training import checkpoints
from tests.e2e.commands import TINY, run_main

pytestmark = pytest.mark.slow
SMALL = [
    arg
    for arg in TINY
    if not arg.startswith(("--config=", "--config.model", "--config.augment", "--config.train"))
]


def test_evaluated_on_an_own_folder(tmp_path, small_folder):
    size = "--config.data.size=40"
    result = run_main(
        tmp_path,
        "--mode=evaluate",
        "--workdir=shipped",
        "--config.data.name=ct_folder_2d",
        f"--config.data.path={small_folder}",
        "--config.data.split=all",
        size,
        *[arg for arg in SMALL if arg.startswith("--config.eval")],
        f"--out={tmp_path / 'report'}",
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["steps"] == 6000 and "none of these patients" in summary["seen_in_training"]
    rows = summary["rows"]
    # Bright balls: the average disk is nearly right, and the network must not spoil it.
    assert rows["model"]["iou"][0] > 0.8
    assert rows["model"]["iou"][-1] >= rows["model"]["iou"][0] - 0.005


def test_an_own_folder_starts_from_them_and_does_not_end_below(tmp_path, small_folder):
    command = [
        "--config=configs/ecc.py:ct_folder_2d,quick",
        *SMALL,
        "--config.train.batch_size=4",
        "--config.train.steps_per_epoch=2",
        "--config.train.epochs=2",
        f"--config.data.path={small_folder}",
        f"--workdir={tmp_path / 'run'}",
    ]
    result = run_main(tmp_path, *command)
    assert result.returncode == 0, result.stderr
    assert "starts from model.pretrained=shipped" in result.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [record for line in lines if (record := json.loads(line))["kind"] == "validation"]
    # The start competes, though the first epoch of two does not (validation.select_after).
    scores = {r["step"]: r["iterative_iou_error"] for r in records if "best" in r}
    assert min(scores) == 0 and len(records) == 3
    best = min(scores, key=scores.get)
    assert checkpoints.best_step(tmp_path / "run" / "checkpoints") == best
    assert json.loads((tmp_path / "run" / "report" / "summary.json").read_text())["steps"] == best
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["pretrained"] == (
        "shipped"
    )
