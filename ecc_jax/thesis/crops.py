"""Crops of training beside the crops that the networks are shown in use, as panels to draw."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ecc_jax.data import augment, pipeline
from ecc_jax.data.window import apply_window
from ecc_jax.inference import crops
from ecc_jax.report.dataset_figures import Panel
from ecc_jax.types import Clicks

TARGET_SHAPE = (256, 256)
# FocalClick's, thesis section 3.1.
TARGET_CROP = crops.Zoom(min_crop=10, expansion=1.4)
FULL_SIZE = 512
find_region = jax.jit(crops.find_region, static_argnames=("zoom", "keeps_aspect"))


def strategies(
    bounds: Sequence[float], *, crop_sizes: str = "uniform"
) -> dict[str, augment.Augmentation]:
    """Returns every strategy that changes a slice.

    Args:
      bounds: Of optimal_crop, the sides of its crops as shares of the slice.
      crop_sizes: How the sides of stretched crops are drawn, one of `placement.RULES`.
    """
    found = {}
    for name in augment.NAMES:
        own = augment.STRATEGIES[name]
        if name == augment.MEASURED:
            own = own._replace(bounds=tuple(bounds))
        if name in augment.STRETCHED:
            own = own._replace(crop_sizes=crop_sizes)
        if name != "none":
            found[name] = own._replace(crop=None) if name in augment.UNCROPPED else own
    return found


def panels_of_strategies(
    slices: pipeline.SliceSet,
    chosen: Sequence[int],
    options: dict[str, augment.Augmentation],
    *,
    seed: int,
) -> list[Panel]:
    """Returns slice, Target Crop and one draw of each strategy, slice by slice.

    Args:
      slices: A split.
      chosen: Its slices to draw.
      options: Strategies by name; the crop of one without bounds counts pixels of slices of 512,
        and is in proportion on others.
      seed: Of the draws.
    """
    rows = pipeline.stack([pipeline.read_row(slices, position) for position in chosen])
    image = apply_window(jnp.asarray(rows.image_hu), jnp.asarray(rows.window_hu))
    target = jnp.asarray(rows.target) > 0
    columns = [columns_of("slice", image, target), target_crops(image, target)]
    keys = jax.random.split(jax.random.key(seed), len(chosen))
    for name, own in options.items():
        if own.crop and not own.bounds:
            height, width = (max(side * image.shape[1] // FULL_SIZE, 1) for side in own.crop)
            own = own._replace(crop=(height, width))
        seen, mask = augment.augment_slices(keys, image, target, own)
        columns.append(columns_of(name, seen[..., 0], mask))
    return [column[i] for i in range(len(chosen)) for column in columns]


def columns_of(name: str, image: Any, mask: Any) -> list[Panel]:
    """Returns a column of panels, with the lesion's area below each."""
    return [
        Panel(one, lesion, f"{name}\n{one.shape[0]} x {one.shape[1]}, lesion {lesion.sum()} px")
        for one, lesion in zip(np.asarray(image), np.asarray(mask), strict=True)
    ]


def target_crops(image: Float[Array, "b h w"], target: Bool[Array, "b h w"]) -> list[Panel]:
    """Returns FocalClick's Target Crop of each slice, around the true mask."""
    box = lesion_box(target, TARGET_CROP)
    return columns_of("Target Crop", *cropped(image, target, box, TARGET_SHAPE))


def lesion_box(target: Bool[Array, "b h w"], zoom: crops.Zoom) -> Int[Array, "b 4"]:
    """Returns the crop that a network is shown of each slice once its mask is the true one."""
    rows, _, width = target.shape
    place = jnp.argmax(target.reshape(rows, -1), axis=1)
    yx = jnp.stack([place // width, place % width], axis=-1).astype(jnp.float32)
    clicks = Clicks(  # two on a lesion pixel: the first is answered on the whole slice
        jnp.repeat(yx[:, None], 2, axis=1),
        jnp.ones((rows, 2)),
        jnp.ones((rows, 2), bool),
        jnp.full(rows, 2, jnp.int32),
    )
    mask = target[..., None].astype(jnp.float32)
    return find_region(mask, clicks, zoom, keeps_aspect=False).box


def cropped(
    image: Float[Array, "b h w"],
    target: Bool[Array, "b h w"],
    box: Int[Array, "b 4"],
    shape: tuple[int, int],
) -> tuple[Float[Array, "b H W"], Bool[Array, "b H W"]]:
    """Returns boxes of slices and of their masks, resampled to `shape`."""
    patch = crops.crop(jnp.stack([image, target.astype(jnp.float32)], axis=-1), box, shape)
    return patch[..., 0], patch[..., 1] > 0.5
