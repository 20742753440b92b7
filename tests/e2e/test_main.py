"""The command as a user types it: a whole run, its repetition, evaluation, mistakes, kill -9."""

import json
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flax import traverse_util

from ecc_jax import runs
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import checkpoints
from ecc_jax.weights.state_dict import export_state_dict
from tests.e2e.commands import ROOT, TINY, command_of, run_main
from tests.torch_files import write


def _records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _losses(workdir):
    return {r["step"]: r["loss"] for r in _records(workdir) if r["kind"] == "train"}


def test_run_leaves_report_metrics_and_checkpoints(finished):
    _, workdir, result = finished
    summary_path = Path(result.stdout.strip().splitlines()[-1])
    assert summary_path == workdir / "report" / "summary.json"
    summary = json.loads(summary_path.read_text())
    assert {"dataset", "split", "num_images", "num_patients", "seed", "steps"} <= set(summary)
    rows = summary["rows"]
    assert set(rows) == {
        "model",
        "disk_as_mask",
        "disk_painter_average",
        "disk_painter_tight",
        "disk_painter_tuned",
        "blank_image",
        "flooding",
        "random_walker",
    }
    one_shot = {name for name, row in rows.items() if len(row["iou"]) == 1}
    assert one_shot == {"disk_as_mask", "flooding"}
    assert {len(row["iou"]) for row in rows.values()} == {1, 3}
    assert rows["model"]["latency"]["num_clicks"] > 0
    # Of a sphere of 1 mm voxels the slices are whole: every slice has its pixel size.
    assert summary["surface"] == {"unit": "mm", "tolerance": 2.0, "num_undefined": 0}
    assert set(rows["model"]["noc"]) == {"80", "85", "90"}
    # A ball is a disk: the average disk must cover most of it, whatever the network learned.
    assert rows["disk_as_mask"]["iou"][0] > 0.7
    assert rows["disk_as_mask"]["iou"][0] == pytest.approx(
        rows["disk_painter_average"]["iou"][0], abs=0.1
    )
    for name in ("report.md", "per_click.csv", "curves.png", "montage.png"):
        assert (workdir / "report" / name).stat().st_size > 100
    # Every fourth step and the ends of the three epochs.
    assert sorted(_losses(workdir)) == [4, 6, 8, 12, 16, 18]
    assert (workdir / "config.json").is_file()
    # Only the second half of the steps competes for the best checkpoint.
    validations = [r for r in _records(workdir) if r["kind"] == "validation"]
    assert [(r["step"], "best" in r) for r in validations] == [(6, False), (12, True), (18, True)]
    scores = {r["step"]: r["iterative_iou_error"] for r in validations}
    assert summary["steps"] == min((12, 18), key=scores.get)


def test_same_command_again_only_prints_the_report(finished, small_folder):
    tmp, workdir, first = finished
    before = (workdir / "report" / "summary.json").stat().st_mtime_ns
    again = run_main(tmp, *TINY, f"--config.data.path={small_folder}", f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert "Mean IoU" in again.stdout
    assert (workdir / "report" / "summary.json").stat().st_mtime_ns == before


def test_evaluate_on_another_split_writes_its_own_report(finished):
    tmp, workdir, _ = finished
    result = run_main(
        tmp,
        "--mode=evaluate",
        f"--workdir={workdir}",
        "--config.data.split=validation",
        "--config.eval.num_clicks=2",
    )
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip().splitlines()[-1])
    assert re.fullmatch(r"ct_folder_2d-validation-[0-9a-f]{6}", path.parent.name)
    assert path.parents[1] == workdir / "report"
    assert (path.parent / "config.json").is_file()
    summary = json.loads(path.read_text())
    assert summary["split"] == "validation"
    assert len(summary["rows"]["model"]["iou"]) == 2


@pytest.mark.slow
def test_evaluate_with_zoom_in_and_flips_says_so_in_the_report(finished):
    tmp, workdir, _ = finished
    result = run_main(
        tmp,
        "--mode=evaluate",
        f"--workdir={workdir}",
        "--config.data.split=train",
        "--config.inference.pipeline=zoom_in",
        "--config.inference.flip=True",
        "--config.inference.zoom_target=40",
        "--config.inference.zoom_min_crop=12",
    )
    assert result.returncode == 0, result.stderr
    words = "zoom-in after click 1 (longest side 40 pixels), mirror image averaged"
    assert words in result.stdout
    summary = json.loads(Path(result.stdout.strip().splitlines()[-1]).read_text())
    assert summary["inference"] == words
    assert len(summary["rows"]["model"]["iou"]) == 3


def test_clicks_from_python_on_a_finished_run(finished):
    _, workdir, _ = finished
    for overrides in ({}, {"inference.pipeline": "zoom_in"}):
        predictor = runs.load_predictor(workdir, overrides)
        predictor.set_image(np.full((40, 40), 30), window_hu=(-150, 250))
        mask = predictor.add_click(20, 18, 6.5)
        assert mask.shape == (40, 40) and predictor.num_clicks == 1
        assert np.isfinite(predictor.prob).all() and predictor.prob.max() > 0
    with pytest.raises(ValueError, match="cannot change train.batch_size"):
        runs.load_predictor(workdir, {"train.batch_size": 2})
    with pytest.raises(ValueError, match="inference.pipeline must be one of"):
        runs.load_predictor(workdir, {"inference.pipeline": "zoom"})


@pytest.mark.parametrize(
    "args",
    [
        ["--config=configs/ritm_dynamic.py:quick", "--config.data.name=ct_folder_2d"],
        ["--config", "configs/ritm_dynamic.py:quick", "--config.data.name=ct_folder_2d"],
        ["-config", "configs/ritm_dynamic.py:quick", "-config.data.name", "ct_folder_2d"],
    ],
)
def test_a_dataset_named_by_its_key_is_its_word_in_every_spelling(tmp_path, args):
    leaf = runpy.run_path(str(ROOT / "configs" / "ritm_dynamic.py"))
    config = leaf["get_config"]("ct_folder_2d,quick")
    (tmp_path / "config.json").write_text(config.to_json())
    (tmp_path / "report").mkdir()
    for name in ("summary.json", "report.md"):
        (tmp_path / "report" / name).write_text("{}")
    # A run with any other value would be another run, which the workdir refuses.
    result = run_main(tmp_path, *args, f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("summary.json")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            [
                "--config=configs/ritm_dynamic.py:quick",
                "--config.eval.protocol=ritm",
                "--config.inference.threshold=0.6",
            ],
            "eval.protocol=ritm means inference.threshold=0.49, but 0.6 was given",
        ),
        (["--config=configs/ritm_dynamic.py:quikc"], "unknown config word 'quikc'"),
        (
            ["--config=configs/ritm_dynamic.py:quick", "--config.train.batchsize=3"],
            "unknown config key 'batchsize'; did you mean 'batch_size'?",
        ),
        (
            ["--config=configs/ritm_dynamic.py:quick", "--config.datas.split=test"],
            "unknown config key 'datas'; did you mean 'data'?",
        ),
        (
            ["--mode=evaluate", "--workdir=x", "--config.datas.split=test"],
            "unknown config key 'datas'",
        ),
        (["--config=README.md"], "README.md, line"),
        (["--config=configs/ritm_dynamic.py:quick", "--config.seed=x"], "seed"),
        (["--config=configs/nothing.py"], "nothing.py"),
        (["--mode=evaluate"], "--workdir"),
        (["--mode=evaluate", "--workdir=nowhere"], "nowhere is not the workdir of a run"),
        (["--mode=evaluate", "--workdir=~nobody-of-that-name/x"], "home folder ~nobody-of-that-na"),
        (["--config=~/none.py:quick"], "none.py"),
        (["--config=configs/ritm_dynamic.py:quick", "--out=x"], "--out is for --mode=evaluate"),
        ([], "--config is missing"),
        (["--config=configs/ritm_dynamic.py:ct_folder_2d"], "data.path"),
        (["--config=configs/ritm_dynamic.py:lidc_2d"], "LIDC-IDRI"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(tmp_path, args, message):
    result = run_main(tmp_path, *args)
    assert result.returncode != 0
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    assert re.search(re.escape(message), lines[0]), lines[0]


def test_ctrl_c_ends_at_once_whatever_threads_are_at_work(tmp_path):
    script = """
import threading, time
from ecc_jax import main

def interrupted(argv):
    raise KeyboardInterrupt

main.main = interrupted
threading.Thread(target=time.sleep, args=(100,)).start()
main.run()
"""
    command = command_of(tmp_path) | {"args": [sys.executable, "-c", script]}
    result = subprocess.run(**command, timeout=80)
    assert result.returncode == 130
    assert result.stderr == "interrupted; the same command resumes\n"


def test_workdir_of_another_configuration_is_refused(finished, small_folder):
    tmp, workdir, _ = finished
    result = run_main(
        tmp, *TINY, f"--config.data.path={small_folder}", f"--workdir={workdir}", "--config.seed=5"
    )
    assert result.returncode == 1
    assert "seed=0, now 5" in result.stderr


def test_evaluation_refuses_keys_of_training(finished):
    tmp, workdir, _ = finished
    result = run_main(tmp, "--mode=evaluate", f"--workdir={workdir}", "--config.train.batch_size=2")
    assert result.returncode == 1
    assert "cannot change train.batch_size" in result.stderr


@pytest.mark.slow
def test_kill_9_and_the_same_command_repeat_every_bit(finished, small_folder, tmp_path):
    tmp, undisturbed, _ = finished
    args = [*TINY, f"--config.data.path={small_folder}", f"--workdir={tmp_path / 'killed'}"]
    process = subprocess.Popen(**command_of(tmp, *args))
    metrics = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.time() + 400
    while not (metrics.is_file() and any(r["step"] == 8 for r in _safe(metrics))):
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = checkpoints.complete_steps(tmp_path / "killed" / "checkpoints")[-1]
    assert saved in (6, 12)
    result = run_main(tmp, *args)
    assert result.returncode == 0, result.stderr
    assert f"resuming from step {saved}" in result.stderr
    assert _losses(tmp_path / "killed") == _losses(undisturbed)
    old, new = (
        json.loads((folder / "report" / "summary.json").read_text())["rows"]
        for folder in (undisturbed, tmp_path / "killed")
    )
    assert old["model"]["iou"] == new["model"]["iou"]


@pytest.mark.slow
def test_rows_drawn_by_patient_resume_as_those_of_a_pass_do(small_folder, tmp_path):
    args = [
        *TINY,
        f"--config.data.path={small_folder}",
        "--config.train.sampling=patients",
        "--config.train.groups=('0[0-2]$=3','.=1')",
    ]
    whole = run_main(tmp_path, *args, f"--workdir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    assert (
        "rows: a group by weight, a patient of it, a slice of the patient; 0[0-2]$: weight 3 ("
        in whole.stderr
    )
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "report")
    saved = checkpoints.complete_steps(tmp_path / "cut" / "checkpoints")
    for step in saved[1:]:
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / str(step))
    again = run_main(tmp_path, *args, f"--workdir={tmp_path / 'cut'}")
    assert again.returncode == 0, again.stderr
    assert f"resuming from step {saved[0]}" in again.stderr
    assert _losses(tmp_path / "cut") == _losses(tmp_path / "whole")
    refused = run_main(
        tmp_path,
        *TINY,
        f"--config.data.path={small_folder}",
        "--config.train.sampling=patients",
        "--config.train.groups=('^x=1',)",
        f"--workdir={tmp_path / 'none'}",
    )
    assert refused.returncode == 1
    assert "patients match none of ^x=1" in refused.stderr


def _safe(path):
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


@pytest.mark.slow
def test_pretrained_weights_of_another_run_start_a_run(finished, small_folder, tmp_path):
    tmp, workdir, _ = finished
    result = run_main(
        tmp,
        *TINY,
        f"--config.data.path={small_folder}",
        f"--workdir={tmp_path / 'second'}",
        f"--config.model.pretrained={workdir}",
        "--config.train.epochs=1",
    )
    assert result.returncode == 0, result.stderr
    assert _losses(tmp_path / "second")[4] != _losses(workdir)[4]


@pytest.mark.slow
def test_converted_weights_start_a_run_and_are_evaluated(finished, small_folder, tmp_path):
    tmp, _, _ = finished
    weights = tmp_path / "weights"
    state_dict = export_state_dict("ritm_tiny", init_variables(build("ritm_tiny"), 7))
    write(tmp_path / "tiny.pth", {"state_dict": state_dict})
    command = command_of(tmp)
    command["args"] = [sys.executable, "scripts/convert_weights.py", tmp_path / "tiny.pth", weights]
    converted = subprocess.run(**command, timeout=200)
    assert converted.returncode == 0, converted.stderr
    assert "missing  0 tensors" in converted.stdout
    assert converted.stderr == ""
    data = f"--config.data.path={small_folder}"
    result = run_main(
        tmp,
        *TINY,
        data,
        f"--workdir={tmp_path / 'run'}",
        f"--config.model.pretrained={weights}",
        "--config.train.epochs=1",
        # Nothing moves, so what the run saves is what was converted.
        "--config.optimizer.learning_rate_pretrained=1e-30",
    )
    assert result.returncode == 0, result.stderr
    trained = _best_params(tmp_path / "run")
    for path, value in _best_params(weights).items():
        np.testing.assert_allclose(trained[path], value, rtol=0, atol=1e-20, err_msg=path)
    result = run_main(
        tmp,
        "--mode=evaluate",
        f"--workdir={weights}",
        "--config.data.name=ct_folder_2d",
        data,
        "--config.data.size=40",
        "--config.eval.num_clicks=2",
        "--config.eval.max_slices=6",
    )
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip().splitlines()[-1])
    assert path.parents[1] == weights / "report"
    summary = json.loads(path.read_text())
    assert len(summary["rows"]["model"]["iou"]) == 2


def _best_params(workdir):
    _, variables = checkpoints.best_variables(workdir, init_variables(build("ritm_tiny"), 0))
    return traverse_util.flatten_dict(variables["params"], sep="/")
