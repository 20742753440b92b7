"""The words and tables of report.md."""

from typing import Any

import numpy as np

from ecc_jax import metrics
from ecc_jax.evaluation.figures import LABELS, PAINTERS, Band

TABLE_CLICKS = (1, 2, 3, 5, 10, 20)
RESAMPLES = 1000
_OPTIONAL_FACTS = {
    "model": "Model",
    "encoding": "Click encoding",
    "next_click": "Next click",
    "threshold": "Probability threshold",
    "inference": "The network sees",
    "config_name": "Configuration",
    "training_seconds": "Training time",
}


def markdown(
    summary: dict[str, Any],
    per_click: dict[str, np.ndarray],
    slices: list[dict[str, Any]],
    bands: dict[str, Band],
    pictures: list[str],
) -> str:
    """Returns the text of report.md.

    Args:
      summary: As for `report.write_report`.
      per_click: IoU of every image after every click, by row name.
      slices: One dict per image.
      bands: Intervals: key "model" for its curve, painter names for the gains over them.
      pictures: File names to embed, next to the report.
    """
    rows = summary["rows"]
    parts = [
        f"# Evaluation: {summary['dataset']}, {summary['split']} split",
        "Research use only. Not a medical device; not for diagnosis or treatment.",
        _headline(rows, bands),
        "## What was evaluated",
        _facts(summary),
        "## Mean IoU after each click",
        _iou_table(rows),
        _gain_section(rows, bands),
        "## Clicks needed, failures, overall error, speed",
        _clicks_table(rows, per_click),
        "## By lesion size",
        _size_table(per_click, slices),
        "## How to read the rows",
        _READING,
        "## Protocol",
        _PROTOCOL,
        "## Pictures",
        *(f"![{_CAPTIONS[name]}]({name})\n\n*{_CAPTIONS[name]}*" for name in pictures),
        "Every image and row, click by click: [per_click.csv](per_click.csv). "
        "All figures above for machines: [summary.json](summary.json).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def extent(summary: dict[str, Any]) -> str:
    """Returns how much was evaluated, in words."""
    images, patients = summary["num_images"], summary["num_patients"]
    return (
        f"{images} slice{'' if images == 1 else 's'} of "
        f"{patients} patient{'' if patients == 1 else 's'}"
    )


def _headline(rows: dict[str, dict[str, Any]], bands: dict[str, Band]) -> str:
    """Returns the result in two sentences."""
    model = rows["model"]["iou"]
    text = f"**Mean IoU {model[0]:.3f} after the first click"
    if len(model) > 1:
        text += f" and {model[-1]:.3f} after {len(model)}"
    text += ".**"
    painter = rows.get(PAINTERS[0])
    if painter:
        gain = model[0] - painter["iou"][0]
        text += f" The first click's gain over the image-blind disk painter is {_signed(gain)}"
        if PAINTERS[0] in bands:
            text += f" ({_interval(bands[PAINTERS[0]], 0)})"
        text += "."
    return text


def _facts(summary: dict[str, Any]) -> str:
    """Returns the table of what was run on what."""
    facts = {"Dataset": f"{summary['dataset']}, {summary['split']} split: {extent(summary)}"}
    for key, label in _OPTIONAL_FACTS.items():
        if summary.get(key) is not None:
            value = summary[key]
            facts[label] = f"{value:.0f} s" if key == "training_seconds" else str(value)
    facts["Training steps"] = str(summary["steps"])
    facts["Seed"] = str(summary["seed"])
    facts["Device"] = str(summary["device"])
    facts["Versions"] = ", ".join(f"{name} {ver}" for name, ver in summary["versions"].items())
    return _table(["", ""], [[label, _cell(value)] for label, value in facts.items()])


def _iou_table(rows: dict[str, dict[str, Any]]) -> str:
    """Returns the mean IoU of every row at the customary clicks."""
    length = len(rows["model"]["iou"])
    clicks = [click for click in TABLE_CLICKS if click <= length]
    lines = []
    for name in _ordered(rows):
        curve = rows[name]["iou"]
        cells = [f"{curve[c - 1]:.3f}" if c <= len(curve) else "–" for c in clicks]
        lines.append([_label(name, rows), *cells])
    return _table(["", *(f"click {click}" for click in clicks)], lines)


def _gain_section(rows: dict[str, dict[str, Any]], bands: dict[str, Band]) -> str:
    """Returns the gains of the model over the rows that never look at the image."""
    model = rows["model"]["iou"]
    painters = [name for name in PAINTERS if name in rows]
    parts = []
    if "disk_as_mask" in rows:
        disk = rows["disk_as_mask"]["iou"][0]
        parts.append(
            f"Model minus first disk as mask, at click 1: **{_signed(model[0] - disk)}** "
            f"({model[0]:.3f} against {disk:.3f})."
        )
    if painters:
        lines = []
        for i in range(min(len(model), *(len(rows[name]["iou"]) for name in painters))):
            cells = [str(i + 1), f"{model[i]:.3f}"]
            for name in painters:
                painter = rows[name]["iou"][i]
                gain = _signed(model[i] - painter)
                interval = f" ({_interval(bands[name], i)})" if name in bands else ""
                cells += [f"{painter:.3f}", f"**{gain}**{interval}"]
            lines.append(cells)
        heading = ["click", "model"]
        for name in painters:
            heading += [LABELS[name], "gain"]
        parts.append(_table(heading, lines))
        if any(name in bands for name in painters):
            parts.append(
                "In brackets: 95 % interval of the mean gain, patients resampled "
                f"{RESAMPLES} times; the gain is paired, slice by slice."
            )
    return "\n\n".join(["## Gain: model minus painter, per click", *parts]) if parts else ""


def _clicks_table(rows: dict[str, dict[str, Any]], per_click: dict[str, np.ndarray]) -> str:
    """Returns NoC, NoF, Iterative IoU Error and time per click."""
    thresholds = sorted(rows["model"].get("noc", {}), key=float)
    lines = []
    for name in ("model", *PAINTERS):
        if name not in rows:
            continue
        measures = {**_measures(per_click.get(name), thresholds), **rows[name]}
        noc = [_number(measures["noc"].get(t), ".2f") for t in thresholds]
        nof = [_number(measures["nof"].get(t), ".1%") for t in thresholds]
        error = _number(measures.get("iterative_iou_error"), ".4f")
        seconds = _number(measures.get("seconds_per_click"), ".4f")
        lines.append([_label(name, rows), *noc, *nof, error, seconds])
    heading = ["", *(f"NoC@{t}" for t in thresholds), *(f"NoF@{t}" for t in thresholds)]
    length = len(rows["model"]["iou"])
    note = (
        f"NoC@t: mean number of clicks until IoU is t % or more; {length} where it never is. "
        "NoF@t: share of slices where it never is (success at the last click counts as success). "
        "Iterative IoU Error: weighted area above the mean curve, late clicks weigh more; 0 is "
        "perfect. Seconds per click: device time of a batched simulation per slice and click, "
        "without loading and compilation."
    )
    return f"{_table([*heading, 'Iterative IoU Error', 's / click'], lines)}\n\n{note}"


def _measures(iou: np.ndarray | None, thresholds: list[str]) -> dict[str, Any]:
    """Returns NoC, NoF and Iterative IoU Error of a row known image by image."""
    if iou is None or not iou.size:
        return {"noc": {}, "nof": {}}
    limits = {t: float(t) / 100 for t in thresholds}
    return {
        "noc": {t: float(np.mean(metrics.num_clicks_to_reach(iou, x))) for t, x in limits.items()},
        "nof": {t: float(np.mean(metrics.never_reached(iou, x))) for t, x in limits.items()},
        "iterative_iou_error": float(metrics.iterative_iou_error(iou.mean(axis=0))),
    }


def _size_table(per_click: dict[str, np.ndarray], slices: list[dict[str, Any]]) -> str:
    """Returns IoU in three groups of equal number, from the smallest lesions to the largest."""
    if "model" not in per_click or len(slices) < 3:
        return "Too few slices to group."
    areas = np.asarray([entry["lesion_area"] for entry in slices], np.float64)
    groups = np.array_split(np.argsort(areas, kind="stable"), 3)
    lines = []
    names = [name for name in ("model", PAINTERS[0]) if name in per_click]
    clicks = sorted({1, min(5, per_click["model"].shape[1]), per_click["model"].shape[1]})
    for group, size in zip(groups, ("small", "medium", "large"), strict=True):
        extent = f"{size}: {areas[group].min():.0f} to {areas[group].max():.0f} px"
        cells = [
            f"{per_click[name][group, click - 1].mean():.3f}"
            for click in clicks
            for name in names
            if click <= per_click[name].shape[1]
        ]
        lines.append([extent, str(group.size), *cells])
    heading = [
        f"{LABELS[name]}, click {click}"
        for click in clicks
        for name in names
        if click <= per_click[name].shape[1]
    ]
    return _table(["lesion area", "slices", *heading], lines)


def _ordered(rows: dict[str, Any]) -> list[str]:
    """Returns the known rows in the report's order, then any others."""
    return [name for name in LABELS if name in rows] + [n for n in rows if n not in LABELS]


def _label(name: str, rows: dict[str, dict[str, Any]]) -> str:
    """Returns the name of a row for people, with the tolerance of flooding."""
    label = LABELS.get(name, name)
    tolerance = rows[name].get("tolerance_hu")
    return label if tolerance is None else f"{label} ({tolerance:g} HU)"


def _table(heading: list[str], lines: list[list[str]]) -> str:
    """Returns a Markdown table, numbers to the right."""
    rule = [":--", *["--:"] * (len(heading) - 1)]
    if not any(heading):
        rule = [":--"] * len(heading)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heading, rule, *lines])


def _cell(text: str) -> str:
    """Returns text that cannot break a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _interval(band: Band, index: int) -> str:
    return f"{_signed(band.low[index])} to {_signed(band.high[index])}"


_READING = """\
- **model**: the network, corrected click by click.
- **first disk as mask**: the disk of the first click, average radius, taken as the segmentation. \
No image, no network.
- **disk painter**: paints every lesion disk and erases every background disk of the simulated \
user, and never looks at the image; with the average or the tight radius.
- **flood fill**: grows from the first click over pixels of similar HU; its tolerance was tuned on \
the training split.

A dynamic disk carries much of the answer by itself: its radius is measured on the ground truth, \
so the disk alone can reach a high IoU. What a network with dynamic disks has learnt from the \
image is therefore its **gain** over disk and painter, not its IoU. A network with static disks \
receives no radius, so for it disk and painter are no bar, only a reference."""

_PROTOCOL = """\
A simulated user corrects the mask. Its rule `largest_component` puts the first click at the \
centre of the largest component of the ground truth and every later one on the largest connected \
error, at its deepest pixel; `deepest` takes the deepest error pixel of all. A lesion click goes \
where lesion was missed, a background click where too much was marked. Each comes with a disk \
radius. IoU is taken at full slice size after every click, and averaged over slices. When nothing \
is left to correct, the user stops and the IoU stays as it is. Thresholds do not stop the user. \
The whole configuration is in config.json, beside this report or in the run's folder."""

_CAPTIONS = {
    "curves.png": "Mean IoU per click and gain over the disk painter; shaded: 95 % intervals.",
    "montage.png": "Single cases with disks, ground truth and prediction.",
}
