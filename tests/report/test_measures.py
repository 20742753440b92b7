import numpy as np
import pytest

from ecc_jax.report import measures
from ecc_jax.report.measures import MEASURES, physical

SCORES = {
    name: np.array([[0.5, 1.0], [0.25, 0.75]], np.float32) for name in ("iou", "dice", "nsd")
} | {"hd95": np.array([[4.0, 2.0], [6.0, 0.0]], np.float32)}


def test_lengths_become_mm_and_shares_stay():
    got = physical(SCORES, np.array([0.5, 2.0]))
    np.testing.assert_array_equal(got["hd95"], [[2, 1], [12, 0]])
    for name in ("iou", "dice", "nsd"):
        np.testing.assert_array_equal(got[name], SCORES[name])
    assert all(values.dtype == np.float32 for values in got.values())


def test_units_do_not_mix_where_some_sizes_are_unknown():
    got = physical(SCORES, np.array([np.nan, 2.0]))
    # Of the slice without a size there is no length, and no share within millimetres.
    for name, expected in (("hd95", [12, 0]), ("nsd", [0.25, 0.75])):
        assert np.isnan(got[name][0]).all()
        np.testing.assert_array_equal(got[name][1], expected)
    for name in ("iou", "dice"):
        np.testing.assert_array_equal(got[name], SCORES[name])


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_without_any_size_everything_stays_in_pixels(unknown):
    got = physical(SCORES, np.array([unknown, unknown]))
    for name, values in SCORES.items():
        np.testing.assert_array_equal(got[name], values)


def test_every_measure_says_what_readers_need():
    assert MEASURES[0].name == "iou" and list(measures.BY_NAME) == [m.name for m in MEASURES]
    for measure in MEASURES:
        assert measure.better in ("higher", "lower") and measure.unit in ("", "px")
        assert measure.definition.endswith(".") and format(0.5, measure.form)
        # What has no pixels in it needs no size of them.
        assert measure.in_mm or not (measure.unit or measure.has_tolerance)
