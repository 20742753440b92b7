"""Voxels block by block: a whole CT in floating point would fill the memory."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from jaxtyping import Num


def gather(
    blocks: Iterable[tuple[Any, np.ndarray]],
    shape: tuple[int, int, int],
    *,
    narrow: type[np.integer],
    wide: type[np.number],
    order: Literal["C", "F"],
) -> Num[np.ndarray, "d h w"]:
    """Returns blocks as one array: of type `narrow` if every value fits it exactly, else `wide`.

    Args:
      blocks: Index of a block in the array, and its values (finite).
      shape: Of the array.
      narrow: An integer type.
      wide: A type that holds every value of `narrow`.
      order: Memory layout.
    """
    values = np.empty(shape, narrow, order)
    for index, block in blocks:
        if values.dtype == narrow and not _fits(block, narrow):
            values = values.astype(wide)
        values[index] = block
    return values


def is_whole(values: np.ndarray) -> bool:
    """Returns whether all values are whole numbers."""
    return values.dtype.kind in "iu" or bool(np.array_equal(values, np.rint(values)))


def _fits(values: np.ndarray, dtype: type[np.integer]) -> bool:
    limits = np.iinfo(dtype)
    return is_whole(values) and bool(limits.min <= values.min() and values.max() <= limits.max)
