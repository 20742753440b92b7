"""95 % intervals by bootstrap over patients.

Patients, not slices, are drawn with replacement: slices of one patient are alike, and counting
them as independent would make the intervals too narrow. Every slice still weighs the same, so a
resampled mean is the sum over the slices of the drawn patients, divided by their number.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
_SEED = 0


class Band(NamedTuple):
    """A 95 % interval per column; NaN where fewer than two patients have a value."""

    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]


class Difference(NamedTuple):
    """A mean paired difference per click and of the sum over clicks.

    Attributes:
      mean: Mean over the slices where both sides are defined.
      band: Its interval; None with fewer than two patients.
      total: Mean over the slices of the sum over clicks.
      total_band: Its interval, one column; None with fewer than two patients.
    """

    mean: Float[np.ndarray, " k"]
    band: Band | None
    total: float
    total_band: Band | None


def mean_defined(values: Shaped[np.ndarray, "m k"]) -> Float[np.ndarray, " k"]:
    """Returns the mean of each column over the rows that are not NaN; NaN where none is."""
    defined = ~np.isnan(values)
    number = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0, dtype=np.float64)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def bootstrap_mean(values: Shaped[np.ndarray, "m k"], patients: Sequence[Any]) -> Band | None:
    """Returns the interval of the mean of each column.

    Args:
      values: One row per slice; NaN is left out of its column's mean.
      patients: Whose each slice is.

    Returns:
      Percentiles of the means of 1000 resamples, always the same ones for the same number of
      patients; None with fewer than two patients.

    Raises:
      ValueError: Not one patient for each slice.
    """
    if len(patients) != len(values):
        raise ValueError(
            f"expected a patient for each of {len(values)} slices, got {len(patients)}"
        )
    names, owner = np.unique(np.asarray([str(p) for p in patients]), return_inverse=True)
    if names.size < 2:
        return None
    defined = ~np.isnan(values)
    totals = _per_patient(np.where(defined, values, 0.0), owner, names.size)
    numbers = _per_patient(defined, owner, names.size)
    share = np.full(names.size, 1 / names.size)
    draws = np.random.default_rng(_SEED).multinomial(names.size, share, size=RESAMPLES)
    drawn = draws @ numbers
    means = np.where(drawn > 0, (draws @ totals) / np.maximum(drawn, 1), np.nan)
    too_few = (numbers > 0).sum(axis=0) < 2
    # Zero keeps NumPy from warning of columns without a number.
    means[:, too_few] = 0.0
    low, high = np.nanpercentile(means, PERCENTILES, axis=0)
    return Band(np.where(too_few, np.nan, low), np.where(too_few, np.nan, high))


def paired_difference(
    first: Shaped[np.ndarray, "m k"], second: Shaped[np.ndarray, "n c"], patients: Sequence[Any]
) -> Difference:
    """Returns first minus second, paired slice by slice, with intervals.

    Args:
      first: One row per slice, one column per click.
      second: The same slices and clicks.
      patients: Whose each slice is.

    Raises:
      ValueError: The two differ in shape, or there is not one patient for each slice.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"paired scores must have one shape, got {first.shape} and {second.shape}; cut both "
            "to the shared slices and clicks"
        )
    gap = first.astype(np.float64) - second.astype(np.float64)
    total = gap.sum(axis=1, keepdims=True)
    return Difference(
        mean=mean_defined(gap),
        band=bootstrap_mean(gap, patients),
        total=float(mean_defined(total)[0]),
        total_band=bootstrap_mean(total, patients),
    )


def _per_patient(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Returns the column sums of each patient's slices, [patients k]."""
    columns = [np.bincount(owner, weights=column, minlength=count) for column in values.T]
    return np.stack(columns, axis=1)
