"""scripts/propagation.py on a tiny folder, with a painter in place of a network."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from ecc_jax import runs
from ecc_jax.data.seen import Source, seen_by, to_json
from ecc_jax.volumes import identity_of, read_volume
from tests.annotator.serving import Painter
from tests.loading import load

SCRIPT = Path(__file__).parents[1] / "scripts" / "propagation.py"


@pytest.fixture
def painter(monkeypatch):
    """What the script takes for the network."""
    made = Painter()
    monkeypatch.setattr(runs, "load_predictor", lambda _: made)
    return made


@pytest.fixture
def command(painter, small_folder, tmp_path, capsys):
    """Runs the script; returns its exit code, stdout and stderr."""

    def run(*options, folder=small_folder, out="out"):
        arguments = [str(folder), "--out", str(tmp_path / out), *map(str, options)]
        code = load(SCRIPT).main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_folder_is_measured_and_not_measured_again(command, painter, tmp_path):
    code, out, err = command()
    folder = tmp_path / "out"
    assert (code, out) == (0, f"{folder / 'propagation.md'}\n")
    assert "| 6 lesions of 6 patients | within 3 |" in err
    assert "seen by the weights: none of these patients" in err
    with (folder / "propagation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["volume"] for row in rows] == [f"case_{n // 2:02d}" for n in range(12)]
    assert {row["start"] for row in rows} == {"truth", "network"}
    content = json.loads((folder / "propagation.json").read_text(encoding="utf-8"))
    assert content["facts"]["command"].startswith("propagation.py ")
    assert content["lesions"] == 6 and len(content["rows"]) == 4
    calls = painter.calls
    assert calls > 0
    # Others of the same, from what is kept.
    code, _, err = command("--every", 2, "--patient-regex", "^(case)")
    assert code == 0 and "| 3 lesions of 1 patient |" in err and painter.calls == calls
    assert "left out: 3 by --every, --offset or --most" in err


def test_it_goes_on_where_it_was_stopped(command, painter, tmp_path, monkeypatch):
    whole = tmp_path / "whole" / "propagation.csv"
    assert command(out="whole")[0] == 0
    calls, press = painter.calls, painter.add_click

    def stop(*disk):
        if painter.calls > 1.5 * calls:
            raise KeyboardInterrupt
        return press(*disk)

    monkeypatch.setattr(painter, "add_click", stop)
    code, _, err = command()
    assert code == 130 and "the same command continues" in err
    monkeypatch.setattr(painter, "add_click", press)
    with (tmp_path / "out" / "measured.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"files": "cut o')
    before = painter.calls
    assert command()[0] == 0
    assert 0 < painter.calls - before < calls
    assert (tmp_path / "out" / "propagation.csv").read_bytes() == whole.read_bytes()


def test_other_settings_and_changed_files(command, painter, small_folder, tmp_path):
    folder = Path(shutil.copytree(small_folder, tmp_path / "copy"))
    assert command("--most", 1, folder=folder)[0] == 0
    code, _, err = command("--most", 1, "--lesion-labels", 1, 2, folder=folder)
    assert code == 1 and "was measured with another lesion_labels; choose another --out" in err
    shutil.copy(folder / "labels" / "case_01.nii.gz", folder / "labels" / "case_00.nii.gz")
    before = painter.calls
    assert command("--most", 1, folder=folder)[0] == 0
    assert painter.calls > before
    kept = tmp_path / "out" / "measured.jsonl"
    with kept.open("a", encoding="utf-8") as file:
        file.write('{"files": "x", "rows": [[1]]}\n')
    code, _, err = command("--most", 1, folder=folder)
    assert code == 1 and f"{kept}: is damaged" in err and "remove it" in err


def test_unseen(command, small_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    code, _, err = command("--weights", run, "--unseen")
    assert code == 1 and "nobody knows whom these weights have seen" in err
    code, _, err = command("--weights", run, "--most", 1)
    assert code == 0 and "seen by the weights: not recorded" in err
    image = read_volume(small_folder / "images" / "case_02.nii.gz").image_hu
    row = {"patient": "x", "volume": "x", "volume_id": identity_of(image), "slice_id": "-"}
    own = seen_by("run", Source("d", "", False), {"train": [row], "validation": []})
    (run / "seen.json").write_text(json.dumps(to_json([own])), encoding="utf-8")
    _, _, err = command("--weights", run)
    assert "seen by the weights: 1 of these patients, in training or selection: case_02" in err
    _, _, err = command("--weights", run, "--unseen")
    assert "left out: 1 of patients that shaped the weights" in err
    assert "| 5 lesions of 5 patients |" in err


def test_mistakes_are_one_line(command, small_folder, tmp_path):
    folder = Path(shutil.copytree(small_folder, tmp_path / "copy"))
    for options, says in (
        (["--only", "nobody"], "none of 6 volumes is left to measure (6 not named by --only)"),
        (["--lesion-labels", "7"], "6 without a lesion (label 7)"),
        (["--patient-regex", "^LIDC"], "finds no patient in the volume name 'case_00'"),
        (["--offset", "6"], "6 by --every, --offset or --most"),
    ):
        code, out, err = command(*options, folder=folder)
        assert (code, out) == (1, "") and err.startswith("error: ") and says in err
        assert err.count("\n") == 1
    (folder / "labels" / "case_03.nii.gz").unlink()
    code, _, err = command(folder=folder)
    assert code == 1 and "1 images without a label: case_03.nii.gz" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--one-per-patient"], "--one-per-patient needs --patient-regex"),
        (["--least-slices", "1"], "expected a whole number from 2, got '1'"),
        (["--every", "0"], "expected a whole number from 1, got '0'"),
        (["--only", "("], "expected a regular expression, got '('"),
    ],
)
def test_options_that_cannot_be(options, says, capsys):
    with pytest.raises(SystemExit):
        load(SCRIPT).main(["x", "--out", "y", *options])
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_with_the_weights_that_come_with_the_package(small_folder, tmp_path, capsys):
    assert load(SCRIPT).main([str(small_folder), "--most", "2", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "propagation.json").read_text(encoding="utf-8"))
    assert all(0 < iou <= 1 for line in content["rows"] for iou in line["iou"])
    assert "seen by the weights: none" in capsys.readouterr().err
