"""The text of report.md."""

from collections.abc import Sequence
from typing import Any

from ecc_jax.report import tables, words
from ecc_jax.report.intervals import RESAMPLES
from ecc_jax.report.markdown import interval, signed, table
from ecc_jax.report.measures import strongest
from ecc_jax.report.tables import Measures, at_click, clicked_names, label_of
from ecc_jax.report.methods import MEASURES, method_of, ordered

_OPTIONAL_FACTS = {
    "protocol": "Protocol",
    "model": "Model",
    "encoding": "Click encoding",
    "start_from": "Starts from",
    "next_click": "Next click",
    "enclosing": "Enclosing radius by",
    "threshold": "Probability threshold",
    "inference": "The network sees",
    "batch_size": "Slices per call",
    "fold": "Cross-validation",
    "seen_in_training": "Seen in training",
    "config_name": "Configuration",
    "training_seconds": "Training time",
    "steps": "Training steps",
    "seed": "Seed",
    "seeds": "Seeds",
    "pooling": "Pooling",
    "sources": "Pooled from",
}


def markdown(summary: dict[str, Any], pictures: Sequence[str]) -> str:
    """Returns the text of report.md.

    Args:
      summary: The whole summary.json: facts, `rows` with their measures, `strata`.
      pictures: File names to embed, next to the report.
    """
    rows = summary["rows"]
    parts = [
        f"# Evaluation: {summary['dataset']}, {summary['split']} split",
        words.RESEARCH_USE,
        _headline(rows, str(summary.get("encoding", ""))),
        "## What was evaluated",
        _facts(summary),
        "## Mean IoU after each click",
        tables.curve_table(rows, "iou", ordered(rows)),
        _other_measures(summary),
        _gain_section(rows),
        "## Clicks needed, failures, overall error, speed",
        tables.clicks_table(rows),
        tables.clicks_note(rows, summary.get("nof_convention", "success")),
        "## By lesion size",
        tables.strata_table(summary["strata"], rows),
        _robustness(summary),
        _cvpr25(summary),
        "## How to read the rows",
        _reading(rows),
        "## Measures and intervals",
        _definitions(rows),
        "## Protocol",
        words.PROTOCOL,
        "## Pictures",
        *(f"![{words.CAPTIONS[name]}]({name})\n\n*{words.CAPTIONS[name]}*" for name in pictures),
        "Every slice, row and click: [per_click.csv](per_click.csv). "
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


def _headline(rows: Measures, encoding: str) -> str:
    """Returns the result in a few sentences: IoU, and what the image added to it."""
    method = method_of(rows)
    curve, gains = rows[method]["iou"], rows[method].get("gain_over", {})
    text = f"**Mean IoU {curve[0]:.3f} after the first click"
    if len(curve) > 1:
        text += f" and {curve[-1]:.3f} after {len(curve)}"
    text += ".**"
    if method != "model":
        text = f"{label_of(method, rows)}: {text}"
    first, summed = strongest(gains, click=1), strongest(gains, click=None)
    if first is None or summed is None:
        return f"{text} No image-blind painter was run, so nothing shows what the image added."
    bounds = at_click(gains[first]["interval"], 1)
    text += (
        f" Gain over the strongest image-blind painter at click 1 ({label_of(first, rows)}): "
        f"{_bold_gain(gains[first]['per_click'][0], *bounds)}."
    )
    if len(curve) > 1:
        total = gains[summed]["sum"]
        sum_bounds = gains[summed]["sum_interval"] or (None, None)
        text += (
            f" Gain summed over the {len(gains[summed]['per_click'])} clicks over the strongest "
            f"there ({label_of(summed, rows)}): {_bold_gain(total, *sum_bounds)}."
        )
    if encoding.startswith("fixed"):
        text += (
            " Static disks tell nothing of the lesion's size, those of the painters do: for this "
            "row the painters are a reference, not a bar."
        )
    return text


def _bold_gain(value: float, low: float | None, high: float | None) -> str:
    """Returns a gain with interval, and says so where it shows no help of the image."""
    between = interval(low, high)
    text = f"**{signed(value)}**" + (f" (95 % interval {between})" if between else "")
    if value <= 0:
        return f"{text}: the painter does as well or better without the image"
    if between and low is not None and low <= 0:
        return f"{text}, which includes 0: no gain is shown"
    return text


def _facts(summary: dict[str, Any]) -> str:
    """Returns the table of what was run on what."""
    facts = {"Dataset": f"{summary['dataset']}, {summary['split']} split: {extent(summary)}"}
    for key, label in _OPTIONAL_FACTS.items():
        value = summary.get(key)
        if value is None:
            continue
        if key == "training_seconds" and isinstance(value, int | float):
            value = f"{value:.0f} s"
        facts[label] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if summary.get("surface"):
        facts["Surface measures"] = _surface(summary)
    facts["Device"] = str(summary["device"])
    facts["Versions"] = ", ".join(f"{name} {ver}" for name, ver in summary["versions"].items())
    return table(["", ""], [[label, value] for label, value in facts.items()])


def _surface(summary: dict[str, Any]) -> str:
    """Returns unit and tolerance of the surface measures, and where they are not defined."""
    surface = summary["surface"]
    text = f"in {surface['unit']}; NSD tolerance {surface['tolerance']:g} {surface['unit']}"
    missing = surface.get("num_undefined", 0)
    if missing:
        text += f"; {missing} of {summary['num_images']} slices lack a pixel size and are left out"
    return text


def _other_measures(summary: dict[str, Any]) -> str:
    """Returns the tables of Dice, NSD and HD95, those that were measured."""
    rows = summary["rows"]
    surface = summary.get("surface") or {"unit": "px"}
    tolerance = f" at {surface['tolerance']:g} {surface['unit']}" if "tolerance" in surface else ""
    headings = {
        "dice": "## Dice",
        "nsd": f"## NSD{tolerance}",
        "hd95": f"## HD95 ({surface['unit']}, smaller is better)",
    }
    parts = []
    for measure in MEASURES[1:]:
        names = [name for name in clicked_names(rows) if measure in rows[name]]
        if names:
            parts += [headings[measure], tables.curve_table(rows, measure, names)]
            defined = rows[names[0]]["num_defined"][measure]
            if defined < summary["num_images"]:
                parts.append(
                    f"Means over the {defined} of {summary['num_images']} slices whose pixel size "
                    "is known."
                )
    return "\n\n".join(parts)


def _gain_section(rows: Measures) -> str:
    """Returns the gains of the method over the rows that never look at the image."""
    method = method_of(rows)
    iou, label = rows[method]["iou"], label_of(method, rows)
    parts = []
    for name in ("disk_as_mask", "start_mask"):
        if name in rows:
            other = rows[name]["iou"][0]
            parts.append(
                f"{label[0].upper()}{label[1:]} minus {label_of(name, rows)}, at click 1: "
                f"**{signed(iou[0] - other)}** ({iou[0]:.3f} against {other:.3f})."
            )
    gains = tables.gain_table(rows)
    if gains:
        parts.append(gains)
        known = any(g["interval"] is not None for g in rows[method]["gain_over"].values())
        parts.append(
            "In brackets: 95 % interval over patients. Last line: gains summed over the clicks."
            if known
            else "No intervals: they need at least two patients."
        )
    return "\n\n".join(["## Gain over the image-blind controls", *parts]) if parts else ""


def _robustness(summary: dict[str, Any]) -> str:
    """Returns the table of other simulated users, if they were run."""
    if not summary.get("robustness"):
        return ""
    note = (
        "Change: against the first line, the nominal user. The gain is over the disk painter that "
        "was clicked by the same user; static disks have no painter, for they tell no size."
    )
    return "\n\n".join(["## Other users", tables.robustness_table(summary["robustness"]), note])


def _cvpr25(summary: dict[str, Any]) -> str:
    """Returns the figures of the CVPR 2025 protocol, if it was run."""
    if not summary.get("cvpr25"):
        return ""
    figures = tables.cvpr25_table(summary["cvpr25"])
    surface = summary.get("surface") or {"tolerance": 2.0, "unit": "mm"}
    text = words.CVPR25.format(tolerance=f"{surface['tolerance']:g} {surface['unit']}")
    return "\n\n".join(["## CVPR 2025 interactive segmentation", figures, text])


def _reading(rows: Measures) -> str:
    """Returns what each row is, and how to read it against the others."""
    lines = [
        f"- **{label_of(name, rows)}**: {words.READING[name]}"
        for name in ordered(rows)
        if name in words.READING
    ]
    return "\n".join(lines) + f"\n\n{words.GUIDE}"


def _definitions(rows: Measures) -> str:
    """Returns the definitions of the measures that were taken."""
    taken = [m for m in MEASURES if any(m in entry for entry in rows.values())]
    lines = [f"- {words.MEASURES[measure]}" for measure in taken]
    return "\n".join([*lines, f"- {words.INTERVALS.format(resamples=RESAMPLES)}"])
