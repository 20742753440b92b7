"""Active contours (snakes): a circle around the click that image edges pull into shape.

From a point the circle's radius is one for all lesions. From a disk the circle is the disk's, it
does not shrink by itself, and what is searched is how strongly edges pull; or no edges pull, but
the border moves to where the grey values inside and outside part, and the circle's size is
searched.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Num
from skimage import draw, filters, segmentation

from ecc_jax.classical.flooding import HU_PER_UNIT, SMALLEST_RADIUS, levels_of_disk
from ecc_jax.classical.search import Case, disk_around, pixel_of

# Radii of the first circle that the thesis tries, pixels.
THESIS_RADII = np.arange(4.0, 25.0)
SIGMA = 3.0
# Weights of the edges that are tried on a disk's circle; with 0 it stays the disk.
FORCES = np.array([0.0, 1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 1e-2])
_POINTS = 400
_BETA, _GAMMA = 10.0, 0.001
# The contour is a spline on the edge image, which needs this many pixels a side.
_SMALLEST = 3
# Of a snake from a disk: blur in radii, pixels of a step at most, steps.
_DISK_SIGMA, _DISK_STEP, _DISK_STEPS = 0.1, 0.2, 150
# Sizes of a region's first circle that are tried, radii of the disk.
SCALES = np.arange(14, 25) / 20
# Of a region: sweeps, weight of what lies outside, and how far it sees and grows, radii.
_SWEEPS, _OUTER_WEIGHT, _REACH = 2, 2.0, 1.5


class Pull(NamedTuple):
    """What moves a contour, see `skimage.segmentation.active_contour`.

    Attributes:
      alpha: How strongly it shrinks.
      edge: How strongly edges attract it.
      step: Pixels of a step at most.
      steps: Steps at most.
    """

    alpha: float
    edge: float
    step: float
    steps: int


# All but alpha is scikit-image's default, as in the original.
THESIS_PULL = Pull(alpha=0.015, edge=1.0, step=1.0, steps=2500)


def contours_around(case: Case, radii: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the inside of the thesis's snake, begun as a circle of each radius.

    Args:
      case: The slice, clipped to its window, and its click, whose radius is ignored.
      radii: Of the first circle, pixels, above 0.

    Raises:
      ValueError: The click lies outside the slice, the slice has less than 3 pixels a side, or a
        radius is not above 0.

    Source: thesis, classical baselines, active contours: `skimage.segmentation.active_contour`
    with alpha 0.015, beta 10, gamma 0.001 on clipped HU / 255, blurred by sigma 3 pixels, 400
    points of which the last is the first again. The original starts at the truncated centroid of
    the component that comes first in raster order, and its IoU counts label 1 only, though masks
    hold others: its figures are too low. Here the circle is around a session's first click.
    """
    smooth = _smoothed(case, SIGMA, HU_PER_UNIT)
    centre = np.asarray(pixel_of(case))
    contours = (snake(smooth, centre, radius, THESIS_PULL) for radius in radii)
    return np.stack([filled(contour, smooth.shape) for contour in contours])


def contours_from_disk(case: Case, forces: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the inside of the snake that begins as the disk's circle, for each pull of edges.

    The circle has about the lesion's size, so the snake does not shrink by itself and moves in
    steps of 0.2 pixels, 150 at most. The slice is blurred by a tenth of the radius and divided by
    what its grey values differ in the disk, so that faint edges pull like strong ones.

    Args:
      case: The slice, clipped to its window, and the disk; a radius below 0.75 counts as that.
      forces: Weight of the edges, not negative; 0 leaves the disk.

    Raises:
      ValueError: The click lies outside the slice, the slice has less than 3 pixels a side, or a
        force is negative.

    Source: the thesis's outlook, a classical method started by the dynamic disk; the form is ours,
    chosen on training slices of LIDC and of ct_phantom_2d.
    """
    if len(forces) and min(forces) < 0:
        raise ValueError(f"forces must be at least 0, got {min(forces):g}")
    radius = max(case.radius, SMALLEST_RADIUS)
    smooth = _smoothed(case, _DISK_SIGMA * radius, levels_of_disk(case).spread)
    contours = (
        snake(smooth, np.asarray(case.yx), radius, Pull(0.0, float(force), _DISK_STEP, _DISK_STEPS))
        for force in forces
    )
    return np.stack([filled(contour, smooth.shape) for contour in contours])


def regions_from_disk(case: Case, scales: Float[np.ndarray, " v"]) -> Bool[np.ndarray, "v h w"]:
    """Returns the region that begins as the disk, its radius scaled, and parts grey values.

    Twice the border moves to where a pixel is as near to the mean inside as to the mean outside,
    of which the latter weighs double, and is smoothed. Only the square of 1.5 radii around the
    click is seen: what is bright far away has no say, and nothing beyond it is lesion.

    Args:
      case: The slice, clipped to its window, and the disk; a radius below 0.75 counts as that.
      scales: Radius of the beginning relative to the disk's, above 0.

    Raises:
      ValueError: The click lies outside the slice.

    Source: the thesis's outlook; Chan and Vese, 2001, as
    `skimage.segmentation.morphological_chan_vese` (Marquez-Neila et al., 2014). Sweeps, weight and
    reach are ours, chosen on training slices of LIDC.
    """
    pixel = pixel_of(case)
    radius = max(case.radius, SMALLEST_RADIUS)
    box = tuple(
        slice(max(int(np.floor(c - _REACH * radius)), 0), int(np.ceil(c + _REACH * radius)) + 1)
        for c in case.yx
    )
    part = np.asarray(case.image_hu, np.float64)[box]
    masks = np.zeros((len(scales), *case.image_hu.shape), bool)
    for mask, scale in zip(masks, scales, strict=True):
        start = disk_around(case, max(float(scale) * radius, SMALLEST_RADIUS))[box]
        mask[box] = segmentation.morphological_chan_vese(
            part, _SWEEPS, init_level_set=start, smoothing=1, lambda2=_OUTER_WEIGHT
        )
        mask[pixel] |= not mask.any()  # where the border has closed on nothing
    return masks


def snake(
    smooth: Float[np.ndarray, "h w"],
    centre_yx: Num[np.ndarray, "2"],
    radius: float,
    pull: Pull,
) -> Float64[np.ndarray, "400 2"]:
    """Returns the contour (row, column) that a circle becomes.

    Args:
      smooth: Blurred slice.
      centre_yx: Centre of the circle, pixels.
      radius: Of the circle, pixels, above 0; the circle may leave the slice.
      pull: What moves it.

    Raises:
      ValueError: The radius is not above 0.
    """
    if not radius > 0:
        raise ValueError(f"the radius of an active contour must be above 0 pixels, got {radius}")
    turn = np.linspace(0, 2 * np.pi, _POINTS)
    circle = np.stack([np.sin(turn), np.cos(turn)], axis=1) * radius + centre_yx
    return segmentation.active_contour(
        smooth,
        circle,
        alpha=pull.alpha,
        beta=_BETA,
        gamma=_GAMMA,
        w_edge=pull.edge,
        max_px_move=pull.step,
        max_num_iter=pull.steps,
    )


def filled(contour: Num[np.ndarray, "n 2"], shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels inside a contour, which is never empty.

    What leaves the slice is cut off. A contour with no pixel centre inside, shrunk to a point or
    a line or gone from the slice, is the pixel of the slice nearest to the mean of its points.

    Args:
      contour: Points (row, column), pixels; the last joins the first.
      shape: Height and width of the slice.
    """
    mask = draw.polygon2mask(shape, contour)
    if not mask.any():
        middle = np.clip(np.round(np.mean(contour, axis=0)), 0, np.asarray(shape) - 1)
        mask[tuple(middle.astype(int))] = True
    return mask


def _smoothed(case: Case, sigma: float, unit_hu: float) -> Float64[np.ndarray, "h w"]:
    """Returns a slice in some unit, blurred; raises ValueError if it is too small for a snake."""
    pixel_of(case)  # a click outside is refused here too
    if min(case.image_hu.shape) < _SMALLEST:
        raise ValueError(
            f"an active contour needs a slice of at least {_SMALLEST} x {_SMALLEST} pixels, got "
            f"{' x '.join(map(str, case.image_hu.shape))}"
        )
    image = np.asarray(case.image_hu, np.float64) / unit_hu
    return filters.gaussian(image, sigma, preserve_range=True)
