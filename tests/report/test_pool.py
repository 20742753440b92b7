import json
from pathlib import Path

import numpy as np
import pytest

from ecc_jax.report import pooling
from ecc_jax.report.click_log import read_click_log
from ecc_jax.report.results import MethodFacts
from ecc_jax.report.write import draw_pictures
from tests.loading import load
from tests.reports import record_of, slices_of, write_small

SCRIPT = Path(__file__).parents[2] / "scripts" / "pool.py"
IOU = np.array([[0.5, 0.85], [0.9, 0.95], [0.3, 0.4], [0.7, 0.9]])
PAINTER = "disk_painter_average"


@pytest.fixture(scope="module")
def main():
    """The script; its pictures take most of the time, so they are drawn where they are tested."""
    module = load(SCRIPT)

    def run(*arguments, draw=None):
        return module.main([str(argument) for argument in arguments], draw=draw)

    return run


def _folds(tmp_path, **facts):
    """Writes two folds of two slices; the whole would be IOU with a painter 0.1 below."""
    everything, clicks = slices_of("ppqr"), record_of(4, 2)
    for fold, part in enumerate((slice(0, 2), slice(2, 4))):
        own = clicks._replace(**{name: value[part] for name, value in clicks._asdict().items()})
        curves = {"model": IOU[part], PAINTER: IOU[part] - 0.1, "flooding": IOU[part, :1]}
        write_small(tmp_path / f"f{fold}" / "report", curves, everything[part], clicks=own, **facts)
    return tmp_path / "f0", tmp_path / "f1"


def _summary(folder) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_folds_become_the_report_of_the_whole(main, tmp_path, capsys):
    assert main(*_folds(tmp_path), "--out", tmp_path / "pooled") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'pooled' / 'summary.json'}\n"
    curves = {"model": IOU, PAINTER: IOU - 0.1, "flooding": IOU[:, :1]}
    write_small(tmp_path / "whole", curves, slices_of("ppqr"), clicks=record_of(4, 2))
    pooled, whole = _summary(tmp_path / "pooled"), _summary(tmp_path / "whole")
    assert pooled["rows"] == whole["rows"] and pooled["strata"] == whole["strata"]
    assert (pooled["num_images"], pooled["num_patients"], pooled["seed"]) == (4, 3, 7)
    assert pooled["sources"] == [str(tmp_path / f"f{fold}" / "report") for fold in (0, 1)]
    log = [tmp_path / name / "per_click.csv" for name in ("pooled", "whole")]
    assert log[0].read_bytes() == log[1].read_bytes()
    text = (tmp_path / "pooled" / "report.md").read_text()
    assert "| Pooling | 2 runs, each slice in one of them |" in text and "montage" not in text


def test_seeds_are_averaged_slice_by_slice_and_noc_run_by_run(main, tmp_path):
    # Seed 0 reaches 0.8 at click 1 or never, seed 1 the other way round; the mean never does.
    first = np.array([[0.9, 0.9], [0.5, 0.5]])
    for seed, iou in enumerate((first, first[::-1])):
        curves = {"model": iou, PAINTER: iou - 0.1}
        write_small(
            tmp_path / f"s{seed}",
            curves,
            slices_of("pq"),
            clicks=record_of(2, 2, seed=seed),
            seed=seed,
            steps=100 + seed,
            versions={"jax": "0.10.2", "numpy": f"2.{seed}"},
        )
    assert main(tmp_path / "s0", tmp_path / "s1", "--out", tmp_path / "pooled") == 0
    summary = _summary(tmp_path / "pooled")
    model = summary["rows"]["model"]
    np.testing.assert_allclose(model["iou"], [0.7, 0.7], rtol=1e-6)
    assert model["noc"]["80"] == 1.5 and model["nof"]["80"] == 0.5
    assert summary["rows"][PAINTER]["noc"]["80"] == pytest.approx(1.5)
    # Both patients have the same mean over the seeds: no spread over patients.
    np.testing.assert_allclose(model["iou_interval"]["high"], 0.7, rtol=1e-6)
    assert summary["seeds"] == [0, 1] and summary["seed"] == summary["steps"] == "various"
    assert summary["versions"] == {"jax": "0.10.2", "numpy": "various"}
    rows, _ = read_click_log(tmp_path / "pooled" / "per_click.csv")
    assert rows["model"].clicks is None
    text = (tmp_path / "pooled" / "report.md").read_text()
    assert "2 runs, each slice in 2 of them: scores averaged slice by slice" in text


def test_ritm_convention_holds_in_pooled_reports(main, tmp_path):
    for seed in (0, 1):
        curves = {"model": [[0.5, 0.95], [0.9, 0.9]]}
        write_small(tmp_path / f"s{seed}", curves, slices_of("pq"), nof_convention="ritm")
    assert main(tmp_path / "s0", tmp_path / "s1", "--out", tmp_path / "pooled") == 0
    assert _summary(tmp_path / "pooled")["rows"]["model"]["nof"]["90"] == 0.5


def test_facts_of_methods_stay_where_runs_agree(main, tmp_path):
    surface = {"unit": "mm", "tolerance": 2.0, "num_undefined": 1}
    scores = {"iou": IOU[:2], "nsd": np.array([[np.nan] * 2, [0.5, 0.6]])}
    for fold, slices in enumerate((slices_of("pq"), slices_of("rs", first=2))):
        latency = {"p50_s": 1.0, "p95_s": 2.0, "num_clicks": 3}
        known = {
            "model": MethodFacts(seconds_per_click=0.1 + 0.2 * fold, latency=latency),
            "flooding": MethodFacts(tolerance_hu=40.0 + fold),
            "disk_painter_tuned": MethodFacts(first_weight=0.5, later_weight=0.0),
        }
        curves = {"model": scores, "flooding": IOU[:2, :1], "disk_painter_tuned": IOU[:2]}
        user = [{"variant": "n", "label": "n", "rows": {"model": [0.5, 0.6]}}]
        write_small(
            tmp_path / f"f{fold}", curves, slices, known=known, surface=surface, robustness=user
        )
    assert main(tmp_path / "f0", tmp_path / "f1", "--out", tmp_path / "pooled") == 0
    summary = _summary(tmp_path / "pooled")
    assert summary["rows"]["model"]["seconds_per_click"] == pytest.approx(0.2)
    assert "latency" not in summary["rows"]["model"]
    assert "tolerance_hu" not in summary["rows"]["flooding"]
    assert summary["rows"]["disk_painter_tuned"]["first_weight"] == 0.5
    assert summary["surface"] == {"unit": "mm", "tolerance": 2.0, "num_undefined": 2}
    assert "robustness" not in summary


def test_methods_and_measures_that_all_runs_have_remain(main, tmp_path, capsys):
    write_small(
        tmp_path / "a",
        {"model": {"iou": IOU, "dice": IOU}, "flooding": IOU[:, :1]},
        slices_of("pqrs"),
    )
    write_small(tmp_path / "b", {"model": IOU}, slices_of("pqrs"))
    assert main(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "pooled") == 0
    assert "not in every run, left out: flooding" in capsys.readouterr().err
    rows = _summary(tmp_path / "pooled")["rows"]
    assert list(rows) == ["model"] and "dice" not in rows["model"]


def test_runs_under_other_users_are_refused(main, tmp_path, capsys):
    write_small(tmp_path / "a", {"model": IOU}, slices_of("ppqr"))
    for name, facts in (
        ("encoding", {"encoding": "tight radius"}),
        ("start_from", {"start_from": "ground truth, eroded"}),
        ("enclosing", {"enclosing": "min_circle"}),
        ("threshold", {"threshold": 0.49}),
        ("split_seed", {"split_seed": 7}),
    ):
        write_small(tmp_path / name, {"model": IOU}, slices_of("stuv"), **facts)
        assert main(tmp_path / "a", tmp_path / name, "--out", tmp_path / "pooled") == 1
        assert f"the runs must share their {name}" in capsys.readouterr().err
    write_small(tmp_path / "short", {"model": IOU[:, :1]}, slices_of("stuv"))
    assert main(tmp_path / "a", tmp_path / "short", "--out", tmp_path / "pooled") == 1
    assert "the same number of clicks, got [1, 2]" in capsys.readouterr().err


def test_mistakes_are_refused_in_one_line(main, tmp_path, capsys):
    f0, f1 = _folds(tmp_path)
    out = ("--out", tmp_path / "pooled")
    write_small(tmp_path / "other", {"model": IOU}, slices_of("ppqr"), dataset="kits_2d")
    write_small(tmp_path / "px", {"model": IOU}, slices_of("ppqr"), nof_convention="ritm")
    changed = [{**entry, "lesion_area": 77} for entry in slices_of("ppqr")]
    write_small(tmp_path / "changed", {"model": IOU}, changed)
    write_small(tmp_path / "external", {"external": IOU}, slices_of("ppqr"))
    for arguments, message in (
        ((f0, f0, *out), "named twice"),
        ((f0, f0 / "report", *out), "named twice"),
        ((f0, f1, "--out", f1 / "report"), "would be overwritten"),
        ((f0, tmp_path / "missing", *out), "missing holds no report"),
        ((f0, tmp_path / "other", *out), "must share their dataset"),
        ((f0, tmp_path / "px", *out), "must share their nof_convention"),
        ((f0, tmp_path / "changed", *out), "has a lesion of 10 px in one run and 77 px"),
        ((f0, tmp_path / "external", *out), "share no row"),
    ):
        assert main(*arguments) == 1
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "pooled").exists()


def test_restrict_keeps_scores_and_clicks_with_their_slices(tmp_path):
    run = pooling.load_run(_folds(tmp_path)[0])
    keys = [pooling.slice_key(entry) for entry in run.slices][::-1]
    turned = pooling.restrict(run, keys)
    assert turned.slices == run.slices[::-1]
    np.testing.assert_array_equal(
        turned.results["model"].scores["iou"], run.results["model"].scores["iou"][::-1]
    )
    for got, given in zip(turned.results["model"].clicks, run.results["model"].clicks, strict=True):
        np.testing.assert_array_equal(got, given[::-1])


def test_pictures_of_a_pooled_report(main, tmp_path):
    assert main(*_folds(tmp_path), "--out", tmp_path / "pooled", draw=draw_pictures) == 0
    for name in ("curves.png", "strata.png", "noc.png"):
        assert (tmp_path / "pooled" / name).stat().st_size > 1000
