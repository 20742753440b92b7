"""Synthetic CT volumes with lesions, for trying, testing and teaching without patient data.

A patient is drawn from (seed, patient number) alone, so the same one comes back whatever else is
generated. See `shapes` for the drawing, `anatomy`, `organs` and `limbs` for the surroundings,
`lesions` and `sarcomas` for the lesions.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, UInt8
from scipy import fft, ndimage

from ecc_jax import catalog
from ecc_jax.phantom.anatomy import sample_trunk
from ecc_jax.phantom.lesions import (
    Lesion,
    draw_lesion,
    draw_neighbours,
    sample_abdominal_lesions,
    sample_lung_lesions,
)
from ecc_jax.phantom.limbs import draw_limb, sample_limb
from ecc_jax.phantom.organs import draw_abdomen, draw_thorax, sample_abdomen
from ecc_jax.phantom.sarcomas import draw_sarcoma, sample_sarcoma
from ecc_jax.phantom.shapes import Canvas, Point, make_canvas
from ecc_jax.volumes import hash_of

# Raised whenever the same arguments give other volumes, so that prepared sets are built anew.
GENERATION = 1
ORGANS = ("lung", "kidney", "liver", "pancreas")
# What a patient may be: the four organs, or an extremity. The order names random streams.
PARTS = (*ORGANS, "limb")
KINDS = (*ORGANS, "mixed", "limb", "all")
# Share of extremities among the patients of `all`, and what seeds who they are.
LIMB_SHARE, _ALL_KEY = 1 / 3, 7
WINDOW_HU = {
    "lung": catalog.LUNG_HU,
    "kidney": catalog.SOFT_TISSUE_HU,
    "liver": catalog.LIVER_HU,
    "pancreas": catalog.SOFT_TISSUE_HU,
    "limb": catalog.SOFT_TISSUE_HU,
}
# In-plane spacing at 512 x 512, slice spacing (mm), and how fast pixels grow as matrices shrink.
PIXEL_MM = {"lung": 0.70, "kidney": 0.78, "liver": 0.76, "pancreas": 0.78, "limb": 0.98}
SLICE_MM = {"lung": 1.0, "kidney": 3.0, "liver": 2.0, "pancreas": 2.0, "limb": 3.27}
COARSENING = {"lung": -0.4, "kidney": 0.2, "liver": 0.1, "pancreas": 0.1, "limb": 0.0}
# Standard deviation of the noise in HU, lowest and highest of the patients.
NOISE_HU = {
    "lung": (20.0, 45.0),
    "kidney": (7.0, 12.0),
    "liver": (5.5, 9.5),
    "pancreas": (5.0, 9.0),
    "limb": (6.0, 31.0),
}


class Volume(NamedTuple):
    """A synthetic CT volume.

    Attributes:
      image_hu: Hounsfield units.
      mask: 1 where at least half of the voxel is lesion, else 0.
      spacing_mm: Distance of voxel centres along z, y and x.
      window_hu: HU range in which the organ is looked at.
      kind: Organ of the lesions: `lung`, `kidney`, `liver` or `pancreas`; or `limb`.
    """

    image_hu: Int16[np.ndarray, "d h w"]
    mask: UInt8[np.ndarray, "d h w"]
    spacing_mm: Point
    window_hu: tuple[float, float]
    kind: str


def generate_volume(
    seed: int, patient: int, *, kind: str = "mixed", size: int = 512, num_slices: int = 20
) -> Volume:
    """Generates one synthetic patient.

    Anatomy and lesions depend on `seed` and `patient` only (and the organ, when `kind` asks for
    one); `size` and `num_slices` choose what of them the volume shows. A matrix of less than 512
    shows a part of the body around the lesions, with slightly larger pixels.

    Args:
      seed: Seed of the set.
      patient: Number of the patient in the set.
      kind: Organ of the lesions; `limb` for an extremity with a sarcoma; `mixed`: each patient
        one of the four organs; `all`: a third of the patients `limb`, the others as in `mixed`.
      size: Rows and columns, at least 32.
      num_slices: Slices, at least 4.

    Raises:
      ValueError: For an unknown kind, or a size or number of slices too small.
    """
    _check(kind, size, num_slices)
    kind = _choose(seed, patient, kind)
    streams = [np.random.default_rng([seed, patient, PARTS.index(kind), n]) for n in range(4)]
    spacing = (SLICE_MM[kind], *(_pixel_mm(kind, size),) * 2)
    if kind == "limb":
        image, mask = _generate_limb(streams, spacing, size, num_slices)
    else:
        image, mask = _generate_trunk(streams, spacing, kind, size, num_slices)
    return Volume(image, mask, spacing, WINDOW_HU[kind], kind)


def identity_of_patient(seed: int, patient: int, *, kind: str = "mixed") -> str:
    """Returns what tells a synthetic patient from others, in the form of a scan's identity.

    Volumes of one seed, number and organ show one body, however large, fine or noisy they are
    drawn and under whatever kind the organ came up: to whoever learned one of them the others are
    known. So this is made of what a patient is drawn from, and not of voxels.

    Args:
      seed: Seed of the set.
      patient: Number of the patient in the set.
      kind: As for `generate_volume`.

    Raises:
      ValueError: For an unknown kind.
    """
    _check_kind(kind)
    drawn_from = ("phantom", seed, patient, _choose(seed, patient, kind))
    return hash_of(*(str(part).encode() for part in drawn_from))


def _choose(seed: int, patient: int, kind: str) -> str:
    """Returns what a patient of a kind is."""
    if kind == "all" and np.random.default_rng([seed, patient, _ALL_KEY]).uniform() < LIMB_SHARE:
        return "limb"
    if kind in ("all", "mixed"):
        return ORGANS[np.random.default_rng([seed, patient]).integers(len(ORGANS))]
    return kind


def _generate_trunk(
    streams: list[np.random.Generator], spacing: Point, kind: str, size: int, num_slices: int
) -> tuple[Int16[np.ndarray, "d h w"], UInt8[np.ndarray, "d h w"]]:
    """Returns HU and mask of a chest or belly with lesions in an organ."""
    plan_rng, lesion_rng, draw_rng, noise_rng = streams
    trunk = sample_trunk(plan_rng, chest=kind == "lung")
    slab_mm = 20 * SLICE_MM[kind]
    if kind == "lung":
        abdomen = None
        lesions = sample_lung_lesions(lesion_rng, trunk, slab_mm)
    else:
        abdomen = sample_abdomen(plan_rng, trunk)
        lesions = sample_abdominal_lesions(lesion_rng, abdomen, kind, slab_mm)
    axes = _axes(plan_rng, lesions[0].centre, spacing, kind, size, num_slices)
    canvas = make_canvas(draw_rng, axes, spacing)
    if abdomen is None:
        organ = draw_thorax(canvas, draw_rng, trunk)
    else:
        organ = draw_abdomen(canvas, draw_rng, trunk, abdomen, kind=kind)
    mask = _draw_lesions(canvas, draw_rng, lesions, organ, kind)
    return _finish(canvas, noise_rng, trunk.half, kind), mask


def _generate_limb(
    streams: list[np.random.Generator], spacing: Point, size: int, num_slices: int
) -> tuple[Int16[np.ndarray, "d h w"], UInt8[np.ndarray, "d h w"]]:
    """Returns HU and mask of an extremity with a sarcoma."""
    plan_rng, lesion_rng, draw_rng, noise_rng = streams
    limb = sample_limb(plan_rng)
    sarcoma = sample_sarcoma(lesion_rng, limb)
    axes = _axes(plan_rng, sarcoma.mass.centre, spacing, "limb", size, num_slices)
    canvas = make_canvas(draw_rng, axes, spacing)
    tissue = draw_limb(canvas, draw_rng, limb, sarcoma.mass)
    mask = draw_sarcoma(canvas, sarcoma, tissue)
    return _finish(canvas, noise_rng, limb.half, "limb"), mask


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")


def _check(kind: str, size: int, num_slices: int) -> None:
    _check_kind(kind)
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels, got {size}; 160 suits a quick look")
    if num_slices < 4:
        raise ValueError(f"num_slices must be at least 4, got {num_slices}; the default is 20")


def _pixel_mm(kind: str, size: int) -> float:
    """Returns the in-plane spacing at a matrix size."""
    return PIXEL_MM[kind] * (512 / size) ** (COARSENING[kind] if size < 512 else 1.0)


def _axes(
    rng: np.random.Generator,
    focus: Point,
    spacing: Point,
    kind: str,
    size: int,
    num_slices: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the voxel centres: the whole body, or a part of it that holds the main lesion."""
    full, field = 512 * PIXEL_MM[kind], size * spacing[1]
    jitter = rng.uniform(-0.15, 0.15, 2)
    z = (np.arange(num_slices) - (num_slices - 1) / 2) * spacing[0]
    plane = []
    for target, shift in zip(focus[1:], jitter, strict=True):
        room = max(full - field, 0) / 2
        centre = np.clip(target + shift * field, -room, room)
        plane.append(centre + (np.arange(size) - (size - 1) / 2) * spacing[1])
    return z, plane[0], plane[1]


def _draw_lesions(
    canvas: Canvas,
    rng: np.random.Generator,
    lesions: list[Lesion],
    organ: Float32[np.ndarray, "d h w"],
    kind: str,
) -> UInt8[np.ndarray, "d h w"]:
    """Draws the lesions and their neighbours; returns the lesion mask."""
    for lesion in lesions:
        draw_neighbours(canvas, rng, lesion, organ, kind)
    covered = np.zeros_like(canvas.hu)
    for lesion in lesions:
        draw_lesion(canvas, lesion, organ, covered)
    return (covered >= 0.5).astype(np.uint8)


def _finish(
    canvas: Canvas, rng: np.random.Generator, half: tuple[float, float], kind: str
) -> Int16[np.ndarray, "d h w"]:
    """Blurs like a scanner and adds noise with the grain of a reconstruction.

    Noise is weaker towards the skin and in air.

    Args:
      canvas: What has been drawn.
      rng: Draws the noise.
      half: Half depth and half width of the body, mm.
      kind: What the patient is.
    """
    image = canvas.hu
    blur = 0.45 / max(canvas.spacing[1], 0.5)
    image = ndimage.gaussian_filter(image, (0, blur, blur), truncate=3)
    noise = _streaks(rng, image.shape) if kind == "limb" else _grain(rng, image.shape)
    y, x = canvas.axes[1] / half[0], canvas.axes[2] / half[1]
    radius = np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)
    level = np.clip(1.15 - 0.35 * radius, 0.5, 1.15) * rng.uniform(*NOISE_HU[kind])
    image += noise * level.astype(np.float32)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def _grain(rng: np.random.Generator, shape: tuple[int, int, int]) -> Float32[np.ndarray, "d h w"]:
    """Returns noise of standard deviation 1 with the grain of filtered back-projection.

    It is a band of frequencies (a blur minus a wider blur), slightly longer along x than along y.
    """
    grain = rng.uniform(0.55, 0.85)
    white = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(white, (0.35, grain, 1.1 * grain), truncate=3)
    noise -= 0.7 * ndimage.gaussian_filter(noise, (0, 2.5, 2.5), truncate=2)
    noise /= noise.std()
    return noise


def _streaks(rng: np.random.Generator, shape: tuple[int, int, int]) -> Float32[np.ndarray, "d h w"]:
    """Returns noise of standard deviation 1 whose grain is drawn out along the densest path.

    Rays through both hips or thighs are the noisiest, so most of the noise varies across them.
    """
    coarse, turn = rng.uniform(0.55, 0.9), rng.uniform(-0.25, 0.25)
    share = rng.uniform(0.0, 0.2)  # of the noise that has no direction
    white = rng.standard_normal(shape, dtype=np.float32)
    fy, fx = fft.fftfreq(shape[1])[:, None], fft.rfftfreq(shape[2])[None, :]
    squares = fy**2 + fx**2
    across = (fy * np.cos(turn) + fx * np.sin(turn)) ** 2 / (squares + 1e-9)
    band = np.sqrt(squares) * np.exp(-squares * (2 * np.pi * coarse) ** 2 / 2)
    band = (band * np.sqrt(share + (1 - share) * across**10)).astype(np.float32)
    noise = fft.irfft2(fft.rfft2(white) * band, s=shape[1:])
    return (noise / noise.std()).astype(np.float32)
