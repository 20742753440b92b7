"""Checks of finished records: what the window leaves of a slice, what two patients share."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from tfds_builders.remarks import Remark

FEW_LEVELS = "window leaves few grey levels"
SATURATED = "window saturates"
SHARED = "the same scan under two names"
MIN_LEVELS = 8
MAX_SATURATED = 0.9
# Pixels looked at: enough to tell 90 % from 89 %, and quick beside compressing the record.
SAMPLE_PIXELS = 2**16


def window_remarks(record: Mapping[str, Any]) -> Iterator[Remark]:
    """Yields what is wrong with the window of a lesion slice.

    Args:
      record: As stored, with image [size size] HU, window and fit.
    """
    pixels = _of_the_patient(record)
    step = max(1, math.isqrt(pixels.size // SAMPLE_PIXELS))
    sample = pixels[::step, ::step]
    low, high = (float(end) for end in record["window_hu"])
    first, last = round(low), round(high)
    counts = np.bincount(np.clip(sample, first, last).ravel().astype(np.int64) - first)
    levels = np.count_nonzero(counts)
    outside = np.count_nonzero((sample <= first) | (sample >= last)) / sample.size
    where = f"slice {int(record['slice_index'])}"
    if levels < MIN_LEVELS:
        yield Remark(
            FEW_LEVELS,
            f"{where}: the window {low:g}..{high:g} HU leaves {levels} grey levels; rescale the "
            "volume to HU, or set --config.data.window_hu to the range of the tissue",
        )
    if outside > MAX_SATURATED:
        yield Remark(
            SATURATED,
            f"{where}: {outside:.0%} of the pixels lie outside the window {low:g}..{high:g} HU; "
            "unless that is the air around a small body, set --config.data.window_hu to the range "
            "of the tissue, or rescale the volume to HU",
        )


def _of_the_patient(record: Mapping[str, Any]) -> Int[np.ndarray, "h w"]:
    """Returns the stored pixels without the padding that made the slice square."""
    image = record["image"]
    ends = []
    for length, (before, after) in zip(
        record["fit_original_shape"], record["fit_padding"], strict=True
    ):
        scale = image.shape[0] / int(before + length + after)
        start = math.ceil(int(before) * scale)
        ends.append(slice(start, max(start + 1, math.floor(int(before + length) * scale))))
    return image[tuple(ends)]


def shared_content(splits: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, str]:
    """Returns the volumes that share a slice or the whole scan with another patient, and with whom.

    Args:
      splits: For each split the columns patient, volume, volume_id and slice_id of its records.
    """
    owners: dict[str, set[tuple[str, str]]] = {}
    for table in splits.values():
        for patient, volume, *identities in zip(
            *(table[key] for key in ("patient", "volume", "volume_id", "slice_id")), strict=True
        ):
            for identity in identities:
                owners.setdefault(identity, set()).add((patient, volume))
    shared: dict[str, str] = {}
    for several in owners.values():
        if len({patient for patient, _ in several}) < 2:
            continue
        for patient, volume in several:
            other = min(name for owner, name in several if owner != patient)
            shared.setdefault(
                volume,
                f"as a whole or in part it is {other} of another patient; keep one, or let "
                "--config.data.patient_regex find one patient in both names",
            )
    return dict(sorted(shared.items()))
