"""The figures of one reader's disk against the other readers, from hand-made scores."""

import csv
import json
import math

import numpy as np
import pytest

from ecc_jax.report.intervals import bootstrap_mean
from ecc_jax.report.readers import (
    ROWS,
    ReaderScores,
    ReaderSummary,
    estimate,
    summarise,
    write_outlines,
)
from ecc_jax.report.results import Summary
from tests.reports import slices_of, write_small

# Slice 1 has three outlines, slice 3 one; slices 0 and 2 have none.
SLICES = slices_of("aabb")
IOU = {
    "network": [0.3, 0.6, 0.9, 0.5],
    "reader_disk": [0.2, 0.2, 0.2, 0.7],
    "reader_outline": [1.0, 1.0, 1.0, 0.0],
}
LEFT_OUT = {"slices_of_too_few_readers": 1, "outlines_without_consensus_of_the_others": 2}


def scores_of(iou=IOU, consistency=(0.5, 0.7, math.nan, 0.9)):
    return ReaderScores(
        place=np.array([1, 1, 1, 3]),
        reader=np.array([0, 2, 3, 1]),
        area=np.array([5, 6, 7, 8]),
        radius=np.array([1.0, 1.5, 2.0, 2.5], np.float32),
        iou={name: np.array(values, np.float32) for name, values in iou.items()},
        consistency={"network": np.array(consistency, np.float32)},
        left_out=LEFT_OUT,
    )


def test_outlines_of_a_slice_are_averaged_before_slices_are():
    found = summarise(scores_of(), SLICES)
    assert found.iou["network"].mean == pytest.approx((0.6 + 0.5) / 2)
    assert found.iou["reader_disk"].mean == pytest.approx((0.2 + 0.7) / 2)
    assert found.iou["reader_outline"].mean == pytest.approx(0.5)
    assert found.gain["reader_disk"].mean == pytest.approx((0.4 - 0.2) / 2)
    assert found.gain["reader_outline"].mean == pytest.approx((-0.4 + 0.5) / 2)
    assert "network" not in found.gain
    assert found.consistency["network"].mean == pytest.approx((0.5 + 0.7 + 0.9) / 3)
    assert found.counts == {
        "outlines": 4,
        "slices": 2,
        "patients": 2,
        "slices_of_consistency": 3,
        **LEFT_OUT,
    }


def test_intervals_are_those_of_the_report_over_patients():
    found = summarise(scores_of(), SLICES)
    band = bootstrap_mean(np.array([[0.6], [0.5]]), ["a", "b"])
    np.testing.assert_allclose(found.iou["network"][1:], (band.low[0], band.high[0]), rtol=1e-6)
    band = bootstrap_mean(np.array([[0.4], [-0.2]]), ["a", "b"])
    gain = found.gain["reader_disk"]
    np.testing.assert_allclose(gain[1:], (band.low[0], band.high[0]), rtol=1e-5, atol=1e-7)
    assert estimate(np.array([0.25, 0.75]), ["a", "a"]) == (0.5, None, None)
    assert math.isnan(estimate(np.array([np.nan, np.nan]), ["a", "b"]).mean)


def test_the_figures_come_back_from_summary_json(tmp_path):
    found = summarise(scores_of(consistency=[math.nan] * 4), slices_of("aaaa"))
    model = np.full((4, 1), 0.5)
    path = write_small(tmp_path, {"model": model}, slices_of("aaaa"), readers=found.to_json())
    entry = json.loads(path.read_text())
    assert entry["readers"]["consistency"]["network"] == {"mean": None, "low": None, "high": None}
    summary = Summary.from_json(entry)
    assert summary.facts.keys().isdisjoint({"readers"})
    back = summary.readers
    assert back.counts == found.counts and back.iou == found.iou and back.gain == found.gain
    assert summary.to_json() == entry
    assert ReaderSummary.from_json(found.to_json()).iou == found.iou


def test_the_report_has_a_table_only_where_it_was_asked_for(tmp_path):
    model = np.full((4, 1), 0.5)
    found = summarise(scores_of(), SLICES)
    path = write_small(tmp_path / "with", {"model": model}, SLICES, readers=found.to_json())
    text = path.with_name("report.md").read_text()
    assert "## One reader's disk against the other readers" in text
    assert "4 outlines on 2 slices of 2 patients" in text
    assert "1 slices with fewer than three readers, 2 outlines where" in text
    line = next(line for line in text.splitlines() if line.startswith("| the reader's own outline"))
    assert "| 0.500 (0.000 to 1.000) | +0.050 (−0.400 to +0.500) | – |" in line
    assert not any(row.label in text for row in ROWS if row.name not in IOU)
    path = write_small(tmp_path / "without", {"model": model}, SLICES)
    assert "One reader's disk" not in path.with_name("report.md").read_text()
    assert "readers" not in json.loads(path.read_text())


def test_every_outline_has_a_line(tmp_path):
    path = write_outlines(tmp_path / "readers.csv", scores_of(), SLICES)
    with open(path, newline="", encoding="utf-8") as file:
        heading, *lines = csv.reader(file)
    assert heading == ["patient", "volume", "slice", "reader", "area", "radius", *IOU]
    assert lines[0][:6] == ["a", "v,a", "1", "0", "5", "1"]
    assert lines[3][:6] == ["b", "v,b", "3", "1", "8", "2.5"]
    values = np.array([[np.float32(cell) for cell in line[6:]] for line in lines])
    np.testing.assert_array_equal(values, np.array([*IOU.values()], np.float32).T)
