"""What every synthetic patient shares: trunk wall, spine, vessels, bowel; and the plan of organs.

Positions are (z, y, x) in mm; y grows towards the back, x towards the patient's left, z = 0 is the
middle of the volume. All random draws happen in an order that does not depend on the grid, so one
patient rendered at two matrix sizes is the same patient.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ecc_jax.phantom.shapes import (
    Canvas,
    Point,
    Real,
    capsule,
    cover,
    ellipsoid,
    evaluate_waves,
    grow_tree,
    is_empty,
    paint,
    paint_capsule,
    paint_ellipsoid,
    sample_waves,
)

FAT_HU = -100.0
MUSCLE_HU = 58.0
# The spine, the aorta and the wall run through the volume; these organs are longer than any.
THROUGH_MM = 400.0


class Trunk(NamedTuple):
    """Proportions of one patient.

    Attributes:
      half: Half depth (y) and half width (x) of the body, mm.
      fat: Thickness of the fat under the skin, mm.
      wall: Thickness of the muscle wall, mm.
      cavity_centre: Centre (y, x) of the cavity inside the wall, mm.
      cavity: Half depth and half width of the cavity, mm.
      spine_y: y of the vertebral body, mm.
      enhancement: How far blood is enhanced by contrast agent, 0 to 1.
    """

    half: tuple[float, float]
    fat: float
    wall: float
    cavity_centre: tuple[float, float]
    cavity: tuple[float, float]
    spine_y: float
    enhancement: float

    def blood_hu(self, share: float) -> float:
        """Returns the HU of a vessel that takes `share` of the enhancement."""
        return 45.0 + 190.0 * self.enhancement * share


def sample_trunk(rng: np.random.Generator, *, chest: bool) -> Trunk:
    """Draws the proportions of a patient; a chest has less fat and a thicker, bonier wall."""
    depth, width = rng.uniform(104, 132), rng.uniform(150, 182)
    fat = rng.uniform(4, 14) if chest else rng.uniform(8, 26)
    wall = rng.uniform(13, 18) if chest else rng.uniform(8, 12)
    back = 16.0 if chest else 20.0
    cavity = (depth - fat - wall - back / 2, width - fat - wall)
    return Trunk(
        half=(depth, width),
        fat=fat,
        wall=wall,
        cavity_centre=(-back / 2, 0.0),
        cavity=cavity,
        spine_y=depth - fat - rng.uniform(62, 70),
        enhancement=rng.uniform(0.35, 1.0),
    )


def draw_trunk(
    canvas: Canvas, rng: np.random.Generator, trunk: Trunk
) -> tuple[Float32[np.ndarray, "d h w"], Float32[np.ndarray, "d h w"]]:
    """Draws skin, fat, muscle wall and table.

    Returns:
      The fraction of each voxel in the cavity, and the same for a cavity 3 mm smaller.
    """
    width = canvas.spacing[2]
    _, y, x = canvas.warped
    outline = _superellipse(y, x, (0.0, 0.0), trunk.half)
    body = cover(outline, width)
    whole = (slice(None), slice(None), slice(None))
    draw_table(canvas, trunk.half[0] + 12)
    paint(canvas, whole, body, 5.0)
    stranding = evaluate_waves(sample_waves(rng, 9.0), canvas.axes)
    fat_hu = FAT_HU + 9 * stranding
    paint(canvas, whole, cover(outline + 1.8, width), fat_hu)
    uneven = evaluate_waves(sample_waves(rng, 60.0, terms=8), canvas.axes)
    muscle = outline + np.float32(trunk.fat) + 2 * uneven
    streaks = MUSCLE_HU + 7 * evaluate_waves(sample_waves(rng, 7.0), canvas.axes)
    paint(canvas, whole, cover(muscle, width), streaks)
    inside = _superellipse(y, x, trunk.cavity_centre, trunk.cavity) + 1.2 * uneven
    # A layer of fat divides the muscle wall, as between the oblique muscles.
    sheet = np.abs(inside - np.float32(0.5 * trunk.wall)) - 0.7
    paint(canvas, whole, 0.6 * cover(sheet, width) * cover(muscle, width), FAT_HU)
    return cover(inside, width), cover(inside + 3, width)


def _superellipse(
    y: np.ndarray, x: np.ndarray, centre: tuple[float, float], half: tuple[float, float]
) -> Float32[np.ndarray, "d h w"]:
    """Returns the signed distance (mm, along the ray from the centre) to a rounded rectangle."""
    distance = np.empty_like(y)
    for plane in range(y.shape[0]):  # slice by slice, so that temporaries stay in the cache
        dy, dx = y[plane] - np.float32(centre[0]), x[plane] - np.float32(centre[1])
        v, u = (dy * np.float32(1 / half[0])) ** 2, (dx * np.float32(1 / half[1])) ** 2
        norm = 0.55 * np.sqrt(u + v) + 0.45 * np.sqrt(np.sqrt(u * u + v * v))
        radius = np.sqrt(dy * dy + dx * dx + np.float32(1e-4))
        distance[plane] = radius - radius / np.maximum(norm, 1e-4)
    return distance


def draw_table(canvas: Canvas, below: Real) -> None:
    """Draws the couch as a thin shell, lowest at y = `below` mm; unwarped, no part of the body."""
    _, y, x = canvas.axes
    depth = y[:, None] - (below - 0.0009 * x[None, :] ** 2)
    shell = np.clip(0.5 - (np.abs(depth) - 1.2) / canvas.spacing[1], 0, 1).astype(np.float32)
    canvas.hu[:] += shell[None] * np.float32(620)


def draw_skeleton(canvas: Canvas, rng: np.random.Generator, trunk: Trunk) -> None:
    """Draws back muscles, vertebra with canal and processes, and obliquely cut ribs."""
    y = trunk.spine_y
    for side in (-1, 1):
        paint_ellipsoid(
            canvas, (0.0, y + 42, side * 33.0), (THROUGH_MM, 21, 27), MUSCLE_HU, softness=1.5
        )
        paint_capsule(canvas, (-90, y + 22, side * 14.0), (90, y + 22, side * 14.0), 9, MUSCLE_HU)
    dense = rng.uniform(280, 480)
    spongy = rng.uniform(130, 230)
    phase = rng.uniform(0, 30)
    for level in range(-3, 4):
        z = level * 32.0 + phase
        paint_ellipsoid(canvas, (z, y, 0.0), (15.5, 17, 23), dense)
        paint_ellipsoid(canvas, (z, y, 0.0), (14.5, 15, 21), spongy)
        paint_ellipsoid(canvas, (z + 16, y, 0.0), (5.0, 16, 22), 90.0)
        for side in (-1, 1):
            paint_capsule(canvas, (z, y + 14, side * 13.0), (z, y + 30, side * 14.0), 4.5, dense)
            tip = (z - 4, y + 30, side * 42.0)
            paint_capsule(canvas, (z, y + 30, side * 14.0), tip, 4, spongy, end_radius=2.5)
        paint_capsule(canvas, (z, y + 34, 0.0), (z - 12, y + 55, 0.0), 5.5, dense, end_radius=3)
        paint_capsule(canvas, (z, y + 36, 0.0), (z - 12, y + 53, 0.0), 3, spongy, end_radius=1.5)
    canal = ((-THROUGH_MM, y + 23, 0.0), (THROUGH_MM, y + 23, 0.0))
    paint_capsule(canvas, *canal, 8.5, -40.0)
    paint_capsule(canvas, *canal, 7, 25.0)
    _draw_ribs(canvas, rng, trunk, dense, spongy)


def _draw_ribs(
    canvas: Canvas, rng: np.random.Generator, trunk: Trunk, dense: float, spongy: float
) -> None:
    """Draws ribs that slope downwards along the wall, so that each slice cuts several."""
    centre_y = trunk.cavity_centre[0]
    depth, width = (half + 0.45 * trunk.wall for half in trunk.cavity)
    phase = rng.uniform(0, 24)
    bend = 0.80
    for side in (-1, 1):
        for rib in range(-5, 6):
            points = []
            for turn in np.linspace(-0.9, 1.25, 15):
                z = rib * 24.0 + phase + 26.0 * turn
                reach = (abs(np.cos(turn)) ** 4 + abs(np.sin(turn)) ** 4) ** -0.25
                scale = bend + (1 - bend) * reach
                points.append(
                    (
                        z,
                        centre_y + scale * depth * np.sin(turn),
                        side * scale * width * np.cos(turn),
                    )
                )
            for start, end in zip(points[:-1], points[1:], strict=True):
                paint_capsule(canvas, start, end, 4.8, dense)
            for start, end in zip(points[:-1], points[1:], strict=True):
                paint_capsule(canvas, start, end, 3.0, spongy)


def paint_within(
    canvas: Canvas,
    region: Float32[np.ndarray, "d h w"],
    branches: list[tuple[Point, Point, Real, Real]],
    hu: Real,
) -> None:
    """Draws a vessel tree where `region` (fraction of each voxel) allows."""
    for start, end, radius, end_radius in branches:
        box, distance = capsule(canvas, start, end, radius, end_radius)
        if not is_empty(box):
            fraction = np.minimum(cover(distance, canvas.spacing[2]), region[box])
            paint(canvas, box, fraction, hu)


def draw_great_vessels(canvas: Canvas, rng: np.random.Generator, trunk: Trunk) -> None:
    """Draws the abdominal aorta, sometimes with calcium in its wall, and the vena cava."""
    y = trunk.spine_y - rng.uniform(26, 30)
    x = rng.uniform(6, 14)
    radius = rng.uniform(8, 11.5)
    aorta = ((-THROUGH_MM, y, x), (THROUGH_MM, y, x))
    paint_capsule(canvas, *aorta, radius + 1, 45.0)
    paint_capsule(canvas, *aorta, radius, trunk.blood_hu(1.0))
    for _ in range(rng.integers(0, 7)):
        turn = rng.uniform(0, 2 * np.pi)
        z = rng.uniform(-40, 40)
        spot = (z, y + radius * np.sin(turn), x + radius * np.cos(turn))
        paint_ellipsoid(canvas, spot, (rng.uniform(1.5, 5), 1.5, 1.5), 600.0)
    paint_ellipsoid(
        canvas, (0.0, y + 2, x - 30), (THROUGH_MM, 8.5, 12), trunk.blood_hu(0.55), angle=0.3
    )


def draw_bowel(
    canvas: Canvas,
    rng: np.random.Generator,
    cavity: Float32[np.ndarray, "d h w"],
    trunk: Trunk,
    *,
    loops: int = 30,
) -> None:
    """Draws bowel loops (wall, fluid, gas, stool) and mesenteric vessels in the cavity's fat."""
    depth, width = trunk.cavity
    for _ in range(loops):
        turn = rng.uniform(np.pi, 2 * np.pi)
        out = rng.uniform(0.15, 0.85)
        centre = np.array(
            [
                rng.uniform(-32, 32),
                trunk.cavity_centre[0] + 14 + out * depth * np.sin(turn) * 0.9,
                out * width * np.cos(turn) * 0.95,
            ]
        )
        bend = rng.standard_normal(3) * (12, 9, 16)
        radius = rng.uniform(7, 14)
        wall_hu, kind = rng.uniform(60, 115), rng.uniform()
        content_hu = rng.uniform(5, 45) if kind < 0.6 else rng.uniform(20, 90)
        ends = (tuple(centre - bend), tuple(centre + bend))
        paint_within(canvas, cavity, [(*ends, radius, radius)], wall_hu)
        paint_within(canvas, cavity, [(*ends, radius - 2.5, radius - 2.5)], content_hu)
        if kind > 0.7:
            gas = (tuple(centre - bend * 0.6 - (0, 3, 0)), tuple(centre + bend * 0.6 - (0, 3, 0)))
            paint_within(canvas, cavity, [(*gas, radius * 0.45, radius * 0.4)], -900.0)
    for _ in range(6):
        root = (rng.uniform(-20, 20), rng.uniform(-25, 5), rng.uniform(-20, 30))
        heading = (rng.uniform(-0.5, 0.5), rng.uniform(-1, 0.2), rng.uniform(-1, 1))
        tree = grow_tree(rng, root, heading, radius=2.2, length=20, generations=4)
        paint_within(canvas, cavity, tree, trunk.blood_hu(0.6))


def draw_soft_organ(
    canvas: Canvas,
    region: Float32[np.ndarray, "d h w"],
    centre: Point,
    radii: Point,
    hu: Real,
    *,
    angle: Real = 0.0,
) -> None:
    """Draws an ellipsoidal organ where `region` (fraction of each voxel) allows."""
    box, distance = ellipsoid(canvas, centre, radii, angle)
    if not is_empty(box):
        paint(canvas, box, np.minimum(cover(distance, canvas.spacing[2]), region[box]), hu)
