"""Reading slices of a prepared split in other processes."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ecc_jax.data import pipeline
from ecc_jax.data.window import clip_to_window


class SliceReader(NamedTuple):
    """Reads slices of a split; it may be sent to another process, which opens the data itself.

    Attributes:
      directory: The prepared dataset.
      split: train, validation or test.
      folds: A cross-validation in place of the prepared split.
    """

    directory: str
    split: str
    folds: pipeline.Folds = pipeline.NO_FOLDS

    def slices(self) -> pipeline.SliceSet:
        """Returns the slices of the split, opened once per process."""
        return _opened(self)

    def read(self, position: int) -> tuple[Float[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
        """Returns one slice in HU, clipped to its window, and its lesion mask."""
        row: Any = pipeline.read_row(self.slices(), position)
        return clip_to_window(row.image_hu, row.window_hu), row.target

    def window(self, position: int) -> tuple[float, float]:
        """Returns the HU window (low, high) of one slice."""
        low, high = np.asarray(self.slices().records[position]["window_hu"], np.float64)
        return float(low), float(high)


@functools.lru_cache(maxsize=8)
def _opened(reader: SliceReader) -> pipeline.SliceSet:
    return pipeline.open_split(Path(reader.directory), reader.split, folds=reader.folds)
