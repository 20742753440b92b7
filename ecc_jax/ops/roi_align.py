"""ROI-align: cuts one box out of every map of a batch and resizes it, with traced boxes."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.ops import separable


def roi_align(
    x: Float[Array, "b h w c"], boxes: Float[Array, "b 4"], shape: tuple[int, int]
) -> Float[Array, "b height width c"]:
    """Averages bilinear samples over a grid of cells that divide each box.

    A box of size s along one axis is divided into `shape` cells of equal size. A cell is the mean
    of ceil(s / cells) samples along that axis, spread evenly. A sample reads the map at its
    position minus 0.5, since boxes are measured from the outer edge of the first pixel. Samples
    up to half a pixel outside the outer edges read the border pixel, samples beyond count as 0.

    Bilinear weights and their mean are separable, so this is two small matrix products per row
    of the batch, and so is the gradient with respect to `x`.

    Args:
      x: Maps, one box each.
      boxes: Half-open (y0, x0, y1, x1) in pixels of `x`, not necessarily whole: (0, 0, h, w) is
        everything. To use boxes of a larger image, multiply them by the ratio of the sizes. May
        be traced.
      shape: Height and width of the result, in cells, each at least 1.

    Returns:
      The cut-outs, of the type of `x`, computed in float32. A box without area gives zeros.
      Exact for boxes no larger than the map: the number of samples per cell is limited to
      ceil(h / height) and ceil(w / width), which must be known before the boxes are.

    Raises:
      ValueError: A size is below 1.

    Source: torchvision `roi_align(aligned=True, sampling_ratio=-1)`, one box per image.

    >>> x = jnp.arange(8.0).reshape(1, 2, 4, 1)
    >>> roi_align(x, jnp.array([[0.0, 0.0, 2.0, 4.0]]), (1, 2))[0, :, :, 0].tolist()
    [[2.5, 4.5]]
    """
    if min(*x.shape[1:3], *shape) < 1:
        raise ValueError(
            f"sizes must be at least 1, got {x.shape[1:3]} -> {shape}; check for empty axes"
        )
    y0, x0, y1, x1 = jnp.moveaxis(boxes.astype(jnp.float32), 1, 0)
    rows = _sampling_matrices(y0, y1, x.shape[1], shape[0])
    columns = _sampling_matrices(x0, x1, x.shape[2], shape[1])
    return separable.apply(rows, x, columns).astype(x.dtype)


def _sampling_matrices(
    low: Float[Array, " b"], high: Float[Array, " b"], size_in: int, size_out: int
) -> Float[Array, "b size_out size_in"]:
    """Returns, for every box, the weight of every input pixel of one axis in every cell."""
    most = -(-size_in // size_out)
    size = high - low
    # ceil(size / size_out), at most `most`, by comparing: a compiled division may round up where
    # an eager one is exact, and the number of samples would differ.
    count = jnp.sum(size[:, None] > (jnp.arange(most) * size_out)[None], axis=1)
    # [b cells samples]: sample s of `count` sits in the middle of its share of the cell.
    share = (jnp.arange(most) + 0.5)[None] / jnp.maximum(count, 1)[:, None]
    offset = jnp.arange(size_out, dtype=jnp.float32)[None, :, None] + share[:, None, :]
    position = (low - 0.5)[:, None, None] + offset * (size / size_out)[:, None, None]
    is_used = jnp.arange(most)[None, None] < count[:, None, None]
    is_used &= (position >= -1) & (position <= size_in)
    clipped = jnp.clip(position, 0, size_in - 1)[..., None]
    pixel = jnp.arange(size_in, dtype=jnp.float32)[None, None, None]
    weight = jnp.where(is_used[..., None], jnp.maximum(0, 1 - jnp.abs(clipped - pixel)), 0)
    return jnp.sum(weight, axis=2) / jnp.maximum(count, 1)[:, None, None]
