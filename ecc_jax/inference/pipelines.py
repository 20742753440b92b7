"""From clicks to a probability map: what surrounds the network at one click."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.inference.crops import Zoom, crop, find_region, grid_shape, move_clicks, paste
from ecc_jax.inference.focal import Focal, focalclick
from ecc_jax.inference.orientations import in_all_orientations, mean_of_orientations
from ecc_jax.inference.prior import logit_of, obeyed
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.inference.view import Square, cut, moved, put_back, square_around
from ecc_jax.types import Clicks, Predict


class InferenceOptions(NamedTuple):
    """How a network is run under the click loop; static for a compilation.

    Attributes:
      pipeline: One of `NAMES`.
      flip: Average the scores of the image and its mirror image.
      zoom: The crops of `zoom_in`.
      orientations: 8 answers the first click with the mean of a square view's scores in all its
        orientations, mirror images among them (a first click on a given mask too); 1 leaves it at
        one. Later clicks are answered once: turning them gained nothing.
      focal: The crops of `focalclick`.
    """

    pipeline: str = "full_frame"
    flip: bool = False
    zoom: Zoom = Zoom()
    orientations: int = 1
    focal: Focal = Focal()


FULL_FRAME = InferenceOptions()


def make_predict(segmenter: Segmenter, variables: Any, options: InferenceOptions) -> Predict:
    """Returns the pipeline of that name.

    Raises:
      ValueError: Unknown name, a network that does not fit it, or mirror images asked of a
        pipeline of two stages.
    """
    if options.pipeline not in NAMES:
        raise ValueError(f"pipeline must be one of {', '.join(NAMES)}; got {options.pipeline!r}")
    if options.flip and options.pipeline in TWO_STAGES:
        raise ValueError(f"pipeline {options.pipeline} averages no mirror images; set flip=False")
    return PIPELINES[options.pipeline](segmenter, variables, options)


def full_frame(
    segmenter: Segmenter, variables: Any, *, flip: bool = False, orientations: int = 1
) -> Predict:
    """Returns a `Predict` that shows the network its view of the slice: all of it by default.

    Args:
      segmenter: The network, which runs in evaluation mode, and its encoding.
      variables: Its variables.
      flip: Average the logits of the image and its mirror image; twice the work.
      orientations: 8 averages those of a square view in all its orientations at the first click;
        eight times the work of the network there, and no more later.
    """

    def predict(
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Float[Array, "b h w 1"]:
        return _probability(
            segmenter, variables, image, clicks, prev_mask, flip=flip, orientations=orientations
        )

    return predict


def zoom_in(segmenter: Segmenter, variables: Any, *, zoom: Zoom, flip: bool = False) -> Predict:
    """Returns a `Predict` that shows the network the surroundings of the lesion, enlarged.

    Everything runs compiled: the crop has the image's aspect ratio, so that its grid is fixed
    (see `crops`). It holds the original's crop at the original's scale; what the shorter side
    gains is surroundings in place of nothing. `zoom_in_tight` has the original's crop.

    Rows without a crop are shown the whole image in its own size. Both ways are compiled; a call
    runs those that its rows need, so a batch that needs both costs both.

    Args:
      segmenter: The network, in evaluation mode, and its encoding.
      variables: Its variables.
      zoom: How crops are chosen.
      flip: Average the logits of the image and its mirror image; twice the work.

    Source: RITM's predictor (isegm/inference/predictors/base.py, transforms/zoom_in.py); thesis
    3.1. Its second pass for skip_clicks = 0 is not built.
    """
    whole = full_frame(segmenter, variables, flip=flip)

    def predict(
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Float[Array, "b h w 1"]:
        region = find_region(prev_mask, clicks, zoom, keeps_aspect=True)
        shape = grid_shape((image.shape[1], image.shape[2]), zoom)

        def on_crop() -> Float[Array, "b h w 1"]:
            return _probability_on_crop(
                segmenter, variables, image, clicks, prev_mask, region.box, shape, zoom, flip
            )

        return _by_row(
            region.is_zoomed,
            on_crop,
            lambda: whole(image, clicks, prev_mask),
            like=prev_mask,
        )

    return predict


def zoom_in_tight(
    segmenter: Segmenter, variables: Any, *, zoom: Zoom, flip: bool = False
) -> Predict:
    """Returns `zoom_in` with the original's crops, whose grid follows the shape of the box.

    For comparison with published numbers, not for `jit`: the boxes are read on the host, and the
    network is compiled anew for every shape of the grid. Rows are answered one by one.

    Args:
      segmenter: The network, in evaluation mode, and its encoding.
      variables: Its variables.
      zoom: How crops are chosen.
      flip: Average the logits of the image and its mirror image.

    Source: as for `zoom_in`.
    """
    fixed = ("segmenter", "shape", "zoom", "flip")
    on_crop = jax.jit(_probability_on_crop, static_argnames=fixed)
    on_whole = jax.jit(_probability, static_argnames=("segmenter", "flip"))

    def predict(
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Float[Array, "b h w 1"]:
        region = find_region(prev_mask, clicks, zoom, keeps_aspect=False)
        probs = []
        for row in range(image.shape[0]):
            one = slice(row, row + 1)
            rows = jax.tree.map(lambda x, one=one: x[one], (image, clicks, prev_mask))
            if not region.is_zoomed[row]:
                probs.append(on_whole(segmenter, variables, *rows, flip=flip))
                continue
            y0, x0, y1, x1 = np.asarray(region.box[row]).tolist()
            shape = grid_shape((y1 - y0, x1 - x0), zoom)
            probs.append(on_crop(segmenter, variables, *rows, region.box[one], shape, zoom, flip))
        return jnp.concatenate(probs)

    return predict


def _probability(
    segmenter: Segmenter,
    variables: Any,
    image: Float[Array, "b h w c"],
    clicks: Clicks,
    prev_mask: Float[Array, "b h w 1"],
    *,
    flip: bool,
    orientations: int = 1,
) -> Float[Array, "b h w 1"]:
    """Returns the network's answer at the size of the image, whatever part of it is shown."""
    pixels: Any = 1.0
    if segmenter.view is None:
        inputs = segmenter.inputs(image, clicks, prev_mask)
        scores = _scores(segmenter, variables, inputs, flip=flip)
    else:
        grid, square = segmenter.view.grid, square_around(clicks, segmenter.view)
        pixels = square.side / grid
        there = moved(clicks, square, grid)
        inputs = segmenter.inputs(cut(image, square, grid), there, cut(prev_mask, square, grid))
        scores = (
            _scores(segmenter, variables, inputs, flip=flip)
            if orientations == 1
            else _first_turned(segmenter, variables, inputs, clicks.count <= 1)
        )
        scores = _on_slice(segmenter, scores, square, prev_mask)
    logits = segmenter.answered(variables, scores, clicks, prev_mask, pixels=pixels)
    prob = jax.nn.sigmoid(logits)
    return obeyed(prob, clicks) if segmenter.edits == "local" else prob


def _first_turned(
    segmenter: Segmenter, variables: Any, inputs: tuple[Array, ...], is_first: Bool[Array, " b"]
) -> Float[Array, "b g g 1"]:
    """Returns the network's scores of squares, at a first click their mean in all orientations.

    A batch whose rows are all at their first click, or none, costs one way only. Rows without a
    click, which fill batches up, count as first.
    """

    def turned() -> Float[Array, "b g g 1"]:
        everything = segmenter.logits(variables, *map(in_all_orientations, inputs))
        return mean_of_orientations(everything)

    def upright() -> Float[Array, "b g g 1"]:
        return segmenter.logits(variables, *inputs)

    return _by_row(is_first, turned, upright, like=inputs[0][..., :1])


def _by_row(
    is_so: Bool[Array, " b"],
    so: Callable[[], Array],
    otherwise: Callable[[], Array],
    *,
    like: Float[Array, "b h w 1"],
) -> Float[Array, "b h w 1"]:
    """Returns rows of `so()` where it is so, else of `otherwise()`; runs what its rows need only.

    Args:
      is_so: Of each row.
      so: Makes an array for the whole batch.
      otherwise: Makes another of the same shape.
      like: Any array of that shape.
    """
    nothing = jnp.zeros_like(like)
    these = jax.lax.cond(jnp.any(is_so), so, lambda: nothing)
    those = jax.lax.cond(jnp.all(is_so), lambda: nothing, otherwise)
    return jnp.where(is_so[:, None, None, None], these, those)


def _on_slice(
    segmenter: Segmenter,
    scores: Float[Array, "b g g 1"],
    square: Square,
    prev_mask: Float[Array, "b h w 1"],
) -> Float[Array, "b h w 1"]:
    """Returns the scores of a square at the pixels of the slice.

    Outside nothing is added to the painter's scores, or else the previous mask stays.
    """
    shape = (prev_mask.shape[1], prev_mask.shape[2])
    values = put_back(scores, square, shape)
    if segmenter.prior != "none":
        return values
    is_inside = put_back(jnp.ones_like(scores), square, shape) > 0
    return jnp.where(is_inside, values, logit_of(prev_mask))


def _scores(
    segmenter: Segmenter, variables: Any, inputs: tuple[Array, ...], *, flip: bool
) -> Float[Array, "b h w 1"]:
    """Returns the network's scores of what it is shown."""
    if not flip:
        return segmenter.logits(variables, *inputs)
    logits = segmenter.logits(variables, *map(_with_mirror, inputs))
    pairs = logits.reshape(logits.shape[0] // 2, 2, *logits.shape[1:])
    return 0.5 * (pairs[:, 0] + pairs[:, 1, :, ::-1])


def _with_mirror(x: Float[Array, "b h w c"]) -> Float[Array, "2*b h w c"]:
    """Returns each row followed by its mirror image; neighbours, so they share a device."""
    return jnp.stack([x, x[:, :, ::-1]], axis=1).reshape(2 * x.shape[0], *x.shape[1:])


def _probability_on_crop(
    segmenter: Segmenter,
    variables: Any,
    image: Float[Array, "b h w c"],
    clicks: Clicks,
    prev_mask: Float[Array, "b h w 1"],
    box: Int[Array, "b 4"],
    shape: tuple[int, int],
    zoom: Zoom,
    flip: bool,
) -> Float[Array, "b h w 1"]:
    """Returns the network's answer on a crop resampled to `shape`, 0 outside its box."""
    patch = _probability(
        segmenter,
        variables,
        crop(image, box, shape),
        move_clicks(clicks, box, shape, scales_radius=zoom.scales_radius),
        crop(prev_mask, box, shape),
        flip=flip,
    )
    return paste(patch, box, (image.shape[1], image.shape[2]))


PIPELINES: dict[str, Callable[[Segmenter, Any, InferenceOptions], Predict]] = {
    "full_frame": lambda network, variables, options: full_frame(
        network, variables, flip=options.flip, orientations=options.orientations
    ),
    "zoom_in": lambda network, variables, options: zoom_in(
        network, variables, zoom=options.zoom, flip=options.flip
    ),
    "focalclick": lambda network, variables, options: focalclick(
        network, variables, focal=options.focal
    ),
}
NAMES = tuple(PIPELINES)
# Pipelines of two stages: the network needs a refiner, and mirror images are not averaged.
TWO_STAGES = ("focalclick",)
