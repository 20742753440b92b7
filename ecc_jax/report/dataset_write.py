"""The report of a prepared dataset: report.md, report.json and pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecc_jax.report import dataset, dataset_figures
from ecc_jax.report.dataset import Slices
from ecc_jax.report.tables import table

SHEET_SLICES = 24
# Source: thesis section 3.1, the masks of its validation sets.
THESIS_MEDIAN_AREA = 364
_MOST_SHAPES = 10


class Prepared(NamedTuple):
    """A prepared dataset.

    Attributes:
      name: Of the dataset.
      directory: Where it lies.
      options: How it was prepared.
      counts: What it holds, as a table in plain text.
      splits: The slices of each split.
    """

    name: str
    directory: Path
    options: Mapping[str, Any]
    counts: str
    splits: Mapping[str, Slices]


def write_dataset_report(prepared: Prepared, out: Path, *, progress: Any = iter) -> Path:
    """Writes the report of a prepared dataset; returns the path of report.md.

    Args:
      prepared: The dataset.
      out: Folder of the report.
      progress: Wraps the iterable of records, e.g. in a progress bar.
    """
    summary, hu = dataset.summarize(prepared.splits, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    total = sum(len(part) for part in prepared.splits.values())
    title = f"{prepared.name}, {prepared.options['subset']}, {total} slices"
    dataset_figures.draw_areas(out / "areas.png", summary["lesion_area"], title=title)
    dataset_figures.draw_hu(out / "hu.png", hu, title=title)
    panels = sheet_panels(prepared.splits)
    heading = f"{title}: {len(panels)} from the smallest to the largest lesion"
    dataset_figures.draw_sheet(out / "contact_sheet.png", panels, title=heading)
    facts = {"directory": str(prepared.directory), "options": prepared.options, **summary}
    text = json.dumps({**facts, "area_edges": dataset.AREA_EDGES.tolist()}, indent=1)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    path = out / "report.md"
    path.write_text(markdown(prepared, summary), encoding="utf-8")
    return path


def sheet_panels(splits: Mapping[str, Slices]) -> list[dataset_figures.Panel]:
    """Returns the slices of the contact sheet."""
    slices = [
        {**entry, "split": split, "position": i}
        for split, part in splits.items()
        for i, entry in enumerate(part.index)
    ]
    panels = []
    for chosen in dataset.spread_over_areas(slices, count=SHEET_SLICES):
        entry = slices[chosen]
        record = splits[entry["split"]].records[entry["position"]]
        low, high = np.asarray(record["window_hu"])
        image = np.clip((np.asarray(record["image"], np.float32) - low) / (high - low), 0, 1)
        caption = (
            f"{entry['volume']}, slice {entry['slice_index']}\n"
            f"{entry['lesion_area']} px, {entry['split']}, {low:.0f}..{high:.0f} HU"
        )
        panels.append(dataset_figures.Panel(image, np.asarray(record["mask"], bool), caption))
    return panels


def markdown(prepared: Prepared, summary: Mapping[str, Any]) -> str:
    """Returns the text of report.md.

    Args:
      prepared: The dataset.
      summary: What `dataset.summarize` found in it.
    """
    clipped = summary["clipped_share"]
    parts = [
        f"# {prepared.name}",
        f"```\n{prepared.counts}\n```",
        "## Lesion area (pixels of the stored slice)",
        _area_table(summary["lesion_area"]),
        f"The thesis's validation sets have a median of {THESIS_MEDIAN_AREA} px.",
        "![lesion areas](areas.png)",
        "## Patients in two splits",
        "\n".join(f"- {pair}: {count}" for pair, count in summary["patient_overlap"].items()),
        "## Hounsfield units",
        f"{100 * clipped['low']:.1f} % of the pixels lie at or below the window's lower end, "
        f"{100 * clipped['high']:.1f} % at or above its upper end.",
        "![HU](hu.png)",
        "## Geometry",
        _spacing_table(summary["spacing_mm"]),
        _shapes(list(summary["original_shapes"].items())),
        *_readers(summary["readers"]),
        "## Slices",
        "![slices](contact_sheet.png)",
        f"Records: `{prepared.directory}`",
    ]
    return "\n\n".join(parts) + "\n"


def _area_table(areas: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        [
            split,
            *(f"{area[key]:.0f}" for key in ("median", "p5", "p95", "min", "max")),
            f"{100 * area['share_below_900']:.1f} %",
        ]
        for split, area in areas.items()
    ]
    return table(["split", "median", "5 %", "95 %", "smallest", "largest", "below 900"], lines)


def _spacing_table(spacings: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        [name, *(f"{values[key]:.3g}" for key in ("min", "median", "max"))]
        for name, values in spacings.items()
    ]
    return table(["spacing (mm)", "smallest", "median", "largest"], lines)


def _shapes(shapes: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{shape} ({count})" for shape, count in shapes[:_MOST_SHAPES])
    more = f" and {len(shapes) - _MOST_SHAPES} more" if len(shapes) > _MOST_SHAPES else ""
    return f"Upright slices before the fit, rows x columns (slices): {shown}{more}."


def _readers(readers: Mapping[str, Any] | None) -> list[str]:
    if not readers:
        return []
    return [
        "## Readers",
        f"Mean IoU of two readers who both drew on a slice: {readers['mean_pairwise_iou']:.3f} "
        f"({readers['pairs']} pairs on {readers['slices']} slices).",
    ]
