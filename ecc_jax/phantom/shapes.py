"""Shapes of the synthetic CT: a warped grid in millimetres, soft solids and random fields.

Everything is described in millimetres (z, y, x) around the centre of the patient and drawn into
an array of Hounsfield units, later shapes over earlier ones. Every function that takes a `Canvas`
and returns None draws into `canvas.hu`; nothing else changes its arguments.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

# Checkers at run time do not take an int for a float, unlike the typing rules.
Real = float | int
Point = tuple[Real, Real, Real]
Box = tuple[slice, slice, slice]
WARP_MM = 5.0


class Waves(NamedTuple):
    """A random smooth field of mean 0 and variance 1: a sum of plane waves.

    Attributes:
      frequency: Angular frequencies (z, y, x) of the waves, radians per mm.
      phase: Phases, radians.
    """

    frequency: Float[np.ndarray, "r 3"]
    phase: Float[np.ndarray, " r"]


class Canvas(NamedTuple):
    """Voxel positions and what has been drawn so far.

    Attributes:
      hu: Noise-free image, drawn into.
      axes: Voxel centres along z, y and x, mm.
      warped: The same positions after the patient's smooth deformation, z, y and x, mm.
      spacing: Distance of voxel centres along z, y and x, mm.
    """

    hu: Float32[np.ndarray, "d h w"]
    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    warped: tuple[np.ndarray, np.ndarray, np.ndarray]
    spacing: Point


def as_point(values: Float[np.ndarray, " 3"]) -> Point:
    """Returns an array (z, y, x) as a tuple."""
    return float(values[0]), float(values[1]), float(values[2])


def sample_waves(rng: np.random.Generator, wavelength: Real, *, terms: int = 16) -> Waves:
    """Returns plane waves of random direction with wavelengths of 0.6 to 1.8 x `wavelength` mm."""
    direction = rng.standard_normal((terms, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = wavelength * rng.uniform(0.6, 1.8, (terms, 1))
    return Waves(2 * np.pi * direction / length, rng.uniform(0, 2 * np.pi, terms))


def evaluate_waves(
    waves: Waves, axes: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Float32[np.ndarray, "d h w"]:
    """Returns the field on a grid.

    A plane wave is a product over the axes (as complex exponentials), so the sum over waves is
    one real matrix product instead of a cosine per wave and voxel.

    Args:
      waves: The field.
      axes: Positions along z, y and x, mm.
    """
    z, y, x = axes
    angle = (
        z[:, None, None] * waves.frequency[:, 0]
        + y[None, :, None] * waves.frequency[:, 1]
        + waves.phase
    ).reshape(z.size * y.size, -1)
    along_x = waves.frequency[:, 2, None] * x
    left = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1).astype(np.float32)
    right = np.concatenate([np.cos(along_x), np.sin(along_x)]).astype(np.float32)
    scale = np.float32(np.sqrt(2 / waves.phase.size))
    return (left @ right * scale).reshape(z.size, y.size, x.size)


def make_canvas(
    rng: np.random.Generator,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    spacing: Point,
    *,
    background_hu: Real = -1000.0,
) -> Canvas:
    """Returns an empty canvas whose coordinates are bent by a smooth random deformation.

    Args:
      rng: Draws the deformation; the draw does not depend on the grid.
      axes: Voxel centres along z, y and x, mm.
      spacing: Distance of voxel centres, mm.
      background_hu: Initial value.
    """
    warped = []
    for axis, position in enumerate(axes):
        shape = [1, 1, 1]
        shape[axis] = position.size
        shift = evaluate_waves(sample_waves(rng, 110.0, terms=10), axes)
        np.clip(shift, -2.0, 2.0, out=shift)
        shift *= WARP_MM / 2
        shift += position.astype(np.float32).reshape(shape)
        warped.append(shift)
    hu = np.full(warped[0].shape, background_hu, np.float32)
    return Canvas(hu, axes, (warped[0], warped[1], warped[2]), spacing)


def box_around(canvas: Canvas, low: Point, high: Point) -> Box:
    """Returns the index box that surely holds a shape between two corners in warped space."""
    slices = []
    for axis, step, a, b in zip(canvas.axes, canvas.spacing, low, high, strict=True):
        margin = WARP_MM + 2 * step
        start = int((a - margin - axis[0]) // step)
        stop = int((b + margin - axis[0]) // step) + 1
        slices.append(slice(min(max(start, 0), axis.size), min(max(stop, 0), axis.size)))
    return slices[0], slices[1], slices[2]


def is_empty(box: Box) -> bool:
    """Tells whether a box holds no voxel."""
    return any(s.stop <= s.start for s in box)


def rotated(canvas: Canvas, box: Box, centre: Point, angle: Real) -> tuple[np.ndarray, ...]:
    """Returns warped positions relative to `centre`, turned by `angle` (radians) in the slice."""
    z, y, x = (c[box] - np.float32(o) for c, o in zip(canvas.warped, centre, strict=True))
    if angle == 0.0:
        return z, y, x
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return z, cos * y - sin * x, sin * y + cos * x


def ellipsoid(
    canvas: Canvas, centre: Point, radii: Point, angle: Real = 0.0
) -> tuple[Box, Float32[np.ndarray, "d h w"]]:
    """Returns the box of an ellipsoid and the signed distance (mm, negative inside) in it.

    The distance is first-order exact at the surface, which is all that partial volume needs.

    Args:
      canvas: The grid.
      centre: Centre, mm.
      radii: Half axes, mm.
      angle: Turn within the slice, radians.
    """
    reach = (radii[0], max(radii[1:]), max(radii[1:])) if angle else radii
    low = tuple(c - r for c, r in zip(centre, reach, strict=True))
    high = tuple(c + r for c, r in zip(centre, reach, strict=True))
    box = box_around(canvas, (low[0], low[1], low[2]), (high[0], high[1], high[2]))
    if is_empty(box):
        return box, canvas.hu[box]
    # Not 0, so that the centre itself, where the direction is undefined, is well inside.
    squares = np.full_like(canvas.hu[box], 1e-6)
    gradient = np.full_like(squares, 1e-6 / min(radii) ** 2)
    for p, r in zip(rotated(canvas, box, centre, angle), radii, strict=True):
        q = p * np.float32(1 / r)
        q *= q
        squares += q
        gradient += q * np.float32(1 / r**2)
    norm = np.sqrt(squares)
    return box, norm * (norm - 1) / np.sqrt(gradient)


def capsule(
    canvas: Canvas, start: Point, end: Point, radius: Real, end_radius: Real | None = None
) -> tuple[Box, Float32[np.ndarray, "d h w"]]:
    """Returns the box of a (tapering) tube and the signed distance (mm) to its surface in it.

    Args:
      canvas: The grid.
      start: One end of the axis, mm.
      end: Other end of the axis, mm.
      radius: Radius at `start`, mm.
      end_radius: Radius at `end`, mm; the same as `radius` when None.
    """
    end_radius = radius if end_radius is None else end_radius
    reach = max(radius, end_radius)
    low = [min(a, b) - reach for a, b in zip(start, end, strict=True)]
    high = [max(a, b) + reach for a, b in zip(start, end, strict=True)]
    box = box_around(canvas, (low[0], low[1], low[2]), (high[0], high[1], high[2]))
    if is_empty(box):
        return box, canvas.hu[box]
    p = rotated(canvas, box, start, 0.0)
    d = [np.float32(b - a) for a, b in zip(start, end, strict=True)]
    along = p[0] * d[0] + p[1] * d[1] + p[2] * d[2]
    along /= np.float32(max(sum(float(v) ** 2 for v in d), 1e-6))
    np.clip(along, 0, 1, out=along)
    distance = np.zeros_like(along)
    for q, v in zip(p, d, strict=True):
        part = q - along * v
        distance += part * part
    np.sqrt(distance, out=distance)
    distance -= np.float32(radius) + along * np.float32(end_radius - radius)
    return box, distance


def cover(distance: Float32[np.ndarray, "d h w"], width: Real) -> Float32[np.ndarray, "d h w"]:
    """Returns the fraction of each voxel inside: 1/2 at distance 0, a ramp of `width` mm."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / width), 0, 1)


def paint(
    canvas: Canvas, box: Box, fraction: Float32[np.ndarray, "d h w"], hu: Real | np.ndarray
) -> None:
    """Mixes `hu` into the canvas by the covered fraction of each voxel of the box."""
    target = canvas.hu[box]
    target += fraction * (hu - target)


def paint_ellipsoid(
    canvas: Canvas,
    centre: Point,
    radii: Point,
    hu: Real,
    *,
    angle: Real = 0.0,
    softness: Real = 1.0,
) -> None:
    """Draws an ellipsoid; `softness` (in-plane voxels) is the width of its edge."""
    box, distance = ellipsoid(canvas, centre, radii, angle)
    if not is_empty(box):
        paint(canvas, box, cover(distance, softness * canvas.spacing[2]), hu)


def paint_capsule(
    canvas: Canvas,
    start: Point,
    end: Point,
    radius: Real,
    hu: Real,
    *,
    end_radius: Real | None = None,
) -> None:
    """Draws a tube.

    A tube thinner than a voxel is drawn a voxel wide and fainter, as partial volume does.
    """
    box, distance = capsule(canvas, start, end, radius, end_radius)
    if is_empty(box):
        return
    width = canvas.spacing[2]
    fraction = cover(distance, width)
    paint(canvas, box, fraction, hu)


def grow_tree(
    rng: np.random.Generator,
    root: Point,
    heading: Point,
    *,
    radius: Real,
    length: Real,
    generations: int,
    spread: Real = 0.6,
) -> list[tuple[Point, Point, Real, Real]]:
    """Returns the branches of a random vessel tree as (start, end, radius, end radius).

    Args:
      rng: Draws the branches.
      root: Where the stem begins, mm.
      heading: Direction of the stem; need not be of length 1.
      radius: Radius of the stem, mm; every fork multiplies it by about 0.75.
      length: Length of the stem, mm; every fork multiplies it by about 0.85.
      generations: Levels of forks; the tree has about 2**generations branches.
      spread: How far branches turn away from their parent.
    """
    unit = np.asarray(heading, float)
    unit /= max(float(np.linalg.norm(unit)), 1e-9)
    branches = []
    tips = [(np.asarray(root, float), unit, radius, length)]
    for _ in range(generations):
        grown = []
        for start, direction, r, reach in tips:
            end = start + direction * reach * rng.uniform(0.7, 1.3)
            branches.append((as_point(start), as_point(end), r, r * 0.85))
            for _ in range(2):
                turned = direction + spread * rng.standard_normal(3)
                turned /= np.linalg.norm(turned)
                grown.append((end, turned, r * rng.uniform(0.6, 0.88), reach * 0.85))
        tips = grown
    return branches
