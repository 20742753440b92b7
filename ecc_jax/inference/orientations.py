"""The eight orientations of a square: four turns, each with its mirror image."""

import jax.numpy as jnp
from jaxtyping import Array, Float

CHOICES = (1, 8)


def in_all_orientations(x: Float[Array, "b n n c"]) -> Float[Array, "8*b n n c"]:
    """Returns each row in its eight orientations, one after the other, so they share a device."""
    both = [x, x.swapaxes(1, 2)]
    flips = [y[:, ::rows, ::columns] for y in both for rows in (1, -1) for columns in (1, -1)]
    return jnp.stack(flips, axis=1).reshape(8 * x.shape[0], *x.shape[1:])


def mean_of_orientations(x: Float[Array, "m n n c"]) -> Float[Array, "_ n n c"]:
    """Returns the mean of eight orientations of each row, each turned back to the first."""
    parts = x.reshape(x.shape[0] // 8, 8, *x.shape[1:])
    signs = [(rows, columns) for rows in (1, -1) for columns in (1, -1)]
    back = [parts[:, i, ::r, ::c] for i, (r, c) in enumerate(signs)]
    back += [parts[:, 4 + i, ::r, ::c].swapaxes(1, 2) for i, (r, c) in enumerate(signs)]
    return sum(back[1:], back[0]) / 8
