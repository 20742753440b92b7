"""Sizes of a lesion in millimetres: diameters as in RECIST 1.1, area, volume, Hounsfield units.

Pure functions of masks and the grid they lie on. The outline of a slice's mask is the line at half
height between pixels inside and outside (marching squares): it passes midway between the centre of
a border pixel and that of its neighbour outside. So n pixels in a row are n pixels long, one pixel
is one pixel wide, and neither the diameter between pixel centres (a pixel too short) nor that
between pixel corners (up to a pixel too long) is reported.

Source: RECIST 1.1 (Eisenhauer et al., Eur J Cancer 2009; 45: 228): longest diameter in the plane of
the slice, and for nodes the short axis perpendicular to it; the same outline as the maximum
diameters of the Image Biomarker Standardisation Initiative (mesh at half height) and as the
bidirectional tool of OHIF. Unlike the latter, an axis may leave a concave lesion: RECIST asks for
the longest diameter, and only its ends must lie in the outline.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage, spatial
from skimage import measure

from ecc_jax.annotator.save_lesions import Lesion, check_on_grid
from ecc_jax.volumes import Geometry, Volume

EIGHT_CONNECTED = np.ones((3, 3), bool)
# Lengths that are the same but for rounding; of those the first in reading order is taken.
SAME_LENGTH = 1e-9
# Pieces of outline that are looked at at once: some tens of megabytes.
BLOCK = 1 << 20


class Axis(NamedTuple):
    """A line across a lesion.

    Attributes:
      ends_yx: Both ends in pixels of the slice in array order, pixel centres at integers.
      ends_mm: Both ends in patient coordinates (RAS+, mm).
      length_mm: Their distance.
    """

    ends_yx: tuple[tuple[float, float], tuple[float, float]]
    ends_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    length_mm: float


class SliceMeasures(NamedTuple):
    """What one slice of a lesion measures.

    Attributes:
      slice_index: Position of the slice along the axis on which it was drawn.
      pixels: Pixels of the mask.
      components: Parts of the mask that do not touch, not even at a corner.
      area_mm2: Of all pixels; None if the voxel size is unknown.
      long_axis: The longest diameter; None without pixels or voxel size.
      short_axis: The longest line perpendicular to it; None likewise.
    """

    slice_index: int
    pixels: int
    components: int
    area_mm2: float | None
    long_axis: Axis | None
    short_axis: Axis | None


class Values(NamedTuple):
    """What the values of some voxels amount to, so that those of more can be put together.

    Attributes:
      voxels: How many.
      mean_hu: Their mean; 0 without voxels.
      squares: Sum of the squares of what each differs by from it.
      min_hu: Lowest value; infinite without voxels.
      max_hu: Highest value; likewise.
    """

    voxels: int = 0
    mean_hu: float = 0.0
    squares: float = 0.0
    min_hu: float = math.inf
    max_hu: float = -math.inf

    @property
    def sd_hu(self) -> float:
        """Standard deviation, divided by the number of voxels; 0 without voxels."""
        return math.sqrt(self.squares / self.voxels) if self.voxels else 0.0


class Part(NamedTuple):
    """What a lesion is measured by on one slice.

    Attributes:
      measures: Of its mask.
      values: Under the mask.
    """

    measures: SliceMeasures
    values: Values


class LesionMeasures(NamedTuple):
    """What a lesion measures in all its slices.

    Attributes:
      name: Its name.
      voxels: Voxels of the mask.
      volume_mm3: Of all voxels; None if the voxel size is unknown.
      mean_hu: Mean over all voxels; None without voxels.
      sd_hu: Standard deviation over all voxels (divided by their number); None without voxels.
      min_hu: Lowest value; None without voxels.
      max_hu: Highest value; None without voxels.
      slices: The slices with pixels, rising.
    """

    name: str
    voxels: int
    volume_mm3: float | None
    mean_hu: float | None
    sd_hu: float | None
    min_hu: float | None
    max_hu: float | None
    slices: tuple[SliceMeasures, ...]

    @property
    def volume_ml(self) -> float | None:
        """The volume in millilitres."""
        return None if self.volume_mm3 is None else self.volume_mm3 / 1000

    @property
    def longest(self) -> SliceMeasures | None:
        """The slice with the longest diameter, the first of several; None if there is none.

        RECIST 1.1 reports this slice's long and short axis as those of the lesion.
        """
        measured = [(each.long_axis.length_mm, each) for each in self.slices if each.long_axis]
        return max(measured, key=lambda pair: pair[0])[1] if measured else None


def measure_lesion(
    lesion: Lesion, volume: Volume, *, all_components: bool = False
) -> LesionMeasures:
    """Measures a lesion in a volume.

    Args:
      lesion: Its masks; a lesion without pixels has 0 voxels and no diameters.
      volume: The volume, axes as in the file.
      all_components: As in `measure_slice`; voxels, volume and Hounsfield units are always of all.

    Raises:
      ValueError: A mask does not lie on the volume's grid.
    """
    check_on_grid(lesion, volume.geometry)
    parts = [
        measure_part(
            mask,
            volume,
            slice_axis=lesion.slice_axis,
            slice_index=index,
            all_components=all_components,
        )
        for index, mask in sorted(lesion.slices.items())
    ]
    return together(lesion.name, parts, volume)


def measure_part(
    mask: Bool[np.ndarray, "h w"],
    volume: Volume,
    *,
    slice_axis: int,
    slice_index: int,
    all_components: bool = False,
) -> Part:
    """Measures a lesion on one slice, see `measure_slice`; `together` makes a lesion of them."""
    measures = measure_slice(
        mask,
        volume.geometry,
        slice_axis=slice_axis,
        slice_index=slice_index,
        all_components=all_components,
    )
    if not measures.pixels:
        return Part(measures, Values())
    values = np.moveaxis(volume.image_hu, slice_axis, 0)[slice_index][mask].astype(np.float64)
    mean = float(values.mean())
    squares = float(np.square(values - mean).sum())
    return Part(
        measures, Values(len(values), mean, squares, float(values.min()), float(values.max()))
    )


def together(name: str, parts: Iterable[Part], volume: Volume) -> LesionMeasures:
    """Returns what a lesion measures of which every slice has been measured.

    Args:
      name: Of the lesion.
      parts: Of its slices, rising.
      volume: In which it lies.
    """
    full = [part for part in parts if part.measures.pixels]
    values = [part.values for part in full]
    voxels = sum(each.voxels for each in values)
    if not voxels:
        return LesionMeasures(name, 0, _volume_mm3(0, volume), None, None, None, None, ())
    mean = math.fsum(each.voxels * each.mean_hu for each in values) / voxels
    squares = math.fsum(each.squares + each.voxels * (each.mean_hu - mean) ** 2 for each in values)
    low, high = min(each.min_hu for each in values), max(each.max_hu for each in values)
    whole = Values(voxels, mean, squares, low, high)
    return LesionMeasures(
        name,
        voxels,
        _volume_mm3(voxels, volume),
        whole.mean_hu,
        whole.sd_hu,
        low,
        high,
        tuple(part.measures for part in full),
    )


def measure_slice(
    mask: Bool[np.ndarray, "h w"],
    geometry: Geometry,
    *,
    slice_axis: int,
    slice_index: int,
    all_components: bool = False,
) -> SliceMeasures:
    """Measures the mask of one slice.

    The longest diameter is the largest distance between two points of the outline. The short axis
    is the longest line at right angles to it (in millimetres, in the plane of the slice) whose two
    ends lie in the outline. Of diameters equally long the one that comes first in reading order of
    its ends is taken, of short axes the one nearest to the diameter's first end. Exact to rounding,
    on oblong pixels and oblique grids too.

    Args:
      mask: The slice in array order; it may be empty.
      geometry: The grid of the volume.
      slice_axis: Array axis along which slices are taken.
      slice_index: Position of the slice on it.
      all_components: Where the mask falls into parts that do not touch (not even at a corner),
        both axes are drawn on the one with most pixels (the first in reading order of several), as
        a radiologist measures one lesion; True draws them across all parts.

    Raises:
      ValueError: No such slice, or a mask of another shape.
    """
    if slice_axis not in (0, 1, 2) or not 0 <= slice_index < geometry.shape[slice_axis]:
        raise ValueError(
            f"expected a slice of a volume of shape {geometry.shape}, got slice index "
            f"{slice_index} (from 0) along axis {slice_axis}"
        )
    expected = tuple(int(n) for n in np.delete(geometry.shape, slice_axis))
    if mask.shape != expected:
        raise ValueError(f"expected a mask of shape {expected}, got {mask.shape}")
    pixels = int(np.count_nonzero(mask))
    labels, count = ndimage.label(mask, EIGHT_CONNECTED)
    steps = np.delete(geometry.affine[:3, :3], slice_axis, axis=1)
    if not _has_size(geometry):
        return SliceMeasures(slice_index, pixels, count, None, None, None)
    area = pixels * float(np.linalg.norm(np.cross(steps[:, 0], steps[:, 1])))
    if not pixels:
        return SliceMeasures(slice_index, 0, 0, area, None, None)
    if count > 1 and not all_components:
        mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    starts, stops = _outline(mask)
    origin = geometry.affine[:3, 3] + slice_index * geometry.affine[:3, slice_axis]
    long = _longest(starts, steps)
    short = _widest(starts, stops, steps, across=steps @ (long[1] - long[0]))
    return SliceMeasures(
        slice_index, pixels, count, area, _axis(long, steps, origin), _axis(short, steps, origin)
    )


def _has_size(geometry: Geometry) -> bool:
    return bool(np.isfinite(geometry.spacing_mm).all())


def _volume_mm3(voxels: int, volume: Volume) -> float | None:
    """Returns a volume; that of a voxel is the determinant, since a tilted gantry shears it."""
    if not _has_size(volume.geometry):
        return None
    return voxels * abs(float(np.linalg.det(volume.affine[:3, :3])))


def _outline(
    mask: Bool[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Returns the start and the end of each straight piece of the outer outline, pixels.

    Pixels that touch at a corner are taken as joined. The outlines of holes are left out: no line
    that is longest ends in one.
    """
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    corner = np.array([box.start for box in boxes[0]])
    padded = np.pad(ndimage.binary_fill_holes(mask[boxes[0]]), 1).astype(np.float64)
    lines = [
        line + corner - 1 for line in measure.find_contours(padded, 0.5, fully_connected="high")
    ]
    starts = np.concatenate([line[:-1] for line in lines])
    return starts, np.concatenate([line[1:] for line in lines])


def _longest(
    points_yx: Float[np.ndarray, "n 2"], steps: Float[np.ndarray, "3 2"]
) -> Float[np.ndarray, "2 2"]:
    """Returns the two points that lie farthest apart in millimetres, in reading order."""
    # The outline of a single pixel is a diamond, so that there always is a hull; that of the
    # pixels is that of the millimetres too, since one is a linear image of the other.
    hull = points_yx[spatial.ConvexHull(points_yx).vertices]
    hull = hull[np.lexsort(hull.T[::-1])]
    distance = spatial.distance.pdist(hull @ steps.T)
    first, second = np.triu_indices(len(hull), k=1)
    best = int(np.argmax(distance >= distance.max() * (1 - SAME_LENGTH)))
    return hull[[first[best], second[best]]]


def _widest(
    starts: Float[np.ndarray, "n 2"],
    stops: Float[np.ndarray, "n 2"],
    steps: Float[np.ndarray, "3 2"],
    *,
    across: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "2 2"]:
    """Returns both ends of the longest line at right angles to a direction, in reading order.

    Of several the first along the direction.

    Between two neighbouring corners of the outline (in order along the direction) its upper and
    its lower rim are straight, and so the line is longest at a corner: all lines through corners
    are compared, and nothing else.

    Args:
      starts: Start of each straight piece of the outline, pixels.
      stops: Its end.
      steps: Of one pixel down and of one to the right, mm.
      across: The direction, mm.
    """
    along = across / np.linalg.norm(across)
    # In the plane of the slice: what of one axis is left at right angles to the direction.
    sides = steps - np.outer(along, along @ steps)
    side = sides[:, int(np.argmax(np.linalg.norm(sides, axis=0)))]
    up = side / np.linalg.norm(side)
    from_t, to_t = starts @ (along @ steps), stops @ (along @ steps)
    from_u, to_u = starts @ (up @ steps), stops @ (up @ steps)
    tolerance = SAME_LENGTH * float(np.linalg.norm(across))
    offsets = np.unique(from_t)
    # Each piece meets the lines of a range of offsets, few, since pieces are short.
    first = np.searchsorted(offsets, np.minimum(from_t, to_t) - tolerance)
    last = np.searchsorted(offsets, np.maximum(from_t, to_t) + tolerance, side="right")
    top, bottom = np.full(len(offsets), -np.inf), np.full(len(offsets), np.inf)
    total = np.concatenate([[0], np.cumsum(last - first)])
    for begin in range(0, int(total[-1]), BLOCK):
        # The block's meetings: of which piece, with which offset.
        meeting = np.arange(begin, min(begin + BLOCK, int(total[-1])))
        piece = np.searchsorted(total, meeting, side="right") - 1
        line = first[piece] + meeting - total[piece]
        extent = to_t[piece] - from_t[piece]
        # A piece along the line counts with its start; its end is the start of another piece.
        flat = np.abs(extent) <= tolerance
        share = (offsets[line] - from_t[piece]) / np.where(flat, 1, extent)
        share = np.where(flat, 0, np.clip(share, 0, 1))
        level = from_u[piece] + share * (to_u[piece] - from_u[piece])
        np.maximum.at(top, line, level)
        np.minimum.at(bottom, line, level)
    width = top - bottom
    best = int(np.argmax(width >= width.max() * (1 - SAME_LENGTH)))
    # Back from both coordinates in the plane to pixels.
    plane = np.stack([along @ steps, up @ steps])
    ends = np.linalg.solve(plane, [[offsets[best]] * 2, [bottom[best], top[best]]]).T
    return ends[np.lexsort(ends.T[::-1])]


def _axis(
    ends_yx: Float[np.ndarray, "2 2"],
    steps: Float[np.ndarray, "3 2"],
    origin: Float[np.ndarray, "3"],
) -> Axis:
    ends = origin + ends_yx @ steps.T
    (y0, x0), (y1, x1) = ends_yx.tolist()
    first, second = ends.tolist()
    length = float(np.linalg.norm((ends_yx[1] - ends_yx[0]) @ steps.T))
    return Axis(((y0, x0), (y1, x1)), (tuple(first), tuple(second)), length)
