"""Which report fills which cell: decided by what runs record, never by what folders are called."""

import json

import numpy as np
import pytest

from ecc_jax import config as schema
from ecc_jax.thesis import rows, runs_of
from tests.reports import slices_of
from tests.thesis.runs import RISING, evaluation, training


def cells(found):
    return {
        (report.cell.row.name, report.cell.trained_on, report.cell.tested_on)
        for report in found.reports
    }


def test_trainings_and_evaluations_on_other_sets_are_recognised(tmp_path):
    for number, (leaf, name) in enumerate(
        [("ritm_static", "lidc_2d"), ("ritm_dynamic", "kits_2d"), ("unetpp", "combined_2d"),
         ("focalclick_static", "lits_2d"), ("focalclick_dynamic", "md_panc_2d")]
    ):  # fmt: skip
        training(tmp_path / str(number), f"{leaf}:{name}")
    evaluation(tmp_path / "0", "other", **{"data.name": "kits_2d"})
    found = runs_of.find([tmp_path])
    assert found.left_out == [] and cells(found) == {
        ("ritm_static", "lidc_2d", "lidc_2d"),
        ("ritm_dynamic", "kits_2d", "kits_2d"),
        ("unetpp", "combined_2d", "combined_2d"),
        ("focalclick_static", "lits_2d", "lits_2d"),
        ("focalclick_dynamic", "md_panc_2d", "md_panc_2d"),
        ("ritm_static", "lidc_2d", "kits_2d"),
    }
    assert not any(report.is_stand_in for report in found.reports)
    # Every folder once, however often it is named.
    again = runs_of.find([tmp_path / "0", tmp_path / "0" / "report", tmp_path / "0"])
    assert len(again.reports) == 2


def test_organs_of_the_phantom_stand_for_the_sets(tmp_path):
    for column in rows.SETS:
        training(tmp_path / column, "ritm_static:quick", *rows.synthetic_keys(column))
    found = runs_of.find([tmp_path])
    assert cells(found) == {("ritm_static", column, column) for column in rows.SETS}
    assert all(report.is_stand_in for report in found.reports)
    training(tmp_path / "real", "ritm_static:lidc_2d")
    with pytest.raises(ValueError, match="of the phantom, which stands for.*one kind at a time"):
        runs_of.find([tmp_path])


def test_a_report_elsewhere_is_of_the_set_among_its_words(tmp_path):
    run = training(tmp_path / "run", "ritm_dynamic:lidc_2d")
    evaluation(run, "", at=tmp_path / "away", **{"data.name": "kits_2d"})
    assert cells(runs_of.find([tmp_path / "away"])) == {("ritm_dynamic", "lidc_2d", "kits_2d")}
    run = training(tmp_path / "phantom", "ritm_dynamic:quick", "data.phantom_kind=lung")
    evaluation(run, "", at=tmp_path / "lost", **{"data.phantom_kind": "liver"})
    ((folder, reason),) = runs_of.find([tmp_path / "lost"]).left_out
    assert folder == tmp_path / "lost" and "leave the report in its run's folder" in reason


@pytest.mark.parametrize(
    ("spec", "key", "reason"),
    [
        ("ecc:quick", "", "model.name=disk_unet is no network of the thesis"),
        ("ritm_hybrid:lidc_2d", "", "model.encoding=hybrid.*RITM has: configs/ritm_static.py"),
        ("ritm_static:lidc_2d", "clicks.radius=average", "train.radius=fixed, clicks.radius=av"),
        ("ritm_dynamic:lidc_2d", "model.prior=painter", "model.prior=painter, the thesis's rows"),
        ("unetpp:lidc_2d", "model.encoding=distance", "model.encoding=distance"),
        ("ritm_static:lidc_2d", "eval.protocol=ritm", "eval.protocol='ritm', the tables hold 't"),
        ("ritm_static:lidc_2d", "data.split=train", "data.split='train', the tables hold 'test'"),
        ("ritm_static:quick", "", "data.phantom_kind=mixed is no set of the thesis"),
        ("ritm_static:ct_folder_2d", "", "data.name=ct_folder_2d is no set of the thesis"),
    ],
)
def test_other_runs_are_left_out_with_the_key_that_differs(tmp_path, spec, key, reason):
    training(tmp_path / "run", spec, *filter(None, [key]))
    found = runs_of.find([tmp_path])
    assert found.reports == [] and len(found.left_out) == 1
    with pytest.raises(ValueError, match=reason):
        runs_of.read(tmp_path / "run" / "report")


def test_an_evaluation_by_other_means_than_the_runs_is_no_second_run(tmp_path):
    run = training(tmp_path / "run", "ritm_static:lidc_2d")
    evaluation(run, "zoomed", **{"inference.pipeline": "zoom_in"})
    found = runs_of.find([run])
    assert len(found.reports) == 1
    assert "inference.pipeline=zoom_in, the run has full_frame" in found.left_out[0][1]


def test_seeds_are_averaged_and_folds_put_side_by_side(tmp_path):
    slices = slices_of("ppqq")
    for seed, shift in enumerate((0.0, 0.1)):
        training(
            tmp_path / f"seed{seed}", "ritm_static:lidc_2d", f"seed={seed}",
            curves={"model": RISING + shift}, slices=slices,
        )  # fmt: skip
    run = runs_of.pool(runs_of.in_cell(runs_of.find([tmp_path]), trained_on="lidc_2d"))
    np.testing.assert_allclose(run.results["model"].scores["iou"], RISING + 0.05, atol=1e-6)
    for fold in range(2):
        training(
            tmp_path / "folds" / str(fold), "ritm_static:kits_2d", "data.folds=2",
            f"data.fold={fold}", curves={"model": RISING[:2]},
            slices=slices_of("pp" if fold else "qq"),
        )  # fmt: skip
    folds = runs_of.in_cell(runs_of.find([tmp_path]), trained_on="kits_2d")
    assert len(runs_of.pool(folds).slices) == 4


def test_runs_that_differ_in_more_than_seeds_are_not_averaged(tmp_path):
    training(tmp_path / "a", "ritm_static:lidc_2d")
    training(tmp_path / "b", "ritm_static:lidc_2d", "train.source=random_then_iterative")
    reports = runs_of.find([tmp_path]).reports
    message = "a/report has train.source='iterative', .*b/report 'random_then_iterative', and both"
    with pytest.raises(ValueError, match=message):
        runs_of.pool(reports)


def test_what_is_damaged_or_missing_is_said(tmp_path):
    with pytest.raises(ValueError, match="none is not a folder"):
        runs_of.find([tmp_path / "none"])
    run = training(tmp_path / "run", "ritm_static:lidc_2d")
    (run / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is damaged"):
        runs_of.read(run / "report")
    values = schema.to_dict(schema.get_config("lidc_2d"))
    (run / "config.json").write_text(json.dumps({**values, "surprise": 1}))
    with pytest.raises(ValueError, match="config.json is damaged.*surprise"):
        runs_of.read(run / "report")
    (run / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json \(a pooled report\?\); pass its runs"):
        runs_of.read(run / "report")
