"""The files of a classical search, and scripts/classical.py on a dataset that was just prepared."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ecc_jax.report import classical
from tests.loading import load
from tests.preparing import prepare
from tfds_builders.options import DataOptions

SCRIPT = Path(__file__).parents[2] / "scripts" / "classical.py"
SPLITS = ("train", "validation", "test")


def entries(patients):
    return [
        {"patient": patient, "volume": f"v{i}", "slice_index": 7 + i}
        for i, patient in enumerate(patients)
    ]


def found(**changes):
    """Two methods on two slices of each split; the second value is best on train."""
    flood = np.array([[0.1, 0.5, 0.4], [0.1, 0.3, 0.4]])
    tables = {
        "train": flood,
        "validation": flood / 2,
        "test": np.array([[0.9, 0.2, 0.2], [0, 0.4, 0.8]]),
    }
    disk = classical.Scored(np.array([1.0]), {split: np.full((2, 1), 0.6) for split in SPLITS}, 21)
    flooded = {split: np.array([[0.7, 0.1], [0.5, 0.1]]) for split in SPLITS}
    given = {
        "dataset": "a_set",
        "sizes": {"train": 20, "validation": 5, "test": 9},
        "slices": {split: entries("pq") for split in SPLITS},
        "methods": {
            "disk": disk,
            "flooding": classical.Scored(np.array([0.1, 0.2, 0.3]), tables, 3),
            "flooding_disk": classical.Scored(np.array([1.0, 2.0]), flooded, 9),
        },
        "options": {"subset": "small", "kind": "lung", "split_rule": "patient", "path": "raw"},
        "folds": {"folds": 2, "fold": 1, "seed": 5},
    }
    return classical.Searched(**(given | changes))


def test_best_on_train_is_used_elsewhere_and_the_oracle_is_of_each_slice():
    summary = classical.summarize(found())
    flooding = summary["methods"]["flooding"]
    assert flooding["best"] == 0.2 and flooding["grid"] == [0.1, 0.2, 0.3]
    np.testing.assert_allclose(flooding["search"]["iou"], [0.1, 0.4, 0.4])
    np.testing.assert_allclose(flooding["search"]["dice"][1], (2 * 0.5 / 1.5 + 2 * 0.3 / 1.3) / 2)
    test = flooding["splits"]["test"]
    assert test["iou"] == pytest.approx(0.3) and test["oracle_iou"] == pytest.approx(0.85)
    assert test["interval"] == pytest.approx([0.2, 0.4]) and test["patients"] == 2
    assert summary["references"].keys() == {"disk"}
    assert summary["methods"].keys() == {"flooding", "flooding_disk"}


def test_results_say_what_they_are_of():
    summary = classical.summarize(found())
    assert summary["options"] == {"subset": "small", "kind": "lung", "split_rule": "patient"}
    assert summary["folds"] == {"folds": 2, "fold": 1, "seed": 5}
    flooding = summary["methods"]["flooding_disk"]
    assert (len(flooding["grid"]), flooding["grid_size"]) == (2, 9)


def test_contrasts_are_paired():
    contrasts = classical.summarize(found())["contrasts"]
    assert contrasts.keys() == {"flooding_disk - flooding", "flooding_disk - disk"}
    gap = contrasts["flooding_disk - flooding"]
    assert gap["difference"] == pytest.approx(0.3)
    # Of the two slices one gains 0.5 and one 0.1.
    assert gap["interval"] == pytest.approx([0.1, 0.5])


def test_one_patient_has_no_interval():
    alone = found(slices={split: entries("pp") for split in SPLITS})
    summary = classical.summarize(alone)
    assert summary["methods"]["flooding"]["splits"]["test"]["interval"] is None
    assert "flooding_disk - disk: +0.000 (-)" in classical.table(summary)


def test_lines_per_slice_hold_the_oracle_s_smallest_value():
    lines = list(csv.DictReader(classical.per_slice(found()).splitlines()))
    assert len(lines) == 3 * 3 * 2
    line = next(x for x in lines if x["method"] == "flooding" and x["split"] == "test")
    assert (line["slice"], line["patient"]) == ("v0/7", "p")
    assert [float(line[name]) for name in ("iou", "oracle_iou", "oracle_parameter")] == [
        0.2,
        0.9,
        0.1,
    ]
    assert float(line["dice"]) == pytest.approx(0.4 / 1.2, abs=1e-6)


def test_examples_come_back(tmp_path):
    mask = np.eye(3, dtype=bool)
    example = classical.Example(
        np.full((3, 3), 0.25),
        mask,
        (1.0, 2.0),
        1.5,
        masks={"flooding": ~mask},
        oracle_masks={"flooding": mask},
        oracle_values={"flooding": 0.3},
    )
    path = classical.write(found(), [example], tmp_path / "new")
    assert json.loads(path.read_text())["dataset"] == "a_set"
    with np.load(path.with_name("classical_examples.npz")) as arrays:
        names = "flooding_0 flooding_oracle_0 flooding_oracle_parameter_0 image_0 radius_0 seed_0"
        assert sorted(arrays) == [*names.split(), "target_0"]
        np.testing.assert_array_equal(arrays["flooding_oracle_0"], mask)
        assert arrays["flooding_oracle_parameter_0"] == 0.3
        np.testing.assert_array_equal(arrays["flooding_0"], ~mask)
        assert arrays["image_0"].dtype == np.float16 and arrays["seed_0"].tolist() == [1, 2]


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


@pytest.fixture(scope="module")
def prepared(small_folder, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("root"))
    return prepare(DataOptions("ct_folder_2d", root=root, path=str(small_folder), size=40))


def check_examples(out):
    """Masks of the examples score what the table says of their slices."""
    lines = csv.DictReader((out / "classical_per_slice.csv").read_text().splitlines())
    listed = {
        (line["method"], line["iou"], line["oracle_iou"], line["oracle_parameter"])
        for line in lines
        if line["split"] == "test"
    }
    with np.load(out / "classical_examples.npz") as arrays:
        target = arrays["target_0"]
        for name in ("flooding", "flooding_hu", "flooding_disk", "disk"):
            masks = [arrays[f"{name}_0"], arrays[f"{name}_oracle_0"]]
            ious = [f"{(mask & target).sum() / (mask | target).sum():.6g}" for mask in masks]
            value = f"{float(arrays[f'{name}_oracle_parameter_0']):.6g}"
            assert (name, *ious, value) in listed


FLOODS = ("--methods", "flooding", "flooding_hu", "flooding_disk", "--quick", "--jobs", "1")


def test_the_script_searches_tests_and_goes_on(script, prepared, tmp_path, capsys):
    out = tmp_path / "out"
    assert script.main([str(prepared), "--out", str(out), *FLOODS]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(out / "classical.json")
    assert "flooding_disk - flooding: " in printed.err
    first = {
        name: (out / name).read_bytes() for name in ("classical.json", "classical_per_slice.csv")
    }
    summary = json.loads(first["classical.json"])
    assert summary["format"] == 1 and summary["dataset"] == "ct_folder_2d"
    assert all(len(entry["grid"]) == 5 for entry in summary["methods"].values())
    assert summary["methods"]["flooding"]["grid_size"] > 5
    assert summary["options"]["subset"] == "full" and summary["folds"]["folds"] == 0
    # Bright balls in noise, most of which the disk holds.
    assert summary["methods"]["flooding_disk"]["splits"]["test"]["iou"] > 0.7
    check_examples(out)
    # Killed: half of the parts are there, the files are not.
    for number, part in enumerate(sorted((out / "parts").iterdir())):
        if number % 2:
            part.unlink()
    for name in first:
        (out / name).unlink()
    assert script.main([str(prepared), "--out", str(out), *FLOODS]) == 0
    assert {name: (out / name).read_bytes() for name in first} == first


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 1, "no prepared dataset in"),
        (["x", "--methods", "snake"], 2, "invalid choice: 'snake'"),
        (["x", "--jobs", "0"], 2, "expected at least 1, got '0'"),
        (["x", "--max-slices", "-1"], 2, "expected 0 or a positive whole number, got '-1'"),
        (["x", "--fold", "3"], 2, "--fold and --fold-seed need --folds"),
        (["x", "--fold-seed", "1"], 2, "--fold and --fold-seed need --folds"),
    ],
)
def test_usual_mistakes_are_one_line(script, tmp_path, capsys, arguments, code, says):
    try:
        assert script.main([*arguments, "--root", str(tmp_path)]) == code
    except SystemExit as error:  # of argparse
        assert error.code == code
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_folds_that_do_not_exist(script, prepared, tmp_path, capsys):
    wrong = [str(prepared), "--folds", "2", "--fold", "2", "--out", str(tmp_path)]
    assert script.main(wrong) == 1
    assert "0 <= fold < folds, got 2, 2" in capsys.readouterr().err
