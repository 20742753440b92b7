import numpy as np
import pytest

from ecc_jax.report import summary
from ecc_jax.report.methods import clicked_methods, ordered, subject_of
from ecc_jax.report.results import Gain, MethodResult
from tests.reports import slices_of

# Three slices, three clicks: at once, at the very last click, never.
IOU = np.array([[0.95, 0.9, 0.9], [0.5, 0.6, 0.8], [0.1, 0.2, 0.3]], np.float32)


def _rows(**curves) -> dict[str, MethodResult]:
    return {
        name: MethodResult({"iou": np.asarray(iou, np.float32)}) for name, iou in curves.items()
    }


def _entry(results, name: str, **options) -> dict:
    """Returns the measures of a method as summary.json has them, without interval and gains."""
    method = summary.summarise(results, **options)[name]
    return method._replace(is_clicked=False).to_json()


def test_measures_by_hand():
    entry = _entry(_rows(model=IOU), "model")
    np.testing.assert_allclose(entry["iou"], [1.55 / 3, 1.7 / 3, 2.0 / 3], rtol=1e-6)
    assert entry["noc"] == pytest.approx({"80": 7 / 3, "85": 7 / 3, "90": 7 / 3})
    assert entry["nof"] == pytest.approx({"80": 1 / 3, "85": 2 / 3, "90": 2 / 3})
    # (1 - IoU) weighted 1, 1.1, 1.2.
    error = (1.45 + 1.1 * 1.3 + 1.2 * 1.0) / 3 / 3.3
    assert entry["iterative_iou_error"] == pytest.approx(error, rel=1e-6)
    # Trapezoids: half the ends and the middle, over two intervals.
    assert entry["iou_auc"] == pytest.approx((1.55 / 2 + 1.7 + 2.0 / 2) / 3 / 2, rel=1e-6)
    assert entry["num_defined"] == {"iou": 3}
    assert set(entry) == {
        "iou", "num_defined", "noc", "nof", "iterative_iou_error", "iou_auc"
    }  # fmt: skip


def test_ritm_counts_success_at_the_last_click_as_failure():
    nof = _entry(_rows(model=IOU), "model", nof_convention="ritm")["nof"]
    assert nof == pytest.approx({"80": 2 / 3, "85": 2 / 3, "90": 2 / 3})
    with pytest.raises(ValueError, match="one of success, ritm"):
        summary.summarise(_rows(model=IOU), nof_convention="thesis")
    chosen = _entry(_rows(model=IOU), "model", thresholds=(0.55,))["noc"]
    assert chosen == pytest.approx({"55": (1 + 2 + 3) / 3})


def test_surface_measures_are_means_where_they_are_defined():
    nsd = np.array([[0.5, 0.7, 0.9], [np.nan] * 3, [0.3, 0.3, 0.5]], np.float32)
    scores = {"iou": IOU, "dice": 2 * IOU / (1 + IOU), "nsd": nsd, "hd95": 10 * (1 - nsd)}
    entry = _entry({"model": MethodResult(scores)}, "model")
    np.testing.assert_allclose(entry["nsd"], [0.4, 0.5, 0.7], rtol=1e-6)
    np.testing.assert_allclose(entry["hd95"], [6, 5, 3], rtol=1e-6)
    assert entry["num_defined"] == {"iou": 3, "dice": 3, "nsd": 2, "hd95": 2}
    # The mean of (0.25 + 0.7 + 0.45) / 2 and (0.15 + 0.3 + 0.25) / 2.
    assert entry["nsd_auc"] == pytest.approx((0.7 + 0.35) / 2, rel=1e-6)
    assert "dice_auc" in entry and "hd95_auc" not in entry
    nothing = MethodResult({"iou": IOU, "nsd": np.full((3, 3), np.nan, np.float32)})
    method = summary.summarise({"model": nothing})["model"]
    assert np.isnan(method.means["nsd"]).all() and method.num_defined["nsd"] == 0


def test_which_methods_are_clicked_and_which_is_the_subject():
    one, three = np.ones((2, 1)), np.ones((2, 3))
    rows = _rows(own=three, disk_as_mask=one, random_walker=one, blank_image=three, external=three)
    assert ordered(rows) == ["external", "disk_as_mask", "blank_image", "random_walker", "own"]
    assert clicked_methods(rows) == ["external", "blank_image", "own"]
    assert subject_of(rows) == "external" and subject_of([*rows, "model"]) == "model"
    # With a single click only the name tells the two kinds apart.
    single = _rows(model=one, disk_as_mask=one, disk_painter_tight=one, best_reader=one)
    assert clicked_methods(single) == ["model", "disk_painter_tight"]
    assert "iou_auc" not in _entry(single, "model")
    assert "noc" not in _entry(single, "best_reader")
    with pytest.raises(ValueError, match="'model', 'external'"):
        subject_of(["disk_as_mask"])


def test_gains_are_over_every_control_that_shares_the_clicks():
    rows = _rows(
        model=IOU,
        disk_painter_average=IOU - 0.1,
        disk_painter_tight=(IOU - [[0.0], [0.2], [0.1]])[:, :2],
        blank_image=IOU - 0.05,
        random_walker=IOU - 0.2,
        flooding=IOU[:, :1],
    )
    methods = summary.with_intervals(summary.summarise(rows), rows, ["a", "b", "b"])
    gains = methods["model"].gain_over
    assert list(gains) == ["disk_painter_average", "disk_painter_tight", "blank_image"]
    average, tight = gains["disk_painter_average"], gains["disk_painter_tight"]
    np.testing.assert_allclose(average.per_click, [0.1] * 3, rtol=1e-5)
    np.testing.assert_allclose(average.sum_interval, [0.3, 0.3], rtol=1e-5)
    # Two patients: always the worse twice and the better twice.
    np.testing.assert_allclose(tight.per_click, [0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(tight.interval.low, [0, 0], atol=1e-6)
    np.testing.assert_allclose(tight.interval.high, [0.15, 0.15], rtol=1e-5)
    assert tight.sum == pytest.approx(0.2, rel=1e-5)
    # The painter with the least gain is the strongest: at click 1 a tie, taken in order.
    assert summary.strongest(gains, click=None) == "disk_painter_tight"
    assert summary.strongest({"blank_image": gains["blank_image"]}, click=1) is None
    np.testing.assert_allclose(
        methods["random_walker"].gain_over["blank_image"].per_click, [-0.15] * 3, rtol=1e-5
    )
    assert "blank_image" not in methods["blank_image"].gain_over
    painter = methods["disk_painter_average"].to_json()
    assert "gain_over" not in painter and "iou_interval" in painter
    methods = summary.with_intervals(summary.summarise(rows), rows, ["a"] * 3)
    assert methods["model"].gain_over["blank_image"].interval is None
    assert methods["model"].iou_interval is None


def test_strongest_painter_depends_on_the_click():
    gains = {
        "disk_painter_average": Gain([0.1, 0.3], 0.4, None, None),
        "disk_painter_tight": Gain([0.2, 0.1], 0.3, None, None),
        "blank_image": Gain([0.0, 0.0], 0.0, None, None),
    }
    assert summary.strongest(gains, click=1) == "disk_painter_average"
    assert summary.strongest(gains, click=2) == "disk_painter_tight"
    assert summary.strongest(gains, click=None) == "disk_painter_tight"


def test_strata_are_thirds_by_area_with_their_own_patients():
    slices = slices_of("abcabcd")
    for entry, area in zip(slices, [70, 10, 50, 20, 60, 30, 40], strict=True):
        entry["lesion_area"] = area
    gain = np.arange(7)[:, None] / 100
    iou = np.full((7, 2), 0.8) + gain
    rows = _rows(model=iou, disk_painter_average=iou - gain, flooding=iou[:, :1], random_walker=iou)
    groups = summary.strata(rows, slices)
    assert [group.size for group in groups] == ["small", "medium", "large"]
    assert [group.lesion_area for group in groups] == [(10, 30), (40, 50), (60, 70)]
    assert [(g.num_images, g.num_patients) for g in groups] == [(3, 3), (2, 2), (2, 2)]
    assert set(groups[0].methods) == {"model", "disk_painter_average"}
    # The small ones are slices 1, 3 and 5, the large ones 4 and 0.
    small, large = (groups[i].methods["model"].gain_over for i in (0, 2))
    np.testing.assert_allclose(small["disk_painter_average"].per_click, [0.03] * 2, rtol=1e-4)
    assert large["disk_painter_average"].sum == pytest.approx(0.04, rel=1e-4)
    interval = large["disk_painter_average"].interval
    np.testing.assert_allclose([interval.low, interval.high], [[0] * 2, [0.04] * 2], atol=1e-6)
    assert summary.strata(_rows(model=iou[:2]), slices[:2]) == []
