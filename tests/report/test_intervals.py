import itertools

import numpy as np
import pytest

from ecc_jax.report.intervals import bootstrap_mean, mean_defined, paired_difference


def _exact(values, patients):
    """Returns every equally likely resampled mean, by drawing patients in every possible way."""
    names = sorted(set(patients))
    of = {n: [v for v, p in zip(values, patients, strict=True) if p == n] for n in names}
    draws = itertools.product(names, repeat=len(names))
    return np.array([np.mean(sum((of[name] for name in draw), [])) for draw in draws])


@pytest.mark.parametrize("patients", ["aabb", "abcd", "aaabcdddd", "abbbcd"])
def test_intervals_are_percentiles_of_all_resamples_of_patients(patients):
    values = np.random.default_rng(3).uniform(0, 1, len(patients))
    exact = _exact(values, patients)
    band = bootstrap_mean(values[:, None], list(patients))
    # A thousand resamples may miss the percentile by a few percent of the probability, no more.
    for got, (low, high) in ((band.low, (0.5, 6)), (band.high, (94, 99.5))):
        around = np.percentile(exact, (low, high), method="nearest")
        assert around[0] - 1e-9 <= got[0] <= around[1] + 1e-9
    unequal = len(set(np.round(exact, 9))) > 1
    assert (band.low[0] < values.mean() < band.high[0]) == unequal


def test_two_patients_give_the_two_means():
    # Both, or one of them twice with probability 1/4: the extremes are the percentiles.
    band = bootstrap_mean(np.array([[0.0], [0.1], [0.7]]), ["a", "a", "b"])
    np.testing.assert_allclose([band.low[0], band.high[0]], [0.05, 0.7])


def test_slices_of_a_patient_are_no_independent_evidence():
    values = np.repeat([0.2, 0.4, 0.6, 0.8], 50)[:, None]
    by_patient = bootstrap_mean(values, np.repeat(["a", "b", "c", "d"], 50).tolist())
    by_slice = bootstrap_mean(values, list(range(200)))
    assert by_patient.high[0] - by_patient.low[0] > 4 * (by_slice.high[0] - by_slice.low[0])


def test_equal_values_have_no_width_and_one_patient_no_interval():
    band = bootstrap_mean(np.full((6, 2), 0.25), list("aabbcc"))
    np.testing.assert_allclose(band.low, 0.25, rtol=1e-12)
    np.testing.assert_allclose(band.high, 0.25, rtol=1e-12)
    assert bootstrap_mean(np.ones((3, 1)), ["a"] * 3) is None
    gap = paired_difference(np.ones((3, 1)), np.zeros((3, 1)), ["a"] * 3)
    assert gap.band is None and gap.total_band is None and gap.mean[0] == gap.total == 1
    with pytest.raises(ValueError, match="a patient for each of 3 slices, got 2"):
        bootstrap_mean(np.ones((3, 1)), ["a", "b"])


def test_undefined_values_are_left_out_column_by_column():
    nan = np.nan
    values = np.array([[0.0, nan, nan], [1.0, 0.5, 0.5], [0.5, nan, 0.7], [nan, nan, 0.9]])
    patients = ["a", "b", "c", "c"]
    np.testing.assert_allclose(mean_defined(values), [0.5, 0.5, 0.7])
    band = bootstrap_mean(values, patients)
    # Alone, the columns are those of the slices that have a value.
    for column in (0, 2):
        known = ~np.isnan(values[:, column])
        exact = _exact(
            values[known, column], [p for p, k in zip(patients, known, strict=True) if k]
        )
        assert exact.min() - 1e-9 <= band.low[column] < band.high[column] <= exact.max() + 1e-9
    # One patient with a value is no spread over patients.
    assert np.isnan(band.low[1]) and np.isnan(band.high[1])
    assert np.isnan(mean_defined(np.array([[nan]]))[0])


def test_paired_differences_cancel_what_both_sides_share():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.2, 0.9, (40, 1))
    first, second = hard + 0.05 + rng.normal(0, 0.005, (40, 3)), hard + np.zeros((40, 3))
    patients = [i // 2 for i in range(40)]
    gap = paired_difference(first, second, patients)
    np.testing.assert_allclose(gap.mean, (first - second).mean(axis=0))
    assert np.all(gap.band.low > 0.04) and np.all(gap.band.high < 0.06)
    alone = bootstrap_mean(first, patients)
    assert np.all(alone.high - alone.low > 10 * (gap.band.high - gap.band.low))
    turned = paired_difference(second, first, patients)
    np.testing.assert_allclose(turned.band.low, -gap.band.high)
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(first, second[:, :2], patients)


def test_sum_over_clicks_is_of_whole_slices():
    first = np.array([[0.5, 0.7], [0.9, np.nan], [0.3, 0.4]])
    gap = paired_difference(first, np.zeros((3, 2)), ["a", "b", "c"])
    np.testing.assert_allclose(gap.mean, [1.7 / 3, 0.55])
    # The slice without a second click has no sum.
    assert gap.total == pytest.approx((1.2 + 0.7) / 2)
    np.testing.assert_allclose([gap.total_band.low[0], gap.total_band.high[0]], [0.7, 1.2])
    # Errors of opposite sign cancel within a slice: the sum is not as uncertain as its parts.
    swing = np.array([[0.3, -0.3], [-0.2, 0.2], [0.1, -0.1]])
    gap = paired_difference(swing, np.zeros((3, 2)), ["a", "b", "c"])
    assert gap.band.high[0] - gap.band.low[0] > 0.3
    np.testing.assert_allclose([gap.total_band.low[0], gap.total_band.high[0]], 0, atol=1e-12)
