"""Which of the runs that are given a figure takes."""

from ecc_jax.thesis import figures_clicks, figures_curves
from ecc_jax.thesis.figures_runs import open_inputs
from tests.thesis.figure_inputs import run


def test_sets_of_one_click_stand_back(tmp_path):
    for name in ("static", "dynamic"):
        run(tmp_path / f"a_{name}", f"ritm_{name}:kits_2d", clicks=1, title="a kidney's")
    inputs = open_inputs([str(tmp_path)])
    figure, caption = figures_curves.by_method(inputs)
    assert figure.axes[0].get_title() == "KITS 2D" and "Not drawn" not in caption
    assert "KITS 2D" in figures_clicks.many_clicks(inputs)[1]
    for name in ("static", "dynamic"):
        run(tmp_path / f"b_{name}", f"ritm_{name}:lidc_2d")
    inputs = open_inputs([str(tmp_path)])
    figure, caption = figures_curves.by_method(inputs)
    (panel,) = figure.axes
    assert panel.get_title() == "LIDC 2D"
    assert caption.endswith("Not drawn, as it was evaluated after one click only: KITS 2D.")
    for draw in (figures_clicks.one_click, figures_clicks.many_clicks):
        assert "LIDC 2D" in draw(inputs)[1]
