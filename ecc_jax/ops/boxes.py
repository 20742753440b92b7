"""Boxes around masks, half-open (y0, x0, y1, x1) in pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def mask_box(mask: Bool[Array, "b h w"]) -> Int[Array, "b 4"]:
    """Returns the smallest box that holds every foreground pixel of each row of the batch.

    Args:
      mask: True on foreground.

    Returns:
      int32 (y0, x0, y1, x1), half-open, so `mask[y0:y1, x0:x1]` is the smallest such crop.
      Four zeros where the mask is empty.

    >>> mask_box(jnp.array([[[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]], bool)).tolist()
    [[1, 1, 3, 3]]
    """
    in_row = jnp.any(mask, axis=2)
    in_column = jnp.any(mask, axis=1)
    box = jnp.stack(
        [
            jnp.argmax(in_row, axis=1),
            jnp.argmax(in_column, axis=1),
            in_row.shape[1] - jnp.argmax(in_row[:, ::-1], axis=1),
            in_column.shape[1] - jnp.argmax(in_column[:, ::-1], axis=1),
        ],
        axis=1,
    ).astype(jnp.int32)
    return jnp.where(jnp.any(in_row, axis=1)[:, None], box, 0)
