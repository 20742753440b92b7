"""Which of the runs that are given a figure takes."""

import pytest

from ecc_jax.thesis import figures_clicks, figures_crops, figures_curves
from ecc_jax.thesis.figures_runs import Missing, open_inputs
from tests.thesis.figure_inputs import run


def test_sets_of_one_click_stand_back(tmp_path):
    for name in ("ritm_static", "ritm_dynamic", "unetpp"):
        run(tmp_path / f"a_{name}", f"{name}:kits_2d", clicks=1, title="a kidney's")
    inputs = open_inputs([str(tmp_path)])
    figure, caption = figures_curves.by_method(inputs)
    assert figure.axes[0].get_title() == "KITS 2D" and "Not drawn" not in caption
    assert "KITS 2D" in figures_clicks.many_clicks(inputs)[1]
    for name in ("static", "dynamic"):
        run(tmp_path / f"b_{name}", f"ritm_{name}:lidc_2d")
    run(tmp_path / "b_unetpp", "unetpp:lidc_2d", clicks=1)
    inputs = open_inputs([str(tmp_path)])
    figure, caption = figures_curves.by_method(inputs)
    (panel,) = figure.axes
    assert panel.get_title() == "LIDC 2D"
    assert caption.endswith("Not drawn, evaluated after one click only: KITS 2D.")
    for draw in (figures_clicks.one_click, figures_clicks.many_clicks):
        assert "LIDC 2D" in draw(inputs)[1]
    assert "Clicks and answers after 20 clicks" in figures_clicks.many_clicks(inputs)[1]


def test_focus_crops_are_of_a_run_with_a_second_click(tmp_path):
    run(tmp_path / "a", "focalclick_dynamic:kits_2d", clicks=1)
    inputs = open_inputs([str(tmp_path)])
    with pytest.raises(Missing, match="no example has a second click"):
        figures_crops.focus_crops(inputs)
    run(tmp_path / "b", "focalclick_static:lidc_2d")
    assert "FocalClick on LIDC 2D" in figures_crops.focus_crops(open_inputs([str(tmp_path)]))[1]
