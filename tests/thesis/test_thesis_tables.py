"""scripts/thesis_tables.py: what a person types, and the usual mistakes."""

from pathlib import Path

import pytest

from ecc_jax.thesis import campaign
from tests.loading import load
from tests.preparing import prepare
from tests.thesis.runs import training
from tfds_builders.options import DataOptions

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    return load(ROOT / "scripts/thesis_tables.py")


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


def test_without_a_root_the_usual_one_is_looked_into(script, tmp_path, monkeypatch):
    usual = tmp_path / "usual"
    directory = prepare(
        DataOptions("ct_phantom_2d", root=str(usual), kind="lung", num_patients=4, size=48)
    )
    training(tmp_path / "runs" / "a", "ritm_static:quick", "data.phantom_kind=lung")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("TFDS_DATA_DIR", str(usual))
    assert script.main([str(tmp_path / "runs"), "--out=tables"]) == 0
    text = Path("tables/tables.md").read_text()
    # Four patients are no stand-in for the thesis's set; what is left out is named, so was found.
    assert str(directory) in text and "num_patients=4" in text


def test_an_interrupt_says_that_the_command_goes_on(script, tmp_path, capsys, monkeypatch):
    def run(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "run", run)
    assert script.main(["--run=quick", f"--out={tmp_path}"]) == 130
    assert capsys.readouterr().err == "interrupted; the same command continues\n"


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


def test_a_path_that_is_not_there_says_so(script, tmp_path, capsys):
    assert script.main([str(tmp_path / "none"), f"--out={tmp_path}"]) == 1
    assert "none is not a folder; pass workdirs" in capsys.readouterr().err


def test_relative_folders_of_the_miniature_are_those_of_the_caller(script, tmp_path, monkeypatch):
    def run(plan, **_):
        # Its runs are made in the repository, whatever the folder of the caller.
        assert plan.out == tmp_path / "mine" and all(
            str(tmp_path) in str(job.done) for job in plan.jobs if job.done
        )
        training(plan.out / "runs" / "x", "ritm_static:quick", "data.phantom_kind=lung")
        return campaign.Outcome(1, [])

    monkeypatch.setattr(campaign, "run", run)
    monkeypatch.chdir(tmp_path)
    assert script.main(["--run=quick", "--out=mine", f"--root={tmp_path / 'nothing'}"]) == 0
    assert (tmp_path / "mine" / "tables.md").is_file()


def test_less_than_the_thesis_trained_is_no_row_of_it(script, tmp_path):
    less = {
        "a": ("ritm_static:lidc_2d,quick", "eval.max_slices=64"),
        "b": ("ritm_static:lidc_2d", "data.split_rule=thesis"),
        "c": ("ritm_static:lidc_2d", "model.name=ritm_hrnet18s"),
        "d": ("ritm_static:lidc_2d", "inference.flip=True"),
    }
    for name, (spec, *keys) in less.items():
        training(tmp_path / "runs" / name, spec, *keys)
    command = [str(tmp_path / "runs"), f"--out={tmp_path}", f"--root={tmp_path / 'nothing'}"]
    assert script.main(command) == 0
    text = (tmp_path / "tables.md").read_text()
    assert "| RITM | missing |" in text
    left_out = text[text.index("## Left out") :]
    for key in ("model.name='ritm_hrnet18s'", "data.split_rule='thesis'", "inference.flip=True"):
        assert key in left_out
    assert left_out.count("the thesis's rows have") == len(less)
