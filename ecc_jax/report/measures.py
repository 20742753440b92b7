"""The measures of a report, from the scores of every slice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecc_jax import metrics
from ecc_jax.report.intervals import Band, bootstrap_mean, mean_defined, paired_difference
from ecc_jax.report.methods import (
    CONTROLS,
    MEASURES,
    PAINTERS,
    Row,
    clicked_rows,
    method_of,
    ordered,
)

THRESHOLDS = (0.80, 0.85, 0.90)
SIZES = ("small", "medium", "large")


def summarise(
    rows: Mapping[str, Row],
    *,
    nof_convention: str = "success",
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, dict[str, Any]]:
    """Returns the mean measures of every row, ready for JSON.

    Args:
      rows: Scores of every slice by row name.
      nof_convention: Whether a success at the very last click is a success ("success") or a
        failure ("ritm").
      thresholds: IoU at which NoC and NoF are taken.

    Returns:
      By row: `iou` and, where given, `dice`, `nsd`, `hd95` (mean per click over the slices where
      defined) and `num_defined` (by measure, the slices where it is defined after every click).
      For rows corrected click by click also `noc` and `nof` (keys "80", "85", "90"; NoF as a
      share), `iterative_iou_error`, and with two clicks or more `iou_auc`, `dice_auc`, `nsd_auc`:
      mean height of the curve.
    """
    clicked = clicked_rows(rows)
    summary: dict[str, dict[str, Any]] = {}
    for name in ordered(rows):
        scores = rows[name].scores
        measures = [measure for measure in MEASURES if measure in scores]
        entry: dict[str, Any] = {m: mean_defined(scores[m]).tolist() for m in measures}
        entry["num_defined"] = {m: int(_defined(scores[m]).sum()) for m in measures}
        if name in clicked:
            entry |= click_measures(scores["iou"], nof_convention, thresholds)
            for measure in measures:
                if measure != "hd95" and scores[measure].shape[1] > 1:
                    areas = np.asarray(metrics.area_under_curve(scores[measure]))
                    entry[f"{measure}_auc"] = float(mean_defined(areas[:, None])[0])
        summary[name] = entry
    return summary


def click_measures(
    iou: np.ndarray, nof_convention: str, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, Any]:
    """Returns NoC, NoF and Iterative IoU Error of IoU per slice and click."""
    clicks = clicks_to_reach(iou, thresholds)
    failed = failures(iou, nof_convention, thresholds)
    return {
        "noc": {key: float(np.mean(slices)) for key, slices in clicks.items()},
        "nof": {key: float(np.mean(slices)) for key, slices in failed.items()},
        "iterative_iou_error": float(metrics.iterative_iou_error(mean_defined(iou))),
    }


def clicks_to_reach(
    iou: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, np.ndarray]:
    """Returns by threshold key the number of clicks of every slice; k where it fails."""
    return {
        key: np.asarray(metrics.num_clicks_to_reach(iou, limit))
        for key, limit in _keys(thresholds).items()
    }


def failures(
    iou: np.ndarray, nof_convention: str, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, np.ndarray]:
    """Returns by threshold key which slices fail to reach it."""
    return {
        key: np.asarray(metrics.never_reached(iou, limit, convention=nof_convention))
        for key, limit in _keys(thresholds).items()
    }


def add_intervals(
    summary: dict[str, dict[str, Any]], rows: Mapping[str, Row], patients: Sequence[Any]
) -> None:
    """Adds to every row corrected click by click its interval and its gains over the controls.

    `iou_interval` is the interval of the mean IoU per click. `gain_over` has, by control (the disk
    painters and the same network with a blank image), `per_click`, `interval`, `sum` over clicks
    and `sum_interval`; painters have none. Intervals are None with fewer than two patients.
    """
    for name in clicked_rows(rows):
        iou = rows[name].scores["iou"]
        summary[name]["iou_interval"] = _interval(bootstrap_mean(iou, patients))
        if name not in PAINTERS:
            controls = [c for c in CONTROLS if c in rows and c != name]
            summary[name]["gain_over"] = {
                control: _gain(iou, rows[control].scores["iou"], patients) for control in controls
            }


def strata(rows: Mapping[str, Row], slices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the results in three groups of equal number, from the smallest lesions on.

    Args:
      rows: Scores by row name.
      slices: One dict per slice with lesion_area (pixels) and patient.

    Returns:
      For each group `size`, `lesion_area` (smallest and largest, pixels), `num_images`,
      `num_patients` and `rows`: the method and its controls with `iou` and `iou_interval`, and
      the method's `gain_over`. Empty with fewer than three slices.
    """
    if len(slices) < len(SIZES):
        return []
    areas = np.asarray([entry["lesion_area"] for entry in slices], np.float64)
    method = method_of(rows)
    names = [method, *(name for name in CONTROLS if name in rows)]
    groups = []
    for size, group in zip(
        SIZES, np.array_split(np.argsort(areas, kind="stable"), len(SIZES)), strict=True
    ):
        part = {name: Row({"iou": rows[name].scores["iou"][group]}) for name in names}
        patients = [slices[int(i)]["patient"] for i in group]
        entries = {n: {"iou": mean_defined(row.scores["iou"]).tolist()} for n, row in part.items()}
        add_intervals(entries, part, patients)
        if "blank_image" in entries:
            # Against the painters it is of interest in all, not size by size.
            del entries["blank_image"]["gain_over"]
        groups.append(
            {
                "size": size,
                "lesion_area": [float(areas[group].min()), float(areas[group].max())],
                "num_images": int(group.size),
                "num_patients": len(set(map(str, patients))),
                "rows": entries,
            }
        )
    return groups


def strongest(gain_over: Mapping[str, Mapping[str, Any]], *, click: int | None) -> str | None:
    """Returns the painter over which the gain is least, at a click or summed (None)."""
    gains = {
        name: gain["sum"] if click is None else gain["per_click"][click - 1]
        for name, gain in gain_over.items()
        if name in PAINTERS
    }
    return min(gains, key=lambda name: gains[name]) if gains else None


def _gain(iou: np.ndarray, control: np.ndarray, patients: Sequence[Any]) -> dict[str, Any]:
    """Returns the gain over a control, as in summary.json."""
    shared = min(iou.shape[1], control.shape[1])
    gap = paired_difference(iou[:, :shared], control[:, :shared], patients)
    total = gap.total_band
    return {
        "per_click": gap.mean.tolist(),
        "sum": gap.total,
        "interval": _interval(gap.band),
        "sum_interval": None if total is None else [float(total.low[0]), float(total.high[0])],
    }


def _interval(band: Band | None) -> dict[str, list[float]] | None:
    return None if band is None else {"low": band.low.tolist(), "high": band.high.tolist()}


def _defined(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values).any(axis=1)


def _keys(thresholds: Sequence[float]) -> dict[str, float]:
    return {f"{100 * limit:.0f}": limit for limit in thresholds}
