"""scripts/thesis_tables.py: what a person types, and the usual mistakes."""

import importlib.util
from pathlib import Path

import pytest

from ecc_jax.thesis import campaign
from tests.thesis.runs import training

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    found = importlib.util.spec_from_file_location("t", ROOT / "scripts/thesis_tables.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_tables_of_a_folder_of_runs(script, tmp_path, capsys):
    training(tmp_path / "runs" / "a", "ritm_static:lidc_2d")
    out = tmp_path / "out"
    command = [str(tmp_path / "runs"), f"--out={out}", f"--root={tmp_path / 'nothing'}"]
    assert script.main(command) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(out / "tables.md")
    assert "| RITM | 0.500 (0.500 to 0.500) |" in printed
    assert sorted(path.name for path in out.iterdir()) == ["tables.csv", "tables.md", "tables.tex"]
    assert "python scripts/build_dataset.py lidc_2d" in (out / "tables.md").read_text()


def test_the_miniature_is_run_and_told(script, tmp_path, capsys, monkeypatch):
    asked = []

    def run(plan, *, minutes, say):
        asked.append((plan, minutes))
        training(plan.out / "runs" / "x", "ritm_static:quick", "data.phantom_kind=lung")
        return campaign.Outcome(1, plan.jobs[-2:])

    monkeypatch.setattr(campaign, "run", run)
    flags = ["--run=quick", "--minutes=5", f"--out={tmp_path}", f"--root={tmp_path}", "--steps=40"]
    assert script.main(flags) == 0
    printed = capsys.readouterr()
    assert "time is up, 2 runs are left; the same command goes on" in printed.err
    assert "phantom's lung" in printed.out and asked[0][1] == 5
    assert any("train.steps_per_epoch=10" in " ".join(job.command) for job in asked[0][0].jobs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "name at least one RUN"),
        ("--plan --run quick", "choose one"),
        ("--plan --images-per-second 0", "must be above 0"),
        ("--run quick --minutes -1", "--minutes not below"),
    ],
)
def test_what_makes_no_sense_is_one_line(script, arguments, message, capsys):
    with pytest.raises(SystemExit):
        script.main(arguments.split())
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_path_that_is_not_there_says_so(script, tmp_path):
    with pytest.raises(ValueError, match="none is not a folder; pass workdirs"):
        script.main([str(tmp_path / "none"), f"--out={tmp_path}"])
