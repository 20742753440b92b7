"""Identities of scans: the same for the same image, whatever its file is called.

The same scan has the same identity under another path or name, in another file format, with its
axes in another order or running the other way, as int16 or as float32, and with the rounding errors
and the padding that conversions leave. Any voxel that is looked at and changed by one HU gives
another identity; so a copy that was windowed or resampled has another. Synthetic patients, which
can be drawn in any size, are known by what they are drawn from: `phantom.volumes`.
"""

import hashlib

import numpy as np
from jaxtyping import Num, Shaped

# Positions looked at along each axis of a slice, and of a volume: few enough to cost nothing beside
# reading, and so many that scans that differ somewhere differ there.
SLICE_SAMPLES, VOLUME_SAMPLES = 512, 128
# Values are compared in whole HU: a file that stores a slope of its own is off by hundredths.
# Images of a smaller range were scaled; of them only steps of 1 / this tell them apart.
HU_RANGE, STEPS_PER_UNIT = 64, 1024
# Padding and metal, which lie beyond, become other values in other formats.
LOWEST_HU, HIGHEST_HU = -1000, 3000
HEX_DIGITS = 16  # 64 bits: among a million scans two share one with a chance of 3e-8


def identity_of(image: Num[np.ndarray, "..."]) -> str:
    """Returns 16 hexadecimal digits that tell images apart, the same for a turned or mirrored copy.

    Of each axis the sums over all others are taken; an axis counts as itself reversed, and the
    order of the axes does not count. Of long axes evenly spaced, symmetric positions are used.

    Args:
      image: A slice [h w] or a volume [d h w], finite values, any numeric type.
    """
    most = SLICE_SAMPLES if image.ndim == 2 else VOLUME_SAMPLES
    sample = image
    if max(image.shape) > most:
        sample = image[np.ix_(*(_places(length, most) for length in image.shape))]
    # Clipped before anything is converted, so that no number is too large for it.
    sample = np.clip(sample.astype(np.float64), LOWEST_HU, HIGHEST_HU)
    is_hu = sample.size and np.ptp(sample) > HU_RANGE
    steps = np.rint(sample if is_hu else sample * STEPS_PER_UNIT).astype(np.int64)
    profiles = []
    for axis in range(steps.ndim):
        others = tuple(other for other in range(steps.ndim) if other != axis)
        profile = steps.sum(axis=others)
        head = image.shape[axis].to_bytes(8, "little")
        profiles.append(head + min(profile.tobytes(), profile[::-1].tobytes()))
    return hash_of(*sorted(profiles))


def hash_of(*parts: bytes) -> str:
    """Returns the hash of some bytes in the form of an identity."""
    digest = hashlib.blake2b(digest_size=HEX_DIGITS // 2)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _places(length: int, most: int) -> Shaped[np.ndarray, " n"]:
    """Returns positions along an axis that are the same counted from either end."""
    if length <= most:
        return np.arange(length)
    half = np.arange(most // 2) * length // most
    return np.concatenate([half, (length - 1 - half)[::-1]])
