"""Masks to begin with, for evaluations that refine instead of starting from nothing."""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ecc_jax import atomic
from ecc_jax.places import expanded


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
        raise ValueError(f"eval.initial_mask: cannot read {path}: {error}; {expected}") from error
    if masks.ndim != 3 or masks.shape[1:] != (size, size):
        raise ValueError(f"eval.initial_mask: {path}: masks have shape {masks.shape}; {expected}")
    if not len(masks) == len(volumes) == len(indices):
        raise ValueError(
            f"eval.initial_mask: {path}: {len(masks)} masks, {len(volumes)} volumes and "
            f"{len(indices)} slice indices; {expected}"
        )
    keys = [(str(v), int(i)) for v, i in zip(volumes, indices, strict=True)]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        where = f"volume {twice[0]!r}, slice {twice[1]}"
        raise ValueError(f"eval.initial_mask: {path}: {where} is twice")
    return MaskFile(str(path), dict(zip(keys, masks != 0, strict=True)))


def write_masks(
    path: str | os.PathLike[str],
    rows: Iterable[dict[str, Any]],
    masks: Bool[np.ndarray, "m h w"],
) -> None:
    """Writes masks in the form that `read_masks` reads."""
    listed = list(rows)
    arrays = {
        "masks": masks.astype(np.uint8),
        "volume": np.array([str(row["volume"]) for row in listed]),
        "slice_index": np.array([int(row["slice_index"]) for row in listed], np.int32),
    }
    atomic.write_arrays(Path(path), arrays)


def mean_image(image: Float[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
    """Returns slices without content: every pixel has the slice's mean.

    What a network reaches on them it has from the disks and the previous mask alone.
    """
    return jnp.broadcast_to(jnp.mean(image, axis=(1, 2, 3), keepdims=True), image.shape)
