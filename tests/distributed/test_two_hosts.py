"""Two processes with two CPU devices each train as one run, and write once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _start(rank, port, tmp, folder):
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "TFDS_DATA_DIR": str(tmp / "prepared"),
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(rank),
    }
    args = [
        "--config=configs/ritm_dynamic.py:ct_folder_2d,quick",
        f"--config.data.path={folder}",
        "--config.model.name=ritm_tiny",
        "--config.data.size=40",
        "--config.augment.crop=(32, 32)",
        "--config.train.batch_size=4",
        "--config.train.steps_per_epoch=3",
        "--config.train.epochs=2",
        "--config.train.log_every=1",
        "--config.eval.num_clicks=2",
        "--config.validation.clicks=2",
        "--config.eval.batch_size=4",
        "--config.eval.max_slices=6",
        f"--workdir={tmp / 'run'}",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "ecc_jax.main", *args],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path, small_folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_start(rank, port, tmp_path, small_folder) for rank in (0, 1)]
    outputs = [process.communicate(timeout=600) for process in processes]
    for process, (_, stderr) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["step"] for r in records if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    summary = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())
    # All six slices, three from each process in every batch of four, padding left out.
    assert summary["num_images"] == len(
        {tuple(row) for row in _csv_rows(tmp_path / "run" / "report" / "per_click.csv")}
    )
    assert outputs[0][0].strip().endswith("summary.json")
    # The second process prints no report (the communication library does print a greeting).
    assert "summary.json" not in outputs[1][0]


def _csv_rows(path):
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    wanted = [header.index(name) for name in ("volume", "slice")]
    return [[row[i] for i in wanted] for row in rows]
