"""The organs of the synthetic CT: where they lie in a patient, and how they are drawn."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ecc_jax.phantom.anatomy import (
    FAT_HU,
    MUSCLE_HU,
    THROUGH_MM,
    Trunk,
    draw_bowel,
    draw_great_vessels,
    draw_skeleton,
    draw_soft_organ,
    draw_trunk,
    paint_within,
)
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


class Organ(NamedTuple):
    """An ellipsoid with a tissue value.

    Attributes:
      centre: Centre, mm.
      radii: Half axes, mm.
      hu: Value of its tissue.
    """

    centre: Point
    radii: Point
    hu: float


class Abdomen(NamedTuple):
    """Where the organs of the belly lie.

    Attributes:
      kidneys: Right (image left) and left kidney.
      liver: Right and left lobe; both have the same value.
      spleen: Spleen.
      pancreas: Axis from head to tail, mm.
      pancreas_hu: Value of the pancreas.
    """

    kidneys: tuple[Organ, Organ]
    liver: tuple[Organ, Organ]
    spleen: Organ
    pancreas: tuple[Point, ...]
    pancreas_hu: float


def sample_abdomen(rng: np.random.Generator, trunk: Trunk) -> Abdomen:
    """Draws the arrangement of the abdominal organs of one patient."""
    depth, width = trunk.cavity
    kidney_hu = 60 + rng.uniform(60, 120) * trunk.enhancement + rng.uniform(0, 20)
    kidneys = []
    for side in (-1, 1):
        centre = (
            rng.uniform(-10, 10),
            trunk.spine_y + rng.uniform(-10, 6),
            side * rng.uniform(0.44, 0.52) * width,
        )
        radii = (rng.uniform(48, 60), rng.uniform(26, 33), rng.uniform(24, 30))
        kidneys.append(Organ(centre, radii, kidney_hu))
    liver_hu = rng.uniform(62, 86)
    z = rng.uniform(0, 25)
    right = Organ(
        (z, rng.uniform(-22, -8), -0.52 * width),
        (rng.uniform(75, 95), rng.uniform(60, 72), rng.uniform(62, 76)),
        liver_hu,
    )
    left = Organ(
        (z + 10, -0.52 * depth, rng.uniform(-30, 5)),
        (rng.uniform(40, 60), rng.uniform(24, 34), rng.uniform(50, 70)),
        liver_hu,
    )
    spleen = Organ(
        (z, rng.uniform(10, 25), 0.78 * width),
        (rng.uniform(40, 60), rng.uniform(34, 46), rng.uniform(20, 28)),
        rng.uniform(80, 115),
    )
    y = trunk.spine_y - 48
    pancreas = (
        (rng.uniform(-14, -6), y + rng.uniform(8, 16), rng.uniform(-42, -34)),
        (rng.uniform(-6, 0), y + rng.uniform(-4, 2), rng.uniform(-20, -14)),
        (rng.uniform(-2, 4), y + rng.uniform(-14, -6), rng.uniform(4, 14)),
        (rng.uniform(2, 10), y + rng.uniform(-4, 6), rng.uniform(34, 44)),
        (rng.uniform(4, 14), y + rng.uniform(14, 26), rng.uniform(62, 76)),
    )
    return Abdomen((kidneys[0], kidneys[1]), (right, left), spleen, pancreas, rng.uniform(75, 110))


def draw_abdomen(
    canvas: Canvas, rng: np.random.Generator, trunk: Trunk, plan: Abdomen, *, kind: str
) -> Float32[np.ndarray, "d h w"]:
    """Draws a belly; returns the fraction of each voxel that lesions may take.

    Args:
      canvas: Drawn into.
      rng: Draws the details.
      trunk: Proportions of the patient.
      plan: Where the organs lie.
      kind: Organ of interest; one that would cover it is left out.
    """
    cavity, room = draw_trunk(canvas, rng, trunk)
    fat = FAT_HU + 9 * evaluate_waves(sample_waves(rng, 8.0), canvas.axes)
    paint(canvas, (slice(None), slice(None), slice(None)), cavity, fat)
    draw_bowel(canvas, rng, cavity, trunk)
    draw_skeleton(canvas, rng, trunk)
    for side in (-1, 1):
        paint_ellipsoid(
            canvas, (0.0, trunk.spine_y + 4, side * 38.0), (THROUGH_MM, 18, 14), MUSCLE_HU
        )
    if kind != "kidney":
        _draw_stomach(canvas, rng, cavity, trunk)
    draw_soft_organ(canvas, cavity, plan.spleen.centre, plan.spleen.radii, plan.spleen.hu)
    draw_great_vessels(canvas, rng, trunk)
    _draw_liver(canvas, rng, cavity, trunk, plan)
    for kidney in plan.kidneys:
        _draw_kidney(canvas, rng, cavity, trunk, kidney)
    _draw_pancreas(canvas, rng, trunk, plan)
    spine = (0.0, trunk.spine_y, 0.0)
    box, distance = ellipsoid(canvas, spine, (THROUGH_MM, 20, 26))
    room[box] *= 1 - cover(distance, canvas.spacing[2])
    return room


def _draw_stomach(
    canvas: Canvas, rng: np.random.Generator, cavity: Float32[np.ndarray, "d h w"], trunk: Trunk
) -> None:
    centre = (15.0, -0.45 * trunk.cavity[0], 0.42 * trunk.cavity[1])
    radii = (60.0, rng.uniform(24, 34), rng.uniform(36, 48))
    draw_soft_organ(canvas, cavity, centre, radii, 75.0, angle=0.3)
    inner = (radii[0] - 5, radii[1] - 5, radii[2] - 5)
    draw_soft_organ(canvas, cavity, centre, inner, rng.uniform(5, 40), angle=0.3)
    bubble = (centre[0], centre[1] - 0.5 * radii[1], centre[2])
    draw_soft_organ(canvas, cavity, bubble, (40, 0.33 * radii[1], 0.6 * radii[2]), -950.0)


def _draw_liver(
    canvas: Canvas,
    rng: np.random.Generator,
    cavity: Float32[np.ndarray, "d h w"],
    trunk: Trunk,
    plan: Abdomen,
) -> None:
    """Draws both lobes, portal and hepatic veins, and the gall bladder."""
    region = np.zeros_like(cavity)
    ripple = sample_waves(rng, 45.0, terms=8)
    for lobe in plan.liver:
        box, distance = ellipsoid(canvas, lobe.centre, lobe.radii)
        if not is_empty(box):
            axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
            distance = distance + 4 * evaluate_waves(ripple, (axes[0], axes[1], axes[2]))
            fraction = np.minimum(cover(distance, canvas.spacing[2]), cavity[box])
            np.maximum(region[box], fraction, out=region[box])
    hu = plan.liver[0].hu
    mottle = hu + 5 * evaluate_waves(sample_waves(rng, 14.0), canvas.axes)
    paint(canvas, (slice(None), slice(None), slice(None)), region, mottle)
    z, y, x = plan.liver[0].centre
    vein_hu = hu + rng.uniform(8, 45) * trunk.enhancement
    hilum, dome = (z - 10, y + 12, x + 44), (z + 30, y + 30, x + 50)
    for root, headings in (
        (hilum, ((0.2, -0.1, -1.0), (0.5, -0.8, 0.3), (-0.4, -0.3, -0.9))),
        (dome, ((-0.4, -0.2, -1.0), (-0.5, -0.9, -0.3))),
    ):
        for heading in headings:
            tree = grow_tree(rng, root, heading, radius=5.5, length=26, generations=6)
            paint_within(canvas, region, tree, vein_hu)
    bladder = (z - 35, y - 20, x + 45)
    paint_ellipsoid(canvas, bladder, (22, rng.uniform(10, 15), rng.uniform(9, 14)), 10.0)


def _draw_kidney(
    canvas: Canvas,
    rng: np.random.Generator,
    cavity: Float32[np.ndarray, "d h w"],
    trunk: Trunk,
    kidney: Organ,
) -> None:
    """Draws a kidney in its fat: cortex, darker pyramids, and the sinus towards the spine."""
    (z, y, x), radii = kidney.centre, kidney.radii
    side = 1 if x > 0 else -1
    room = rng.uniform(2, 13, 3)
    shift = rng.uniform(-4, 4, 2)
    fat = (radii[0] + 6 + room[0], radii[1] + 2 + room[1], radii[2] + 2 + room[2])
    draw_soft_organ(canvas, cavity, (z, y + shift[0], x + shift[1]), fat, FAT_HU)
    ripple = sample_waves(rng, 16.0, terms=8)
    box, distance = ellipsoid(canvas, kidney.centre, radii)
    if not is_empty(box):
        axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
        distance = distance + 0.8 * evaluate_waves(ripple, (axes[0], axes[1], axes[2]))
        paint(canvas, box, cover(distance, canvas.spacing[2]), kidney.hu)
    medulla_hu = kidney.hu - rng.uniform(0, 60) * trunk.enhancement
    for level in np.arange(-0.7, 0.71, 0.28):
        reach = np.sqrt(1 - level**2)
        for turn in rng.uniform(-0.3, 0.3) + np.arange(-2.2, 2.21, 0.73):
            spot = (
                z + level * radii[0],
                y + 0.58 * reach * radii[1] * np.sin(turn),
                x + side * 0.58 * reach * radii[2] * np.cos(turn),
            )
            size = rng.uniform(4.5, 6.5)
            paint_ellipsoid(canvas, spot, (7, size, size), medulla_hu, softness=2)
    hilum = (z, y, x - side * 0.55 * radii[2])
    for _ in range(5):
        spot = (
            z + rng.uniform(-0.35, 0.35) * radii[0],
            y + rng.uniform(-0.25, 0.25) * radii[1],
            hilum[2] + side * rng.uniform(-0.25, 0.3) * radii[2],
        )
        lobule = (0.3 * radii[0], rng.uniform(4, 9), rng.uniform(6, 13))
        paint_ellipsoid(canvas, spot, lobule, FAT_HU, angle=rng.uniform(-0.8, 0.8), softness=2)
    pelvis = (rng.uniform(8, 20), rng.uniform(2.5, 6), rng.uniform(5, 9))
    paint_ellipsoid(canvas, hilum, pelvis, rng.uniform(0, 40), angle=rng.uniform(-0.5, 0.5))
    end = (z - 8, trunk.spine_y - 22, x - side * 60)
    paint_capsule(canvas, hilum, end, 3.5, trunk.blood_hu(0.6))
    paint_capsule(canvas, (z + 4, hilum[1], hilum[2]), end, 2.2, trunk.blood_hu(1.0))


def _draw_pancreas(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, plan: Abdomen) -> None:
    """Draws the lobulated gland, the splenic and mesenteric vessels behind it, the duodenum."""
    points = plan.pancreas
    head, neck = points[0], points[1]
    loop = (head[0], head[1] + 6, head[2] - 19)
    top, bottom = (loop[0] + 30, loop[1] + 4, loop[2] + 6), (loop[0] - 40, *loop[1:])
    wide = rng.uniform(8, 13)
    paint_capsule(canvas, bottom, top, wide, rng.uniform(70, 100), end_radius=0.8 * wide)
    paint_capsule(canvas, bottom, top, wide - 3, rng.uniform(10, 70), end_radius=0.8 * wide - 3)
    lobules = sample_waves(rng, 8.0)
    radii = (rng.uniform(14, 18), rng.uniform(10, 12), 10.5, 9.5, 8.5)
    for (start, r0), (end, r1) in zip(
        zip(points[:-1], radii[:-1], strict=True),
        zip(points[1:], radii[1:], strict=True),
        strict=True,
    ):
        box, distance = capsule(canvas, start, end, r0, r1)
        if is_empty(box):
            continue
        axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
        distance = distance + 1.8 * evaluate_waves(lobules, (axes[0], axes[1], axes[2]))
        paint(canvas, box, cover(distance, canvas.spacing[2]), plan.pancreas_hu)
    vein = trunk.blood_hu(0.6)
    for start, end in zip(points[1:-1], points[2:], strict=True):
        behind = ((start[0], start[1] + 9, start[2]), (end[0], end[1] + 8, end[2]))
        paint_capsule(canvas, *behind, 4, vein)
    paint_capsule(canvas, (-80, neck[1] + 13, neck[2] + 2), (10, neck[1] + 10, neck[2]), 6, vein)
    paint_capsule(
        canvas,
        (-80, neck[1] + 15, neck[2] + 18),
        (40, neck[1] + 24, neck[2] + 18),
        3.8,
        trunk.blood_hu(1.0),
    )


def draw_thorax(
    canvas: Canvas, rng: np.random.Generator, trunk: Trunk
) -> Float32[np.ndarray, "d h w"]:
    """Draws a chest; returns the fraction of each voxel that is lung."""
    cavity, _ = draw_trunk(canvas, rng, trunk)
    whole = (slice(None), slice(None), slice(None))
    lung_hu = rng.uniform(-890, -820)
    tissue = lung_hu + 14 * evaluate_waves(sample_waves(rng, 7.0), canvas.axes)
    tissue += 25 * evaluate_waves(sample_waves(rng, 45.0, terms=8), canvas.axes)
    gravity = rng.uniform(0.1, 0.5)
    tissue += np.float32(gravity) * canvas.warped[1]
    paint(canvas, whole, cavity, tissue)
    for side in (-1, 1):
        for _ in range(9):
            hilum = (rng.uniform(-25, 25), rng.uniform(-20, 20), side * rng.uniform(30, 42))
            heading = (0.5 * rng.standard_normal(), rng.standard_normal(), side * 1.2)
            tree = grow_tree(
                rng, hilum, heading, radius=rng.uniform(2.6, 4.2), length=26, generations=7
            )
            paint_within(canvas, cavity, tree, rng.uniform(20, 60))
            _draw_bronchus(canvas, rng, cavity, hilum, heading, side)
    _draw_small_vessels(canvas, rng, cavity, trunk)
    lung = cavity.copy()
    _draw_mediastinum(canvas, rng, trunk, lung)
    draw_skeleton(canvas, rng, trunk)
    return lung


def _draw_small_vessels(
    canvas: Canvas,
    rng: np.random.Generator,
    cavity: Float32[np.ndarray, "d h w"],
    trunk: Trunk,
    *,
    count: int = 220,
) -> None:
    """Scatters short pieces of the outer vessels, most of which leave a thin slab at once."""
    depth, width = trunk.cavity
    branches = []
    for _ in range(count):
        turn, out = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.05, 0.95))
        radial = np.array([0.0, out * depth * np.sin(turn), out * width * np.cos(turn)])
        start = radial + (rng.uniform(-14, 14), trunk.cavity_centre[0], 0)
        heading = rng.standard_normal(3) + (0, *(radial[1:] / (0.6 * width)))
        end = start + heading / np.linalg.norm(heading) * rng.uniform(6, 26)
        radius = rng.uniform(0.5, 1.5) * (1.25 - 0.7 * out)
        branches.append((tuple(start), tuple(end), radius, 0.7 * radius))
    paint_within(canvas, cavity, branches, -120.0)


def _draw_bronchus(
    canvas: Canvas,
    rng: np.random.Generator,
    cavity: Float32[np.ndarray, "d h w"],
    hilum: Point,
    heading: Point,
    side: int,
) -> None:
    """Draws an airway beside a vessel: a thin wall around air."""
    root = (hilum[0] + 3, hilum[1] - 5, hilum[2])
    direction = (heading[0] + 0.1, heading[1] - 0.1, side * 1.0)
    branches = grow_tree(rng, root, direction, radius=3.2, length=20, generations=3)
    paint_within(canvas, cavity, [(a, b, r + 0.9, e + 0.8) for a, b, r, e in branches], -150.0)
    paint_within(canvas, cavity, branches, -960.0)


def _draw_mediastinum(
    canvas: Canvas,
    rng: np.random.Generator,
    trunk: Trunk,
    lung: Float32[np.ndarray, "d h w"],
) -> None:
    """Draws what lies between the lungs and takes its room from `lung` (changed in place)."""
    depth, _ = trunk.cavity
    blood = trunk.blood_hu(0.8)
    heart_y = -rng.uniform(18, 32)
    solids: list[tuple[Point, Point, Real, Real]] = [
        ((0.0, -4.0, 0.0), (THROUGH_MM, 0.97 * depth, rng.uniform(16, 22)), -75.0, 0.0),
        ((0.0, 4.0, 0.0), (THROUGH_MM, 42.0, rng.uniform(30, 38)), 35.0, 0.0),
        ((0.0, trunk.spine_y - 4, 0.0), (THROUGH_MM, 26.0, 30.0), 45.0, 0.0),
        ((-rng.uniform(10, 60), heart_y, 22.0), (55.0, 44.0, 60.0), 70.0, 0.4),
    ]
    if rng.uniform() < 0.3:
        solids.append(((-45.0, -8.0, -75.0), (38.0, 62.0, 62.0), 75.0, 0.0))
    for centre, radii, hu, angle in solids:
        box, distance = ellipsoid(canvas, centre, radii, angle)
        if not is_empty(box):
            fraction = np.minimum(cover(distance, canvas.spacing[2]), lung[box])
            paint(canvas, box, fraction, hu)
            lung[box] -= fraction
    z, y, x = solids[3][0]
    paint_ellipsoid(canvas, (z, y + 6, x + 14), (45, 22, 26), blood, softness=3)
    paint_ellipsoid(canvas, (z, y - 4, x - 26), (45, 24, 22), blood, softness=3)
    aorta = trunk.spine_y - 14
    paint_capsule(canvas, (-THROUGH_MM, aorta, 24.0), (THROUGH_MM, aorta, 24.0), 11.5, blood)
    paint_capsule(canvas, (-20, -12.0, -12.0), (THROUGH_MM, -22.0, -12.0), 14, blood)
    paint_capsule(canvas, (0, -8.0, 14.0), (THROUGH_MM, -14.0, 18.0), 11, blood)
    for side in (-1, 1):
        paint_capsule(canvas, (40, 10.0, 0.0), (-30, 8.0, side * 34.0), 7.5, 20.0)
        paint_capsule(canvas, (40, 10.0, 0.0), (-30, 8.0, side * 34.0), 6, -980.0)
    paint_ellipsoid(canvas, (0.0, 22.0, 4.0), (THROUGH_MM, 5, 8), 45.0)
