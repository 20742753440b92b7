"""Measures of lesions as a table (CSV) and in full (JSON)."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecc_jax.annotator.measure import Axis, LesionMeasures, SliceMeasures
from ecc_jax.annotator.save_lesions import check_name
from ecc_jax.annotator.save_target import SOFTWARE, VERSION, check_target, write

FORMAT = f"{SOFTWARE}.measures"
FORMAT_VERSION = 1
# A spreadsheet would run a cell that begins so.
FORMULA = ("=", "+", "-", "@")


def write_measures(
    target: Path, measures: Sequence[LesionMeasures], source: Path, *, replace: bool = False
) -> list[Path]:
    """Writes a table with one row per lesion, and beside it a JSON with every slice.

    Lengths, areas and values are written in full; a cell is empty where nothing is known (no voxel
    size, no pixels, no Hounsfield units in a picture). `slice_index`, the axes and the area are
    those of the slice with the longest diameter. In the table a name that a spreadsheet would take
    for a formula gets a quote before it; the JSON has it as it is, and the ends of both axes of
    each slice.

    Args:
      target: Its name ends in .csv; the JSON takes .json instead.
      measures: One per lesion.
      source: The volume: a file, or the folder of a series.
      replace: Whether files that this package wrote may be replaced.

    Returns:
      Both files.

    Raises:
      ValueError: Another suffix, a name that a file cannot keep, or a target that may not be
        written.
      OSError: A file cannot be written.
    """
    if target.suffix != ".csv":
        raise ValueError(f"{target}: expected a name that ends in .csv")
    for each in measures:
        check_name(each.name)
    full = target.with_suffix(".json")
    for file in (target, full):
        check_target(file, source, replace=replace)
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "software": f"{SOFTWARE} {VERSION}",
        "lesions": [
            {**_row(each), "slices": [_slice(one) for one in each.slices]} for each in measures
        ],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write(target, _table(measures).encode(), source, replace=replace)
    write(full, text.encode(), source, replace=replace)
    return [target, full]


def _table(measures: Sequence[LesionMeasures]) -> str:
    rows = [{**_row(each), "software": f"{SOFTWARE} {VERSION}"} for each in measures]
    columns = [*_row(LesionMeasures("", 0, None, None, None, None, None, ())), "software"]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        name = row["lesion"]
        writer.writerow(row | {"lesion": f"'{name}" if name.startswith(FORMULA) else name})
    return file.getvalue()


def _row(measures: LesionMeasures) -> dict[str, Any]:
    widest = measures.longest
    return {
        "lesion": measures.name,
        "num_slices": len(measures.slices),
        "voxels": measures.voxels,
        "volume_mm3": measures.volume_mm3,
        "volume_ml": measures.volume_ml,
        "mean_hu": measures.mean_hu,
        "sd_hu": measures.sd_hu,
        "min_hu": measures.min_hu,
        "max_hu": measures.max_hu,
        "slice_index": widest and widest.slice_index,
        "long_axis_mm": widest and widest.long_axis and widest.long_axis.length_mm,
        "short_axis_mm": widest and widest.short_axis and widest.short_axis.length_mm,
        "area_mm2": widest and widest.area_mm2,
    }


def _slice(measures: SliceMeasures) -> dict[str, Any]:
    return {
        "slice_index": measures.slice_index,
        "pixels": measures.pixels,
        "components": measures.components,
        "area_mm2": measures.area_mm2,
        "long_axis": measures.long_axis and _axis(measures.long_axis),
        "short_axis": measures.short_axis and _axis(measures.short_axis),
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "length_mm": axis.length_mm,
        "ends_yx_pixels": axis.ends_yx,
        "ends_ras_mm": axis.ends_mm,
    }
