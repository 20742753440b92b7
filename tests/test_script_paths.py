"""`~` in the paths that scripts are given, and scripts whose output nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.loading import load
from tests.reports import record_of, slices_of, write_small
from tests.torch_files import write

ROOT = Path(__file__).parents[1]
IOU = np.array([[0.5, 0.85], [0.9, 0.95], [0.3, 0.4], [0.7, 0.9]])


@pytest.fixture(scope="module")
def home(tmp_path_factory, small_folder):
    """A home folder with two reports, a folder of volumes, and an empty folder to be in."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "here").mkdir()
    (folder / "ct").symlink_to(small_folder)
    for name in ("a", "b"):
        clicks = record_of(4, 2)
        write_small(folder / name / "report", {"model": IOU}, slices_of("ppqr"), clicks=clicks)
    write(folder / "none.pth", {"state_dict": {"x": np.zeros(2, np.float32)}})
    return folder


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("compare.py ~/a ~/b --json ~/out/c.json --out ~/out", 0, "sum of clicks"),
        ("compare.py ~/a,~/b ~/a+~/b", 0, "sum of clicks"),
        ("pool.py ~/a ~/b --out ~/out/pooled", 0, "{home}/out/pooled/summary.json"),
        ("replay.py ~/a --workdir ~/none", 2, "{home}/none is not the workdir of a run"),
        ("convert_weights.py ~/none.pth ~/out/w", 1, "{home}/none.pth: "),
        ("build_dataset.py ct_folder_2d --source ~/ct --root ~/out --size 40", 0, "{home}/out/ct"),
        ("gather_folders.py --out ~/out/all --from ~/ct", 0, "{home}/ct: 6 volumes"),
        ("gather_folders.py --out ~/out/more --from ~/none", 1, "{home}/none: is not a folder"),
        ("dataset_report.py ct_folder_2d --root ~/nowhere", 1, "no prepared dataset in {home}/no"),
        ("dataset_report.py ~/nowhere", 1, "{home}/nowhere"),
        ("thesis_tables.py ~/a --out ~/out/t --root ~/none", 0, "{home}/out/t/tables.md"),
        ("classical.py ct_folder_2d --root ~/nowhere", 1, "no prepared dataset in {home}/nowhere"),
        ("propagation.py ~/none --out ~/out/p", 1, "{home}/none: is not a folder"),
        ("count_lidc.py ~/ct --list ~/list.csv", 1, "{home}/ct: holds no reading of a CT"),
        ("benchmark.py clicks --json ~/nowhere/x.json", 2, "{home}/nowhere is not a folder"),
        ("pool.py ~nobody-of-that-name/a --out ~/out/x", 1, "home folder ~nobody-of-that-name is"),
        ("replay.py ~nobody-of-that-name/a", 2, "home folder ~nobody-of-that-name is not known"),
    ],
)
def test_home_folders_in_the_arguments_of_scripts(home, command, code, says, monkeypatch, capsys):
    name, *arguments = command.split()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "here")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    script = load(ROOT / "scripts" / name)
    try:
        assert script.main() == code
    except SystemExit as error:  # of argparse
        assert error.code == code
    printed = capsys.readouterr()
    assert says.format(home=home) in printed.out + printed.err
    assert list((home / "here").iterdir()) == []


@pytest.mark.parametrize("script", ["compare.py", "convert_weights.py", "phantom_difficulty.py"])
def test_scripts_whose_output_nobody_reads(script):
    read, write_end = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / script, "--help"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=100,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")
