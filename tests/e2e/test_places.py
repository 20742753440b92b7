"""Where the command reads and writes: home folders, others' folders, full disks, terminals."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, TINY, command_of, run_main
from tests.mounts import enlarge, read_only, small_disk


def _again(tmp, *args, **environment):
    """Runs the command in another environment; returns the result, its output in bytes."""
    command = command_of(tmp, *args) | {"text": False}
    command["env"] = {**command["env"], **environment}
    return subprocess.run(**command, timeout=500)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", b"run"),
        ("latin-1", b"run"),
        ("ascii", "Läufe−2".encode()),
        ("latin-1", b"L\xe4ufe"),  # no UTF-8
        ("utf-8", b"L\xe4ufe"),
    ],
)
def test_a_finished_run_prints_its_report_on_every_terminal(
    finished, small_folder, tmp_path, encoding, name
):
    tmp, workdir, first = finished
    link = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    link.symlink_to(workdir)
    args = [*TINY, f"--config.data.path={small_folder}", f"--workdir={link}"]
    result = _again(tmp, *args, PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    assert b"Traceback" not in result.stderr
    path = f"{link}/report/summary.json"
    try:
        expected = path.encode(encoding)
    except UnicodeEncodeError:
        expected = os.fsencode(path)
    assert result.stdout.splitlines()[-1] == expected
    if encoding == "utf-8":
        assert "−" in first.stdout
        assert result.stdout.splitlines()[:-1] == first.stdout.encode().splitlines()[:-1]


def test_nobody_needs_to_read_the_report(finished, small_folder):
    tmp, workdir, _ = finished
    command = command_of(tmp, *TINY, f"--config.data.path={small_folder}", f"--workdir={workdir}")
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(**(command | {"stdout": write}), timeout=500)
    finally:
        os.close(write)
    assert result.returncode == 0
    assert result.stderr == f"{workdir} is finished; its report:\n"


def test_paths_in_the_home_folder(finished, small_folder, tmp_path):
    tmp, workdir, first = finished
    (tmp_path / "runs").symlink_to(workdir.parent)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    args = [f"--config=~/configs/{TINY[0].split('/')[-1]}", *TINY[1:]]
    args += [f"--config.data.path={small_folder}", "--workdir=~/runs/run"]
    result = _again(tmp, *args, HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    last = result.stdout.decode().splitlines()[-1]
    assert last == f"{tmp_path}/runs/run/report/summary.json"
    assert not list(ROOT.glob("~*"))


@pytest.mark.slow
def test_a_run_of_somebody_else_is_evaluated_and_replayed(finished, tmp_path):
    tmp, workdir, _ = finished
    out = tmp_path / "mine"
    with read_only(workdir, tmp_path / "theirs") as theirs:
        refused = run_main(tmp, "--mode=evaluate", f"--workdir={theirs}")
        result = run_main(tmp, "--mode=evaluate", f"--workdir={theirs}", f"--out={out}")
        command = command_of(tmp)
        command["args"] = [sys.executable, "scripts/replay.py", out, f"--workdir={theirs}"]
        replayed = subprocess.run(**command, timeout=300)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: cannot write to {theirs}/report: Read-only file system; pass --out=DIR, a folder "
        "of yours for the report\n"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out / "summary.json")
    old, new = (
        json.loads((folder / "summary.json").read_text())["rows"]["model"]["iou"]
        for folder in (workdir / "report", out)
    )
    assert old == new
    assert replayed.returncode == 0, replayed.stderr
    assert "every click and every score is the same" in replayed.stdout


def _check_full(result, folder):
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = f"error: no space left in {folder}: free space; the same command resumes"
    assert result.stderr.splitlines()[-1] == message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "resumed"),
    [
        ("12k", "compiled the train step"),  # metrics.jsonl and TensorBoard do not fit
        ("5m", "resuming from step "),  # the third checkpoint does not, beside the other two
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_resumes(
    finished, small_folder, tmp_path, size, resumed
):
    with small_disk(tmp_path / "disk", size) as disk:
        args = [*TINY, f"--config.data.path={small_folder}", f"--workdir={disk / 'run'}"]
        full = run_main(finished[0], *args)
        enlarge(disk, "50m")
        result = run_main(finished[0], *args)
    _check_full(full, disk / "run")
    assert result.returncode == 0, result.stderr
    assert resumed in result.stderr


@pytest.mark.slow
def test_a_disk_full_of_checkpoints_has_no_space_for_the_report(finished, small_folder, tmp_path):
    tmp, workdir, first = finished
    with small_disk(tmp_path / "disk", "50m") as disk:
        shutil.copytree(workdir, disk / "run", ignore=shutil.ignore_patterns("report"))
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 50_000))
        args = [*TINY, f"--config.data.path={small_folder}", f"--workdir={disk / 'run'}"]
        full = run_main(tmp, *args)
        (disk / "filler").unlink()
        result = run_main(tmp, *args)
        rows = json.loads((disk / "run" / "report" / "summary.json").read_text())["rows"]
    _check_full(full, disk / "run")
    assert result.returncode == 0, result.stderr
    assert "training is finished: 18 steps" in result.stderr
    former = json.loads((workdir / "report" / "summary.json").read_text())["rows"]
    assert rows["model"]["iou"] == former["model"]["iou"]
