"""Whether the values of a volume can be Hounsfield units.

Looked at is an even sample of the whole volume: how values are spread, how much of it is air (about
-1000) and soft tissue (about 0), how many different values there are. The rules are made so that a
crop without air, a scan clipped to a window, metal and padding of any value pass.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Num, Shaped

from ecc_jax.volumes.remarks import FileRemark

NOT_HU = "values are not Hounsfield units"
# Enough to measure a share of 0.1 % to a tenth of itself, few enough to take a few milliseconds.
SAMPLE_VOXELS = 1 << 18
# Padding below the scale of CT: values that stand alone at the low end, this far from the next.
PADDING_BELOW_HU, PADDING_GAP_HU, PADDING_SHARE = -900.0, 50.0, 1e-3
# Below these many voxels a share or a number of distinct values says nothing.
FEW_VOXELS, FEW_VOXELS_WIDE, FEW_VOXELS_DISTINCT = 512, 4096, 8192
MOST_METAL = 3e-3  # share of voxels above 4000: two hip prostheses fill about as much
MIN_DISTINCT = 16
SET_WINDOW = "rescale the file to HU, or set data.window_hu to its range"


class _Facts(NamedTuple):
    """What is known of a volume's values.

    Attributes:
      low: Lowest value of the whole volume.
      high: Highest value of the whole volume.
      ranked: Values of the sample, rising, without padding.
      step: Median difference of neighbours that differ, 0 if none do.
      is_whole: Whether the sample holds whole numbers only.
    """

    low: float
    high: float
    ranked: Shaped[np.ndarray, " n"]
    step: float
    is_whole: bool

    def share(self, low: float | int, high: float | int) -> float:
        """Returns the share of the sample from `low` to `high`."""
        first = np.searchsorted(self.ranked, low, "left")
        return float(np.searchsorted(self.ranked, high, "right") - first) / self.ranked.size

    def at(self, share: float) -> float:
        """Returns the value that this share of the sample does not exceed."""
        return float(self.ranked[round(share * (self.ranked.size - 1))])

    @property
    def distinct(self) -> int:
        """The number of different values in the sample."""
        return 1 + int(np.count_nonzero(self.ranked[1:] != self.ranked[:-1]))


def warn_unless_hu(values: Num[np.ndarray, "d h w"], path: Path) -> None:
    """Warns of values that cannot be Hounsfield units; blames the caller's caller.

    Args:
      values: The whole volume, finite.
      path: Its file or folder.
    """
    text = why_implausible(values)
    if text:
        warnings.warn(FileRemark(path, NOT_HU, text), stacklevel=3)


def why_implausible(values: Num[np.ndarray, "d h w"]) -> str | None:
    """Returns why values cannot be Hounsfield units, with cause and remedy; None if they can be.

    Args:
      values: The whole volume, finite.
    """
    facts = _facts(values)
    for rule in (_scaled, _impossible, _eight_bit, _shifted, _no_negatives, _no_tissue):
        if why := rule(facts):
            return (
                f"values {facts.low:g}..{facts.high:g} {why[0]}, not Hounsfield units (air -1000, "
                f"water 0); {why[1]}"
            )
    return None


def _facts(values: Num[np.ndarray, "d h w"]) -> _Facts:
    flat = values.ravel(order="K")
    # Odd, so that it does not fall on the same rows of a matrix of 512 again and again.
    stride = max(1, flat.size // SAMPLE_VOXELS) | 1
    sample = flat[::stride]
    beside = flat[1::stride]
    steps = np.abs(sample[: beside.size].astype(np.float32) - beside)
    steps = steps[steps > 0]
    ranked = np.sort(sample)
    for _ in range(3):  # outside the patient, outside the circle, outside the field of view
        ranked = _without_padding(ranked)
    return _Facts(
        float(values.min()),
        float(values.max()),
        ranked,
        float(np.median(steps)) if steps.size else 0.0,
        ranked.dtype.kind in "iu" or bool(np.array_equal(ranked, np.rint(ranked))),
    )


def _without_padding(ranked: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " m"]:
    """Returns ranked values without the lowest, if that is a value of padding."""
    low = ranked[0]
    count = int(np.searchsorted(ranked, low, "right"))
    # Interpolation leaves a few values between padding and image.
    near = int(np.searchsorted(ranked, float(low) + PADDING_GAP_HU, "right")) - count
    is_padding = low < PADDING_BELOW_HU and near <= 0.05 * count
    if not is_padding or not PADDING_SHARE * ranked.size <= count < ranked.size:
        return ranked
    return ranked[count:]


Why = tuple[str, str] | None


def _scaled(facts: _Facts) -> Why:
    """z-scores, [-1, 1], [0, 1], PET as SUV, masks: everything within a few units of 0."""
    low, high = facts.at(0.001), facts.at(0.999)
    if facts.low < PADDING_BELOW_HU and facts.distinct < 3:
        return None  # water in air, drawn by hand
    if low >= -0.05 and high <= 1.05:
        return "look scaled to 0..1, or are a mask", SET_WINDOW
    if low >= -1.05 and high <= 1.05:
        return "look scaled to -1..1", SET_WINDOW
    middle = facts.at(0.005) >= -12 and facts.at(0.995) <= 12
    # Noise of CT is some HU from voxel to voxel; that of z-scores is less than 1.
    quiet = not facts.is_whole and low >= -60 and high <= 60 and facts.step < 0.7
    if middle or quiet:
        return "look normalised (z-scores), or are PET or labels", SET_WINDOW
    return None


def _impossible(facts: _Facts) -> Why:
    """Values beyond any CT in more than the voxels of an implant."""
    if facts.ranked.size < FEW_VOXELS:
        return None
    above, below = facts.share(4000.5, np.inf), facts.share(-np.inf, -4000.5)
    if above > MOST_METAL:
        cause = "unsigned padding or signed numbers read as unsigned, or MR, PET or another unit"
        return f"lie above 4000 in {_percent(above)} of the voxels ({cause})", (
            "set padding to -1000 and store HU as int16, or set data.window_hu to the file's range"
        )
    if below > MOST_METAL:
        return (
            f"lie below -4000 in {_percent(below)} of the voxels (another unit, or damaged data)",
            "set padding to -1000 and convert the file again",
        )
    tissue, twice = facts.share(-200, 200), facts.share(-1124, -824)
    if facts.share(-np.inf, -1200) >= 0.05 and tissue < twice:
        return "look like HU - 1024, the intercept subtracted twice", "add 1024 to the file"
    return None


def _eight_bit(facts: _Facts) -> Why:
    """Grey values: cut off at 0 or 255, as no window of soft tissue ends by itself."""
    if facts.low == -128 and facts.high == 127:
        return "look like 8-bit grey values", SET_WINDOW
    if facts.low < 0 or facts.high > 255:
        return None
    cut = facts.at(0.01) <= 5 or facts.share(254.5, 255) >= 0.005
    if cut or (facts.low <= 5 and facts.high >= 250):
        return "look like 8-bit grey values or a CT cut off or masked at 0", SET_WINDOW
    return None


def _shifted(facts: _Facts) -> Why:
    """HU + 1024 and HU of the wrong sign: a narrow hill near 1000 where CT has scattered bone."""
    if facts.ranked.size < FEW_VOXELS:
        return None
    airy = facts.share(-1100, -300)
    # Soft tissue of the wrong sign lies below 0, air of HU + 1024 above but for its noise.
    if facts.share(-150, -10) > max(0.02, 0.3 * facts.share(0, 60)):
        dark = facts.share(500, 1100)
        if dark >= 0.05 and dark >= 0.8 * facts.share(300, np.inf) and airy < 0.5 * dark:
            return "look like HU of the wrong sign, air about +1000", "negate the file's values"
    if airy >= 0.02:
        return None
    hill, below = facts.share(850, 1200), facts.share(-np.inf, -60)
    if hill >= 0.05 and hill >= 0.5 * facts.share(300, 1900) and below < 0.005:
        return (
            "look like HU + 1024 without the intercept",
            "subtract 1024 from the file, or set data.window_hu to its range",
        )
    if facts.share(500, np.inf) >= 0.4 and facts.ranked.size >= FEW_VOXELS_WIDE and below < 0.05:
        return "look like HU + 1024 without the intercept, HU of the wrong sign, or MR", SET_WINDOW
    return None


def _no_negatives(facts: _Facts) -> Why:
    """A scale that starts at 0, over the range of a whole scan: MR, PET, or HU + 1024."""
    what = (
        "hold no negative number but padding, perhaps MR, PET, or HU + 1024 without the intercept",
        SET_WINDOW,
    )
    size, far = facts.ranked.size, facts.at(0.99)
    if facts.ranked[0] >= 0:
        # A small crop of bone may hold no fat.
        reach = far - facts.ranked[0]
        is_wide = reach >= (500 if size >= FEW_VOXELS_WIDE else 1500)
        # Below may be the air of a body drawn by hand.
        is_cut = facts.low >= 0 or facts.low < -1100
        has_floor = facts.high > 255 and facts.ranked[0] <= 5 and facts.share(-5, 5) >= 0.01
        return what if is_wide or (is_cut and has_floor) else None
    # A floor of 0 with the ringing of a resampling below it.
    has_floor = facts.share(-5, 5) >= 0.2 and far >= 300 and facts.share(-np.inf, -50) < 0.005
    return what if has_floor and size >= FEW_VOXELS else None


def _no_tissue(facts: _Facts) -> Why:
    """Nothing between air and contrast, or hardly any different values."""
    if facts.ranked.size >= FEW_VOXELS and facts.share(-1100, 600) < 0.002:
        return "hold neither air nor tissue", SET_WINDOW
    if facts.ranked.size >= FEW_VOXELS_DISTINCT and facts.distinct < MIN_DISTINCT:
        return (
            f"are fewer than {MIN_DISTINCT} different ones, perhaps labels or a quantised image",
            "give the CT itself",
        )
    return None


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
