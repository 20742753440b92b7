"""What a page tells of a lesion's size, of `measure`, in coordinates of upright slices."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from ecc_jax.annotator import documents
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.measure import Axis, SliceMeasures, measure_lesion, measure_slice
from ecc_jax.annotator.save_lesions import Lesion
from ecc_jax.data.slices import turn_back

Ends = list[tuple[float, float]]


def measures_of(
    document: Document,
    name: str,
    masks: Mapping[int, Bool[np.ndarray, "h w"]],
    *,
    index: int | None = None,
) -> dict[str, Any]:
    """Returns what a lesion measures, and one slice of it, in plain types.

    The numbers are those of `measure.measure_lesion`, so what is shown is what is saved. Lengths,
    areas and volumes are None where the voxel size is unknown; the axes of a slice are then the
    longest in voxels. Values are None for an empty mask, and in a picture, which has no HU.

    Args:
      document: The volume.
      name: Of the lesion.
      masks: On upright slices, by slice index.
      index: The slice that is told of; None for none.

    Returns:
      `lesion` (`slices`, `voxels`, `volume_mm3`, `volume_ml`, `long_axis_mm`, `short_axis_mm` and
      `long_axis_slice` of the slice with the longest axis, `mean_hu`, `sd_hu`), and `slice`: None
      where the lesion has nothing, else `slice`, `pixels`, `area_mm2`, `long_axis` and `short_axis`
      (both ends as (y, x) in voxels of the upright slice), `long_axis_mm`, `short_axis_mm`,
      `mean_hu`, `sd_hu`.
    """
    drawn = {k: turn_back(mask, document.orientation) for k, mask in masks.items()}
    measured = measure_lesion(Lesion(name, drawn, document.axis), document.volume)
    longest = measured.longest
    lesion = {
        "slices": len(measured.slices),
        "voxels": measured.voxels,
        "volume_mm3": measured.volume_mm3,
        "volume_ml": measured.volume_ml,
        "long_axis_mm": longest and _length(longest.long_axis),
        "short_axis_mm": longest and _length(longest.short_axis),
        "long_axis_slice": longest and longest.slice_index,
        "mean_hu": measured.mean_hu if document.is_hu else None,
        "sd_hu": measured.sd_hu if document.is_hu else None,
    }
    told = _slice(document, drawn[index], index) if index in drawn else None
    return {"slice": told, "lesion": lesion}


def _slice(document: Document, mask: Bool[np.ndarray, "r c"], index: int) -> dict[str, Any]:
    """Returns what a mask in array order measures on its slice."""
    geometry = document.volume.geometry
    measured = measure_slice(mask, geometry, slice_axis=document.axis, slice_index=index)
    drawn: SliceMeasures = measured
    if not np.isfinite(geometry.spacing_mm).all():
        voxels = geometry._replace(spacing_mm=(1.0, 1.0, 1.0), affine=np.eye(4))
        drawn = measure_slice(mask, voxels, slice_axis=document.axis, slice_index=index)
    values = np.moveaxis(document.volume.image_hu, document.axis, 0)[index][mask].astype(float)
    has_values = document.is_hu and len(values) > 0
    return {
        "slice": index,
        "pixels": measured.pixels,
        "area_mm2": measured.area_mm2,
        "long_axis": _ends(document, drawn.long_axis),
        "long_axis_mm": _length(measured.long_axis),
        "short_axis": _ends(document, drawn.short_axis),
        "short_axis_mm": _length(measured.short_axis),
        "mean_hu": float(values.mean()) if has_values else None,
        "sd_hu": float(values.std()) if has_values else None,
    }


def _ends(document: Document, axis: Axis | None) -> Ends | None:
    """Returns the ends of an axis on the upright slice."""
    if axis is None:
        return None
    return [documents.upright_point(document, row, column) for row, column in axis.ends_yx]


def _length(axis: Axis | None) -> float | None:
    return None if axis is None else axis.length_mm
