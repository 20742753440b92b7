"""Tells what a prepared dataset holds, in numbers and pictures.

    python scripts/dataset_report.py kits_2d
    python scripts/dataset_report.py PREPARED_DIRECTORY --out report/

Writes report.md, report.json, areas.png, hu.png and contact_sheet.png; the last line on stdout is
the path of report.md.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ecc_jax import console
from ecc_jax.data import pipeline, report, report_figures
from ecc_jax.data.pipeline import SliceSet
from ecc_jax.places import expanded
from tfds_builders import preparation, prepared_index

SHEET_SLICES = 24
# Source: thesis section 3.1, the masks of its validation sets.
THESIS_MEDIAN_AREA = 364


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a dataset, or a prepared directory")
    parser.add_argument("--root", default="", help="folder of prepared data ($TFDS_DATA_DIR)")
    parser.add_argument(
        "--out", type=console.path_argument, help="default runs/dataset_report/<name>-<config>"
    )
    arguments = parser.parse_args()
    try:
        directory = find(arguments.name, arguments.root)
        default = Path("runs/dataset_report") / "-".join(directory.parts[-3:-1])
        console.say_path(write(directory, arguments.out or default))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    return 0


def find(name: str, root: str) -> Path:
    """Returns the prepared directory of a dataset.

    Raises:
      ValueError: None, or more than one.
    """
    given = expanded(name)
    if (given / preparation.INDEX_FILE).is_file():
        return given.resolve()
    folder = (expanded(root) if root else preparation.default_root()) / given
    found = [p.parent for p in sorted(folder.glob(f"[!.]*/*/{preparation.INDEX_FILE}"))]
    found = [path for path in found if preparation.is_complete(path)]
    if not found:
        raise ValueError(
            f"no prepared dataset in {folder}; prepare it with scripts/build_dataset.py {name}, or "
            "pass --root"
        )
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise ValueError(f"{name} is prepared {len(found)} times, pass one directory: {listed}")
    return found[0]


def write(directory: Path, out: Path) -> Path:
    """Writes the report of a prepared directory; returns the path of report.md."""
    index = preparation.read_index(directory)
    splits = {split: pipeline.open_split(directory, split) for split in preparation.SPLITS}
    total = sum(len(part) for part in splits.values())

    def progress(records: Any) -> Any:
        return tqdm(records, desc="read slices", total=total, file=sys.stderr)

    summary, hu = report.summarize(splits, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    title = f"{index['name']}, {index['options']['subset']}, {total} slices"
    report_figures.draw_areas(out / "areas.png", summary["lesion_area"], title=title)
    report_figures.draw_hu(out / "hu.png", hu, title=title)
    panels = sheet_panels(splits)
    heading = f"{title}: {len(panels)} from the smallest to the largest lesion"
    report_figures.draw_sheet(out / "contact_sheet.png", panels, title=heading)
    facts = {"directory": str(directory), "options": index["options"], **summary}
    text = json.dumps({**facts, "area_edges": report.AREA_EDGES.tolist()}, indent=1)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    path = out / "report.md"
    path.write_text(markdown(index, directory, summary), encoding="utf-8")
    return path


def sheet_panels(splits: dict[str, SliceSet]) -> list[report_figures.Panel]:
    """Returns the slices of the contact sheet."""
    rows = [
        {**row, "split": split, "position": i}
        for split, part in splits.items()
        for i, row in enumerate(part.rows)
    ]
    panels = []
    for chosen in report.spread_over_areas(rows, count=SHEET_SLICES):
        row = rows[chosen]
        record = splits[row["split"]].records[row["position"]]
        low, high = np.asarray(record["window_hu"])
        image = np.clip((np.asarray(record["image"], np.float32) - low) / (high - low), 0, 1)
        caption = (
            f"{row['volume']}, slice {row['slice_index']}\n"
            f"{row['lesion_area']} px, {row['split']}, {low:.0f}..{high:.0f} HU"
        )
        panels.append(report_figures.Panel(image, np.asarray(record["mask"], bool), caption))
    return panels


def markdown(index: dict[str, Any], directory: Path, summary: dict[str, Any]) -> str:
    """Returns the text of report.md."""
    lines = [f"# {index['name']}", "", "```", prepared_index.summary(index), "```", ""]
    lines += ["## Lesion area (pixels of the stored slice)", ""]
    lines += ["| split | median | 5 % | 95 % | smallest | largest | below 900 |", "|---" * 7 + "|"]
    for split, area in summary["lesion_area"].items():
        values = (area[key] for key in ("median", "p5", "p95", "min", "max"))
        cells = " | ".join(f"{value:.0f}" for value in values)
        lines.append(f"| {split} | {cells} | {100 * area['share_below_900']:.1f} % |")
    lines += ["", f"The thesis's validation sets have a median of {THESIS_MEDIAN_AREA} px.", ""]
    lines += ["![lesion areas](areas.png)", "", "## Patients in two splits", ""]
    lines += [f"- {pair}: {count}" for pair, count in summary["patient_overlap"].items()]
    clipped = summary["clipped_share"]
    lines += ["", "## Hounsfield units", ""]
    lines.append(
        f"{100 * clipped['low']:.1f} % of the pixels lie at or below the window's lower end, "
        f"{100 * clipped['high']:.1f} % at or above its upper end."
    )
    lines += ["", "![HU](hu.png)", "", "## Geometry", ""]
    lines += ["| spacing (mm) | smallest | median | largest |", "|---" * 4 + "|"]
    for name, values in summary["spacing_mm"].items():
        cells = " | ".join(f"{values[key]:.3g}" for key in ("min", "median", "max"))
        lines.append(f"| {name} | {cells} |")
    shapes = list(summary["original_shapes"].items())
    shown = ", ".join(f"{shape} ({count})" for shape, count in shapes[:10])
    more = f" and {len(shapes) - 10} more" if len(shapes) > 10 else ""
    lines += ["", f"Upright slices before the fit, rows x columns (slices): {shown}{more}."]
    readers = summary["readers"]
    if readers:
        lines += ["", "## Readers", ""]
        lines.append(
            f"Mean IoU of two readers who both drew on a slice: {readers['mean_pairwise_iou']:.3f} "
            f"({readers['pairs']} pairs on {readers['slices']} slices)."
        )
    lines += ["", "## Slices", "", "![slices](contact_sheet.png)", "", f"Records: `{directory}`"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(console.run(main))
