"""Positions of the slices of a series: evenly spaced but for their rounding, none lost or twice."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ecc_jax.volumes.remarks import FileRemark

SAME_POSITION_MM = 0.01
# Steps of a scan differ by as much where nobody rounds; beyond it slices are missing or moved.
UNEVEN_MM, UNEVEN_SHARE = 0.1, 0.05
MISSING_SHARE = 1.5
# To what positions are rounded; finer rounding stays below `UNEVEN_MM`.
UNITS_MM = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0)
COARSE_MM = 1.0  # nobody rounds beyond
# Cosines are stored with a few decimals; smaller ones are zero.
NO_DIRECTION = 1e-3
# A position kept in single precision is off by up to this share of it.
FLOAT_SHARE = 2.0**-22
# A lost slice never looks like rounding where steps are three units or more. From two units on it
# can in a series of fewer steps than this; below two units only a long series shows a pattern,
# in which this share of the steps at least is longer.
SURE_UNITS, LIKELY_UNITS = 3, 2
LIKELY_STEPS, REGULAR_STEPS, REGULAR_SHARE = 4, 15, 0.1


class SpacingError(ValueError):
    """Slices of a series are missing, twice, or unevenly spaced."""


def rounding_of(
    positions: Float[np.ndarray, "n d"], normal: Float[np.ndarray, " d"]
) -> tuple[float, ...]:
    """Returns how far apart rounding may put equal positions along the normal, rising.

    Args:
      positions: As stored, mm.
      normal: Unit vector. Coordinates that hardly count along it are not looked at.

    Returns:
      One width for each unit of which all differences of the coordinates are multiples; the
      values cannot tell which of these units was meant. Empty if there is no such unit.
    """
    counts = np.abs(normal) > NO_DIRECTION
    moves = (positions - positions[0])[:, counts]
    moving = np.abs(moves).max(axis=0, initial=0) > 0
    weight = float(np.abs(normal[counts][moving]).sum())
    noise = _noise_mm(positions)
    return tuple(
        unit * weight
        for unit in UNITS_MM
        if weight and np.abs(moves - unit * np.rint(moves / unit)).max(initial=0) <= noise
    )


def check_steps(
    along: Float[np.ndarray, " n"],
    files: Sequence[Path],
    folder: Path,
    *,
    rounding_mm: Sequence[float] | None = None,
) -> None:
    """Checks rising positions along the normal.

    Steps may differ a little, or by as much as rounding of evenly spaced positions makes them; a
    remark says so where that is more than a little.

    Args:
      along: Positions, mm.
      files: One per slice.
      folder: Named in messages.
      rounding_mm: As `rounding_of`; None derives it from the positions.

    Raises:
      SpacingError: Slices are missing, twice or unevenly spaced, or their positions are rounded
        too coarsely to tell.
    """
    if len(along) < 2:
        return
    steps, noise = np.diff(along), _noise_mm(along)
    trouble = _trouble(along, steps, files, noise)
    if trouble is None:
        return
    if rounding_mm is None:
        rounding_mm = rounding_of(along[:, None], np.ones(1))
    fitting = [width for width in sorted(rounding_mm) if _is_line(along, width, noise)]
    told = [width for width in fitting if _is_told(steps, width)]
    if not told:
        hint = "".join(
            f", or export exact positions if these are rounded to {width:.2g} mm, too coarsely"
            for width in fitting[:1]
            if width <= COARSE_MM
        )
        raise SpacingError(f"{folder}: {trouble}{hint}")
    if told[0] > UNEVEN_MM + noise:
        warnings.warn(
            FileRemark(
                folder,
                "slice positions are rounded",
                f"steps of {steps.min():.2f} to {steps.max():.2f} mm are those of even slices with "
                f"positions rounded to {told[0]:.2g} mm; taken as even, export exact positions if "
                "they are not",
            ),
            stacklevel=4,
        )


def _trouble(
    along: Float[np.ndarray, " n"],
    steps: Float[np.ndarray, " m"],
    files: Sequence[Path],
    noise: float,
) -> str | None:
    """Returns what is wrong with positions that nobody rounded, and what to do; None if nothing."""
    usual = float(np.median(steps))
    same = np.flatnonzero(steps < SAME_POSITION_MM)
    if same.size:
        a, b = files[same[0]], files[same[0] + 1]
        return (
            f"{same.size} duplicate slices, first {a.name} and {b.name} at the same position "
            f"({along[same[0]]:.2f} mm); remove one of each"
        )
    gaps = np.flatnonzero(steps > MISSING_SHARE * usual + noise)
    if gaps.size:
        lost = sum(max(round(steps[gap] / usual) - 1, 1) for gap in gaps)
        return (
            f"about {lost} slices missing, first between {files[gaps[0]].name} and "
            f"{files[gaps[0] + 1].name} ({steps[gaps[0]]:.2f} mm apart, usually {usual:.2f}); "
            "download the series again"
        )
    drift = np.abs(along - np.linspace(along[0], along[-1], len(along))).max()
    allowed = max(UNEVEN_MM, UNEVEN_SHARE * usual) + noise
    if np.abs(steps - usual).max() > allowed or drift > usual / 2:
        return (
            f"slices are unevenly spaced, {steps.min():.2f} to {steps.max():.2f} mm; resample the "
            "series"
        )
    return None


def _is_line(along: Float[np.ndarray, " n"], width_mm: float, noise: float) -> bool:
    """Returns whether even steps, rounded within a width, give these positions.

    Positions lie within half a width of a line of slope b if and only if each two of them, k
    slices apart, differ from k b by a width at most.
    """
    low, high = -np.inf, np.inf
    for lag in range(1, len(along)):
        rise = along[lag:] - along[:-lag]
        low = max(low, (float(rise.max()) - width_mm) / lag)
        high = min(high, (float(rise.min()) + width_mm) / lag)
        if low > high + noise:
            return False
    if width_mm <= UNEVEN_MM + noise:
        return True
    # One slice moved by a unit among even ones fits as well, if every position lay half way
    # between two units and that slice alone was rounded the other way. Nobody rounds so.
    units = (low + high) / 2 / width_mm
    is_tie = high - low <= noise and abs(units - round(units)) <= 2 * noise / width_mm
    return not is_tie


def _is_told(steps: Float[np.ndarray, " n"], width_mm: float) -> bool:
    """Returns whether steps that rounding explains cannot come from lost slices instead."""
    units = float(steps.mean()) / width_mm
    # Two slices at one position may as well be copies.
    if steps.min() < SAME_POSITION_MM:
        return False
    if units >= LIKELY_UNITS:
        return units >= SURE_UNITS or len(steps) >= LIKELY_STEPS
    longer = np.count_nonzero(steps > MISSING_SHARE * np.median(steps))
    return len(steps) >= REGULAR_STEPS and not 0 < longer < REGULAR_SHARE * len(steps)


def _noise_mm(positions: np.ndarray) -> float:
    return FLOAT_SHARE * float(np.abs(positions).max()) + 1e-9
