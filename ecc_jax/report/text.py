"""The text of report.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from ecc_jax.report import tables
from ecc_jax.report.facts import FACTS, extent, nof_convention
from ecc_jax.report.intervals import RESAMPLES
from ecc_jax.report.measures import MEASURES, Measure
from ecc_jax.report.methods import BY_NAME, GIVEN, METHODS, SUBJECTS, ordered, subject_of
from ecc_jax.report.readers import CSV_FILE
from ecc_jax.report.results import Summary
from ecc_jax.report.summary import strongest
from ecc_jax.report.tables import (
    Methods,
    at_click,
    clicked_names,
    interval,
    label_of,
    signed,
    table,
)

_RESEARCH_USE = "Research use only. Not a medical device; not for diagnosis or treatment."

_GUIDE = """\
A dynamic disk carries much of the answer by itself: its radius is measured on the ground truth, \
so the disk alone can reach a high IoU, and every further click tells where the error is. What a \
network with dynamic disks has learnt from the image is therefore its **gain** over the controls \
that get the same clicks and no image, not its IoU. A gain whose interval includes 0 shows \
nothing. A network with static disks receives no radius, so for it disk and painter are no bar, \
only a reference."""

_PROTOCOL = """\
A simulated user corrects the mask. Its rule `largest_component` puts the first click at the \
centre of the largest component of the ground truth and every later one on the largest connected \
error, at its deepest pixel; `deepest` takes the deepest error pixel of all. A lesion click goes \
where lesion was missed, a background click where too much was marked. Each comes with a disk \
radius. Measures are taken at full slice size after every click, and averaged over slices. When \
nothing is left to correct, the user stops and the measures stay as they are. Thresholds do not \
stop the user. The whole configuration is in config.json, beside this report or in the run's \
folder."""

_INTERVALS = """\
**Intervals** are 95 % percentile intervals of {resamples} bootstrap resamples. Patients are \
drawn, not slices, for slices of one patient are alike; differences are paired, slice by slice. \
They tell the spread over patients, not over training runs; scripts/pool.py averages the latter \
out over several seeds."""

_CVPR25 = """\
After the protocol of the CVPR 2025 challenge "Foundation Models for Interactive Biomedical Image \
Segmentation": the first disk stands for the challenge's box, five clicks follow. DSC_AUC and \
NSD_AUC are areas by trapezoids over the five clicks after the first disk, at most 4.0; \
DSC_Final and NSD_Final are the values after the last click. NSD has a tolerance of {tolerance} \
and is set to 0 where DSC <= 0.2. The challenge is on volumes, this is on slices: figures compare \
between methods evaluated here, not with its leaderboard."""

_READERS = """\
Here the disk does not know its target: it is measured on what one reader drew, and scored \
against what at least half of the other readers drew. **A network has helped the reader as far as \
it lies above the reader's disk and the painters; where it reaches the reader's own outline, it \
agrees with the other readers as well as a reader does.**

One click. {outlines} outlines on {slices} \
slices of {patients} patients; the outlines of a slice are averaged first. Left out: {few} slices \
with fewer than three readers, {empty} outlines where the others have no consensus. A reader who \
drew elsewhere in the volume and not here says that nothing is here. The tuned painter has the \
radius that is best on the ground truth of training slices. Dice between three clicks: how alike \
the answers are to clicks at three places of one lesion, the deepest pixel and two drawn among \
those at least half as deep, the radius measured at each; on {consistent} slices. All other tables \
of this report have disks measured on the ground truth itself. Every outline: \
[{csv}]({csv})."""

_LESS_WANTED = [f"“{m.label}”" for m in METHODS if m.look.is_dispensable]
_DISPENSABLE = f"{', '.join(_LESS_WANTED[:-1])} and {_LESS_WANTED[-1]}"
# By file name; other pictures have their name.
_CAPTIONS = {
    "curves.png": "Mean IoU per click and gain over the controls that see no image; shaded: 95 % "
    f"intervals. Of more than nine rows, {_DISPENSABLE} are left out on the left.",
    "strata.png": "Mean IoU by lesion size; whiskers: 95 % intervals.",
    "noc.png": "How many clicks the slices needed; on the right those that failed.",
    "montage.png": "Single cases with disks, ground truth and prediction.",
}


def markdown(summary: Summary, pictures: Sequence[str]) -> str:
    """Returns the text of report.md.

    Args:
      summary: All figures of the report.
      pictures: File names to embed, next to the report.
    """
    facts, methods = summary.facts, summary.methods
    captions = {name: _CAPTIONS.get(name, name) for name in pictures}
    parts = [
        f"# Evaluation: {facts['dataset']}, {facts['split']} split",
        _RESEARCH_USE,
        headline(methods, str(facts.get("encoding", ""))),
        "## What was evaluated",
        _facts(facts),
        f"## Mean {MEASURES[0].label} after each click",
        tables.curve_table(methods, MEASURES[0].name, ordered(methods)),
        _other_measures(facts, methods),
        _gain_section(methods),
        "## Clicks needed, failures, overall error, speed",
        tables.clicks_table(methods),
        tables.clicks_note(methods, nof_convention(facts)),
        "## By lesion size",
        tables.strata_table(summary.strata, methods),
        _robustness(summary),
        _cvpr25(summary),
        _readers(summary),
        "## How to read the rows",
        _reading(methods),
        "## Measures and intervals",
        _definitions(methods),
        "## Protocol",
        _PROTOCOL,
        "## Pictures",
        *(f"![{text}]({name})\n\n*{text}*" for name, text in captions.items()),
        "Every slice, row and click: [per_click.csv](per_click.csv). "
        "All figures above for machines: [summary.json](summary.json).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(methods: Methods, encoding: str) -> str:
    """Returns the result in a few sentences: IoU, and what the image added to it.

    Args:
      methods: Of a summary, with their gains.
      encoding: How clicks look to the network, as the facts of a summary have it.
    """
    subject = subject_of(methods)
    curve, gains = methods[subject].means["iou"], methods[subject].gain_over or {}
    text = f"**Mean IoU {curve[0]:.3f} after the first click"
    if len(curve) > 1:
        text += f" and {curve[-1]:.3f} after {len(curve)}"
    text += ".**"
    if subject != SUBJECTS[0]:
        text = f"{label_of(subject, methods)}: {text}"
    first, summed = strongest(gains, click=1), strongest(gains, click=None)
    if first is None or summed is None:
        return f"{text} No image-blind painter was run, so nothing shows what the image added."
    bounds = at_click(gains[first].interval, 1)
    text += (
        f" Gain over the strongest image-blind painter at click 1 ({label_of(first, methods)}): "
        f"{_bold_gain(gains[first].per_click[0], *bounds)}."
    )
    if len(curve) > 1:
        sum_bounds = gains[summed].sum_interval or (None, None)
        text += (
            f" Gain summed over the {len(gains[summed].per_click)} clicks over the strongest "
            f"there ({label_of(summed, methods)}): {_bold_gain(gains[summed].sum, *sum_bounds)}."
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


def _facts(facts: Mapping[str, Any]) -> str:
    """Returns the table of what was run on what."""
    lines = []
    for fact in FACTS:
        value = facts.get(fact.key)
        if fact.label and value is not None and value != {}:
            lines.append([fact.label, _fact(fact.key, value, facts)])
    return table(["", ""], lines)


def _fact(key: str, value: Any, facts: Mapping[str, Any]) -> str:
    """Returns a fact in words."""
    if key == "dataset":
        return f"{value}, {facts['split']} split: {extent(facts)}"
    if key == "surface":
        return _surface(value, facts["num_images"])
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _surface(surface: Mapping[str, Any], num_images: int) -> str:
    """Returns unit and tolerance of the surface measures, and where they are not defined."""
    text = f"in {surface['unit']}; NSD tolerance {surface['tolerance']:g} {surface['unit']}"
    missing = surface.get("num_undefined", 0)
    if missing:
        text += f"; {missing} of {num_images} slices lack a pixel size and are left out"
    return text


def _other_measures(facts: Mapping[str, Any], methods: Methods) -> str:
    """Returns the tables of the measures beside IoU, those that were taken."""
    parts = []
    for measure in MEASURES[1:]:
        names = [name for name in clicked_names(methods) if measure.name in methods[name].means]
        if names:
            parts += [
                _heading(measure, facts.get("surface") or {}),
                tables.curve_table(methods, measure.name, names),
            ]
            defined = methods[names[0]].num_defined[measure.name]
            if defined < facts["num_images"]:
                parts.append(
                    f"Means over the {defined} of {facts['num_images']} slices whose pixel size "
                    "is known."
                )
    return "\n\n".join(parts)


def _heading(measure: Measure, surface: Mapping[str, Any]) -> str:
    """Returns the heading of a measure: its tolerance, its unit, and which way is better."""
    text = f"## {measure.label}"
    if measure.has_tolerance and "tolerance" in surface:
        text += f" at {surface['tolerance']:g} {surface['unit']}"
    unit = surface.get("unit", measure.unit) if measure.unit and measure.in_mm else measure.unit
    remarks = [unit] * bool(unit) + ["smaller is better"] * (measure.better == "lower")
    return f"{text} ({', '.join(remarks)})" if remarks else text


def _gain_section(methods: Methods) -> str:
    """Returns the gains of the subject over the methods that never look at the image."""
    subject = subject_of(methods)
    iou, label = methods[subject].means["iou"], label_of(subject, methods)
    parts = []
    for name in GIVEN:
        if name in methods:
            other = methods[name].means["iou"][0]
            parts.append(
                f"{label[0].upper()}{label[1:]} minus {label_of(name, methods)}, at click 1: "
                f"**{signed(iou[0] - other)}** ({iou[0]:.3f} against {other:.3f})."
            )
    gains = tables.gain_table(methods)
    if gains:
        parts.append(gains)
        known = any(gain.interval is not None for gain in tables.gains_of(methods).values())
        parts.append(
            "In brackets: 95 % interval over patients. Last line: gains summed over the clicks."
            if known
            else "No intervals: they need at least two patients."
        )
    return "\n\n".join(["## Gain over the image-blind controls", *parts]) if parts else ""


def _robustness(summary: Summary) -> str:
    """Returns the table of other simulated users, if they were run."""
    if not summary.robustness:
        return ""
    note = (
        "Change: against the first line, the nominal user. The gain is over the disk painter that "
        "was clicked by the same user; static disks have no painter, for they tell no size."
    )
    return "\n\n".join(["## Other users", tables.robustness_table(summary.robustness), note])


def _cvpr25(summary: Summary) -> str:
    """Returns the figures of the CVPR 2025 protocol, if it was run."""
    if not summary.cvpr25:
        return ""
    surface = summary.facts.get("surface") or {"tolerance": 2.0, "unit": "mm"}
    text = _CVPR25.format(tolerance=f"{surface['tolerance']:g} {surface['unit']}")
    figures = tables.cvpr25_table(summary.cvpr25)
    return "\n\n".join(["## CVPR 2025 interactive segmentation", figures, text])


def _readers(summary: Summary) -> str:
    """Returns the figures of the protocol across readers, if it was run."""
    if summary.readers is None:
        return ""
    counts = summary.readers.counts
    text = _READERS.format(
        outlines=counts["outlines"],
        slices=counts["slices"],
        patients=counts["patients"],
        few=counts["slices_of_too_few_readers"],
        empty=counts["outlines_without_consensus_of_the_others"],
        consistent=counts["slices_of_consistency"],
        csv=CSV_FILE,
    )
    heading = "## One reader's disk against the other readers"
    return "\n\n".join([heading, tables.readers_table(summary.readers), text])


def _reading(methods: Methods) -> str:
    """Returns what each method is, and how to read it against the others."""
    lines = [
        f"- **{label_of(name, methods)}**: {BY_NAME[name].reading}"
        for name in ordered(methods)
        if name in BY_NAME
    ]
    return "\n".join(lines) + f"\n\n{_GUIDE}"


def _definitions(methods: Methods) -> str:
    """Returns the definitions of the measures that were taken."""
    lines = []
    for measure in MEASURES:
        if any(measure.name in method.means for method in methods.values()):
            long_name = f" ({measure.long_name})" if measure.long_name else ""
            lines.append(f"- **{measure.label}**{long_name}: {measure.definition}")
    return "\n".join([*lines, f"- {_INTERVALS.format(resamples=RESAMPLES)}"])
