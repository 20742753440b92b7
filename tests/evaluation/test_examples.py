"""Cases for the montage, and the time of single clicks."""

import numpy as np
import pytest

from ecc_jax.evaluation import examples, latency
from ecc_jax.evaluation.rollouts import EvalSet
from ecc_jax.inference.pipelines import FULL_FRAME
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.models.build import build, init_variables
from ecc_jax.report.results import ClickRecord
from tests.evaluation.slice_sets import blobs, slice_set


def test_five_examples_are_best_quartiles_median_and_worst():
    iou = np.array([[0.1], [0.9], [0.5], [0.3], [0.7], [0.2], [0.8], [0.4], [0.6]])
    assert examples.choose_examples(iou) == [
        (1, "best, rank 1 of 9"),
        (4, "rank 3 of 9"),
        (2, "median, rank 5 of 9"),
        (3, "rank 7 of 9"),
        (0, "worst, rank 9 of 9"),
    ]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_slices_are_shown_once_each(count):
    iou = np.linspace(0.2, 0.8, count)[:, None]
    chosen = examples.choose_examples(iou)
    assert sorted(place for place, _ in chosen) == list(range(count))
    assert chosen[0][1].startswith("best")


@pytest.fixture(scope="module")
def scene():
    size, count, clicks = 32, 2, 3
    data = EvalSet(slice_set(blobs(count + 1, size)), np.arange(count), clicks)
    rng = np.random.default_rng(0)
    record = ClickRecord(
        yx=rng.integers(0, size, (count, clicks, 2)).astype(np.float32),
        radius=np.array([[3.0, 2.0, 0.0], [4.0, 1.0, 1.0]], np.float32),
        is_positive=np.ones((count, clicks), bool),
        clicked=np.array([[True, True, True], [True, False, False]]),
    )
    model = build("ritm_tiny")
    return Segmenter(model), init_variables(model, 0), data, record


@pytest.mark.parametrize("count", [2, 6])
def test_as_many_clicks_are_timed_as_asked_for(scene, count):
    """More than the record has: its slices come again."""
    found = latency.measure_latency(*scene, options=FULL_FRAME, threshold=0.5, count=count)
    assert found["num_clicks"] == count
    assert 0 < found["p50_s"] <= found["p95_s"]


def test_without_clicks_there_is_no_time(scene):
    segmenter, variables, data, record = scene
    nothing = record._replace(clicked=np.zeros_like(record.clicked))
    assert (
        latency.measure_latency(
            segmenter, variables, data, nothing, options=FULL_FRAME, threshold=0.5, count=3
        )
        is None
    )


def test_shared_slices_depend_on_lesions_only():
    entries = [{"patient": f"p{i}", "lesion_area": area} for i, area in enumerate([9, 1, 5, 7, 3])]
    few = examples.choose_shared(entries[:3])
    assert few == [(1, "lesion of 1 pixels"), (2, "lesion of 5 pixels"), (0, "lesion of 9 pixels")]
    many = [{"patient": f"p{i}", "lesion_area": 10 * i} for i in range(11)]
    # The extremes, 0 and 100 pixels, are left out.
    assert [place for place, _ in examples.choose_shared(many)] == [2, 4, 6, 8]
