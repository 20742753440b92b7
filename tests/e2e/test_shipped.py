"""The shipped weights as a user meets them: evaluated on an own folder, and trained on."""

import json

import jax
import numpy as np
import pytest

from ecc_jax import places, runs, workdir
from ecc_jax.clicks.user import DEFAULT_USER
from ecc_jax.evaluation.step import RolloutOptions, Situation, make_rollout_step
from ecc_jax.phantom.volumes import generate_volume
from ecc_jax.training import checkpoints
from ecc_jax.types import Batch
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
    (step,) = checkpoints.complete_steps(places.SHIPPED_FOLDER / "checkpoints")
    assert summary["steps"] == step and "none of these patients" in summary["seen_in_training"]
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


def _phantom_batch(patients, *, size=96):
    """The largest lesion slice of phantoms of another seed than any training's."""
    volumes = [generate_volume(11, n, size=size, num_slices=8) for n in range(patients)]
    places_ = [int(v.mask.sum(axis=(1, 2)).argmax()) for v in volumes]
    pairs = list(zip(volumes, places_, strict=True))
    return Batch(
        image_hu=np.stack([volume.image_hu[z] for volume, z in pairs]),
        window_hu=np.array([volume.window_hu for volume in volumes], np.float32),
        target=np.stack([volume.mask[z] for volume, z in pairs]),
        valid=np.ones(patients, bool),
        position=np.arange(patients, dtype=np.int32),
        pixel_mm=np.array([volume.spacing_mm[1] for volume in volumes], np.float32),
    )


def test_mean_iou_does_not_fall_from_click_to_click_and_lies_above_the_painters():
    tree = workdir.load_config(places.SHIPPED_FOLDER)
    segmenter, variables, _ = runs.load_network(places.SHIPPED_FOLDER, tree)
    batch, options = _phantom_batch(40), RolloutOptions(capacity=10)
    means = []
    for network, weights in ((segmenter, variables), (None, ())):
        step = jax.jit(make_rollout_step(network, options))
        outcome = step(weights, batch, np.int32(10), Situation(DEFAULT_USER))
        means.append(np.asarray(outcome.scores["iou"]).mean(axis=0))
    assert np.diff(means[0]).min() >= -0.005
    assert (means[0] > means[1] + 0.03).all()
