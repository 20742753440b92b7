"""The crop around the lesion: where it lies, and how pixels and clicks get into it and back.

Boxes are traced values, one per row, while the size of a crop's pixel grid is static. The
original crops exactly the box it found, so its grid has another shape at every click, which would
compile the network again and again. Here one code serves both: with `keeps_aspect` the box is
grown to the aspect ratio of the image, so that one fixed grid holds every box at one scale for
both axes, without padding or distortion; without it, box and grid are the original's.

The original also remembers its box from click to click, and keeps it while the lesion stays
within. Here the previous mask is the memory: `paste` leaves it above 0 inside the box and 0
outside, so the box can be read from it, and undo, replay and batching need no further state.

Source: ZoomIn in RITM (isegm/inference/transforms/zoom_in.py); thesis 3.1.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.ops import separable
from ecc_jax.ops.boxes import mask_box
from ecc_jax.types import Clicks

RULES = ("longest", "shortest")
# Far below any probability that matters, far above the smallest normal float32.
_SMALLEST_PROB = 1e-30


class Zoom(NamedTuple):
    """How crops are chosen; static for a compilation.

    Attributes:
      target: Pixels per side of the crop as the network sees it, see `grid_shape`.
      rule: One of `RULES`, see `grid_shape`.
      min_crop: Smallest side of the crop, image pixels, as far as the image reaches.
      expansion: Sides of the crop relative to the box around the lesion.
      skip_clicks: So many clicks are answered on the whole image first.
      threshold: A pixel is lesion where its probability is above.
      scales_radius: Whether disks grow with the crop. Dynamic disks mark a place in the image, so
        they do; a static radius counts network-input pixels, so it does not.
      keeps_former: Whether a former crop stays where it still fits; else each click has a new one.
    """

    target: int = 400
    rule: str = "longest"
    min_crop: int = 200
    expansion: float = 1.4
    skip_clicks: int = 1
    threshold: float = 0.5
    scales_radius: bool = True
    keeps_former: bool = True


class Region(NamedTuple):
    """What the network is shown.

    Attributes:
      box: The crop (y0, x0, y1, x1); the whole image where there is none.
      is_zoomed: False where the network is shown the whole image as it is.
    """

    box: Int[Array, "b 4"]
    is_zoomed: Bool[Array, " b"]


def find_region(
    prev_mask: Float[Array, "b h w 1"], clicks: Clicks, zoom: Zoom, *, keeps_aspect: bool
) -> Region:
    """Returns the crop that the newest click is answered on.

    The box around the lesion and all positive clicks, expanded about its centre, at least
    `min_crop` long and cut at the image's border. With `keeps_former` the former box stays if it
    holds all positive clicks (not on its last row or column) and overlaps the new one by at least
    half.

    Args:
      prev_mask: Lesion probability before the newest click, as `paste` left it, or of the whole
        image.
      clicks: All clicks.
      zoom: See `Zoom`.
      keeps_aspect: Grow the box to the image's aspect ratio.

    Returns:
      The region. Not zoomed: the first `skip_clicks` clicks, and rows whose mask is empty.

    Source: `ZoomIn.transform`. Deviations: where the mask has become empty the original squeezes
    the answer for the whole image into its old box. A mask without any pixel between 0 and the
    threshold (a binary one, from elsewhere) holds no former box. A former box is also read from
    an answer on the whole image, if that is not the answer to the first `skip_clicks` clicks: a
    mask that was lost and found again keeps the whole image if the new box covers half of it. Box
    ends are rounded from float32; where one lies halfway between two pixels, the original's
    choice depends on its rounding errors.
    """
    height, width = prev_mask.shape[1:3]
    prob = prev_mask[..., 0]
    is_lesion = prob > zoom.threshold
    box = _with_positive_clicks(mask_box(is_lesion), clicks, (height, width))
    box = _expand(box, (height, width), zoom)
    if keeps_aspect:
        box = _grow_to_aspect(box, (height, width))
    is_zoomed = (clicks.count > zoom.skip_clicks) & jnp.any(is_lesion, axis=(1, 2))
    if zoom.keeps_former:
        box = _former_if_it_fits(prob, clicks, zoom, box)
    whole = jnp.array([[0, 0, height, width]], jnp.int32)
    return Region(jnp.where(is_zoomed[:, None], box, whole), is_zoomed)


def grid_shape(shape: tuple[int, int], zoom: Zoom) -> tuple[int, int]:
    """Returns the rows and columns that a crop of `shape` pixels is resampled to.

    One scale for both axes. "longest": the longest side gets `target` pixels, larger crops
    shrink. "shortest": no side gets fewer than `target` pixels, nothing shrinks.

    For crops of the image's aspect ratio pass the shape of the image: "longest" then gives the
    original's scale for every crop; "shortest" gives one grid large enough for all of them.

    Raises:
      ValueError: Unknown rule.

    Source: "longest" is RITM's code (`get_roi_image_nd`), "shortest" the thesis's text ("at least
    400 pixels per axis"). They agree on square crops up to `target` pixels.
    """
    if zoom.rule not in RULES:
        raise ValueError(f"zoom rule must be one of {', '.join(RULES)}; got {zoom.rule!r}")
    if zoom.rule == "longest":
        scale = zoom.target / max(shape)
    else:
        scale = max(1.0, zoom.target / min(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def crop(
    image: Float[Array, "b h w c"], box: Int[Array, "b 4"], shape: tuple[int, int]
) -> Float[Array, "b H W c"]:
    """Returns each box resampled bilinearly to `shape`, corner pixel on corner pixel.

    Args:
      image: Images or masks.
      box: The crop of each row, inside the image and not empty.
      shape: Rows and columns of the result.

    Source: PyTorch `interpolate(mode="bilinear", align_corners=True)` of the sliced image.
    """
    rows, columns = (
        _reading(box[:, axis], box[:, axis + 2], image.shape[axis + 1], shape[axis])
        for axis in (0, 1)
    )
    return separable.apply(rows, image, columns, image_first=True)


def paste(
    patch: Float[Array, "b H W 1"], box: Int[Array, "b 4"], shape: tuple[int, int]
) -> Float[Array, "b h w 1"]:
    """Returns probabilities of `shape` that are 0 outside each box and the resampled patch inside.

    Args:
      patch: Probabilities on the grid of the crop.
      box: The crop of each row.
      shape: Rows and columns of the image.

    Returns:
      Probabilities, above 0 exactly inside the box: `find_region` reads it there.
    """
    values, inside = uncrop(patch, box, shape)
    return jnp.where(inside, jnp.clip(values, _SMALLEST_PROB, 1.0), 0.0)


def uncrop(
    patch: Float[Array, "b H W c"], box: Int[Array, "b 4"], shape: tuple[int, int]
) -> tuple[Float[Array, "b h w c"], Bool[Array, "b h w 1"]]:
    """Returns patches resampled to their boxes, and where those are; values outside mean nothing.

    Args:
      patch: Any values on the grid of the crop.
      box: The crop of each row.
      shape: Rows and columns of the image.
    """
    rows, columns = (
        _writing(box[:, axis], box[:, axis + 2], shape[axis], patch.shape[axis + 1])
        for axis in (0, 1)
    )
    inside = jnp.any(rows > 0, axis=2)[:, :, None] & jnp.any(columns > 0, axis=2)[:, None, :]
    return separable.apply(rows, patch, columns, image_first=True), inside[..., None]


def move_clicks(
    clicks: Clicks, box: Int[Array, "b 4"], shape: tuple[int, int], *, scales_radius: bool
) -> Clicks:
    """Returns the clicks as they lie on the grid of the crop.

    Args:
      clicks: Clicks in image pixels; they may lie outside the box.
      box: The crop of each row.
      shape: Rows and columns of the crop's grid.
      scales_radius: Multiply radii by the mean scale of the axes.

    Source: `ZoomIn._transform_clicks`: grid * (y - y0) / (y1 - y0). `crop` puts the pixels
    slightly further out, by less than one image pixel at the far end of the box; kept, because
    published numbers contain it. The radius rule is the thesis code's.
    """
    low, high = box[:, None, :2], box[:, None, 2:]
    length = (high - low).astype(jnp.float32)
    grid = jnp.array(shape, jnp.float32)[None, None, :]
    yx = (clicks.yx - low) * grid / length
    if not scales_radius:
        return clicks._replace(yx=yx)
    return clicks._replace(yx=yx, radius=clicks.radius * jnp.mean(grid / length, axis=2))


def _former_if_it_fits(
    prob: Float[Array, "b h w"], clicks: Clicks, zoom: Zoom, box: Int[Array, "b 4"]
) -> Int[Array, "b 4"]:
    """Returns the box of the former click where it may stay, else `box`."""
    former = mask_box(prob > 0)
    is_soft = jnp.any((prob > 0) & ~(prob > zoom.threshold), axis=(1, 2))
    stays = (clicks.count > zoom.skip_clicks + 1) & is_soft
    stays &= _holds_positive_clicks(former, clicks) & _half_overlap(former, box)
    return jnp.where(stays[:, None], former, box)


def _with_positive_clicks(
    box: Int[Array, "b 4"], clicks: Clicks, shape: tuple[int, int]
) -> Int[Array, "b 4"]:
    """Returns the box enlarged to hold the pixels of all positive clicks."""
    size = jnp.array(shape, jnp.int32)[None, None, :]
    pixel = jnp.clip(clicks.yx.astype(jnp.int32), 0, size - 1)
    counts = _is_positive(clicks)[..., None]
    low = jnp.min(jnp.where(counts, pixel, size), axis=1)
    high = jnp.max(jnp.where(counts, pixel + 1, 0), axis=1)
    return jnp.concatenate([jnp.minimum(box[:, :2], low), jnp.maximum(box[:, 2:], high)], axis=1)


def _is_positive(clicks: Clicks) -> Bool[Array, "b n"]:
    slot = jnp.arange(clicks.radius.shape[1])[None, :]
    return clicks.is_positive & (slot < clicks.count[:, None])


def _expand(box: Int[Array, "b 4"], shape: tuple[int, int], zoom: Zoom) -> Int[Array, "b 4"]:
    """Returns the box grown about its centre and cut at the border."""
    size = jnp.array(shape, jnp.int32)[None, :]
    first, last = box[:, :2], box[:, 2:] - 1
    side = jnp.maximum(zoom.expansion * (last - first + 1), zoom.min_crop)
    centre = 0.5 * (first + last)
    low = jnp.round(centre - 0.5 * side).astype(jnp.int32)
    high = jnp.round(centre + 0.5 * side).astype(jnp.int32) + 1
    return jnp.concatenate([jnp.clip(low, 0, size - 1), jnp.clip(high, 1, size)], axis=1)


def _grow_to_aspect(box: Int[Array, "b 4"], shape: tuple[int, int]) -> Int[Array, "b 4"]:
    """Returns the smallest box of the image's aspect ratio around the box, moved inside."""
    size = jnp.array(shape, jnp.int32)[None, :]
    other = size[:, ::-1]
    length = box[:, 2:] - box[:, :2]
    wanted = -((-length[:, ::-1] * size) // other)  # rounded up, never above `size`
    grown = jnp.maximum(length, wanted)
    low = jnp.clip(box[:, :2] - (grown - length) // 2, 0, size - grown)
    return jnp.concatenate([low, low + grown], axis=1)


def _holds_positive_clicks(box: Int[Array, "b 4"], clicks: Clicks) -> Bool[Array, " b"]:
    """Whether all positive clicks lie in the box but for its last row and column."""
    low, high = box[:, None, :2], box[:, None, 2:]
    inside = jnp.all((clicks.yx >= low) & (clicks.yx < high - 1), axis=2)
    return jnp.all(inside | ~_is_positive(clicks), axis=1)


def _half_overlap(one: Int[Array, "b 4"], two: Int[Array, "b 4"]) -> Bool[Array, " b"]:
    """Whether the product of the IoUs of the two axes is at least one half."""
    common = jnp.minimum(one[:, 2:], two[:, 2:]) - jnp.maximum(one[:, :2], two[:, :2])
    hull = jnp.maximum(one[:, 2:], two[:, 2:]) - jnp.minimum(one[:, :2], two[:, :2])
    common = jnp.maximum(common, 0)
    return 2 * common[:, 0] * common[:, 1] >= hull[:, 0] * hull[:, 1]


def _reading(
    low: Int[Array, " b"], high: Int[Array, " b"], size: int, grid: int
) -> Float[Array, "b grid size"]:
    """Returns the weights with which each grid point reads the pixels of an axis."""
    steps = (high - low - 1)[:, None] * jnp.arange(grid, dtype=jnp.int32)[None, :]
    pixel = jnp.arange(size, dtype=jnp.int32)[None, :] - low[:, None]
    return _linear(steps, jnp.full_like(low, max(grid - 1, 1)), pixel)


def _writing(
    low: Int[Array, " b"], high: Int[Array, " b"], size: int, grid: int
) -> Float[Array, "b size grid"]:
    """Returns the weights with which each pixel of an axis reads the grid; 0 outside the box."""
    pixel = jnp.arange(size, dtype=jnp.int32)[None, :] - low[:, None]
    point = jnp.broadcast_to(jnp.arange(grid, dtype=jnp.int32)[None, :], (low.shape[0], grid))
    weights = _linear(pixel * (grid - 1), jnp.maximum(high - low - 1, 1), point)
    inside = (pixel >= 0) & (pixel < (high - low)[:, None])
    return jnp.where(inside[..., None], weights, 0.0)


def _linear(
    steps: Int[Array, "b m"], per_point: Int[Array, " b"], point: Int[Array, "b n"]
) -> Float[Array, "b m n"]:
    """Returns the weights of values at `point` in readings at steps / per_point, linear between.

    Whole and broken part are kept apart: a rounded quotient would miss whole numbers.
    """
    whole, rest = jnp.divmod(steps, per_point[:, None])
    broken = rest.astype(jnp.float32) / per_point[:, None].astype(jnp.float32)
    apart = (whole[:, :, None] - point[:, None, :]).astype(jnp.float32)
    return jnp.maximum(0.0, 1.0 - jnp.abs(apart + broken[:, :, None]))
