"""What a page tells of a lesion's size, of `measure`, in coordinates of upright slices."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from ecc_jax.annotator import documents
from ecc_jax.annotator.answers import Place
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.measure import (
    Axis,
    Part,
    SliceMeasures,
    measure_part,
    measure_slice,
    together,
)
from ecc_jax.annotator.packing import unpack
from ecc_jax.data.slices import turn_back

Ends = list[tuple[float, float]]
# Slices whose measures are remembered; one takes about a kilobyte.
MAX_PARTS = 10_000


class SlicePart(NamedTuple):
    """What a lesion measures on one slice, and what of it is drawn.

    Attributes:
      part: As it is saved.
      drawn: The same, in voxels where their size is unknown.
    """

    part: Part
    drawn: SliceMeasures


def measures_of(
    document: Document, name: str, parts: Mapping[int, SlicePart], *, index: int | None = None
) -> dict[str, Any]:
    """Returns what a lesion measures, and one slice of it, in plain types.

    The numbers are those of `measure.measure_lesion`, so what is shown is what is saved. Lengths,
    areas and volumes are None where the voxel size is unknown; the axes of a slice are then the
    longest in voxels. Values are None for an empty mask, and in a picture, which has no HU.

    Args:
      document: The volume.
      name: Of the lesion.
      parts: What `part_of` returns of its slices, by slice index, rising.
      index: The slice that is told of; None for none.

    Returns:
      `lesion` (`slices`, `voxels`, `volume_mm3`, `volume_ml`, `long_axis_mm`, `short_axis_mm` and
      `long_axis_slice` of the slice with the longest axis, `mean_hu`, `sd_hu`), and `slice`: None
      where the lesion has nothing, else `slice`, `pixels`, `area_mm2`, `long_axis` and `short_axis`
      (both ends as (y, x) in voxels of the upright slice), `long_axis_mm`, `short_axis_mm`,
      `mean_hu`, `sd_hu`.
    """
    measured = together(name, (part.part for part in parts.values()), document.volume)
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
    one = None if index is None else parts.get(index)
    return {"slice": one and _slice(document, one), "lesion": lesion}


def part_of(document: Document, mask: Bool[np.ndarray, "h w"], index: int) -> SlicePart:
    """Measures the mask of an upright slice.

    Args:
      document: The volume.
      mask: Of the slice, which may be empty.
      index: Of the slice.
    """
    volume, axis = document.volume, document.axis
    turned = turn_back(mask, document.orientation)
    part = measure_part(turned, volume, slice_axis=axis, slice_index=index)
    if np.isfinite(volume.spacing_mm).all():
        return SlicePart(part, part.measures)
    voxels = volume.geometry._replace(spacing_mm=(1.0, 1.0, 1.0), affine=np.eye(4))
    drawn = measure_slice(turned, voxels, slice_axis=axis, slice_index=index)
    return SlicePart(part, drawn)


class Measurer:
    """Measures lesions slice by slice; what has been measured is remembered by its mask."""

    def __init__(self) -> None:
        """Begins with nothing measured; for one thread."""
        self._known: OrderedDict[tuple[Place, str], SlicePart] = OrderedDict()

    def part(self, document: Document, place: Place, packed: str) -> SlicePart:
        """Returns what `part_of` does.

        Args:
          document: The volume.
          place: Which slice of it.
          packed: The mask, of `packing.pack`.
        """
        key = (place, packed)
        part = self._known.pop(key, None)
        if part is None:
            part = part_of(document, unpack(packed, document.shape), place.number)
        self._known[key] = part
        while len(self._known) > MAX_PARTS:
            self._known.popitem(last=False)
        return part


def _slice(document: Document, found: SlicePart) -> dict[str, Any]:
    """Returns what a mask measures on its slice."""
    measured, drawn, values = found.part.measures, found.drawn, found.part.values
    has_values = document.is_hu and values.voxels > 0
    return {
        "slice": measured.slice_index,
        "pixels": measured.pixels,
        "area_mm2": measured.area_mm2,
        "long_axis": _ends(document, drawn.long_axis),
        "long_axis_mm": _length(measured.long_axis),
        "short_axis": _ends(document, drawn.short_axis),
        "short_axis_mm": _length(measured.short_axis),
        "mean_hu": values.mean_hu if has_values else None,
        "sd_hu": values.sd_hu if has_values else None,
    }


def _ends(document: Document, axis: Axis | None) -> Ends | None:
    """Returns the ends of an axis on the upright slice."""
    if axis is None:
        return None
    return [documents.upright_point(document, row, column) for row, column in axis.ends_yx]


def _length(axis: Axis | None) -> float | None:
    return None if axis is None else axis.length_mm
