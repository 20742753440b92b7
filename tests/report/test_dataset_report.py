"""scripts/dataset_report.py on a dataset that was just prepared."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.loading import load
from tests.nifti_sets import SIDE, brute_force, write_kits
from tfds_builders import preparation
from tfds_builders.options import DataOptions

SCRIPT = Path(__file__).parents[2] / "scripts" / "dataset_report.py"


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dataset_report.py", *map(str, arguments)])
    return script.main()


def test_report_of_a_prepared_set(script, tmp_path, monkeypatch, capsys):
    volumes = write_kits(tmp_path / "raw")
    root, out = tmp_path / "root", tmp_path / "out"
    options = DataOptions("kits_2d", root=str(root), path=str(tmp_path / "raw"), size=SIDE)
    directory = preparation.prepare(options, progress=False)
    assert run(script, monkeypatch, "kits_2d", "--root", root, "--out", out) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.md")
    names = ("report.md", "report.json", "areas.png", "hu.png", "contact_sheet.png")
    assert all((out / name).stat().st_size > 100 for name in names)
    facts = json.loads((out / "report.json").read_text())
    lesions = brute_force(volumes, 0)
    assert sum(counts["slices"] for counts in facts["counts"].values()) == len(lesions)
    assert set(facts["patient_overlap"].values()) == {0}
    for split, table in preparation.read_index(directory)["splits"].items():
        keys = zip(table["volume"], table["slice_index"], strict=True)
        factors = [(SIDE // max(lesions[key].shape)) ** 2 * lesions[key].sum() for key in keys]
        assert facts["lesion_area"][split]["median"] == np.median(factors)
    text = (out / "report.md").read_text()
    assert "12182" in text and "364 px" in text and "1 volumes hold no lesion" in text

    assert run(script, monkeypatch, directory, "--out", tmp_path / "again") == 0
    preparation.prepare(options._replace(subset="small"), progress=False)
    capsys.readouterr()
    assert run(script, monkeypatch, "kits_2d", "--root", root) == 1
    assert "kits_2d is prepared 2 times, pass one directory" in capsys.readouterr().err


def test_nothing_prepared(script, tmp_path, monkeypatch, capsys):
    assert run(script, monkeypatch, "kits_2d", "--root", tmp_path) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: no prepared dataset in") and message.count("\n") == 1
