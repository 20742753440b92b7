"""Sarcomas of the synthetic CT: in or between the muscles of an extremity, of much the same value.

Sizes, values and outlines follow the public set of soft-tissue sarcomas (pixels of 0.98 mm, slices
of 3.27 mm). Its outlines were drawn on magnetic resonance and laid over the CT: they are smoother
than the visible border and a little off, and so are these. By how much (`OUTLINE_MM`) was chosen;
it could not be measured.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage

from ecc_jax.phantom.anatomy import FAT_HU
from ecc_jax.phantom.limbs import Limb, Mass, Tissue
from ecc_jax.phantom.shapes import (
    Canvas,
    Waves,
    as_point,
    evaluate_waves,
    is_empty,
    paint,
    rotated,
    sample_waves,
)

# Median of the mean half axis in the slice (mm), spread of its logarithm, and limits.
RADIUS_MM = (34.0, 0.34)
RADIUS_LIMITS_MM = (12.0, 58.0)
# How far the reference outline is off, in mm: standard deviation of its shift along y and along
# x, of its growth, of its wander along the outline; and the blur that smoothes it.
OUTLINE_MM = (0.8, 0.8, 1.0, 3.0)
# Contrast to muscle in HU: mean, standard deviation, lowest and highest.
CONTRAST_HU = (-2.0, 8.5, -40.0, 16.0)


class Sarcoma(NamedTuple):
    """One tumour.

    Attributes:
      mass: Place and half axes.
      lobes: Balls (z, y, x, radius) in half axes, whose union is the body.
      bumps: Coarse and fine bumps of the surface.
      roughness: Height of the bumps, mm.
      follow: How far it keeps to the muscle in which it began, 0 to 1.
      hu: Value of the tissue.
      softness: Width of the border, mm.
      mottle: Coarse and fine unevenness of the tissue.
      mottle_hu: Standard deviations of it.
      necrosis: Field value above which tissue is dead; 9 for none.
      necrosis_hu: How much darker dead tissue is.
      strands: How much fat runs through it, 0 to 1.
      calcium: Field value above which there is calcium; 9 for none.
      rim: How far a thin layer of fat sets it off where it does, 0 to 1.
      swelling_hu: How much darker the muscle next to it is.
      cover: Thickness of skin and fat that stays over it, mm.
      shift: How far (y, x) the reference outline lies off, mm.
      growth: How much wider the reference outline is, mm.
      wander: Errors of the reference outline along it.
    """

    mass: Mass
    lobes: tuple[tuple[float, float, float, float], ...]
    bumps: tuple[Waves, Waves]
    roughness: tuple[float, float]
    follow: float
    hu: float
    softness: float
    mottle: tuple[Waves, Waves]
    mottle_hu: tuple[float, float]
    necrosis: float
    necrosis_hu: float
    strands: float
    calcium: float
    rim: float
    swelling_hu: float
    cover: float
    shift: tuple[float, float]
    growth: float
    wander: Waves


def sample_sarcoma(rng: np.random.Generator, limb: Limb) -> Sarcoma:
    """Draws a tumour for an extremity."""
    mass = _sample_mass(rng, limb)
    radius = float(np.sqrt(mass.radii[1] * mass.radii[2]))
    lobes = [(0.0, 0.0, 0.0, rng.uniform(0.85, 1.0))]
    for _ in range(rng.integers(1, 5)):
        offset = rng.standard_normal(3)
        offset *= rng.uniform(0.35, 0.65) / np.linalg.norm(offset)
        lobes.append((*as_point(offset), rng.uniform(0.4, 0.65)))
    kind = rng.uniform()
    muscle_hu = float(np.mean([belly[5] for belly in limb.bellies]))
    mean, spread, low, high = CONTRAST_HU
    contrast = float(np.clip(mean + spread * rng.standard_normal(), low, high))
    if kind < 0.12:  # much water, as in myxoid tumours
        contrast = rng.uniform(-32, -14)
    shift = rng.standard_normal(2) * OUTLINE_MM[0]
    return Sarcoma(
        mass=mass,
        lobes=tuple(lobes),
        bumps=(sample_waves(rng, 1.3 * radius), sample_waves(rng, 0.5 * radius)),
        roughness=(rng.uniform(0.04, 0.14) * radius, rng.uniform(0.01, 0.03) * radius),
        follow=rng.uniform(0.2, 0.9),
        hu=muscle_hu + contrast,
        softness=rng.uniform(1.5, 7.0),
        mottle=(sample_waves(rng, 0.7 * radius), sample_waves(rng, 6.0)),
        mottle_hu=(rng.uniform(2, 9), rng.uniform(0.5, 3.5)),
        necrosis=rng.uniform(0.3, 1.3) if rng.uniform() < 0.45 else 9.0,
        necrosis_hu=rng.uniform(8, 38),
        strands=rng.uniform(0.2, 0.9) if 0.12 < kind < 0.3 else 0.0,
        calcium=rng.uniform(1.7, 2.3) if kind > 0.94 else 9.0,
        rim=rng.uniform(0, 0.7),
        swelling_hu=rng.uniform(2, 14) if rng.uniform() < 0.4 else 0.0,
        cover=3.0 + rng.uniform(0.2, 0.8) * limb.fat,
        shift=(float(shift[0]), float(shift[1])),
        growth=OUTLINE_MM[1] * rng.standard_normal(),
        wander=sample_waves(rng, max(1.2 * radius, 20.0)),
    )


def _sample_mass(rng: np.random.Generator, limb: Limb) -> Mass:
    """Draws size and place: of some places that beside the bones and below the skin."""
    median, spread = RADIUS_MM
    low, high = RADIUS_LIMITS_MM
    high = min(high, 0.6 * min(limb.half))
    radius = float(np.clip(median * np.exp(spread * rng.standard_normal()), low, high))
    oblong = rng.uniform(0.6, 1.0)
    length = radius * rng.uniform(1.0, 2.1)
    z = rng.uniform(-0.8, 0.8) * length
    best, most = (0.0, 0.0), -np.inf
    if rng.uniform() < 0.12:  # begins in the fat under the skin
        depth = 0.5 * limb.fat + 0.35 * radius
    else:
        depth = limb.fat + rng.uniform(0.45, 1.1) * radius
    for _ in range(24):
        turn, inward = rng.uniform(0, 2 * np.pi), depth + rng.uniform(0, 12)
        y = (limb.half[0] - inward) * np.sin(turn)
        x = (limb.half[1] - inward) * np.cos(turn)
        room = rng.uniform(0, 0.4) * radius
        for bone in limb.bones:
            for by, bx, ty, tx, thick in bone.tubes:
                gap = np.hypot(y - by - ty * z, x - bx - tx * z) - thick - 0.9 * radius
                room = min(room, float(gap))
        if room > most:
            best, most = (float(y), float(x)), room
    # One without enough room between bones is smaller.
    radius *= float(np.clip(1 + most / radius, 0.6, 1.0))
    radii = (length, radius * oblong**0.5, radius / oblong**0.5)
    # Long axes mostly run along the skin.
    angle = float(np.pi / 2 + np.arctan2(best[0], best[1]) * -1 + 0.5 * rng.standard_normal())
    return Mass((z, *best), radii, angle, rng.uniform(0.5, 0.95))


def draw_sarcoma(canvas: Canvas, sarcoma: Sarcoma, tissue: Tissue) -> UInt8[np.ndarray, "d h w"]:
    """Draws a tumour; returns 1 where the reference outline holds it, else 0."""
    mask = np.zeros(canvas.hu.shape, np.uint8)
    box = tissue.box
    if is_empty(box):
        return mask
    axes = tuple(axis[s] for axis, s in zip(canvas.axes, box, strict=True))
    grid = (axes[0], axes[1], axes[2])
    distance = _distance(canvas, sarcoma, tissue, grid)
    _paint_tissue(canvas, sarcoma, tissue, distance, grid)
    mask[box] = _reference(canvas, sarcoma, tissue, distance, grid)
    return mask


def _distance(
    canvas: Canvas,
    sarcoma: Sarcoma,
    tissue: Tissue,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Float32[np.ndarray, "d h w"]:
    """Returns the signed distance (mm, approximate, negative inside) to the visible border."""
    mass = sarcoma.mass
    offsets = rotated(canvas, tissue.box, mass.centre, mass.angle)
    p = [v * np.float32(1 / r) for v, r in zip(offsets, mass.radii, strict=True)]
    scale = np.float32(np.sqrt(mass.radii[1] * mass.radii[2]))
    total = np.zeros_like(p[0])
    for z, y, x, r in sarcoma.lobes:
        square = (p[0] - np.float32(z)) ** 2
        square += (p[1] - np.float32(y)) ** 2
        square += (p[2] - np.float32(x)) ** 2
        # A soft minimum: lobes flow into each other within about a tenth of the size.
        total += np.exp(np.minimum((np.float32(r) - np.sqrt(square)) * np.float32(12), 60))
    distance = np.log(total + np.float32(1e-20)) * np.float32(-scale / 12)
    for waves, height in zip(sarcoma.bumps, sarcoma.roughness, strict=True):
        distance += np.float32(height) * evaluate_waves(waves, grid)
    distance += np.float32(sarcoma.follow) * np.clip(tissue.foreign, 0, 0.6 * scale)
    np.maximum(distance, 1.0 - tissue.bone, out=distance)
    return np.maximum(distance, tissue.body + np.float32(sarcoma.cover), out=distance)


def _paint_tissue(
    canvas: Canvas,
    sarcoma: Sarcoma,
    tissue: Tissue,
    distance: Float32[np.ndarray, "d h w"],
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Draws the tumour, the layer of fat around it and the swelling next to it."""
    box, width = tissue.box, canvas.spacing[2]
    coarse, fine = (evaluate_waves(waves, grid) for waves in sarcoma.mottle)
    target = canvas.hu[box]
    muscle = np.clip((target + 20) / 30, 0, 1) * (target < 150)
    near = np.clip(1 - np.abs(distance) / 10, 0, 1) * muscle
    target -= np.float32(sarcoma.swelling_hu) * near * np.clip(0.5 + fine + coarse, 0, 1)
    shell = np.clip(0.5 - (np.abs(distance) - 0.7) / max(width, 1.2), 0, 1)
    shell *= np.clip(coarse * 1.5, 0, 1) * (tissue.bone > 1)
    paint(canvas, box, np.float32(sarcoma.rim) * shell, FAT_HU + 20)
    hu = sarcoma.hu + sarcoma.mottle_hu[0] * coarse + sarcoma.mottle_hu[1] * fine
    # Dead tissue keeps off the border; its own border is soft.
    deep = np.clip(-distance / np.float32(0.3 * min(sarcoma.mass.radii[1:])), 0, 1)
    dead = np.clip((0.3 * fine + coarse - sarcoma.necrosis + 0.5) * 1.5, 0, 1) * deep
    hu -= np.float32(sarcoma.necrosis_hu) * dead
    strand = np.clip(1.2 - np.abs(fine + 0.6 * coarse) * 3, 0, 1) * np.clip(0.3 + coarse, 0, 1)
    hu += np.float32(sarcoma.strands) * strand * (FAT_HU - hu)
    hu += np.clip((fine - sarcoma.calcium) * 3, 0, 1) * deep * np.float32(350)
    fraction = np.clip(0.5 - distance / max(sarcoma.softness, width), 0, 1)
    fraction *= np.clip(0.5 + tissue.bone / width, 0, 1) * (tissue.body < -2)
    paint(canvas, box, fraction, hu.astype(np.float32))


def _reference(
    canvas: Canvas,
    sarcoma: Sarcoma,
    tissue: Tissue,
    distance: Float32[np.ndarray, "d h w"],
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> UInt8[np.ndarray, "d h w"]:
    """Returns the reference outline: the border smoothed, moved, and off by a smooth error."""
    sizes = canvas.spacing
    blur = tuple(OUTLINE_MM[3] / size for size in sizes)
    smooth = ndimage.gaussian_filter(distance, (0.5 * blur[0], blur[1], blur[2]), truncate=3)
    moved = (0.0, sarcoma.shift[0] / sizes[1], sarcoma.shift[1] / sizes[2])
    smooth = ndimage.shift(smooth, moved, order=1, mode="nearest")
    smooth += np.float32(OUTLINE_MM[2]) * evaluate_waves(sarcoma.wander, grid)
    inside = smooth < np.float32(sarcoma.growth)
    return (inside & (tissue.body < 0) & (tissue.bone > -0.5)).astype(np.uint8)
