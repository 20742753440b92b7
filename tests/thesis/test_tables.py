"""Cells of the tables against reports whose means are known, and the three ways to write them."""

import csv
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from ecc_jax.thesis import markup, plan, rows, runs_of, tables
from tests.reports import slices_of
from tests.thesis.runs import RISING, evaluation, training

PLAN = plan.full(plan.Path("out"))


def filled(folder, indices=(), chosen=PLAN):
    return tables.fill(runs_of.find([folder]), indices, chosen)


def at(result, table, row, column):
    (cell,) = [c for c in result.cells if (c.table, c.row, c.column) == (table, row, column)]
    return cell


def index(name, subset="full", rule="patient", sizes=(7, 2, 3), **more):
    options = {"subset": subset, "split_rule": rule, "sources": [], **more}
    counts = {
        split: {"slices": size, "volumes": 2, "patients": 2}
        for split, size in zip(("train", "validation", "test"), sizes, strict=True)
    }
    return {"name": name, "options": options, "counts": counts, "directory": f"data/{name}/{rule}"}


def classical_file(folder, dataset="lidc_2d", *, tried=4, kind="", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    splits = {
        split: {"iou": 0.1 * n, "interval": [0.1 * n - 0.02, 0.1 * n + 0.02], "slices": 9}
        for n, split in enumerate(("train", "validation", "test"), 1)
    }
    methods = {
        name: {"label": label, "splits": splits, "grid": list(range(tried)), "grid_size": 4}
        for name, label in [("flooding", "Flooding"), ("flooding_disk", "Flooding in the disk")]
    }
    content = {
        "format": 1,
        "dataset": dataset,
        "methods": methods,
        "options": {"subset": "full", "kind": kind, "split_rule": "patient"},
        "folds": {"folds": 0, "fold": 0, "seed": 0},
        "split_sizes": {"train": 9, "validation": 9, "test": 9},
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    (folder / "classical.json").write_text(json.dumps(content))


def test_cells_hold_mean_interval_painter_and_run(tmp_path):
    # Two patients: a resampled mean is that of p, of q, or of all, so the ends are those of one.
    curves = {"model": np.repeat([[0.4], [0.4], [0.8], [0.8]], 20, axis=1), "disk_painter_tuned":
              np.full((4, 20), 0.25)}  # fmt: skip
    training(tmp_path / "run", "ritm_dynamic:lidc_2d", curves=curves, slices=slices_of("ppqq"))
    result = filled(tmp_path)
    for table, row, column in [(4, "RITM, dynamic", "LIDC 2D"), (5, "RITM_D", "IoU@3"),
                               (6, "LIDC 2D, dynamic", "LIDC 2D")]:  # fmt: skip
        ours = at(result, table, row, column).ours
        np.testing.assert_allclose(ours[:4], (0.6, 0.4, 0.8, 0.25), atol=1e-6)
        assert ours.sources == (str(tmp_path / "run" / "report"),)
        assert ours.detail == "4 slices of 2 patients"
    error = at(result, 5, "RITM_D", "error@20").ours
    # A constant curve has the error 1 - IoU.
    np.testing.assert_allclose(error[:4], (0.4, 0.2, 0.6, 0.75), atol=1e-6)
    filled_cells = [cell for cell in result.cells if cell.ours]
    assert len(filled_cells) == 1 + 6 + 1 and not any(cell.command for cell in filled_cells)


def test_the_error_is_that_of_the_mean_curve(tmp_path):
    curve = np.linspace(0.2, 0.95, 20)
    weights = 1 + 0.1 * np.arange(20)
    both = np.stack([curve, curve**2])
    training(tmp_path / "run", "unetpp:lidc_2d", curves={"model": both}, slices=slices_of("pq"))
    error = at(filled(tmp_path), 5, "U-Net++", "error@20").ours
    assert error.value == pytest.approx(((1 - both.mean(axis=0)) * weights).sum() / weights.sum())
    assert error.painter is None


def test_one_click_fills_table_6_but_not_table_5(tmp_path):
    run = training(
        tmp_path / "run", "ritm_static:lidc_2d", "eval.num_clicks=1",
        curves={"model": RISING[:, :1]},
    )  # fmt: skip
    evaluation(run, "on", report={"curves": {"model": RISING[:, :1] + 0.2}},
               **{"data.name": "kits_2d"})  # fmt: skip
    result = filled(tmp_path)
    assert at(result, 6, "LIDC 2D, static", "KITS 2D").ours.value == pytest.approx(0.7)
    assert at(result, 5, "RITM", "IoU@1").ours.value == pytest.approx(0.5)
    for column in ("IoU@2", "error@20"):
        cell = at(result, 5, "RITM", column)
        # It is trained, and only evaluated with too few clicks.
        assert cell.ours is None and "num_clicks=20" in cell.command
        assert f"--mode=evaluate --workdir={run}" in cell.command
    evaluation(run, "long", **{"eval.num_clicks": 20})
    assert at(filled(tmp_path), 5, "RITM", "IoU@2").ours is not None
    # What is missing of a finished training is asked of that training.
    command = at(result, 6, "LIDC 2D, static", "LITS 2D").command
    assert f"--workdir={run}" in command and "data.name=lits_2d" in command
    assert "--out=" not in command
    assert "out/runs/ritm_static-kits_2d" in at(result, 6, "KITS 2D, static", "LITS 2D").command


def test_counts_are_those_of_prepared_sets_the_thesis_split_first(tmp_path):
    (tmp_path / "empty").mkdir()
    sets = [index("kits_2d", rule="thesis", sizes=(8527, 1219, 2436)), index("kits_2d"),
            index("lidc_2d", "small"), index("ct_folder_2d"),
            index("ct_phantom_2d", kind="lung")]  # fmt: skip
    result = filled(tmp_path, sets)
    assert [at(result, 1, "KITS 2D", c).ours.value for c in ("Train", "Validation", "Test")] == [
        8527, 1219, 2436,
    ]  # fmt: skip
    assert at(result, 1, "LIDC 2D S", "Test").ours.value == 3
    missing = at(result, 1, "LIDC 2D", "Train")
    assert missing.ours is None and "build_dataset.py lidc_2d --config=full" in missing.command
    small = filled(tmp_path, sets, plan.quick(plan.Path("out")))
    assert at(small, 1, "LIDC 2D", "Train").ours.value == 7
    assert "--kind=kidney" in at(small, 1, "KITS 2D", "Train").command


def test_counts_of_other_sets_of_one_cell_are_left_out(tmp_path):
    (tmp_path / "empty").mkdir()
    mine = {"kind": "lung", "size": 160, "num_patients": 48}
    chosen = plan.quick(plan.Path("out"))
    # Later ones: of other patients, of the same counts, of other counts.
    sets = [
        {**index("ct_phantom_2d", sizes=sizes, **{**mine, **more}), "directory": place}
        for place, sizes, more in (
            ("other", (70, 20, 30), {"num_patients": 120}),
            ("first", (7, 2, 3), {}),
            ("same", (7, 2, 3), {}),
            ("unequal", (8, 2, 3), {}),
            ("reseeded", (5, 2, 3), {"split_seed": 1}),
        )
    ]
    result = filled(tmp_path, sets, chosen)
    ours = at(result, 1, "LIDC 2D", "Train").ours
    assert (ours.value, ours.sources) == (7, ("first",))
    reasons = {str(path): reason for path, reason in result.left_out}
    assert reasons.keys() == {"other", "unequal", "reseeded"}
    assert reasons["other"].startswith("has num_patients=120; Table 1 holds split_seed=0")
    assert reasons["reseeded"].startswith("has split_seed=1; ")
    assert reasons["unequal"] == "has other counts than first, which Table 1 holds"
    by_slice = filled(tmp_path, [index("kits_2d", rule="thesis"), index("kits_2d")])
    assert at(by_slice, 1, "KITS 2D", "Train").ours.detail == "2 scans, by slice"
    assert not by_slice.left_out


def test_table_2_is_of_the_classical_file(tmp_path):
    classical_file(tmp_path / "c")
    result = filled(tmp_path)
    ours = at(result, 2, "Flooding", "Test").ours
    assert ours[:3] == pytest.approx((0.3, 0.28, 0.32)) and ours.sources[0].endswith("al.json")
    assert "scripts/classical.py lidc_2d" in at(result, 2, "Active Contours", "Train").command
    extra = at(result, 2, "Flooding in the disk", "Train")
    assert extra.published is None and extra.ours.value == pytest.approx(0.1)
    classical_file(tmp_path / "other")
    with pytest.raises(ValueError, match="both fill Table 2; leave one away"):
        filled(tmp_path)


OF_SUBSET = {"subset": "small", "kind": "", "split_rule": "patient"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"options": OF_SUBSET}, "is of subset small; Table 2 holds full"),
        ({"folds": {"folds": 2, "fold": 1, "seed": 0}}, "is of fold 1 of 2; Table 2"),
        (
            {"split_sizes": {"train": 9, "validation": 9, "test": 30}},
            "is of 9 of 30 slices of test",
        ),
        ({"tried": 3}, "is of 3 of 4 values of the parameter; Table 2 holds all"),
        ({"options": None}, "does not say of which subset and folds it is; run scripts/classical"),
    ],
)
def test_table_2_holds_whole_searches_of_the_whole_set(tmp_path, changes, reason):
    classical_file(tmp_path / "other", **changes)
    classical_file(tmp_path / "own")
    result = filled(tmp_path)
    assert at(result, 2, "Flooding", "Test").ours.sources == (
        str(tmp_path / "own" / "classical.json"),
    )
    ((path, said),) = result.left_out
    assert path.parent.name == "other" and reason in said


def test_short_searches_of_stand_ins_are_said_to_be(tmp_path):
    sizes = {"train": 30, "validation": 9, "test": 30}
    given = {"dataset": "ct_phantom_2d", "split_sizes": sizes}
    classical_file(tmp_path / "other", kind="kidney", **given)
    classical_file(tmp_path / "own", kind="lung", tried=3, **given)
    result = filled(tmp_path, (), plan.quick(plan.Path("out")))
    test, validation = (at(result, 2, "Flooding", c).ours for c in ("Test", "Validation"))
    assert test.detail == "9 of 30 slices of test, 3 of 4 values of the parameter"
    assert validation.detail == "3 of 4 values of the parameter"
    assert [said for _, said in result.left_out] == [
        "is of the phantom's kind kidney; Table 2 holds lung"
    ]
    assert test.detail in markup.markdown(result)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"methods": {"flooding": {}}}, {"methods": 3}, {"folds": {}}]
)
def test_damaged_classical_files_are_refused(tmp_path, change):
    classical_file(tmp_path, **change)
    with pytest.raises(ValueError, match=r"classical.json is no file of scripts/classical.py \("):
        filled(tmp_path)


def test_what_belongs_to_no_table_is_named(tmp_path):
    classical_file(tmp_path / "c", dataset="kits_2d")
    training(tmp_path / "small", "ritm_static:lidc_2d,small")
    training(tmp_path / "own", "ritm_static:ct_folder_2d")
    result = filled(tmp_path)
    assert not any(cell.ours for cell in result.cells)
    reasons = " ".join(reason for _, reason in result.left_out)
    assert len(result.left_out) == 3
    for text in ("kits_2d, which Table 2", "subset small", "ct_folder_2d is no set"):
        assert text in reasons
    assert "## Left out" in markup.markdown(result)


@pytest.fixture
def some(tmp_path):
    training(tmp_path / "a_b%", "ritm_static:lidc_2d")
    classical_file(tmp_path / "c")
    return filled(tmp_path, [index("lidc_2d")])


def test_csv_holds_every_cell(some):
    lines = list(csv.DictReader(io.StringIO(markup.csv_text(some))))
    assert tuple(lines[0]) == markup.CSV_COLUMNS and len(lines) == 151 + 3
    (line,) = [r for r in lines if (r["table"], r["row"], r["column"]) == ("5", "RITM", "IoU@2")]
    assert (line["ours"], line["thesis"], line["painter"]) == ("0.52", "0.78", "0.42")
    assert line["run"].endswith("a_b%/report") and line["command"] == ""
    assert all(bool(line["ours"]) != bool(line["command"]) for line in lines)


def test_markdown_shows_ours_the_thesis_the_painter_and_what_is_missing(some):
    text = markup.markdown(some)
    table = text[text.index("## Table 3") : text.index("## Table 4")]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert "| RITM | 0.500 (0.500 to 0.500) | missing |" in table
    assert re.search(r"&emsp;thesis \| 0\.701 \[f,h\] \| 0\.816 \[d,f,h\] ", table)
    assert "| &emsp;tuned painter | 0.400 | – |" in table
    assert len({line.count("|") for line in lines}) == 1
    assert "| LIDC 2D | 7 (2 scans) | 2 (2 scans) | 3 (2 scans) |" in text
    missing = text[text.index("## What is missing") :]
    commands = [line for line in missing.splitlines() if line.startswith("python ")]
    assert len(set(commands)) == len(commands)
    # 9 prepared sets, classical, 24 trainings, 40 evaluations.
    assert len(commands) == 9 + 1 + 24 + 40
    assert any(line.endswith("# Tables 3, 4, 6") for line in commands)
    for letter in set(re.findall(r"[a-i](?=[,\]])", table)):
        assert f"- [{letter}] " in text


def test_latex_is_balanced_and_escaped(some):
    text = markup.latex(some)
    for name in ("table", "tabular", "document"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}")
    assert text.count("\\toprule") == text.count("\\bottomrule") == 6
    assert text.isascii() and not re.search(r"(?<!\\)[%#]|(?<!\\)_", text)
    assert text.replace("\\{", "").count("{") == text.count("}")
    for body in re.findall(r"\\toprule(.*?)\\bottomrule", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    assert "build\\_dataset.py -{}-config=full\\_thesis" in text
    assert "0.701\\textsuperscript{f,h}" in text and "RITM, dynamic disks" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_latex_compiles(some, tmp_path):
    (tmp_path / "tables.tex").write_text(markup.latex(some))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "tables.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert "Overfull" not in (tmp_path / "tables.log").read_text(errors="replace")


def test_latex_wraps_what_a_search_left_out_and_says_both_legends(some):
    detail = "48 of 5097 slices of train, 12 of 101 values of the parameter, split by slice"
    cells = [
        cell._replace(ours=tables.Ours(0.5, detail=detail)) if cell.table == 2 else cell
        for cell in some.cells
    ]
    text = markup.latex(some._replace(cells=cells, is_stand_in=True))
    (line,) = {part for part in text.splitlines() if "searched" in part}
    assert line.count(f"\\parbox[t]{{5.5cm}}{{\\raggedright {detail}\\strut}}") == 3
    assert "which sees the disks" in text and "phantom's lung, kidney" in text


def test_stand_ins_are_said_to_be_some(tmp_path):
    training(tmp_path / "run", "ritm_static:quick", *rows.synthetic_keys("kits_2d"))
    result = filled(tmp_path, (), plan.quick(plan.Path("out")))
    assert at(result, 3, "RITM", "KITS 2D").ours.value == pytest.approx(0.5)
    assert "phantom's lung, kidney" in markup.markdown(result)
    assert "phantom's lung, kidney" in markup.latex(result)
