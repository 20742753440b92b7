"""Masks to begin with, for evaluations that refine instead of starting from nothing."""

import os
import zipfile
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from ecc_jax.ops.distance import squared_distance_transform
from ecc_jax.places import expanded

KINDS = ("eroded", "dilated", "shifted")


def damaged(
    keys: Key[Array, " b"], target: Bool[Array, "b h w"], *, kind: str, amount: float
) -> Bool[Array, "b h w"]:
    """Returns the ground truth with a defect, as an earlier method might have left it.

    The defect is measured in the lesion's own size: reach = amount x the depth of its deepest
    pixel, but at least one pixel, so that small lesions are spoilt too. Erosion leaves the
    deepest pixels at least; only a lesion of nothing else (a single pixel) is not changed by it.

    Args:
      keys: One PRNG key per row, for the direction of a shift.
      target: Ground truth; an empty one stays empty.
      kind: "eroded": pixels no deeper than the reach are lost. "dilated": pixels up to the reach
        around it are added. "shifted": it moves by the reach in a random direction, to whole
        pixels; what leaves the image is lost.
      amount: Above 0 and below 1.

    Raises:
      ValueError: Unknown kind.

    Source: the idea of DAVIS-585 (Chen et al. 2022, FocalClick), whose initial masks are ground
    truth spoilt until an IoU of 0.75 to 0.85; here without the random search.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    depth = squared_distance_transform(target).astype(jnp.float32)
    deepest = jnp.max(depth, axis=(1, 2), keepdims=True)
    squared_reach = jnp.maximum(amount**2 * deepest, 1.0)
    if kind == "eroded":
        return target & ((depth > squared_reach) | (depth == deepest))
    if kind == "dilated":
        outside = squared_distance_transform(~target, border_is_background=False)
        return target | ((outside.astype(jnp.float32) <= squared_reach) & (deepest > 0))
    angle = jax.vmap(lambda key: jax.random.uniform(key, maxval=2 * jnp.pi))(keys)
    direction = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=1)
    offset = jnp.round(jnp.sqrt(squared_reach[:, 0]) * direction).astype(jnp.int32)
    return jax.vmap(_shift)(target, offset)


def _shift(mask: Bool[Array, "h w"], offset: Array) -> Bool[Array, "h w"]:
    """Moves a mask; what enters from outside is False."""
    height, width = mask.shape
    y = jnp.arange(height) - offset[0]
    x = jnp.arange(width) - offset[1]
    moved = mask[jnp.clip(y, 0, height - 1)][:, jnp.clip(x, 0, width - 1)]
    return moved & ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]


class MaskFile(NamedTuple):
    """Masks of slices, from another method or an earlier evaluation.

    Attributes:
      path: Where they came from.
      masks: By (volume, slice index).
    """

    path: str
    masks: dict[tuple[str, int], Bool[np.ndarray, "h w"]]

    def of(self, row: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
        """Returns the mask of a slice of the dataset.

        Raises:
          ValueError: The file holds none for it.
        """
        key = (str(row["volume"]), int(row["slice_index"]))
        if key not in self.masks:
            raise ValueError(
                f"{self.path} holds no mask for volume {key[0]!r}, slice {key[1]}, but the "
                "evaluation uses it; add it (an empty mask is one, too), or lower eval.max_slices"
            )
        return self.masks[key]


def read_masks(path: str | os.PathLike[str], *, size: int) -> MaskFile:
    """Reads masks to begin with.

    Args:
      path: An .npz file with `masks` [n size size] (not 0 is lesion), `volume` [n] and
        `slice_index` [n], as `eval.save_masks` writes it: slices in the frame of the prepared
        dataset.
      size: Side of the prepared slices, pixels.

    Raises:
      ValueError: No such file, no .npz file, arrays missing or of the wrong shape, or a slice
        twice.
    """
    expected = (
        f"expected an .npz file with masks [n {size} {size}], volume [n] and slice_index [n], "
        "as --config.eval.save_masks=True writes it"
    )
    try:
        with np.load(expanded(path), allow_pickle=False) as file:
            masks, volumes, indices = (
                np.asarray(file[name]) for name in ("masks", "volume", "slice_index")
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"eval.start_mask: cannot read {path}: {error}; {expected}") from error
    if masks.ndim != 3 or masks.shape[1:] != (size, size):
        raise ValueError(f"eval.start_mask: {path}: masks have shape {masks.shape}; {expected}")
    if not len(masks) == len(volumes) == len(indices):
        raise ValueError(
            f"eval.start_mask: {path}: {len(masks)} masks, {len(volumes)} volumes and "
            f"{len(indices)} slice indices; {expected}"
        )
    keys = [(str(v), int(i)) for v, i in zip(volumes, indices, strict=True)]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"eval.start_mask: {path}: volume {twice[0]!r}, slice {twice[1]} is twice")
    return MaskFile(str(path), dict(zip(keys, masks != 0, strict=True)))


def write_masks(
    path: str | os.PathLike[str],
    rows: Iterable[dict[str, Any]],
    masks: Bool[np.ndarray, "m h w"],
) -> None:
    """Writes masks in the form that `read_masks` reads."""
    listed = list(rows)
    np.savez_compressed(
        path,
        masks=masks.astype(np.uint8),
        volume=np.array([str(row["volume"]) for row in listed]),
        slice_index=np.array([int(row["slice_index"]) for row in listed], np.int32),
    )


def mean_image(image: Float[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
    """Returns slices without content: every pixel has the slice's mean.

    What a network reaches on them it has from the disks and the previous mask alone.
    """
    return jnp.broadcast_to(jnp.mean(image, axis=(1, 2, 3), keepdims=True), image.shape)
