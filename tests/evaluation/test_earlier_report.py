"""A report of an earlier version still holds: its clicks, answered again, give its scores.

The network is not stored: `init_variables` draws it in NumPy, alike on every machine, and a sharper
score head keeps its probabilities away from the threshold.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ecc_jax import config, runs
from ecc_jax.models.build import build, init_variables
from ecc_jax.report import pooling
from ecc_jax.report.methods import PAINTERS
from ecc_jax.training import checkpoints
from tfds_builders.preparation import prepare_for

GOLDEN = Path(__file__).parents[1] / "golden" / "report_before"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report in a run's workdir, with the weights that it was made from."""
    workdir = tmp_path_factory.mktemp("run")
    variables = init_variables(build("ritm_tiny"), 0, fusion_scale=1.0)
    head = variables["params"]["head"]["cls_head"]
    head["kernel"] = head["kernel"] * 30
    checkpoints.save_weights(workdir, variables)
    return shutil.copytree(GOLDEN, workdir / "report" / "ct_phantom_2d-test")


@pytest.fixture(autouse=True, scope="module")
def _root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


def test_keys_of_an_earlier_version_move_to_their_present_place():
    old = json.loads((GOLDEN / "config.json").read_text())
    tree = runs.load_config(GOLDEN)
    assert tree.train.radius == old["clicks"]["radius_train"] == "normal"
    assert tree.clicks.radius == old["clicks"]["radius_eval"] == "average"
    assert tree.train.click_gamma == old["clicks"]["gamma"]
    assert tree.train.max_clicks == old["clicks"]["max_train"]
    assert tree.validation.clicks == old["eval"]["validation_clicks"] == 3
    assert tree.validation.every == old["eval"]["validate_every"]
    assert tree.train.threshold == tree.inference.threshold == old["inference"]["threshold"]
    # A mask was named, and nothing was to be refined.
    assert old["eval"]["start_from"] == "empty" and tree.eval.initial_mask == ""
    old["eval"] |= {"start_from": "mask", "start_mask": "dilated", "start_amount": 0.4}
    tree = config.from_dict(old)
    assert (tree.eval.initial_mask, tree.eval.damage) == ("dilated", 0.4)


@pytest.mark.parametrize("method", ["model", *PAINTERS])
def test_the_report_holds(report, method):
    found = runs.replay(report, prepare_for, method=method)
    assert found.agrees.all()
    worst = np.nanmax(list(found.difference.values()))
    assert worst <= (1e-6 if method == "model" else 0)


def test_a_changed_log_or_summary_is_noticed(report, tmp_path):
    copy = shutil.copytree(report, tmp_path / "report")
    summary = json.loads((copy / "summary.json").read_text())
    summary["rows"]["disk_painter_tight"]["iou"][0] += 0.01
    (copy / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match="states other IoUs for disk_painter_tight"):
        runs.replay(copy, prepare_for, workdir=report.parents[1], method="disk_painter_tight")
    with pytest.raises(ValueError, match="must be one of model"):
        runs.replay(copy, prepare_for, method="flooding")


def test_the_summary_is_what_its_log_gives():
    run = pooling.load_run(GOLDEN)
    stored = pooling.read_summary(GOLDEN / "summary.json")
    for name, method in stored.methods.items():
        scores = run.results[name].scores["iou"]
        np.testing.assert_allclose(method.means["iou"], scores.mean(axis=0), rtol=1e-6)
