"""Every method of a report: how it is run, what it is tuned on, and what the bar counts."""

import dataclasses

import numpy as np
import pytest

from ecc_jax import parallel
from ecc_jax.classical.painter import WEIGHTS
from ecc_jax.clicks.user import RobotUser
from ecc_jax.evaluation import methods
from ecc_jax.evaluation.host import HostPredictor
from ecc_jax.evaluation.methods import RUNNERS, num_passes, run_all, run_first
from ecc_jax.evaluation.rollouts import run_rollouts
from ecc_jax.report.methods import METHODS, OPTIONAL
from tests.evaluation.benches import (
    BATCH,
    CLICKS,
    COUNT,
    SIZE,
    bench_of,
    eval_set,
    network_of,
)
from tests.evaluation.slice_sets import blobs

# A snake from a point takes seconds.
QUICK = tuple(name for name in OPTIONAL if name != "active_contour")
ALWAYS = {"disk_painter_average", "disk_painter_tight", "disk_painter_tuned"}


def test_every_method_of_the_report_has_a_runner_and_the_other_way_round():
    assert set(RUNNERS) == {method.name for method in METHODS}
    assert len(RUNNERS) == len(METHODS)


def _copy(image, clicks, previous):
    return np.maximum(previous, image > 0.5)


@pytest.mark.parametrize(
    ("parts", "baselines", "initial_mask", "expected"),
    [
        ("network", QUICK, "empty", {"model", "disk_as_mask", *QUICK}),
        ("both", ("blank_image",), "empty", {"model", "external", "disk_as_mask", "blank_image"}),
        ("external", OPTIONAL, "dilated", {"external", "start_mask", "random_walker"}),
        ("network", (), "shifted", {"model", "start_mask"}),
    ],
)
def test_the_bar_ends_where_it_was_said_to_end(parts, baselines, initial_mask, expected):
    done = []
    bench = bench_of(
        initial_mask=initial_mask,
        baselines=tuple(baselines),
        advance=done.append,
        external=HostPredictor("mine", _copy) if parts in ("external", "both") else None,
        latency_clicks=2,
    )
    if parts != "external":
        bench = bench._replace(network=network_of(bench.options), keep=(CLICKS,))
    results = run_all(bench, run_first(bench))
    assert sum(done) == num_passes(bench)
    assert max(done) <= BATCH and min(done) >= 1
    assert set(results) == ALWAYS | expected
    for name, result in results.items():
        answers_once = next(m.answers_once for m in METHODS if m.name == name)
        assert result.scores["iou"].shape == (COUNT, 1 if answers_once else CLICKS)
        assert set(result.scores) == {"iou", "dice", "nsd", "hd95"}
        assert (result.clicks is None) == answers_once
    facts = {name: result.facts for name, result in results.items()}
    assert all(
        (facts[name].latency is None) == (name == "disk_as_mask")
        for name in expected & {"model", "external", "random_walker", "disk_as_mask"}
    )
    if "model" in expected:
        assert facts["model"].latency["num_clicks"] == 2 and facts["model"].seconds_per_click > 0
    if "external" in expected:
        assert facts["external"].label == "mine"
    tuned = facts["disk_painter_tuned"]
    assert tuned.first_weight in WEIGHTS and tuned.later_weight in WEIGHTS


def test_the_masks_asked_for_are_those_of_the_network():
    bench = bench_of(keep=(CLICKS,))
    bench = bench._replace(network=network_of(bench.options))
    found = run_first(bench).network
    assert set(found.masks) == {CLICKS} and found.masks[CLICKS].shape == (COUNT, SIZE, SIZE)
    with pytest.raises(ValueError, match="has no network"):
        bench_of().run_network()


def test_the_network_is_clicked_with_the_disks_of_the_tuned_painter():
    bench = bench_of(baselines=("same_disks",))
    bench = bench._replace(network=network_of(bench.options))
    results = run_all(bench, run_first(bench))
    own, painter = results["same_disks"], results["disk_painter_tuned"]
    np.testing.assert_array_equal(own.clicks.radius[:, 0], painter.clicks.radius[:, 0])
    assert own.facts.first_weight == painter.facts.first_weight
    assert own.facts.later_weight == painter.facts.later_weight
    static = bench.options._replace(user=RobotUser(radius="fixed"))
    bench = bench._replace(options=static, network=network_of(static))
    assert "same_disks" not in run_all(bench, run_first(bench))


def test_a_blank_image_changes_what_the_network_sees_and_nothing_else():
    bench = bench_of(baselines=("blank_image",))
    bench = bench._replace(network=network_of(bench.options))
    results = run_all(bench, run_first(bench))
    seeing, blind = results["model"], results["blank_image"]
    assert not np.array_equal(seeing.scores["iou"], blind.scores["iou"])
    np.testing.assert_array_equal(seeing.clicks.yx[:, 0], blind.clicks.yx[:, 0])


def test_tuned_painter_is_the_best_of_its_grid():
    bench, mesh, done = bench_of(), parallel.make_mesh(1), []
    data = eval_set(blobs(6, SIZE))
    tuned = methods.tune_painter(bench.painter, data, mesh=mesh, on_batch=done.append)
    assert sum(done) == 2 * len(WEIGHTS) * 6

    def mean(first, later, clicks):
        user = dataclasses.replace(
            bench.painter.options.user, first_weight=first, later_weight=later
        )
        part = data._replace(num_clicks=clicks)
        found = run_rollouts(bench.painter, (), part, mesh=mesh, user=user)
        return float(found.method.scores["iou"].mean())

    first_iou = np.array([mean(weight, 0.5, 1) for weight in WEIGHTS])
    first = tuned.first_weight
    assert mean(first, 0.5, 1) == pytest.approx(first_iou.max())
    assert first == WEIGHTS[int(np.argmax(first_iou))]
    later_iou = np.array([mean(first, weight, CLICKS) for weight in WEIGHTS])
    assert mean(first, tuned.later_weight, CLICKS) == pytest.approx(later_iou.max())
    assert tuned.later_weight == WEIGHTS[int(np.argmax(later_iou))]
    # With the weights of both fixed painters in the grid it is no worse than either at click 1.
    assert first_iou.max() >= max(mean(0.0, 0.0, 1), mean(0.5, 0.5, 1))


def _run(name, bench):
    return RUNNERS[name].run(bench, run_first(bench))


def test_flooding_is_tuned_on_the_training_slices():
    masks = blobs(4, SIZE)
    masks[-1, 3:6, 3:6] = True
    images = np.where(masks, 100, 0).astype(np.int16)
    data = eval_set(masks, images=images)
    result = _run("flooding", bench_of(data=data, train=data, baselines=("flooding",)))
    assert 0 < result.facts.tolerance_hu < 100
    assert result.scores["iou"].shape == (4, 1)
    # A flood fills the component of its seed exactly, no other.
    assert result.scores["iou"][-1, 0] == 1 and result.clicks is None


def test_best_reader_is_the_one_nearest_to_the_consensus():
    masks = blobs(3, SIZE)
    masks[-1, :5] = True
    worse = masks & (np.arange(SIZE) < SIZE // 2)
    bits = (worse.astype(np.uint8) << 1) | (masks.astype(np.uint8) << 3)
    bits[2] = worse[2].astype(np.uint8) << 2
    result = _run("best_reader", bench_of(data=eval_set(masks, reader_masks=bits)))
    half = worse[2].sum() / masks[2].sum()
    np.testing.assert_allclose(result.scores["iou"][:, 0], [1, 1, half], rtol=1e-6)


def test_datasets_without_readers_have_no_reader_row():
    assert _run("best_reader", bench_of(data=eval_set(blobs(3, SIZE)))) is None


def test_methods_from_the_disk_are_tuned_and_say_so():
    masks = blobs(4, SIZE)
    masks[-1, 8:15, 6:14] = True
    images = np.where(masks, 100, 0).astype(np.int16)
    data = eval_set(masks, images=images)
    disk = _run("disk_as_mask", bench_of(data=data)).scores["iou"][-1, 0]
    for name, unit in (("flooding_disk", "spreads in the disk"), ("active_contour_disk", "edges")):
        result = _run(name, bench_of(data=data, train=data, baselines=(name,)))
        assert unit in result.facts.tuned and result.facts.tolerance_hu is None
        assert result.scores["iou"].shape == (4, 1) and result.clicks is None
        assert result.scores["iou"][-1, 0] >= disk
    assert (
        _run("flooding_disk", bench_of(initial_mask="dilated", baselines=("flooding_disk",)))
        is None
    )


@pytest.mark.slow
def test_an_active_contour_is_tuned_on_a_few_radii():
    result = _run("active_contour", bench_of(baselines=("active_contour",)))
    assert result.facts.tuned.startswith("radius of the first circle ")
    assert result.scores["iou"].shape == (5, 1)


def test_flooding_needs_an_empty_start_and_to_be_wanted():
    assert _run("flooding", bench_of()) is None
    dilated = bench_of(initial_mask="dilated", baselines=("flooding",))
    assert _run("flooding", dilated) is None
