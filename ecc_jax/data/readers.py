"""Several readers of one slice: what each drew, and what the others agree on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

# Bits of a record's reader masks.
READER_BITS = 8
# One whose disk it is, and two others at least: one other alone is no consensus.
MIN_READERS = 3


class Reading(NamedTuple):
    """One reader's outline of a slice, and what the other readers say.

    Attributes:
      reader: Number of the reader.
      own: What the reader drew; never empty.
      others: Pixels that at least half of the other readers drew; may be empty.
    """

    reader: int
    own: Bool[np.ndarray, "h w"]
    others: Bool[np.ndarray, "h w"]


def readings_of(reader_masks: UInt8[np.ndarray, "h w"], num_readers: int) -> list[Reading]:
    """Returns each outline of a slice beside the consensus of the other readers.

    Readers who could have drawn and drew nothing here say that nothing is here: they count among
    the others with an empty mask.

    Args:
      reader_masks: Bit r is set where reader r drew.
      num_readers: How many could have drawn on the slice, those who drew included.

    Returns:
      One entry per reader who drew something, by number; none with fewer than `MIN_READERS`
      readers.

    >>> bits = np.array([[0b111, 0b011, 0b001, 0b110]], np.uint8)
    >>> [r.others.astype(int).tolist() for r in readings_of(bits, 3)]
    [[[1, 1, 0, 1]], [[1, 1, 1, 1]], [[1, 1, 1, 1]]]
    """
    if num_readers < MIN_READERS:
        return []
    masks = [(reader_masks >> reader & 1) > 0 for reader in range(READER_BITS)]
    votes = np.sum(masks, axis=0, dtype=np.int32)
    return [
        Reading(reader, own, 2 * (votes - own) >= num_readers - 1)
        for reader, own in enumerate(masks)
        if own.any()
    ]
