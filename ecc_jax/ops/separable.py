"""Linear maps of images that act on rows and columns apart: one matrix per axis, two products.

Resizing, cropping and pooling are such maps; they differ in their matrices only, which stand
beside them. Every row of a matrix holds the weights with which one output pixel reads an axis.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# Default matmul precision rounds float32 to bfloat16 on TPU and TF32 on GPU, which would move
# grey values by up to 1/256.
_PRECISION = lax.Precision.HIGHEST


def apply(
    rows: Float[Array, "b H h"],
    image: Float[Array, "b h w *c"],
    columns: Float[Array, "b W w"],
    *,
    image_first: bool = False,
) -> Float[Array, "b H W *c"]:
    """Returns `rows @ image @ columns.T` of each row of the batch, with matrices of its own.

    Computed in float32, at full precision on every device.

    Args:
      rows: Weights of the input's rows in the output's.
      image: Images, with or without channels.
      columns: Weights of the input's columns in the output's.
      image_first: Order of the operands of the second product. It decides the rounding of the last
        bit on CPU and nothing else; callers keep theirs, so that recorded results stay the same.

    >>> import jax.numpy as jnp
    >>> image = jnp.array([[[1.0, 3.0], [5.0, 7.0]]])
    >>> mean, both = jnp.array([[[0.5, 0.5]]]), jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> apply(mean, image, both).tolist()
    [[[3.0, 5.0]]]
    """
    tall = jnp.einsum("bHh,bhw...->bHw...", rows, image.astype(jnp.float32), precision=_PRECISION)
    if image_first:
        return jnp.einsum("bHw...,bWw->bHW...", tall, columns, precision=_PRECISION)
    return jnp.einsum("bWw,bHw...->bHW...", columns, tall, precision=_PRECISION)


def apply_shared(
    rows: Float[np.ndarray, "H h"],
    image: Float[Array, "b h w c"],
    columns: Float[np.ndarray, "W w"],
) -> Float[Array, "b H W c"]:
    """Returns `rows @ image @ columns.T` with the same constant matrices for the whole batch.

    Computed in float32, columns first. An axis of unchanged size is left alone.

    Args:
      rows: Weights of the input's rows in the output's; the identity if square.
      image: Images or feature maps.
      columns: Weights of the input's columns in the output's; the identity if square.

    Returns:
      The maps, of the type of `image`; `image` itself where no size changes.

    >>> import jax.numpy as jnp
    >>> image = jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1)
    >>> middle = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], np.float32)
    >>> apply_shared(np.eye(1, dtype=np.float32), image, middle)[0, 0, :, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    b, h, w, c = image.shape
    height, width = len(rows), len(columns)
    if (h, w) == (height, width):
        return image
    y = image.astype(jnp.float32)
    if width != w:
        y = _multiply(columns, y.reshape(b * h, w, c))
    if height != h:
        y = _multiply(rows, y.reshape(b, h, width * c))
    return y.reshape(b, height, width, c).astype(image.dtype)


def _multiply(matrix: Float[np.ndarray, "m k"], x: Float[Array, "n k c"]) -> Float[Array, "n m c"]:
    """Returns `matrix @ x[i]` for every i; the matrix is repeated so that nothing is transposed."""
    repeated = jnp.broadcast_to(jnp.asarray(matrix)[None], (x.shape[0], *matrix.shape))
    return jnp.matmul(repeated, x, precision=_PRECISION)
