"""The tables of report.md, from the measures of a summary."""

from collections.abc import Sequence
from typing import Any

from ecc_jax.report.markdown import number, signed, table, with_interval
from ecc_jax.report.methods import CONTROLS, LABELS, method_of, ordered

TABLE_CLICKS = (1, 2, 3, 5, 10, 20)
Measures = dict[str, dict[str, Any]]


def label_of(name: str, rows: Measures) -> str:
    """Returns the name of a row for people."""
    return str(rows.get(name, {}).get("label") or LABELS.get(name, name))


def _tuned_label(name: str, rows: Measures) -> str:
    """Returns the name of a row with what was tuned for it on the training split."""
    entry, tuned = rows[name], []
    if entry.get("tolerance_hu") is not None:
        tuned.append(f"{entry['tolerance_hu']:g} HU")
    if entry.get("first_weight") is not None:
        tuned.append(f"weights {entry['first_weight']:g}, {entry['later_weight']:g}")
    label = label_of(name, rows)
    return f"{label} ({'; '.join(tuned)})" if tuned else label


def clicked_names(rows: Measures) -> list[str]:
    """Returns the rows that were corrected click by click."""
    return [name for name in ordered(rows) if "noc" in rows[name]]


def at_click(interval: dict[str, list[float]] | None, click: int) -> tuple[float, ...]:
    """Returns low and high at a click; nothing where there is no interval."""
    if interval is None:
        return (float("nan"), float("nan"))
    return interval["low"][click - 1], interval["high"][click - 1]


def few_clicks(num_clicks: int, wanted: Sequence[int]) -> list[int]:
    """Returns the wanted clicks that were made, and the last."""
    return sorted({click for click in wanted if click <= num_clicks} | {num_clicks})


def curve_table(rows: Measures, measure: str, names: Sequence[str]) -> str:
    """Returns the mean of a measure in the named rows at the customary clicks."""
    length = max(len(rows[name][measure]) for name in names)
    clicks = few_clicks(length, TABLE_CLICKS)
    form = ".2f" if measure == "hd95" else ".3f"
    lines = []
    for name in names:
        curve = rows[name][measure]
        cells = [number(curve[c - 1], form) if c <= len(curve) else "–" for c in clicks]
        lines.append([_tuned_label(name, rows), *cells])
    return table(["", *(f"click {click}" for click in clicks)], lines)


def gain_table(rows: Measures) -> str:
    """Returns the method's gain over each control per click, and of the sum over clicks."""
    method = method_of(rows)
    gains = rows[method].get("gain_over", {})
    controls = [name for name in CONTROLS if name in gains]
    if not controls:
        return ""
    curve = rows[method]["iou"]
    lines = []
    for click in range(1, max(len(gains[name]["per_click"]) for name in controls) + 1):
        cells = [_gain_at(gains[name], click) for name in controls]
        lines.append([str(click), f"{curve[click - 1]:.3f}", *cells])
    sums = [
        with_interval(gains[name]["sum"], *(gains[name]["sum_interval"] or (None, None)))
        for name in controls
    ]
    lines.append(["sum", f"{sum(curve):.3f}", *sums])
    labels = [f"over {label_of(name, rows).removeprefix('disk ')}" for name in controls]
    return table(["click", label_of(method, rows), *labels], lines)


def _gain_at(gain: dict[str, Any], click: int) -> str:
    if click > len(gain["per_click"]):
        return "–"
    return with_interval(gain["per_click"][click - 1], *at_click(gain["interval"], click))


def clicks_table(rows: Measures) -> str:
    """Returns NoC, NoF, areas, Iterative IoU Error and time of the rows with several clicks."""
    names = clicked_names(rows)
    thresholds = sorted({t for name in names for t in rows[name]["noc"]}, key=float)
    areas = [m for m in ("iou", "dice", "nsd") if any(f"{m}_auc" in rows[n] for n in names)]
    timed = any("latency" in rows[name] for name in names)
    lines = []
    for name in names:
        entry = rows[name]
        cells = [number(entry["noc"].get(t), ".2f") for t in thresholds]
        cells += [number(entry["nof"].get(t), ".1%") for t in thresholds]
        cells += [number(entry.get(f"{measure}_auc"), ".3f") for measure in areas]
        cells += [
            number(entry.get("iterative_iou_error"), ".4f"),
            number(entry.get("seconds_per_click"), ".4f"),
        ]
        if timed:
            latency = entry.get("latency") or {}
            cells += [number(latency.get(key), ".4f") for key in ("p50_s", "p95_s")]
        lines.append([label_of(name, rows), *cells])
    heading = ["", *(f"NoC@{t}" for t in thresholds), *(f"NoF@{t}" for t in thresholds)]
    heading += [f"AUC {_NAMES[measure]}" for measure in areas]
    heading += ["Iterative IoU Error", "s / click"]
    return table([*heading, *(["single p50 s", "single p95 s"] if timed else [])], lines)


def clicks_note(rows: Measures, nof_convention: str) -> str:
    """Returns what the columns of `clicks_table` mean."""
    length = len(rows[method_of(rows)]["iou"])
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
    counts = [entry["latency"]["num_clicks"] for entry in rows.values() if entry.get("latency")]
    if counts:
        note += (
            f" Single p50 and p95: median and 95th percentile of the time from one click to its "
            f"mask, slices one by one, over {' and '.join(sorted(set(map(str, counts))))} clicks."
        )
    return note


def strata_table(strata: Sequence[dict[str, Any]], rows: Measures) -> str:
    """Returns IoU and gains by lesion size, one line per size and click."""
    if not strata:
        return "Too few slices to group."
    method = method_of(rows)
    controls = [name for name in CONTROLS if name in rows[method].get("gain_over", {})]
    lines = []
    for group in strata:
        entry = group["rows"][method]
        low, high = group["lesion_area"]
        extent = f"{group['size']}: {low:.0f} to {high:.0f} px"
        number_of = f"{group['num_images']} ({group['num_patients']})"
        for click in few_clicks(len(entry["iou"]), (1, 5)):
            cells = [_gain_at(entry["gain_over"][name], click) for name in controls]
            lines.append([extent, number_of, str(click), f"{entry['iou'][click - 1]:.3f}", *cells])
    labels = [f"gain over {label_of(name, rows).removeprefix('disk ')}" for name in controls]
    heading = ["lesion area", "slices (patients)", "click", label_of(method, rows), *labels]
    return table(heading, lines)


def robustness_table(variants: Sequence[dict[str, Any]]) -> str:
    """Returns IoU under other users: value, change against the first, gain over the painter."""
    method = method_of(variants[0]["rows"])
    nominal = variants[0]["rows"][method]
    clicks = few_clicks(len(nominal), (1, 5))
    lines = []
    for variant in variants:
        curve, painter = variant["rows"][method], variant["rows"].get("disk_painter")
        cells = [f"{curve[c - 1]:.3f}" for c in clicks]
        cells += [signed(curve[c - 1] - nominal[c - 1]) for c in clicks]
        cells += [signed(curve[c - 1] - painter[c - 1]) if painter else "–" for c in clicks]
        lines.append([variant["label"], *cells])
    heading = ["user", *(f"IoU, click {c}" for c in clicks), *(f"change, {c}" for c in clicks)]
    return table([*heading, *(f"gain over painter, {c}" for c in clicks)], lines)


def cvpr25_table(values: dict[str, float]) -> str:
    """Returns the four figures of the CVPR 2025 protocol."""
    names = {"dsc_auc": "DSC_AUC", "nsd_auc": "NSD_AUC"}
    names |= {"dsc_final": "DSC_Final", "nsd_final": "NSD_Final"}
    keys = list(names)
    line = [number(values.get(key), ".4f") for key in keys]
    return table([names[key] for key in keys], [line])


_NAMES = {"iou": "IoU", "dice": "Dice", "nsd": "NSD", "hd95": "HD95"}
