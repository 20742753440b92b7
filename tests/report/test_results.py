import json

import numpy as np
import pytest

from ecc_jax.report.results import MethodFacts, Summary
from tests.reports import slices_of, write_small

CURVE = np.linspace(0.5, 0.9, 12).reshape(6, 2)
LATENCY = {"p50_s": 0.01, "p95_s": 0.02, "num_clicks": 7}
SURFACE = {
    "iou": CURVE,
    "dice": CURVE,
    "nsd": np.where(np.arange(6)[:, None] > 1, CURVE, np.nan),
    "hd95": np.full((6, 2), np.nan),
}
USERS = [{"variant": "n", "label": "as configured", "rows": {"model": [0.5, None]}}]
CVPR25 = {"dsc_auc": 3.0, "nsd_auc": None, "dsc_final": 0.9, "nsd_final": None}


def _read(path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("curves", "patients", "facts"),
    [
        ({"model": CURVE}, "aabbcc", {}),
        (
            {"model": CURVE, "disk_painter_tight": CURVE - 0.1, "flooding": CURVE[:, :1]},
            "abcdef",
            {},
        ),
        ({"model": SURFACE, "blank_image": SURFACE, "own_method": CURVE}, "abcabc", {}),
        ({"external": CURVE[:, :1], "disk_painter_average": CURVE[:, :1]}, "aaaaaa", {}),
        ({"model": CURVE}, "aabbcc", {"robustness": USERS, "cvpr25": CVPR25, "threshold": np.nan}),
    ],
    ids=["model alone", "painter", "undefined", "one click, one patient", "protocols"],
)
def test_a_summary_survives_reading_and_writing(tmp_path, curves, patients, facts):
    known = {
        "model": MethodFacts(seconds_per_click=0.1, latency=LATENCY),
        "external": MethodFacts(label="MedSAM"),
        "flooding": MethodFacts(tolerance_hu=np.float64(40)),
    }
    written = _read(write_small(tmp_path, curves, slices_of(patients), known=known, **facts))
    summary = Summary.from_json(written)
    assert summary.to_json() == written
    assert list(summary.methods) == list(written["rows"])
    for name, method in summary.methods.items():
        entry = written["rows"][name]
        assert method.is_clicked == ("noc" in entry) == ("iou_interval" in entry)
        assert method.noc == entry.get("noc") and method.means["iou"] == entry["iou"]


def test_null_is_no_number_and_what_is_not_there_is_none(tmp_path):
    path = write_small(tmp_path, {"model": SURFACE, "flooding": CURVE[:, :1]}, slices_of("abcabc"))
    summary = Summary.from_json(_read(path))
    model, flooding = summary.methods["model"], summary.methods["flooding"]
    assert np.isnan(model.means["hd95"]).all() and model.num_defined["hd95"] == 0
    assert flooding.noc is None and flooding.gain_over is None and not flooding.is_clicked
    assert model.gain_over == {} and summary.robustness == [] and summary.cvpr25 == {}


def test_what_is_no_summary_is_refused(tmp_path):
    written = _read(write_small(tmp_path, {"model": CURVE}, slices_of("aabbcc")))
    for key in ("rows", "strata", "dataset", "versions"):
        part = {name: value for name, value in written.items() if name != key}
        with pytest.raises(ValueError, match=f"{key}, which are missing"):
            Summary.from_json(part)
