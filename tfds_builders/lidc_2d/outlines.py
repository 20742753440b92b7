"""Outlines in whole pixels -> masks in their bounding boxes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

# A mask, and row and column of its first pixel in the slice.
Mask = tuple[Bool[np.ndarray, "h w"], tuple[int, int]]


def fill(points_yx: Int[np.ndarray, "n 2"], *, outline: bool) -> Mask:
    """Returns the pixels whose centre lies in a closed polygon (even-odd rule).

    Args:
      points_yx: Corners.
      outline: Whether pixels whose centre lies on the polygon itself are in the mask.
    """
    origin = points_yx.min(axis=0)
    start = points_yx - origin
    step = np.roll(start, -1, axis=0) - start
    height, width = start.max(axis=0) + 1
    # One crossing per edge and row: of its ends the upper one belongs to the edge, the lower not.
    crossings = np.abs(step[:, 0])
    edge = np.repeat(np.arange(len(start)), crossings)
    nth = np.arange(len(edge)) - np.repeat(np.cumsum(crossings) - crossings, crossings)
    rows = np.minimum(start[edge, 0], start[edge, 0] + step[edge, 0]) + nth
    slope = step[edge, 1] / step[edge, 0]
    columns = start[edge, 1] + (rows - start[edge, 0]) * slope
    # A pixel to the right of an odd number of crossings is inside.
    changes = np.zeros((height, width + 1), np.int64)
    np.add.at(changes, (rows, np.floor(columns).astype(np.int64) + 1), 1)
    mask = np.cumsum(changes, axis=1)[:, :width] % 2 == 1
    # Pixel centres on an edge: its ends, and between them every common divisor of the steps.
    parts = np.maximum(np.gcd(step[:, 0], step[:, 1]), 1)
    edge = np.repeat(np.arange(len(start)), parts)
    nth = np.arange(len(edge)) - np.repeat(np.cumsum(parts) - parts, parts)
    on_edge = start[edge] + step[edge] // parts[edge, None] * nth[:, None]
    mask[on_edge[:, 0], on_edge[:, 1]] = outline
    return mask, (int(origin[0]), int(origin[1]))


def stack(masks: Sequence[Mask]) -> tuple[Bool[np.ndarray, "n h w"], tuple[int, int]]:
    """Returns masks in their common bounding box, and the box's first pixel."""
    origins = np.asarray([origin for _, origin in masks])
    ends = origins + [mask.shape for mask, _ in masks]
    first = origins.min(axis=0)
    layers = np.zeros((len(masks), *(ends.max(axis=0) - first)), bool)
    for layer, (mask, _), (y, x) in zip(layers, masks, origins - first, strict=True):
        layer[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return layers, (int(first[0]), int(first[1]))


def trim(mask: Bool[np.ndarray, "h w"], origin: tuple[int, int]) -> Mask:
    """Returns a mask that is not empty in its own bounding box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    trimmed = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return trimmed, (origin[0] + int(rows[0]), origin[1] + int(columns[0]))
