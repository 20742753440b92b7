"""The figures of a report, from the scores of every slice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecc_jax.report import curves, facts
from ecc_jax.report.intervals import Band, bootstrap_mean, mean_defined, paired_difference
from ecc_jax.report.measures import MEASURES
from ecc_jax.report.methods import CONTROLS, PAINTERS, clicked_methods, ordered, subject_of
from ecc_jax.report.readers import ReaderSummary
from ecc_jax.report.results import (
    OF_PROTOCOLS,
    Gain,
    Interval,
    MethodResult,
    MethodSummary,
    Stratum,
    Summary,
    UserVariant,
)

THRESHOLDS = (0.80, 0.85, 0.90)
SIZES = ("small", "medium", "large")


def summary_of(
    given: Mapping[str, Any],
    results: Mapping[str, MethodResult],
    slices: Sequence[Mapping[str, Any]],
) -> Summary:
    """Returns all figures of a report.

    Args:
      given: The facts; those of `results.OF_PROTOCOLS` among them are results, in the form of
        summary.json.
      results: Scores of every slice by method.
      slices: One dict per slice with lesion_area (pixels) and patient.
    """
    patients = [entry["patient"] for entry in slices]
    methods = summarise(results, nof_convention=facts.nof_convention(given))
    return Summary(
        facts={k: value for k, value in given.items() if k not in OF_PROTOCOLS},
        methods=with_intervals(methods, results, patients),
        strata=strata(results, slices),
        robustness=[UserVariant.from_json(entry) for entry in given.get("robustness") or ()],
        cvpr25={k: np.nan if v is None else v for k, v in (given.get("cvpr25") or {}).items()},
        readers=ReaderSummary.from_json(given["readers"]) if given.get("readers") else None,
    )


def summarise(
    results: Mapping[str, MethodResult],
    *,
    nof_convention: str = "success",
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, MethodSummary]:
    """Returns the mean measures of every method, without intervals and gains.

    Args:
      results: Scores of every slice by method.
      nof_convention: Whether a success at the very last click is a success ("success") or a
        failure ("ritm").
      thresholds: IoU at which NoC and NoF are taken; their keys are percent ("80", "85", "90").
    """
    clicked = clicked_methods(results)
    methods = {}
    for name in ordered(results):
        scores = {m.name: results[name].scores.get(m.name) for m in MEASURES}
        taken = {m: values for m, values in scores.items() if values is not None}
        method = MethodSummary(
            means={m: mean_defined(values).tolist() for m, values in taken.items()},
            num_defined={m: int(_defined(values).sum()) for m, values in taken.items()},
            facts=results[name].facts._replace(noc=None, nof=None),
        )
        if name in clicked:
            method = _with_clicks(method, results[name], nof_convention, thresholds)
        methods[name] = method
    return methods


def _with_clicks(
    method: MethodSummary, result: MethodResult, nof_convention: str, thresholds: Sequence[float]
) -> MethodSummary:
    """Returns the method with what only several clicks tell."""
    iou, known = result.scores["iou"], result.facts
    needed = clicks_to_reach(iou, thresholds)
    failed = failures(iou, nof_convention, thresholds)
    areas = {}
    for measure in MEASURES:
        values = result.scores.get(measure.name)
        if measure.better == "higher" and values is not None and values.shape[1] > 1:
            each = np.asarray(curves.area_under_curve(values))
            areas[measure.name] = float(mean_defined(each[:, None])[0])
    return method._replace(
        is_clicked=True,
        noc=known.noc or {key: float(np.mean(slices)) for key, slices in needed.items()},
        nof=known.nof or {key: float(np.mean(slices)) for key, slices in failed.items()},
        iterative_iou_error=float(curves.iterative_iou_error(mean_defined(iou))),
        areas=areas,
    )


def clicks_to_reach(
    iou: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, np.ndarray]:
    """Returns by threshold key the number of clicks of every slice; k where it fails."""
    return {key: curves.num_clicks_to_reach(iou, limit) for key, limit in _keys(thresholds).items()}


def failures(
    iou: np.ndarray, nof_convention: str, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, np.ndarray]:
    """Returns by threshold key which slices fail to reach it."""
    return {
        key: curves.never_reached(iou, limit, convention=nof_convention)
        for key, limit in _keys(thresholds).items()
    }


def with_intervals(
    methods: Mapping[str, MethodSummary],
    results: Mapping[str, MethodResult],
    patients: Sequence[Any],
) -> dict[str, MethodSummary]:
    """Returns the methods with the intervals and gains of those corrected click by click.

    Gains are over the controls (the disk painters and the same network with a blank image); the
    painters have none. Intervals are None with fewer than two patients.

    Args:
      methods: What `summarise` returns.
      results: Scores of every slice by method.
      patients: Whose each slice is.
    """
    found = dict(methods)
    for name in clicked_methods(results):
        iou = results[name].scores["iou"]
        gains = None
        if name not in PAINTERS:
            controls = [c for c in CONTROLS if c in results and c != name]
            gains = {c: _gain(iou, results[c].scores["iou"], patients) for c in controls}
        interval = _interval(bootstrap_mean(iou, patients))
        found[name] = found[name]._replace(is_clicked=True, iou_interval=interval, gain_over=gains)
    return found


def strata(
    results: Mapping[str, MethodResult], slices: Sequence[Mapping[str, Any]]
) -> list[Stratum]:
    """Returns the results in three groups of equal number, from the smallest lesions on.

    Args:
      results: Scores by method.
      slices: One dict per slice with lesion_area (pixels) and patient.

    Returns:
      For each group the subject with its gains and the controls; empty with fewer than three
      slices.
    """
    if len(slices) < len(SIZES):
        return []
    areas = np.asarray([entry["lesion_area"] for entry in slices], np.float64)
    subject = subject_of(results)
    names = [subject, *(name for name in CONTROLS if name in results)]
    groups = []
    for size, group in zip(
        SIZES, np.array_split(np.argsort(areas, kind="stable"), len(SIZES)), strict=True
    ):
        part = {n: MethodResult({"iou": results[n].scores["iou"][group]}) for n in names}
        patients = [slices[int(i)]["patient"] for i in group]
        means = {
            n: MethodSummary({"iou": mean_defined(result.scores["iou"]).tolist()})
            for n, result in part.items()
        }
        methods = with_intervals(means, part, patients)
        for name in names[1:]:
            # The gain of one control over another is of interest in all, not size by size.
            methods[name] = methods[name]._replace(gain_over=None)
        groups.append(
            Stratum(
                size=size,
                lesion_area=(float(areas[group].min()), float(areas[group].max())),
                num_images=int(group.size),
                num_patients=len(set(map(str, patients))),
                methods=methods,
            )
        )
    return groups


def strongest(gain_over: Mapping[str, Gain], *, click: int | None) -> str | None:
    """Returns the painter over which the gain is least, at a click or summed (None)."""
    gains = {
        name: gain.sum if click is None else gain.per_click[click - 1]
        for name, gain in gain_over.items()
        if name in PAINTERS
    }
    return min(gains, key=lambda name: gains[name]) if gains else None


def _gain(iou: np.ndarray, control: np.ndarray, patients: Sequence[Any]) -> Gain:
    """Returns the gain over a control, at the clicks that both made."""
    shared = min(iou.shape[1], control.shape[1])
    gap = paired_difference(iou[:, :shared], control[:, :shared], patients)
    total = gap.total_band
    return Gain(
        per_click=gap.mean.tolist(),
        sum=gap.total,
        interval=_interval(gap.band),
        sum_interval=None if total is None else (float(total.low[0]), float(total.high[0])),
    )


def _interval(band: Band | None) -> Interval | None:
    return None if band is None else Interval(band.low.tolist(), band.high.tolist())


def _defined(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values).any(axis=1)


def _keys(thresholds: Sequence[float]) -> dict[str, float]:
    return {f"{100 * limit:.0f}": limit for limit in thresholds}
