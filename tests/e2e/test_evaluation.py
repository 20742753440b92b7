"""Evaluation as a user types it: protocols, given masks, other predictors, replay."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
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


def test_readers_need_readers_and_write_a_table(finished, small_folder):
    tmp, workdir, _ = finished
    command = ["--mode=evaluate", f"--workdir={workdir}", "--config.eval.protocol=readers"]
    result = run_main(tmp, *command)
    assert result.returncode != 0
    assert "this dataset has no reader_masks: evaluate on lidc_2d" in result.stderr
    folder = shutil.copytree(small_folder, tmp / "with_readers")
    (folder / "readers").mkdir()
    for path in (folder / "labels").iterdir():
        label = nibabel.load(path)
        drawn = np.asarray(label.dataobj, np.uint8)
        bits = drawn | np.roll(drawn, 1, axis=0) << 1 | np.roll(drawn, 1, axis=1) << 2
        nibabel.save(nibabel.Nifti1Image(bits, label.affine), folder / "readers" / path.name)
    result = run_main(tmp, *command, f"--config.data.path={folder}")
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip().splitlines()[-1])
    found = json.loads(path.read_text())["readers"]
    lines = path.with_name("readers.csv").read_text().splitlines()
    assert found["counts"]["outlines"] == len(lines) - 1 == 3 * found["counts"]["slices"] > 0
    assert 0.7 < found["iou"]["reader_outline"]["mean"] < 1
    assert 0 <= found["consistency"]["network"]["mean"] <= 1
    assert "One reader's disk against the other readers" in path.with_name("report.md").read_text()
    result = run_main(tmp, *command, "--config.eval.num_clicks=5")
    assert "eval.protocol=readers means eval.num_clicks=1, but 5 was given" in result.stderr


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
