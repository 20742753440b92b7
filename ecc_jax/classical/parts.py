"""A long search in parts: each is scored by whichever process is free, and kept in a file."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from ecc_jax import atomic
from ecc_jax.classical.methods import METHODS
from ecc_jax.classical.search import Case, score_all

# To be raised where a method changes, so that no old score is taken for a new one.
_FORMAT = 1
# Slices of a part: few enough that a killed search loses little and its estimate is steady.
PART_SLICES = 4
_SLOW_COST = 100

# Position in the split -> the slice in HU, clipped to its window, and its lesion mask.
Read = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Part(NamedTuple):
    """Some slices that one method is scored on; it may be sent to another process.

    Attributes:
      method: Its name in `METHODS`.
      read: Reads a slice.
      positions: Of the slices in their split.
      clicks: Row, column and radius of each slice's first click, pixels.
      values: Of the method's parameter.
      file: Where the scores are kept.
    """

    method: str
    read: Read
    positions: tuple[int, ...]
    clicks: tuple[tuple[float, float, float], ...]
    values: tuple[float, ...]
    file: Path

    @property
    def work(self) -> int:
        """How long it takes beside others: masks of a flood, of which a snake takes a hundred."""
        cost = _SLOW_COST if METHODS[self.method].is_slow else 1
        return cost * len(self.positions) * len(self.values)


def parts_of(
    method: str,
    read: Read,
    positions: Int[np.ndarray, " m"],
    clicks: Float[np.ndarray, "m 3"],
    values: Float[np.ndarray, " v"],
    *,
    folder: Path,
    source: str,
) -> list[Part]:
    """Returns the parts that score a method on slices with all values of its parameter.

    Args:
      method: Its name in `METHODS`.
      read: Reads a slice; it can be pickled.
      positions: Of the slices in their split.
      clicks: Row, column and radius of each slice's first click, pixels.
      values: Of the method's parameter.
      folder: Where the scores of finished parts are kept, in files named after all that they
        depend on, so that a changed search never takes the scores of another.
      source: What tells the slices from those of every other split of every dataset.
    """
    parts = []
    for start in range(0, len(positions), PART_SLICES):
        chosen = slice(start, start + PART_SLICES)
        where = tuple(int(p) for p in positions[chosen])
        told = tuple((float(y), float(x), float(r)) for y, x, r in clicks[chosen])
        tried = tuple(float(v) for v in values)
        key = json.dumps([_FORMAT, source, method, where, told, tried])
        name = f"{method}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"
        parts.append(Part(method, read, where, told, tried, folder / name))
    return parts


def score_part(part: Part) -> Float64[np.ndarray, "s v"]:
    """Returns the IoU of every slice of a part with every value; from its file where there is one.

    Raises:
      OSError: The file cannot be written.
      ValueError: The file is damaged.
    """
    if part.file.is_file():
        return _kept(part)
    slices = []
    for position, (y, x, radius) in zip(part.positions, part.clicks, strict=True):
        image, target = part.read(position)
        slices.append((Case(image, (y, x), radius), target))
    table = score_all(METHODS[part.method].segment, slices, part.values)
    atomic.write_text(part.file, json.dumps(table.tolist()))
    return table


def table_of(parts: Sequence[Part], results: Iterator[Any]) -> Float64[np.ndarray, "m v"]:
    """Returns the IoU of the slices of several parts, one row each.

    Args:
      parts: Of one method and split, in order.
      results: Yields what `score_part` returns for these parts first.
    """
    return np.concatenate([next(results) for _ in parts])


def _kept(part: Part) -> Float64[np.ndarray, "s v"]:
    try:
        table = np.asarray(json.loads(part.file.read_text(encoding="utf-8")), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{part.file} is damaged ({error}); delete it") from error
    if table.shape != (len(part.positions), len(part.values)):
        raise ValueError(
            f"{part.file} is damaged: expected {len(part.positions)} x {len(part.values)} scores, "
            f"got {table.shape}; delete it"
        )
    return table
