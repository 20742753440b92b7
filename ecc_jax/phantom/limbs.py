"""Extremities of the synthetic CT: skin, fat, bellies of muscle, septa, vessels and bones.

A cut through a thigh, knee, lower leg, upper arm or the wall of shoulder and pelvis. Its axis runs
along z; positions are (z, y, x) in mm around it. A growing mass pushes soft tissue aside, so that
septa bend around it and the skin bulges over it; bones stay where they are.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ecc_jax.phantom.anatomy import FAT_HU, THROUGH_MM, draw_table
from ecc_jax.phantom.shapes import (
    Box,
    Canvas,
    Point,
    box_around,
    capsule,
    cover,
    evaluate_waves,
    is_empty,
    paint,
    paint_capsule,
    paint_ellipsoid,
    sample_waves,
)

SITES = ("thigh", "knee", "leg", "arm", "wall")
SHARES = (0.42, 0.08, 0.18, 0.14, 0.18)
# Mean radius, thickness of the fat (mm) and number of muscle bellies, lowest and highest.
RADIUS_MM = {
    "thigh": (68, 98),
    "knee": (56, 72),
    "leg": (48, 66),
    "arm": (44, 64),
    "wall": (105, 140),
}
FAT_MM = {"thigh": (5, 26), "knee": (4, 14), "leg": (4, 14), "arm": (5, 18), "wall": (8, 34)}
BELLIES = {"thigh": (9, 15), "knee": (8, 12), "leg": (7, 11), "arm": (5, 9), "wall": (12, 18)}
SKIN_MM = 1.6


class Bone(NamedTuple):
    """A bone along the limb.

    Attributes:
      tubes: Tubes (y, x, tilt along y, tilt along x, radius) whose union it is; mm, mm per mm.
      cortex: Thickness of the cortex, mm.
      cortex_hu: Value of the cortex.
      marrow_hu: Value of what it holds.
    """

    tubes: tuple[tuple[float, float, float, float, float], ...]
    cortex: float
    cortex_hu: float
    marrow_hu: float


class Limb(NamedTuple):
    """Proportions of one extremity.

    Attributes:
      half: Half depth (y) and half width (x), mm.
      harmonics: How far (cosine, sine) the outline deviates from the ellipse, two and three times
        around, as shares of the radius.
      taper: Growth of the radius per mm along z, as a share of it.
      fat: Thickness of the fat under the skin, mm.
      fat_lean: How far (y, x) the fat is thicker on one side, as shares of it.
      bellies: Muscles (y, x, tilt along y, tilt along x, bulk in mm, HU); they fill what is
        inside the fat, each the part that is nearest to it less its bulk.
      septum: Half thickness of the fat between muscles, mm; negative where they mostly touch.
      gap: How much wider the fat is where three muscles meet, mm.
      marbling: How much fat runs through the muscles, 0 to 1.
      bones: The bones.
      blood_hu: Value of the vessels.
      second: Whether the other extremity lies beside it.
      table: Distance of the couch below the skin, mm.
    """

    half: tuple[float, float]
    harmonics: tuple[tuple[float, float], tuple[float, float]]
    taper: float
    fat: float
    fat_lean: tuple[float, float]
    bellies: tuple[tuple[float, float, float, float, float, float], ...]
    septum: float
    gap: float
    marbling: float
    bones: tuple[Bone, ...]
    blood_hu: float
    second: bool
    table: float


class Mass(NamedTuple):
    """What pushes soft tissue aside: an ellipsoid that grew from a point.

    Attributes:
      centre: Centre, mm.
      radii: Half axes, mm; the first along z.
      angle: Turn within the slice, radians.
      push: How much of the ellipse's radii was made room for, 0 to 1.
    """

    centre: Point
    radii: Point
    angle: float
    push: float


class Tissue(NamedTuple):
    """Where a lesion may grow.

    Attributes:
      box: The part of the canvas that the limb takes.
      body: Signed distance to the skin, mm, negative inside.
      foreign: Distance to the muscle (or the fat) in which the mass began, mm; 0 in it.
      bone: Signed distance to the bones, mm, negative inside; large where far away.
    """

    box: Box
    body: Float32[np.ndarray, "d h w"]
    foreign: Float32[np.ndarray, "d h w"]
    bone: Float32[np.ndarray, "d h w"]


def sample_limb(rng: np.random.Generator) -> Limb:
    """Draws the proportions of an extremity."""
    site = SITES[int(rng.choice(len(SITES), p=SHARES))]
    radius = rng.uniform(*RADIUS_MM[site])
    flat = rng.uniform(0.62, 0.8) if site == "wall" else rng.uniform(0.82, 1.1)
    half = (radius * flat**0.5, radius / flat**0.5)
    fat = rng.uniform(*FAT_MM[site]) * rng.uniform(0.6, 1.0)
    bones = _sample_bones(rng, site, half, fat)
    muscle_hu = rng.uniform(26, 52)
    fatty = rng.uniform() ** 1.5
    two, three = rng.uniform(-0.05, 0.05, 2), rng.uniform(-0.035, 0.035, 2)
    lean = rng.uniform(-0.4, 0.4, 2)
    return Limb(
        half=half,
        harmonics=((float(two[0]), float(two[1])), (float(three[0]), float(three[1]))),
        taper=rng.uniform(-0.0012, 0.0012),
        fat=fat,
        fat_lean=(float(lean[0]), float(lean[1])),
        bellies=_sample_bellies(rng, site, half, fat, muscle_hu),
        septum=-0.5 + 1.3 * fatty,
        gap=rng.uniform(1.0, 3.5) + 2.5 * fatty,
        marbling=rng.uniform() ** 1.5,
        bones=bones,
        blood_hu=muscle_hu + (rng.uniform(40, 140) if rng.uniform() < 0.2 else rng.uniform(-6, 12)),
        second=site != "arm" and rng.uniform() < 0.7,
        table=rng.uniform(4, 40),
    )


def _sample_bones(
    rng: np.random.Generator, site: str, half: tuple[float, float], fat: float
) -> tuple[Bone, ...]:
    """Draws one round bone, two for a lower leg, or the plates of shoulder and pelvis."""
    cortex_hu = rng.uniform(800, 1400)
    tilt = rng.uniform(-0.12, 0.12, 2)
    turn = rng.uniform(0, 2 * np.pi)
    inner = min(half) - fat
    out = rng.uniform(0.05, 0.35) * inner
    y, x = out * np.sin(turn), out * np.cos(turn)
    if site == "wall":
        return tuple(_sample_plate(rng, half, cortex_hu) for _ in range(rng.integers(1, 4)))
    if site == "knee":
        width = rng.uniform(0.25, 0.4) * inner
        tubes = tuple((y, x + s * width, *tilt, rng.uniform(0.38, 0.5) * inner) for s in (-1, 1))
        return (Bone(tubes, rng.uniform(1.2, 2.5), cortex_hu, rng.uniform(90, 220)),)
    if site == "leg":
        out = 0.55 * inner
        y, x = out * np.sin(turn), out * np.cos(turn)
        wide = rng.uniform(9, 11)
        side = rng.choice([-1, 1]) * 1.4
        tubes = (
            (y, x, *tilt, wide),
            (y * 1.25, x * 1.25, *tilt, 0.7 * wide),
            (y - 0.1 * x, x + 0.1 * y, *tilt, 0.9 * wide),
        )
        fibula = (out * np.sin(turn + side), out * np.cos(turn + side), *tilt, rng.uniform(5.5, 7))
        marrow_hu = rng.uniform(-80, 40)
        return (
            Bone(tubes, rng.uniform(2.8, 4.0), cortex_hu, marrow_hu),
            Bone((fibula,), 2.8, cortex_hu, marrow_hu),
        )
    wide = rng.uniform(12, 15) if site == "thigh" else rng.uniform(10, 12.5)
    bone = Bone(((y, x, *tilt, wide),), rng.uniform(4, 7), cortex_hu, rng.uniform(-80, 60))
    return (bone,)


def _sample_plate(rng: np.random.Generator, half: tuple[float, float], cortex_hu: float) -> Bone:
    """Draws a bent plate of bone, such as the wing of the ilium or the scapula."""
    turn, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    heading = rng.uniform(0, 2 * np.pi)
    out = rng.uniform(0.1, 0.55)
    y, x = out * half[0] * np.sin(turn), out * half[1] * np.cos(turn)
    tilt = rng.uniform(-0.3, 0.3, 2)
    tubes = []
    for _ in range(int(rng.integers(4, 8))):
        thick = rng.uniform(5, 9.5)
        tubes.append((y, x, float(tilt[0]), float(tilt[1]), thick))
        y, x = y + 8 * np.sin(heading), x + 8 * np.cos(heading)
        heading += bend / 3
    return Bone(tuple(tubes), rng.uniform(1.5, 3.0), cortex_hu, rng.uniform(60, 220))


def _sample_bellies(
    rng: np.random.Generator, site: str, half: tuple[float, float], fat: float, hu: float
) -> tuple[tuple[float, float, float, float, float, float], ...]:
    """Draws the muscles: of many random places those that lie farthest from each other."""
    number = int(rng.integers(*BELLIES[site]))
    turns = rng.uniform(0, 2 * np.pi, 12 * number)
    out = np.sqrt(rng.uniform(0.03, 0.95, 12 * number))
    places = np.stack([(half[0] - fat) * np.sin(turns), (half[1] - fat) * np.cos(turns)], 1)
    places *= out[:, None]
    chosen = [places[0]]
    while len(chosen) < number:
        gaps = np.min([np.hypot(*(places - place).T) for place in chosen], axis=0)
        chosen.append(places[int(np.argmax(gaps * rng.uniform(0.55, 1.0, gaps.size)))])
    bellies = []
    for y, x in chosen:
        tilt = rng.uniform(-0.16, 0.16, 2)
        bulk = 0.12 * min(half) * rng.uniform(-1, 1)
        value = hu + rng.uniform(-4, 4)
        bellies.append((float(y), float(x), float(tilt[0]), float(tilt[1]), bulk, value))
    return tuple(bellies)


def pushed(canvas: Canvas, box: Box, mass: Mass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns where the tissue of each voxel (z, y, x, mm) lay before the mass grew."""
    z, y, x = (c[box] for c in canvas.warped)
    dy, dx = y - np.float32(mass.centre[1]), x - np.float32(mass.centre[2])
    cos, sin = np.float32(np.cos(mass.angle)), np.float32(np.sin(mass.angle))
    u = ((cos * dy - sin * dx) * np.float32(1 / mass.radii[1])) ** 2
    u += ((sin * dy + cos * dx) * np.float32(1 / mass.radii[2])) ** 2
    level = 1 - ((z - np.float32(mass.centre[0])) * np.float32(1 / mass.radii[0])) ** 2
    np.clip(level, 0, None, out=level)
    # Areas are kept, as if the mass were blown up from a point; far away it is felt less.
    share = np.float32(mass.push**2) * level / (np.maximum(u, 1e-4) + np.float32(0.15) * u * u)
    scale = np.sqrt(np.clip(1 - share, np.float32(0.01), None))
    return z, np.float32(mass.centre[1]) + dy * scale, np.float32(mass.centre[2]) + dx * scale


def skin_distance(
    limb: Limb, z: np.ndarray, y: np.ndarray, x: np.ndarray
) -> tuple[Float32[np.ndarray, "d h w"], Float32[np.ndarray, "d h w"]]:
    """Returns the signed distances (mm, along the ray from the axis) to skin and to muscle."""
    v, u = y * np.float32(1 / limb.half[0]), x * np.float32(1 / limb.half[1])
    norm = np.sqrt(u * u + v * v + np.float32(1e-6))
    cos, sin = u / norm, v / norm
    outline = 1 + np.float32(limb.taper) * z
    for times, (a, b) in zip((2, 3), limb.harmonics, strict=True):
        two_cos, two_sin = cos * cos - sin * sin, 2 * cos * sin
        if times == 3:
            two_cos, two_sin = two_cos * cos - two_sin * sin, two_sin * cos + two_cos * sin
        outline += np.float32(a) * two_cos + np.float32(b) * two_sin
    radius = np.sqrt(y * y + x * x)
    skin = (norm - outline) * radius / norm
    lean = 1 + np.float32(limb.fat_lean[0]) * sin + np.float32(limb.fat_lean[1]) * cos
    return skin, skin + np.float32(limb.fat) * lean


def draw_limb(canvas: Canvas, rng: np.random.Generator, limb: Limb, mass: Mass) -> Tissue:
    """Draws an extremity with room for a mass; returns where the mass may grow."""
    reach = tuple(1.2 * h + 1.5 * max(mass.radii[1:]) for h in limb.half)
    low, high = (-THROUGH_MM, -reach[0], -reach[1]), (THROUGH_MM, reach[0], reach[1])
    draw_table(canvas, limb.half[0] + limb.table)
    box = box_around(canvas, low, high)
    axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
    grid = (axes[0], axes[1], axes[2])
    bend = [sample_waves(rng, length) for length in (55.0, 55.0, 9.0, 70.0, 32.0, 5.0)]
    if limb.second:
        _draw_second(canvas, rng, limb)
    if is_empty(box):
        empty = canvas.hu[box]
        return Tissue(box, empty, empty, empty)
    z, y, x = pushed(canvas, box, mass)
    skin, muscle = skin_distance(limb, z, y, x)
    muscle += 1.2 * evaluate_waves(bend[4], grid)
    width = canvas.spacing[2]
    paint(canvas, box, cover(skin, width), 20.0)
    strands = evaluate_waves(bend[2], grid)
    fat_hu = FAT_HU + 8 * strands + 45 * np.clip(np.abs(strands) - 1.7, 0, 1)
    paint(canvas, box, cover(skin + SKIN_MM, width), fat_hu)
    _draw_vessels(canvas, rng, limb, superficial=True)
    y += 3.5 * evaluate_waves(bend[0], grid)
    x += 3.5 * evaluate_waves(bend[1], grid)
    hu, septum, foreign = _divide(limb, (z, y, x), mass)
    septum -= np.float32(limb.septum) + 0.9 * evaluate_waves(bend[3], grid)
    streak = evaluate_waves(bend[5], grid)
    hu += 2.5 * streak - np.float32(70 * limb.marbling) * np.clip(streak - 1.3, 0, 1)
    fraction = np.minimum(cover(muscle, width), cover(-septum, max(width, 1.2)))
    paint(canvas, box, fraction, hu)
    _draw_vessels(canvas, rng, limb, superficial=False)
    bone = np.full_like(skin, 100.0)
    _draw_bones(canvas, limb, box, bone)
    return Tissue(box, skin, foreign, bone)


def _divide(
    limb: Limb, position: tuple[np.ndarray, np.ndarray, np.ndarray], mass: Mass
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns HU, depth below the nearest septum and distance to the mass's muscle (mm)."""
    hu, septum, foreign = (np.empty_like(position[0]) for _ in range(3))
    bellies = np.asarray(limb.bellies, np.float32)
    at = bellies[:, :2] + bellies[:, 2:4] * np.float32(mass.centre[0])
    gaps = np.hypot(*(at - np.asarray(mass.centre[1:], np.float32)).T) - bellies[:, 4]
    own = int(np.argmin(gaps))
    for plane in range(hu.shape[0]):  # slice by slice, so that temporaries stay in the cache
        z, y, x = (p[plane] for p in position)
        first, second, third = (np.full(y.shape, 1e3, np.float32) for _ in range(3))
        for index, (sy, sx, ty, tx, bulk, value) in enumerate(bellies):
            dy, dx = y - (sy + ty * z), x - (sx + tx * z)
            distance = np.sqrt(dy * dy + dx * dx) - bulk
            np.copyto(hu[plane], value, where=distance < first)
            third = np.minimum(third, np.maximum(second, distance))
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
            if index == own:
                foreign[plane] = distance
        foreign[plane] -= first
        foreign[plane] *= 0.5
        corner = np.exp((first - third) * np.float32(0.2)) * np.float32(limb.gap)
        septum[plane] = 0.5 * (second - first) - corner
    return hu, septum, foreign


def _draw_second(canvas: Canvas, rng: np.random.Generator, limb: Limb) -> None:
    """Draws the other extremity beside the limb, without details."""
    y, x = rng.uniform(-8, 8), rng.choice([-1, 1]) * (2.1 * limb.half[1] + rng.uniform(4, 14))
    centre = (0.0, y, x)
    for inward, hu in ((0.0, 20.0), (SKIN_MM, FAT_HU), (limb.fat, limb.bellies[0][5])):
        radii = (THROUGH_MM, limb.half[0] - inward, limb.half[1] - inward)
        paint_ellipsoid(canvas, centre, radii, hu)
    for py, px, ty, tx, _, _ in limb.bellies:
        start, end = _through(y + py, x - px, ty, -tx)
        paint_capsule(canvas, start, end, 1.2, FAT_HU)
    for py, px, ty, tx, radius in limb.bones[0].tubes:
        start, end = _through(y + py, x - px, ty, -tx)
        paint_capsule(canvas, start, end, radius, limb.bones[0].cortex_hu)


def _through(y: float, x: float, tilt_y: float, tilt_x: float) -> tuple[Point, Point]:
    """Returns two points far beyond the volume on a line that is at (y, x) where z is 0."""
    reach = 200.0
    return (
        (-reach, y - reach * tilt_y, x - reach * tilt_x),
        (reach, y + reach * tilt_y, x + reach * tilt_x),
    )


def _draw_vessels(
    canvas: Canvas, rng: np.random.Generator, limb: Limb, *, superficial: bool
) -> None:
    """Draws veins in the fat under the skin, or the bundles in the depth, in a sheath of fat."""
    inner = tuple(h - limb.fat for h in limb.half)
    for _ in range(rng.integers(2, 7) if superficial else rng.integers(1, 5)):
        turn = rng.uniform(0, 2 * np.pi)
        half = tuple(h - 0.5 * limb.fat for h in limb.half) if superficial else inner
        out = 1.0 if superficial else rng.uniform(0.25, 0.75)
        y, x = out * half[0] * np.sin(turn), out * half[1] * np.cos(turn)
        tilt = rng.uniform(-0.2, 0.2, 2)
        radius = rng.uniform(0.8, 1.8) if superficial else rng.uniform(1.5, 4.0)
        start, end = _through(y, x, *tilt)
        if superficial:
            paint_capsule(canvas, start, end, radius, limb.blood_hu)
            continue
        paint_capsule(canvas, start, end, radius + rng.uniform(1.5, 4), FAT_HU + 15)
        for side in (-1, 1):
            start, end = _through(y, x + side * 1.1 * radius, *tilt)
            paint_capsule(canvas, start, end, radius, limb.blood_hu)


def _draw_bones(
    canvas: Canvas, limb: Limb, box: Box, distance: Float32[np.ndarray, "d h w"]
) -> None:
    """Draws the bones and lowers `distance` (mm, on `box`) to that to their surface."""
    whole = np.full_like(canvas.hu, 100.0)
    for bone in limb.bones:
        for inward, hu in ((0.0, bone.cortex_hu), (bone.cortex, bone.marrow_hu)):
            for y, x, tilt_y, tilt_x, radius in bone.tubes:
                start, end = _through(y, x, tilt_y, tilt_x)
                inside, depth = capsule(canvas, start, end, radius - inward)
                if not is_empty(inside):
                    paint(canvas, inside, cover(depth, canvas.spacing[2]), hu)
                    np.minimum(whole[inside], depth, out=whole[inside])
    np.minimum(distance, whole[box], out=distance)
