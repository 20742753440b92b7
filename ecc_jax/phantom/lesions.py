"""Lesions of the synthetic CT: where they grow, their shape, and what they are made of."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ecc_jax.phantom.anatomy import Trunk, draw_soft_organ, paint_within
from ecc_jax.phantom.organs import Abdomen
from ecc_jax.phantom.shapes import (
    Box,
    Canvas,
    Point,
    Waves,
    as_point,
    box_around,
    evaluate_waves,
    is_empty,
    paint,
    rotated,
    sample_waves,
)

# Median radius (mm) and spread of its logarithm, so that the areas of slices at 512 x 512 fall
# where those of the public sets do (LIDC, KiTS, LiTS, MSD pancreas).
RADIUS_MM = {
    "lung": (5.4, 0.40),
    "kidney": (23.0, 0.50),
    "liver": (11.0, 0.50),
    "pancreas": (12.5, 0.35),
}
RADIUS_LIMITS_MM = {
    "lung": (3.0, 16.0),
    "kidney": (6.0, 52.0),
    "liver": (5.0, 42.0),
    "pancreas": (6.0, 28.0),
}
# How far outlines deviate from a ball; chosen so that a disk fits them as well as real lesions.
RAGGEDNESS = {"lung": 0.45, "kidney": 0.55, "liver": 0.7, "pancreas": 0.75}
# The rim of compressed fat around a lesion: its width and how far below the lesion it lies.
RIM_MM = 1.6
RIM_DEPTH_HU = 70.0


class Lesion(NamedTuple):
    """One lesion.

    Attributes:
      centre: Centre, mm.
      radius: Radius of the ball it deviates from, mm.
      lobes: Balls (z, y, x, radius), relative to the centre and in radii, whose union is the body.
      spikes: Tips (z, y, x) of spicules, relative to the centre and in radii.
      coarse: Bumps of about the size of the lesion.
      fine: Bumps of about a third of it.
      roughness: Height of the coarse and of the fine bumps, in radii.
      softness: Width of the edge in voxels, 1 for partial volume alone.
      hu: Value of the tissue.
      texture_hu: Standard deviation of the tissue's mottle.
      core_hu: Value of the core (necrosis, cavity, solid part); None without core.
      rim: How far (0 to 1) a thin darker rim, compressed fat, sets the lesion off.
      core_share: Depth at which the core begins, in radii.
      mottle: The mottle; also makes the border of the core irregular.
    """

    centre: Point
    radius: float
    lobes: tuple[tuple[float, float, float, float], ...]
    spikes: tuple[Point, ...]
    coarse: Waves
    fine: Waves
    roughness: tuple[float, float]
    softness: float
    hu: float
    texture_hu: float
    core_hu: float | None
    rim: float
    core_share: float
    mottle: Waves


def sample_lesion(
    rng: np.random.Generator,
    centre: Point,
    radius: float,
    hu: float,
    *,
    texture_hu: float,
    raggedness: float,
    core_hu: float | None = None,
    rim: float = 0.0,
    spikes: int = 0,
) -> Lesion:
    """Draws the shape of a lesion whose place, size and tissue are given."""
    lobes = [(0.0, 0.0, 0.0, rng.uniform(0.7, 0.95))]
    for _ in range(rng.integers(1, 5)):
        direction = rng.standard_normal(3) * (0.6, 1.0, 1.0)
        offset = direction / np.linalg.norm(direction) * rng.uniform(0.45, 0.8)
        lobes.append((*as_point(raggedness * offset), rng.uniform(0.35, 0.65)))
    tips = []
    for _ in range(spikes):
        direction = rng.standard_normal(3) * (0.5, 1.0, 1.0)
        tips.append(as_point(direction / np.linalg.norm(direction) * rng.uniform(1.3, 2.2)))
    return Lesion(
        centre=centre,
        radius=radius,
        lobes=tuple(lobes),
        spikes=tuple(tips),
        coarse=sample_waves(rng, 1.5 * radius),
        fine=sample_waves(rng, 0.6 * radius),
        roughness=(raggedness * rng.uniform(0.08, 0.2), raggedness * rng.uniform(0.03, 0.08)),
        softness=rng.uniform(1.0, 1.6),
        hu=hu,
        texture_hu=texture_hu,
        core_hu=core_hu,
        rim=rim,
        core_share=rng.uniform(0.25, 0.5),
        mottle=sample_waves(rng, max(0.45 * radius, 3.0)),
    )


def sample_radius(rng: np.random.Generator, kind: str, *, shrink: float = 1.0) -> float:
    """Draws a lesion radius in mm; `shrink` < 1 for the smaller lesions beside the main one."""
    median, spread = RADIUS_MM[kind]
    low, high = RADIUS_LIMITS_MM[kind]
    return float(np.clip(shrink * median * np.exp(spread * rng.standard_normal()), low, high))


def sample_abdominal_lesions(
    rng: np.random.Generator, plan: Abdomen, kind: str, slab_mm: float
) -> list[Lesion]:
    """Draws the lesions of one belly.

    Args:
      rng: Draws them.
      plan: Where the organs lie.
      kind: `kidney`, `liver` or `pancreas`.
      slab_mm: Height of the volume; lesions keep near its middle.
    """
    draws = int(rng.uniform() < 0.1), int(rng.uniform() < 0.3)
    more = {"kidney": draws[0], "liver": draws[1], "pancreas": 0}[kind]
    lesions = []
    for index in range(1 + more):
        radius = sample_radius(rng, kind, shrink=1.0 if index == 0 else 0.7)
        z = _level(rng, index, slab_mm)
        y, x = _place(rng, plan, kind, z, radius)
        parenchyma = {
            "kidney": plan.kidneys[0].hu,
            "liver": plan.liver[0].hu,
            "pancreas": plan.pancreas_hu,
        }[kind]
        hu, core_hu = _abdominal_tissue(rng, kind, parenchyma)
        lesions.append(
            sample_lesion(
                rng,
                (z, y, x),
                radius,
                hu,
                texture_hu=rng.uniform(5, 11),
                raggedness=RAGGEDNESS[kind],
                core_hu=core_hu,
                rim=0.0 if kind == "liver" else rng.uniform(0.3, 0.8),
            )
        )
    return lesions


def _level(rng: np.random.Generator, index: int, slab_mm: float) -> float:
    """Returns the z of a lesion: the first in the middle, later ones above or below it."""
    if index == 0:
        return float(rng.uniform(-0.05, 0.05) * slab_mm)
    return float(rng.uniform(0.25, 0.45) * slab_mm * (-1) ** index)


def _place(
    rng: np.random.Generator, plan: Abdomen, kind: str, z: float, radius: float
) -> tuple[float, float]:
    """Returns the (y, x) of a lesion in its organ, at the height z."""
    if kind == "pancreas":
        share = rng.uniform(0, len(plan.pancreas) - 1)
        start, end = plan.pancreas[int(share)], plan.pancreas[int(share) + 1]
        rest = share - int(share)
        y, x = (a + rest * (b - a) for a, b in zip(start[1:], end[1:], strict=True))
        return y + rng.uniform(-5, 5), x + rng.uniform(-5, 5)
    if kind == "kidney":
        organ = plan.kidneys[int(rng.integers(2))]
        side = 1 if organ.centre[2] > 0 else -1
        turn, out = rng.uniform(-1.9, 1.9), rng.uniform(0.5, 1.0)
        out += 0.25 * max(radius - 20, 0) / 20
        return (
            organ.centre[1] + out * organ.radii[1] * np.sin(turn),
            organ.centre[2] + side * out * organ.radii[2] * np.cos(turn),
        )
    return _place_in_liver(rng, plan, z)


def _place_in_liver(rng: np.random.Generator, plan: Abdomen, z: float) -> tuple[float, float]:
    """Returns a (y, x) in the liver that the kidney does not indent."""
    kidney = plan.kidneys[0]
    while True:
        lobe = plan.liver[0] if rng.uniform() < 0.8 else plan.liver[1]
        level = np.clip((z - lobe.centre[0]) / lobe.radii[0], -0.9, 0.9)
        reach = 0.85 * np.sqrt(rng.uniform()) * np.sqrt(1 - level**2)
        turn = rng.uniform(0, 2 * np.pi)
        y = lobe.centre[1] + reach * lobe.radii[1] * np.sin(turn)
        x = lobe.centre[2] + reach * lobe.radii[2] * np.cos(turn)
        dy = (y - kidney.centre[1]) / (kidney.radii[1] + 14)
        dx = (x - kidney.centre[2]) / (kidney.radii[2] + 14)
        if dy**2 + dx**2 > 1:
            return float(y), float(x)


def _abdominal_tissue(
    rng: np.random.Generator, kind: str, parenchyma: float
) -> tuple[float, float | None]:
    """Returns the HU of a lesion's tissue and of its core."""
    cored = rng.uniform() < {"kidney": 0.55, "liver": 0.5, "pancreas": 0.45}[kind]
    contrast = rng.uniform(32, 58) if kind == "liver" else rng.uniform(38, 65)
    if kind == "kidney":
        hu = min(rng.uniform(55, 120), parenchyma - contrast)
    elif kind == "liver" and rng.uniform() < 0.1:
        hu = parenchyma + contrast
    else:
        hu = parenchyma - contrast
    core = hu - rng.uniform(20, 45)
    return hu, core if cored else None


def sample_lung_lesions(rng: np.random.Generator, trunk: Trunk, slab_mm: float) -> list[Lesion]:
    """Draws the nodules of one chest: at the wall, on vessels, or free; solid to ground-glass."""
    lesions = []
    depth, width = trunk.cavity
    for index in range(1 + int(rng.uniform() < 0.35)):
        radius = sample_radius(rng, "lung", shrink=1.0 if index == 0 else 0.8)
        z = _level(rng, index, slab_mm)
        side, turn = rng.choice([-1, 1]), rng.uniform(-1.1, 1.1)
        at_wall = rng.uniform() < 0.35
        edge = (0.8 * abs(np.cos(turn)) ** 0.5 + 0.2, np.sin(turn))
        out = 1.0 - 0.35 * radius / width if at_wall else rng.uniform(0.6, 0.85)
        y = trunk.cavity_centre[0] + out * 0.85 * depth * edge[1]
        x = side * out * width * edge[0]
        kind = rng.uniform()
        if kind < 0.35:
            hu, core = rng.uniform(-650, -450), rng.uniform(-250, 20)
        elif kind < 0.45:
            hu, core = rng.uniform(-60, 40), rng.uniform(-800, -500)
        else:
            hu, core = rng.uniform(-120, 60), None
        spikes = int(rng.integers(3, 8)) if rng.uniform() < 0.4 else int(rng.integers(0, 2))
        lesions.append(
            sample_lesion(
                rng,
                (z, y, x),
                radius,
                hu,
                texture_hu=rng.uniform(15, 50),
                core_hu=core,
                raggedness=RAGGEDNESS["lung"],
                spikes=spikes,
            )
        )
    return lesions


def lesion_distance(canvas: Canvas, lesion: Lesion) -> tuple[Box, Float32[np.ndarray, "d h w"]]:
    """Returns the box of a lesion and its signed distance (mm, approximate, negative inside)."""
    reach = 2.3 * lesion.radius if lesion.spikes else 1.8 * lesion.radius
    low = tuple(c - reach for c in lesion.centre)
    high = tuple(c + reach for c in lesion.centre)
    box = box_around(canvas, (low[0], low[1], low[2]), (high[0], high[1], high[2]))
    if is_empty(box):
        return box, canvas.hu[box]
    p = [v / np.float32(lesion.radius) for v in rotated(canvas, box, lesion.centre, 0.0)]
    distance = np.full(p[0].shape, np.inf, np.float32)
    for z, y, x, r in lesion.lobes:
        square = (p[0] - np.float32(z)) ** 2
        square += (p[1] - np.float32(y)) ** 2
        square += (p[2] - np.float32(x)) ** 2
        np.minimum(distance, np.sqrt(square) - np.float32(r), out=distance)
    axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
    for waves, height in zip((lesion.coarse, lesion.fine), lesion.roughness, strict=True):
        distance += np.float32(height) * evaluate_waves(waves, (axes[0], axes[1], axes[2]))
    for tip in lesion.spikes:
        t = np.asarray(tip, np.float32)
        along = np.clip((p[0] * t[0] + p[1] * t[1] + p[2] * t[2]) / (t @ t), 0, 1)
        square = (p[0] - along * t[0]) ** 2
        square += (p[1] - along * t[1]) ** 2
        square += (p[2] - along * t[2]) ** 2
        np.minimum(distance, np.sqrt(square) - np.float32(0.24) * (1 - along), out=distance)
    return box, distance * np.float32(lesion.radius)


def draw_neighbours(
    canvas: Canvas,
    rng: np.random.Generator,
    lesion: Lesion,
    organ: Float32[np.ndarray, "d h w"],
    kind: str,
) -> None:
    """Draws unlabelled tissue of similar value that touches the lesion: vessels, nodes, cysts."""
    for _ in range(rng.integers(1, 4) if kind == "lung" else rng.integers(0, 3)):
        direction = rng.standard_normal(3) * (0.5, 1.0, 1.0)
        direction /= np.linalg.norm(direction)
        tissue = lesion.hu + rng.choice([-1, 1]) * rng.uniform(6, 30)
        if kind == "lung":
            end = np.asarray(lesion.centre) + direction * rng.uniform(12, 30)
            thick = max(rng.uniform(0.2, 0.4) * lesion.radius, 0.9)
            branch = (lesion.centre, as_point(end), thick, 0.7 * thick)
            paint_within(canvas, organ, [branch], rng.uniform(-60, 50))
            continue
        size = lesion.radius * rng.uniform(0.35, 0.7)
        centre = as_point(np.asarray(lesion.centre) + direction * (lesion.radius + 0.75 * size))
        radii = (size * 1.3, size * rng.uniform(0.7, 1.3), size)
        draw_soft_organ(canvas, organ, centre, radii, tissue, angle=rng.uniform(0, 3))


def draw_lesion(
    canvas: Canvas,
    lesion: Lesion,
    organ: Float32[np.ndarray, "d h w"],
    covered: Float32[np.ndarray, "d h w"],
) -> None:
    """Draws a lesion and adds the fraction of each voxel that it fills to `covered`.

    The edge is as wide as a voxel along the surface normal (partial volume, so it is wider where
    a thick slice cuts the top of a lesion), times the lesion's softness.

    Args:
      canvas: Drawn into.
      lesion: What to draw.
      organ: Fraction of each voxel that lesions may fill (lung, or cavity of the belly).
      covered: Fraction of each voxel that is lesion, changed in place.
    """
    box, distance = lesion_distance(canvas, lesion)
    if is_empty(box):
        return
    # Half the voxels' extent along the normal on either side: the spread of the true profile.
    steps = [np.gradient(distance, axis=a) ** 2 for a in range(3) if distance.shape[a] > 1]
    width = np.maximum(np.sqrt(sum(steps)) * np.float32(lesion.softness), np.float32(1e-3))
    fraction = np.minimum(np.clip(0.5 - distance / width, 0, 1), organ[box])
    axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
    if lesion.rim > 0:
        shell = np.clip(0.5 - (distance - RIM_MM) / width, 0, 1) * organ[box]
        paint(canvas, box, np.float32(lesion.rim) * shell, lesion.hu - RIM_DEPTH_HU)
    mottle = evaluate_waves(lesion.mottle, (axes[0], axes[1], axes[2]))
    tissue = np.float32(lesion.hu) + np.float32(lesion.texture_hu) * mottle
    if lesion.core_hu is not None:
        depth = -distance - np.float32(lesion.radius) * (
            np.float32(lesion.core_share) + np.float32(0.12) * mottle
        )
        core = np.clip(depth / np.float32(0.12 * lesion.radius + 0.5), 0, 1)
        tissue += core * (np.float32(lesion.core_hu) - tissue)
    paint(canvas, box, fraction, np.maximum(tissue, np.float32(-1000)))
    np.maximum(covered[box], fraction, out=covered[box])
