"""Evaluation as a user types it: protocols, given masks, other predictors, replay."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.commands import ROOT, TINY, command_of, run_main

pytestmark = pytest.mark.slow


def test_protocols_and_given_masks_write_reports_of_their_own(finished):
    tmp, workdir, _ = finished
    common = ["--mode=evaluate", f"--workdir={workdir}"]
    result = run_main(tmp, *common, "--config.eval.protocol=robustness")
    assert result.returncode == 0, result.stderr
    path = workdir / "report" / "ct_folder_2d-test-robustness" / "summary.json"
    robustness = json.loads(path.read_text())["robustness"]
    assert robustness[0]["variant"] == "nominal" and len(robustness) == 10
    nominal = json.loads((workdir / "report" / "summary.json").read_text())["rows"]
    np.testing.assert_allclose(robustness[0]["rows"]["model"], nominal["model"]["iou"], rtol=1e-6)
    result = run_main(
        tmp, *common, "--config.eval.protocol=cvpr25", "--config.eval.save_masks=True"
    )
    assert result.returncode == 0, result.stderr
    folder = workdir / "report" / "ct_folder_2d-test-cvpr25"
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["rows"]["model"]["iou"]) == 6
    assert 0 <= summary["cvpr25"]["dsc_auc"] <= 4
    result = run_main(
        tmp,
        *common,
        f"--config.eval.initial_mask={folder / 'masks.npz'}",
    )
    assert result.returncode == 0, result.stderr
    refined = json.loads(Path(result.stdout.strip().splitlines()[-1]).read_text())
    assert refined["rows"]["start_mask"]["iou"][0] == pytest.approx(
        summary["rows"]["model"]["iou"][-1], abs=1e-6
    )
    assert "disk_as_mask" not in refined["rows"]


def test_an_external_predictor_beside_the_network_and_alone(finished, small_folder):
    tmp, workdir, _ = finished
    (tmp / "mine.py").write_text(
        "import numpy as np\n"
        "def factory():\n"
        "    def predict(image, clicks, previous_mask):\n"
        "        y, x = np.indices(image.shape)\n"
        "        c = clicks[0]\n"
        "        return np.hypot(y - c.y, x - c.x) <= c.radius\n"
        "    return predict\n"
    )
    external = f"--config.eval.external={tmp / 'mine.py'}:factory"
    result = run_main(tmp, "--mode=evaluate", f"--workdir={workdir}", external)
    assert result.returncode == 0, result.stderr
    beside = json.loads(Path(result.stdout.strip().splitlines()[-1]).read_text())["rows"]
    # The first disk for ever: what disk_as_mask is.
    assert beside["external"]["iou"][0] == pytest.approx(beside["disk_as_mask"]["iou"][0], abs=1e-6)
    assert "model" in beside
    data = f"--config.data.path={small_folder}"
    result = run_main(tmp, "--mode=evaluate", *TINY, data, external)
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip().splitlines()[-1])
    alone = json.loads((ROOT / path).read_text())["rows"]
    assert "model" not in alone
    assert alone["external"]["iou"] == pytest.approx(beside["external"]["iou"], abs=1e-6)
    shutil.rmtree((ROOT / path).parents[1])


def test_a_report_replays_exactly(finished):
    tmp, workdir, _ = finished
    command = command_of(tmp)
    for row in ("model", "disk_painter_tuned"):
        command["args"] = [sys.executable, "scripts/replay.py", workdir, f"--row={row}"]
        result = subprocess.run(**command, timeout=300)
        assert result.returncode == 0, result.stderr
        assert "every click and every score is the same" in result.stdout
    log = workdir / "report" / "per_click.csv"
    kept = log.read_text()
    lines = kept.splitlines()
    place = next(i for i, line in enumerate(lines) if ",model,1," in line)
    heading = lines[0].split(",")
    cells = lines[place].split(",")
    cells[heading.index("radius")] = "2.5"
    lines[place] = ",".join(cells)
    log.write_text("\n".join(lines) + "\n")
    command["args"] = [sys.executable, "scripts/replay.py", workdir]
    result = subprocess.run(**command, timeout=300)
    log.write_text(kept)
    assert result.returncode == 1
    assert "The report does NOT hold" in result.stdout
    command["args"] = [sys.executable, "scripts/replay.py", workdir, "--row=flooding"]
    result = subprocess.run(**command, timeout=300)
    assert result.returncode == 2
    assert "method (--row) must be one of model, " in result.stderr
