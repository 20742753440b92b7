import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from ecc_jax.report import figures, summary
from ecc_jax.report.intervals import paired_difference
from ecc_jax.report.methods import METHODS
from ecc_jax.report.results import MethodResult
from tests.reports import slices_of

ONE_ANSWER = tuple(method.name for method in METHODS if method.answers_once)
LABELS = {method.name: method.label for method in METHODS}


def _rows(names=tuple(LABELS), k: int = 3) -> dict[str, MethodResult]:
    """Returns six slices; every later row is a little worse than the one before."""
    curve = np.linspace(0.8, 0.9, k) + np.linspace(-0.03, 0.03, 6)[:, None]
    rows = {name: MethodResult({"iou": curve - 0.02 * i}) for i, name in enumerate(names)}
    for name in set(ONE_ANSWER) & set(rows):
        rows[name] = MethodResult({"iou": rows[name].scores["iou"][:, :1]})
    return rows


def _measured(rows, patients="aabbcc"):
    return summary.with_intervals(summary.summarise(rows), rows, list(patients))


def test_curves_show_methods_bands_and_gains_with_styles_of_their_own():
    hidden = ("external", "same_disks", "best_reader", "disk_painter_tuned", "flooding_disk")
    hidden = (*hidden, "active_contour", "active_contour_disk")
    names = [name for name in LABELS if name not in hidden]
    methods = _measured(_rows(names))
    left, right = Figure().subplots(1, 2)
    figures.plot_iou(left, methods)
    figures.plot_gains(right, methods)
    assert len(left.lines) == len(left.get_legend().get_texts()) == len(names)
    styles = {(str(line.get_linestyle()), line.get_marker()) for line in left.lines}
    assert len(styles) == len(names)
    # One band for the method's curve on the left, one for each gain on the right.
    assert len(left.collections) == 1 and len(right.collections) == 3
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == [
        "over painter, average radius",
        "over painter, tight radius",
        "over the same network, image blanked",
    ]
    for line, gain in zip(right.lines[1:], (0.04, 0.06, 0.08), strict=True):
        np.testing.assert_allclose(line.get_ydata(), [gain] * 3, rtol=1e-6)
    start = next(line for line in left.lines if line.get_label() == LABELS["start_mask"])
    assert start.get_xdata().tolist() == [0]
    one = _measured(_rows(["model", "disk_painter_tight"]), "aaaaaa")
    left, right = Figure().subplots(1, 2)
    figures.plot_iou(left, one)
    figures.plot_gains(right, one)
    assert not left.collections and not right.collections and "95 %" not in left.get_title()


def test_every_known_method_has_a_style_and_crowded_figures_lose_the_least():
    looks = [method.look for method in METHODS]
    looks = {(str(look.line), look.marker, look.color) for look in looks}
    assert len({look[:2] for look in looks}) == len(looks) == len(LABELS)
    everything = _measured(_rows())
    assert set(everything) - set(figures.shown(everything)) == {
        "same_disks",
        "disk_as_mask",
        "disk_painter_tight",
    }
    fewer = {name: everything[name] for name in list(LABELS)[:9]}
    assert figures.shown(fewer) == list(fewer)


@pytest.mark.parametrize(("clicks", "ticks"), [(1, [1]), (3, [1, 2, 3]), (20, [1, 5, 10, 15, 20])])
def test_ticks_are_whole_clicks(clicks, ticks):
    assert figures.click_ticks(clicks) == ticks


def test_bars_by_size_have_the_heights_and_whiskers_of_the_strata():
    rows = _rows(["model", "disk_painter_average", "blank_image"], k=7)
    strata = summary.strata(rows, slices_of("abacbc"))
    # Two slices give an interval that is even about the mean, which would hide swapped whiskers.
    strata[0].methods["model"].iou_interval.low[4] -= 0.05
    axes = Figure().subplots()
    names = ["model", "disk_painter_average", "blank_image"]
    figures.plot_strata(axes, strata, summary.summarise(rows), click=5)
    assert len(axes.patches) == 9
    heights = [patch.get_height() for patch in axes.patches]
    expected = [group.methods[name].means["iou"][4] for name in names for group in strata]
    np.testing.assert_allclose(heights, expected)
    spans = [line.get_segments()[0][:, 1] for line in axes.collections]
    np.testing.assert_allclose(spans[0][0], strata[0].methods["model"].iou_interval.low[4])
    np.testing.assert_allclose(spans[0][1], strata[0].methods["model"].iou_interval.high[4])
    # The groups do not overlap, and bars stand in order.
    edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    ordered = sorted(edges)
    assert all(a[1] <= b[0] + 1e-9 for a, b in zip(ordered, ordered[1:], strict=False))
    # Groups of one patient have bars without whiskers.
    axes = Figure().subplots()
    alone = summary.strata(rows, slices_of("aabbcc"))
    figures.plot_strata(axes, alone, summary.summarise(rows), click=1)
    assert len(axes.patches) == 9 and not axes.collections


def test_histogram_of_clicks_adds_up_and_keeps_failures_apart():
    iou = np.array([[0.95, 0.9, 0.9], [0.5, 0.6, 0.8], [0.1, 0.2, 0.3], [0.1, 0.85, 0.1]])
    np.testing.assert_allclose(figures.click_shares(iou, "80", "success"), [0.25, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(figures.click_shares(iou, "80", "ritm"), [0.25, 0.25, 0, 0.5])
    np.testing.assert_allclose(figures.click_shares(iou, "90", "success"), [0.25, 0, 0, 0.75])
    axes = Figure().subplots()
    rows = {
        "model": MethodResult({"iou": iou}),
        "disk_painter_tight": MethodResult({"iou": iou[:, :2]}),
    }
    labels = {name: name for name in rows}
    figures.plot_clicks(axes, rows, labels, key="80", nof_convention="success")
    heights = np.reshape([patch.get_height() for patch in axes.patches], (2, 4))
    np.testing.assert_allclose(heights, [[0.25] * 4, [0.25, 0.25, 0, 0.5]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3", "failed"]


def test_difference_is_drawn_with_its_interval(tmp_path):
    first = np.linspace(0.5, 0.9, 12).reshape(4, 3)
    gap = paired_difference(first, first - [[0.1], [0.0], [0.0], [0.1]], list("abcd"))
    path = figures.draw_difference(tmp_path / "d.png", gap, title="A\nB", label="IoU, A minus B")
    picture = imread(path)
    alone = gap._replace(band=None, total_band=None)
    bare = imread(figures.draw_difference(tmp_path / "e.png", alone, title="A\nB", label="IoU"))

    def light_blue(image):
        red, green, blue = image[..., 0], image[..., 1], image[..., 2]
        return int(np.sum((blue > red + 0.1) & (green > 0.7) & (blue > 0.8)))

    assert light_blue(picture) > 20 * max(light_blue(bare), 100)
