"""Figures of classical methods: what a search writes, and what is drawn where parts lack."""

import json

import pytest

from ecc_jax.thesis import figures_classical
from ecc_jax.thesis.figures_runs import Missing, open_inputs
from tests.thesis.figure_inputs import classical, searched, texts_of


def test_panel_with_the_slice_s_own_value_is_drawn_from_what_a_search_writes(tmp_path):
    folder = searched(tmp_path / "searched")
    figure, caption = figures_classical.search_of_contour(open_inputs([str(folder)]))
    # Of two examples the second gains by its own radius: 12 in place of 4.
    assert len(figure.axes) == 3 and "(c) the same with" in caption
    assert texts_of(figure)[-1] == "IoU 1.00"
    assert [patch.radius for axes in figure.axes[1:] for patch in axes.patches] == [4.0, 12.0]


def test_classical_results_without_some_parts(tmp_path):
    folder = classical(tmp_path / "plain", with_own=False)
    path = folder / "classical.json"
    found = json.loads(path.read_text())
    found["methods"]["flooding"]["splits"]["test"]["interval"] = None
    path.write_text(json.dumps(found))
    inputs = open_inputs([str(folder)])
    figure, caption = figures_classical.search_of_flooding(inputs)
    assert len(figure.axes) == 2 and "IoU is 0.300, and" in caption
    # Disks of 5 pixels in lesions of 8 and 10, circles of 12 and 10: the second is worse at worst.
    figure, _ = figures_classical.both_methods(inputs)
    worst = [float(text.removeprefix("IoU ")) for text in texts_of(figure)]
    assert worst == pytest.approx([25 / 64, 64 / 144], abs=0.03)
    del found["methods"]["active_contour"]
    path.write_text(json.dumps(found))
    with pytest.raises(Missing, match="has no active_contour; write it again with"):
        figures_classical.both_methods(inputs)
    path.write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        figures_classical.both_methods(inputs)
