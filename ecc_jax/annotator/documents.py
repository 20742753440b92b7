"""A volume as it is shown and clicked on: upright slices, square pixels, and the way back.

Coordinates of the annotator are `y` and `x` of the upright slice in voxels, centres at integers;
radii are in display pixels, whose side is that of the shorter side of a voxel.
"""

import warnings
from typing import Any, NamedTuple

import nibabel
import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from skimage import transform

from ecc_jax import catalog
from ecc_jax.annotator import sources
from ecc_jax.annotator.sources import Source
from ecc_jax.data.slices import turn
from ecc_jax.volumes import (
    FileRemark,
    Orientation,
    Volume,
    display_orientation,
    in_plane_mm,
    slice_axis,
)

# Name -> width and level, HU, in the order of the keys 1 to 5. Source: OHIF's presets.
PRESETS = {
    "soft tissue": (400, 40),
    "lung": (1500, -600),
    "liver": (150, 90),
    "bone": (2500, 480),
    "brain": (80, 40),
}
# A voxel more oblong than this is shown oblong: a slice would take too much memory.
MAX_FACTOR = 16.0
# Sides that differ by less are equal: rounding of headers.
SQUARE = 0.01
# The lung's window is for lesions with so much air around them: share of pixels below, HU.
AIR_SHARE, AIR_BELOW_HU, AIR_REACH = 0.25, -500.0, 3.0
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}


class Document(NamedTuple):
    """An open volume.

    Attributes:
      source: Where it is from.
      volume: Its voxels in array order.
      axis: Array axis along which slices are taken.
      orientation: How a slice in array order becomes upright.
      factors: Display pixels per voxel along the rows' and columns' direction of an upright slice;
        the smaller one is 1.
      remarks: What is odd about the file, one line each.
    """

    source: Source
    volume: Volume
    axis: int
    orientation: Orientation
    factors: tuple[float, float]
    remarks: tuple[str, ...] = ()

    @property
    def num_slices(self) -> int:
        """The number of slices."""
        return self.volume.image_hu.shape[self.axis]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an upright slice."""
        rows, columns = np.delete(self.volume.image_hu.shape, self.axis).tolist()
        return (columns, rows) if self.orientation.transpose else (rows, columns)

    @property
    def pixel_mm(self) -> float:
        """Side of a display pixel, mm; NaN if unknown."""
        return min(self.voxel_mm)

    @property
    def voxel_mm(self) -> tuple[float, float]:
        """Height and width of a voxel of an upright slice, mm; NaN if unknown."""
        spacing_mm, orientation = self.volume.spacing_mm, self.orientation
        return in_plane_mm(spacing_mm, slice_axis=self.axis, orientation=orientation)

    @property
    def pixel_type(self) -> type[np.int16] | type[np.uint16]:
        """The type of number in which slices are shown: int16, or uint16 of a picture beyond it."""
        # Readers keep as int16 what fits.
        is_beyond = not self.is_hu and self.volume.image_hu.dtype != np.int16
        return np.uint16 if is_beyond else np.int16

    @property
    def is_hu(self) -> bool:
        """Whether voxels are Hounsfield units; those of a picture are grey values."""
        return self.source.kind != "png"


def open_source(source: Source) -> Document:
    """Reads a volume and finds out how it is shown.

    Raises:
      ValueError: It cannot be read, see `sources.read`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = sources.read(source)
    # A remark names the path, which is nothing for a client.
    texts = [
        str(w.message).removeprefix(f"{w.message.path}: ")
        for w in caught
        if isinstance(w.message, FileRemark)
    ]
    return document_of(source, volume, remarks=tuple(texts))


def document_of(source: Source, volume: Volume, *, remarks: tuple[str, ...] = ()) -> Document:
    """Returns how a volume is shown.

    Args:
      source: Where it is from.
      volume: Its voxels.
      remarks: What was odd about the file.
    """
    if source.kind in ("png", "dicom"):
        axis = 0
    else:
        axis = slice_axis(volume.spacing_mm)
    return shown_along(axis, source, volume, remarks=remarks)


def shown_along(
    axis: int, source: Source, volume: Volume, *, remarks: tuple[str, ...] = ()
) -> Document:
    """Returns how a volume is shown that is cut along a given array axis."""
    orientation = display_orientation(volume.geometry, slice_axis=axis)
    document = Document(source, volume, axis, orientation, (1.0, 1.0), remarks)
    return document._replace(factors=_factors(*document.voxel_mm))


def slice_of(document: Document, index: int) -> Num[np.ndarray, "r c"]:
    """Returns a view of one upright slice in voxels, HU (grey values of a picture)."""
    slices = np.moveaxis(document.volume.image_hu, document.axis, 0)
    return turn(slices[index], document.orientation)


def pixels_of(document: Document, index: int) -> Integer[np.ndarray, "r c"]:
    """Returns one upright slice for display, as whole numbers of `document.pixel_type`.

    Pictures are exact; of a CT what int16 cannot hold is cut to its range.
    """
    values, kind = slice_of(document, index), document.pixel_type
    if values.dtype != kind:
        values = np.clip(np.rint(values), *value_range(document)).astype(kind)
    return np.ascontiguousarray(values)


def value_range(document: Document) -> tuple[int, int]:
    """Returns the lowest and highest value that a slice as it is shown can hold."""
    limits = np.iinfo(document.pixel_type)
    return int(limits.min), int(limits.max)


def windowed(values: Num[np.ndarray, "r c"], low: float, high: float) -> Integer[np.ndarray, "r c"]:
    """Returns grey values 0..255 of a slice.

    Args:
      values: HU.
      low: What is black.
      high: What is white, above `low`.
    """
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def display_shape(document: Document) -> tuple[int, int]:
    """Returns rows and columns of a slice in display pixels, which are square."""
    height, width = (
        max(1, round(n * f)) for n, f in zip(document.shape, document.factors, strict=True)
    )
    return height, width


def display_image(document: Document, index: int) -> Num[np.ndarray, "r c"]:
    """Returns a slice in square display pixels, as the network is shown it.

    The slice itself where voxels are square, else interpolated linearly along the longer side.
    """
    values, shape = slice_of(document, index), display_shape(document)
    if shape == values.shape:
        return values
    return transform.resize(
        values.astype(np.float32), shape, order=1, mode="edge", preserve_range=True
    )


def display_point(document: Document, y: float, x: float) -> tuple[float, float]:
    """Returns where a point of the upright slice, in voxels, lies in display pixels."""
    shape, size = document.shape, display_shape(document)
    return _moved(y, shape[0], size[0]), _moved(x, shape[1], size[1])


def voxel_point(document: Document, y: float, x: float) -> tuple[float, float]:
    """Returns where a display pixel lies on the upright slice, in voxels."""
    shape, size = document.shape, display_shape(document)
    return _moved(y, size[0], shape[0]), _moved(x, size[1], shape[1])


def upright_point(document: Document, row: float, column: float) -> tuple[float, float]:
    """Returns where a place of a slice in array order, in voxels, lies on the upright slice."""
    y, x = (column, row) if document.orientation.transpose else (row, column)
    height, width = document.shape
    return (
        height - 1 - y if document.orientation.flip_rows else y,
        width - 1 - x if document.orientation.flip_columns else x,
    )


def voxel_mask(document: Document, mask: Bool[np.ndarray, "r c"]) -> Bool[np.ndarray, "h w"]:
    """Returns which voxels of the upright slice a mask of display pixels marks at their centre."""
    return _sampled(mask, document.shape)


def display_mask(document: Document, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "r c"]:
    """Returns a mask of voxels in display pixels; `voxel_mask` takes it back exactly."""
    return _sampled(mask, display_shape(document))


def automatic_window(
    document: Document, index: int, *, y: float, x: float, radius: float
) -> tuple[float, float]:
    """Returns the HU window in which the network looks at a lesion.

    The lung's where a quarter of the surroundings, three radii around, is air or lung; else that of
    soft tissue: those it was trained with. A picture is seen in full: up to the most that as many
    bits as its values need can hold, 8 at least.

    Args:
      document: The volume.
      index: Slice.
      y: Row of the disk's centre.
      x: Column of the disk's centre.
      radius: Of the disk, display pixels.
    """
    values = slice_of(document, index)
    if not document.is_hu:
        bits = int(document.volume.image_hu.max()).bit_length()
        return 0.0, 2.0 ** max(bits, 8) - 1
    reach = [max(2.0, AIR_REACH * radius / factor) for factor in document.factors]
    (top, bottom), (left, right) = (
        (max(0, int(centre - r)), min(n, int(centre + r) + 1))
        for centre, r, n in zip((y, x), reach, values.shape, strict=True)
    )
    share = np.mean(values[top:bottom, left:right] < AIR_BELOW_HU)
    return catalog.LUNG_HU if share > AIR_SHARE else catalog.SOFT_TISSUE_HU


def facts_of(document: Document) -> dict[str, Any]:
    """Returns what a page shows of a volume, in plain types; unknown lengths are None."""
    volume = document.volume
    spacing_mm = (float(volume.spacing_mm[document.axis]), *map(float, document.voxel_mm))
    has_spacing = bool(np.isfinite(spacing_mm).all())
    return {
        "id": document.source.id,
        "name": document.source.name,
        "kind": document.source.kind,
        "num_slices": document.num_slices,
        "shape": [int(n) for n in document.shape],
        "display_shape": list(display_shape(document)),
        "factors": list(document.factors),
        "pixel_mm": document.pixel_mm if has_spacing else None,
        "spacing_mm": list(spacing_mm) if has_spacing else None,
        "letters": letters_of(document),
        "affine": affine_of(document).tolist() if volume.has_affine else None,
        "orientation_known": bool(volume.has_affine),
        "is_hu": document.is_hu,
        "value_range": list(value_range(document)),
        "presets": [
            {"name": name, "width": width, "level": level}
            for name, (width, level) in PRESETS.items()
        ],
        "remarks": list(document.remarks),
    }


def letters_of(document: Document) -> dict[str, str]:
    """Returns the patient's direction at each edge of an upright slice; empty if unknown.

    L, R, A, P, S and I: left, right, anterior, posterior, superior, inferior.
    """
    if not document.volume.has_affine:
        return {}
    codes = np.delete(list(nibabel.aff2axcodes(document.volume.affine)), document.axis)
    rows, columns = (codes[::-1] if document.orientation.transpose else codes).tolist()
    rows = OPPOSITE[rows] if document.orientation.flip_rows else rows
    columns = OPPOSITE[columns] if document.orientation.flip_columns else columns
    return {"top": OPPOSITE[rows], "bottom": rows, "left": OPPOSITE[columns], "right": columns}


def affine_of(document: Document) -> Float[np.ndarray, "4 4"]:
    """Returns slice, row and column of the upright slices to patient coordinates (RAS+, mm)."""
    volume, axis = document.volume, document.axis
    others = [n for n in range(3) if n != axis]
    transpose, *flips = document.orientation
    rows, columns = others[::-1] if transpose else others
    affine = np.eye(4)
    affine[:, 0], affine[:, 3] = volume.affine[:, axis], volume.affine[:, 3]
    for column, (source, flip) in enumerate(zip((rows, columns), flips, strict=True), 1):
        step, last = volume.affine[:, source], volume.image_hu.shape[source] - 1
        affine[:, column] = -step if flip else step
        affine[:, 3] += last * step * flip
    return affine


def _factors(rows_mm: float, columns_mm: float) -> tuple[float, float]:
    """Returns display pixels per voxel along both directions."""
    shorter = min(rows_mm, columns_mm)
    if not np.isfinite(shorter) or max(rows_mm, columns_mm) <= (1 + SQUARE) * shorter:
        return 1.0, 1.0
    return min(rows_mm / shorter, MAX_FACTOR), min(columns_mm / shorter, MAX_FACTOR)


def _moved(place: float, length: int, other: int) -> float:
    """Returns a place along one grid on another that spans the same, kept between its centres."""
    moved = (place + 0.5) * other / length - 0.5
    return min(max(moved, 0.0), other - 1.0)


def _sampled(mask: Bool[np.ndarray, "h w"], shape: tuple[int, int]) -> Bool[np.ndarray, "r c"]:
    """Returns a mask on another grid over the same area: what lies under each centre."""
    if shape == mask.shape:
        return mask
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
