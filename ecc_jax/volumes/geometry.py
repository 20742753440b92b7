"""The grid of a volume, and how its slices become upright."""

from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from jaxtyping import Float, Num, Shaped


class Orientation(NamedTuple):
    """How a slice in array order becomes one in display order: transposed first, then flipped.

    Attributes:
      transpose: Whether the two array axes are swapped.
      flip_rows: Whether the rows (after the swap) are reversed.
      flip_columns: Whether the columns (after the swap) are reversed.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def turn(self, array: Shaped[np.ndarray, "a b"]) -> Shaped[np.ndarray, "h w"]:
        """Returns a view of a slice in array order as one in display order."""
        return self._flipped(array.T if self.transpose else array)

    def turn_back(self, array: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "a b"]:
        """Returns a view of a slice in display order as one in array order."""
        flipped = self._flipped(array)
        return flipped.T if self.transpose else flipped

    def _flipped(self, array: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "h w"]:
        return array[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


ARRAY_ORDER = Orientation()


class Geometry(NamedTuple):
    """The grid of a volume, from the header alone.

    Attributes:
      shape: Voxels along each array axis.
      spacing_mm: Voxel size along each array axis; NaN if the header does not hold it.
      affine: Voxel index to patient coordinates (RAS+, mm); finite even where it is made up.
      has_affine: False if the header holds no orientation and `affine` is made up.
      path: The file.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: Float[np.ndarray, "4 4"]
    has_affine: bool
    path: Path


class Volume(NamedTuple):
    """A CT volume, array axes as in the file.

    Attributes:
      image_hu: Hounsfield units; int16 where they are whole numbers in its range, else float32.
      spacing_mm: Voxel size along each array axis; NaN if the header does not hold it.
      affine: Voxel index to patient coordinates (RAS+, mm); finite even where it is made up.
      path: The file.
      has_affine: False if the header holds no orientation and `affine` is made up.
      slice_uids: SOPInstanceUID of each slice of a DICOM series; empty for other files.
      slice_z_mm: z of each slice's first pixel as its header holds it (patient coordinates);
        empty for other files.
    """

    image_hu: Num[np.ndarray, "d h w"]
    spacing_mm: tuple[float, float, float]
    affine: Float[np.ndarray, "4 4"]
    path: Path
    has_affine: bool = True
    slice_uids: tuple[str, ...] = ()
    slice_z_mm: tuple[float, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """The grid."""
        d, h, w = self.image_hu.shape
        return Geometry((d, h, w), self.spacing_mm, self.affine, self.has_affine, self.path)


def slice_axis(spacing_mm: tuple[float, float, float], chosen: int | None = None) -> int:
    """Returns the array axis along which slices are taken.

    Args:
      spacing_mm: Voxel size along each array axis; NaN if unknown.
      chosen: The axis that is asked for; None means the one axis of largest spacing, else the last,
        also where the spacing is unknown.
    """
    if chosen is not None:
        return chosen
    if not np.all(np.isfinite(spacing_mm)):
        return 2
    order = np.argsort(spacing_mm)
    # A per cent: in-plane spacings of one scan differ by rounding only.
    is_unique = spacing_mm[order[2]] > 1.01 * spacing_mm[order[1]]
    return int(order[2]) if is_unique else 2


def display_orientation(geometry: Geometry, *, slice_axis: int) -> Orientation:
    """Returns how slices of a volume are turned to stand as a radiologist expects them.

    Axial: rows run anterior to posterior, columns patient right to left. Coronal: rows superior
    to inferior, columns right to left. Sagittal: rows superior to inferior, columns anterior to
    posterior. Each array axis of an oblique volume counts as the anatomical axis nearest to it. A
    volume without orientation keeps its array order.

    Args:
      geometry: The grid.
      slice_axis: Array axis along which slices are taken; the other two, in their order, are rows
        and columns of a slice in array order.

    Source: the radiological convention, as DICOM viewers show slices.
    """
    if not geometry.has_affine:
        return ARRAY_ORDER
    first, second = np.delete(direction_of(geometry.affine), slice_axis, axis=0)
    # In all three planes the rows follow the later of the two patient axes, and both run against
    # right, anterior, superior.
    transpose = bool(first[0] < second[0])
    rows, columns = (second, first) if transpose else (first, second)
    return Orientation(transpose, bool(rows[1] > 0), bool(columns[1] > 0))


def in_plane_mm(
    spacing_mm: tuple[float, float, float], *, slice_axis: int, orientation: Orientation
) -> tuple[float, float]:
    """Returns height and width of a pixel of a slice in display order, mm; NaN if unknown.

    Args:
      spacing_mm: Voxel size along each array axis.
      slice_axis: Array axis along which slices are taken.
      orientation: How a slice in array order is turned.
    """
    first, second = (mm for axis, mm in enumerate(spacing_mm) if axis != slice_axis)
    return (second, first) if orientation.transpose else (first, second)


def direction_of(affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 2"]:
    """Returns of each array axis the patient axis nearest to it and the sign of its step.

    Patient axes: 0 right, 1 anterior, 2 superior.
    """
    return nibabel.orientations.io_orientation(affine)
