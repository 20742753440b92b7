"""The tables of report.md, and tables and numbers in Markdown."""

import math
from collections.abc import Mapping, Sequence

from ecc_jax.report.measures import BY_NAME, MEASURES
from ecc_jax.report.methods import BY_NAME as METHODS
from ecc_jax.report.methods import CONTROLS, ordered, subject_of
from ecc_jax.report.readers import ROWS, Estimate, ReaderSummary
from ecc_jax.report.results import Gain, Interval, MethodSummary, Stratum, UserVariant

TABLE_CLICKS = (1, 2, 3, 5, 10, 20)
Methods = Mapping[str, MethodSummary]


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table, numbers to the right; no text in it can break it."""
    rule = [":--", *["--:"] * (len(heading) - 1)]
    if not any(heading):
        rule = [":--"] * len(heading)
    escaped = [[_cell(text) for text in cells] for cells in [heading, *lines]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [escaped[0], rule, *escaped[1:]])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def number(value: float | int | None, form: str) -> str:
    """Returns a formatted number; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else format(value, form)


def signed(value: float | int | None, form: str = "+.3f") -> str:
    """Returns a number with its sign, minus as a real minus."""
    return number(value, form).replace("-", "−")


def interval(low: float | None, high: float | None, form: str = "+.3f") -> str:
    """Returns `low to high`; empty where there is no interval."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{signed(low, form)} to {signed(high, form)}"


def with_interval(value: float | int | None, low: float | None, high: float | None) -> str:
    """Returns a signed number with its interval in brackets, if there is one."""
    extent = interval(low, high)
    return f"{signed(value)} ({extent})" if extent else signed(value)


def label_of(name: str, methods: Methods) -> str:
    """Returns the name of a method for people."""
    own = methods[name].facts.label if name in methods else None
    return own or (METHODS[name].label if name in METHODS else name)


def short_label(name: str, methods: Methods) -> str:
    """Returns the name of a method beside others that are no disks, where it is clear enough."""
    return label_of(name, methods).removeprefix("disk ")


def _tuned_label(name: str, methods: Methods) -> str:
    """Returns the name of a method with what was tuned for it on the training split."""
    facts, tuned = methods[name].facts, []
    if facts.tolerance_hu is not None:
        tuned.append(f"{facts.tolerance_hu:g} HU")
    if facts.tuned is not None:
        tuned.append(facts.tuned)
    if facts.first_weight is not None:
        tuned.append(f"weights {facts.first_weight:g}, {facts.later_weight:g}")
    label = label_of(name, methods)
    return f"{label} ({'; '.join(tuned)})" if tuned else label


def clicked_names(methods: Methods) -> list[str]:
    """Returns the methods that were corrected click by click."""
    return [name for name in ordered(methods) if methods[name].is_clicked]


def gains_of(methods: Methods) -> dict[str, Gain]:
    """Returns the gains of the subject, by control in the order of the tables."""
    gains = methods[subject_of(methods)].gain_over or {}
    return {name: gains[name] for name in CONTROLS if name in gains}


def at_click(interval: Interval | None, click: int) -> tuple[float, float]:
    """Returns low and high at a click; NaN where there is no interval."""
    if interval is None:
        return math.nan, math.nan
    return interval.low[click - 1], interval.high[click - 1]


def few_clicks(num_clicks: int, wanted: Sequence[int]) -> list[int]:
    """Returns the wanted clicks that were made, and the last."""
    return sorted({click for click in wanted if click <= num_clicks} | {num_clicks})


def curve_table(methods: Methods, measure: str, names: Sequence[str]) -> str:
    """Returns the mean of a measure in the named methods at the customary clicks."""
    length = max(len(methods[name].means[measure]) for name in names)
    clicks = few_clicks(length, TABLE_CLICKS)
    form = BY_NAME[measure].form
    lines = []
    for name in names:
        curve = methods[name].means[measure]
        cells = [number(curve[c - 1], form) if c <= len(curve) else "–" for c in clicks]
        lines.append([_tuned_label(name, methods), *cells])
    return table(["", *(f"click {click}" for click in clicks)], lines)


def gain_table(methods: Methods) -> str:
    """Returns the subject's gain over each control per click, and of the sum over clicks."""
    subject, gains = subject_of(methods), gains_of(methods)
    if not gains:
        return ""
    curve = methods[subject].means["iou"]
    lines = []
    for click in range(1, max(len(gain.per_click) for gain in gains.values()) + 1):
        cells = [_gain_at(gain, click) for gain in gains.values()]
        lines.append([str(click), f"{curve[click - 1]:.3f}", *cells])
    sums = [
        with_interval(gain.sum, *(gain.sum_interval or (None, None))) for gain in gains.values()
    ]
    lines.append(["sum", f"{sum(curve):.3f}", *sums])
    labels = [f"over {short_label(name, methods)}" for name in gains]
    return table(["click", label_of(subject, methods), *labels], lines)


def _gain_at(gain: Gain, click: int) -> str:
    if click > len(gain.per_click):
        return "–"
    return with_interval(gain.per_click[click - 1], *at_click(gain.interval, click))


def clicks_table(methods: Methods) -> str:
    """Returns NoC, NoF, areas, Iterative IoU Error and time of the methods with several clicks."""
    names = clicked_names(methods)
    noc, nof = ({n: getattr(methods[n], key) or {} for n in names} for key in ("noc", "nof"))
    thresholds = sorted({t for counts in noc.values() for t in counts}, key=float)
    areas = [m for m in MEASURES if any(m.name in methods[n].areas for n in names)]
    timed = any(methods[name].facts.latency is not None for name in names)
    lines = []
    for name in names:
        method, facts = methods[name], methods[name].facts
        cells = [number(noc[name].get(t), ".2f") for t in thresholds]
        cells += [number(nof[name].get(t), ".1%") for t in thresholds]
        cells += [number(method.areas.get(measure.name), ".3f") for measure in areas]
        cells += [number(v, ".4f") for v in (method.iterative_iou_error, facts.seconds_per_click)]
        if timed:
            latency = facts.latency or {}
            cells += [number(latency.get(key), ".4f") for key in ("p50_s", "p95_s")]
        lines.append([label_of(name, methods), *cells])
    heading = ["", *(f"NoC@{t}" for t in thresholds), *(f"NoF@{t}" for t in thresholds)]
    heading += [f"AUC {measure.label}" for measure in areas]
    heading += ["Iterative IoU Error", "s / click"]
    return table([*heading, *(["single p50 s", "single p95 s"] if timed else [])], lines)


def clicks_note(methods: Methods, nof_convention: str) -> str:
    """Returns what the columns of `clicks_table` mean."""
    length = len(methods[subject_of(methods)].means["iou"])
    last = (
        "success at the last click counts as success"
        if nof_convention == "success"
        else "as in RITM, success exactly at the last click counts as failure"
    )
    note = (
        f"NoC@t: mean number of clicks until IoU is t % or more; {length} where it never is. "
        f"NoF@t: share of slices where it never is ({last}). "
        "AUC: area under the curve over the clicks by trapezoids, divided by its length: 1 is "
        "perfect. Iterative IoU Error: weighted area above the mean curve, late clicks weigh more; "
        "0 is perfect. s / click: device time of a batched simulation per slice and click, without "
        "loading and compilation."
    )
    latencies = [method.facts.latency for method in methods.values()]
    counts = [latency["num_clicks"] for latency in latencies if latency]
    if counts:
        note += (
            f" Single p50 and p95: median and 95th percentile of the time from one click to its "
            f"mask, slices one by one, over {' and '.join(sorted(set(map(str, counts))))} clicks."
        )
    return note


def strata_table(strata: Sequence[Stratum], methods: Methods) -> str:
    """Returns IoU and gains by lesion size, one line per size and click."""
    if not strata:
        return "Too few slices to group."
    subject, controls = subject_of(methods), list(gains_of(methods))
    lines = []
    for group in strata:
        curve, gains = group.methods[subject].means["iou"], group.methods[subject].gain_over or {}
        low, high = group.lesion_area
        extent = f"{group.size}: {low:.0f} to {high:.0f} px"
        number_of = f"{group.num_images} ({group.num_patients})"
        for click in few_clicks(len(curve), (1, 5)):
            cells = [_gain_at(gains[name], click) for name in controls]
            lines.append([extent, number_of, str(click), f"{curve[click - 1]:.3f}", *cells])
    labels = [f"gain over {short_label(name, methods)}" for name in controls]
    heading = ["lesion area", "slices (patients)", "click", label_of(subject, methods), *labels]
    return table(heading, lines)


def robustness_table(variants: Sequence[UserVariant]) -> str:
    """Returns IoU under other users: value, change against the first, gain over the painter."""
    subject = subject_of(variants[0].curves)
    nominal = variants[0].curves[subject]
    clicks = few_clicks(len(nominal), (1, 5))
    lines = []
    for variant in variants:
        curve, painter = variant.curves[subject], variant.curves.get("disk_painter")
        cells = [f"{curve[c - 1]:.3f}" for c in clicks]
        cells += [signed(curve[c - 1] - nominal[c - 1]) for c in clicks]
        cells += [signed(curve[c - 1] - painter[c - 1]) if painter else "–" for c in clicks]
        lines.append([variant.label, *cells])
    heading = ["user", *(f"IoU, click {c}" for c in clicks), *(f"change, {c}" for c in clicks)]
    return table([*heading, *(f"gain over painter, {c}" for c in clicks)], lines)


def readers_table(readers: ReaderSummary) -> str:
    """Returns IoU against the other readers, the network's gain, and its consistency."""
    lines = []
    for row in ROWS:
        if row.name in readers.iou:
            gain, dice = readers.gain.get(row.name), readers.consistency.get(row.name)
            cells = [
                _estimated(readers.iou[row.name]),
                "–" if gain is None else with_interval(*gain),
                "–" if dice is None else _estimated(dice),
            ]
            lines.append([row.label, *cells])
    heading = ["IoU with the other readers", "network minus this", "Dice between three clicks"]
    return table(["", *heading], lines)


def _estimated(estimate: Estimate) -> str:
    """Returns a mean with its interval in brackets, if there is one."""
    extent = interval(estimate.low, estimate.high, ".3f")
    mean = number(estimate.mean, ".3f")
    return f"{mean} ({extent})" if extent else mean


def cvpr25_table(values: Mapping[str, float]) -> str:
    """Returns the four figures of the CVPR 2025 protocol."""
    names = {"dsc_auc": "DSC_AUC", "nsd_auc": "NSD_AUC"}
    names |= {"dsc_final": "DSC_Final", "nsd_final": "NSD_Final"}
    keys = list(names)
    line = [number(values.get(key), ".4f") for key in keys]
    return table([names[key] for key in keys], [line])
