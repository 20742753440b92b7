"""Values that are no Hounsfield units are noticed; those of any CT are not."""

import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax import volumes

SHAPE = (40, 36, 12)
PADDING = [-1024, -1500, -2000, -2048, -3024, -32768]


def make_ct(seed: int = 0, *, has_air: bool = True) -> np.ndarray:
    """Returns whole Hounsfield units of a body [d h w]: fat, soft tissue, bone, lung, air."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    radius = np.hypot(y, x)[..., None] * np.ones(SHAPE[2])
    hu = np.where(radius < 0.75, 40.0, -100.0)
    hu[np.hypot(y, x - 0.3) < 0.12] = 700.0
    if has_air:
        hu[np.hypot(y, x + 0.3) < 0.25] = -850.0
        hu[radius > 0.9] = -1000.0
    bone = hu == 700
    hu[bone] += rng.uniform(-450, 700, bone.sum())
    return np.rint(hu + rng.normal(0, 12, SHAPE))


def pad(values: np.ndarray, padding: float) -> np.ndarray:
    """Returns a volume whose first rows hold another value."""
    padded = values.copy()
    padded[:6] = padding
    return padded


def scores(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def grey(low: float, high: float):
    return lambda hu: np.rint((hu.clip(low, high) - low) / (high - low) * 255)


# What becomes of HU, and words of the cause.
WRONG = {
    "z-scores": (scores, "z-scores"),
    "z-scores of the body": (lambda hu: (hu - 20) / 65, "z-scores"),
    "z-scores, clipped": (lambda hu: (hu.clip(-79, 304) - 101) / 77, "z-scores"),
    "z-scores in padding": (lambda hu: pad(scores(hu), -2000), "z-scores"),
    "thousands": (lambda hu: hu.clip(-1000, 1000) / 1000, "-1..1"),
    "-1..1": (lambda hu: (hu.clip(-160, 240) - 40) / 200, "-1..1"),
    "0..1": (lambda hu: (hu - hu.min()) / np.ptp(hu), "0..1"),
    "mask": (lambda hu: (hu > 0).astype(np.uint8), "mask"),
    "labels": (lambda hu: (hu > 0).astype(np.uint8) + 4 * (hu > 200), "labels"),
    "8 bit of a window": (grey(-160, 240), "8-bit"),
    "8 bit of everything": (grey(-1000, 1400), "8-bit"),
    "8 bit, signed": (lambda hu: grey(-160, 240)(hu) - 128, "8-bit"),
    "8 bit in padding": (lambda hu: pad(grey(-160, 240)(hu), 0), "8-bit"),
    "HU + 1024": (lambda hu: (hu + 1024).clip(0), "1024 without the intercept"),
    "HU + 1000": (lambda hu: (hu + 1000).clip(0), "1024 without the intercept"),
    "HU - 1024": (lambda hu: hu - 1024, "subtracted twice"),
    "wrong sign": (lambda hu: -hu, "wrong sign"),
    "unsigned padding": (lambda hu: pad(hu, 63536), "above 4000"),
    "padding of the full range": (lambda hu: pad(hu, 65535), "above 4000"),
    "padding 30000": (lambda hu: pad(hu, 30000), "above 4000"),
    "negative as unsigned": (lambda hu: np.where(hu < 0, hu + 65536, hu), "above 4000"),
    "32768 added": (lambda hu: hu + 32768, "above 4000"),
    "bytes swapped": (lambda hu: hu.astype(np.int16).byteswap(), "000"),
    "tenths": (lambda hu: hu * 10, "000"),
    "MR": (lambda hu: np.abs(hu + 1000) * 0.7, "MR"),
    "PET": (lambda hu: (hu > -300) * np.abs(scores(hu)) * 9000, "PET"),
    "PET as SUV": (lambda hu: (hu > -300) * np.abs(scores(hu)), "PET"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_hounsfield_units(case, seed):
    values, says = WRONG[case][0](make_ct(seed)), WRONG[case][1]
    why = volumes.why_implausible(values)
    assert why is not None and says in why and "\n" not in why
    assert f"values {values.min():g}..{values.max():g} " in why
    for axes in ((1, 0, 2), (2, 1, 0)):  # layouts in memory
        assert volumes.why_implausible(np.ascontiguousarray(values.transpose(axes))) == why


@pytest.mark.parametrize("padding", [0, *PADDING])
@pytest.mark.parametrize("has_air", [True, False])
def test_missing_intercept_is_seen_through_padding(padding, has_air):
    values = pad(make_ct(has_air=has_air) + 1024, padding)
    assert "1024 without the intercept" in volumes.why_implausible(values)


@given(st.integers(0, 99), st.floats(1e-6, 1e-3), st.floats(-0.1, 0.1))
def test_any_scale_of_units_is_noticed(seed, slope, intercept):
    assert "look" in volumes.why_implausible(make_ct(seed) * slope + intercept)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e5, 1e30])
def test_float_noise(scale):
    values = np.random.default_rng(0).normal(0, scale, SHAPE).astype(np.float32)
    assert volumes.why_implausible(values) is not None


def test_few_distinct_values():
    levels = np.random.default_rng(0).integers(0, 5, (40, 40, 20)) * 100 - 200
    assert "fewer than 16 different" in volumes.why_implausible(levels)


CT = {
    "as it is": lambda hu: hu,
    "float": lambda hu: (hu + 0.37).astype(np.float32),
    "clipped as stored": lambda hu: hu.clip(-1024, 3071),
    "window of the lung": lambda hu: hu.clip(-1000, 400),
    "window of soft tissue": lambda hu: hu.clip(-160, 240),
    "contrast": lambda hu: np.where(hu > 40, hu + 250, hu),
    "a crop without air": lambda hu: hu[14:22, 12:18],
    "no noise in air": lambda hu: np.where(hu < -900, -1000, hu),
}


@pytest.mark.parametrize("case", CT)
@given(
    seed=st.integers(0, 99),
    padding=st.sampled_from([None, *PADDING]),
    metal=st.floats(0, 0.001),
    has_air=st.booleans(),
)
def test_ct_passes(case, seed, padding, metal, has_air):
    hu = CT[case](make_ct(seed, has_air=has_air)).copy()
    rng = np.random.default_rng(seed)
    flat = hu.reshape(-1)
    chosen = rng.choice(flat.size, int(metal * flat.size), replace=False)
    flat[chosen] = rng.integers(3000, 30000, chosen.size)
    if padding is not None:
        hu[: len(hu) // 4] = padding
    assert volumes.why_implausible(hu) is None


@given(st.integers(0, 99), st.floats(20, 200), st.floats(6, 30), st.integers(2, 20))
def test_soft_tissue_without_air_passes(seed, mean, deviation, side):
    """Bright organs hold no negative number, dim ones do."""
    rng = np.random.default_rng(seed)
    hu = np.rint(rng.normal(mean, deviation, (side, side, side)))
    # One that starts at 0 by chance cannot be told from grey values.
    if hu.min() < 0 or hu.min() > 5:
        assert volumes.why_implausible(hu) is None


@pytest.mark.parametrize("shape", [(16, 16, 8), (32, 32, 6), (3, 4, 5)])
@pytest.mark.parametrize("tissue", [40, -20, 0, 120])
def test_tiny_drawings_pass(shape, tissue):
    hu = np.full(shape, tissue, np.int16)
    hu[0] = -1000
    assert volumes.why_implausible(hu) is None
    hu[1, 1:3] = 300
    assert volumes.why_implausible(hu) is None


def test_the_whole_volume_is_looked_at():
    """Air in every slice but the middle ones; a rule on some slices would see air alone."""
    hu = np.full((128, 128, 64), -1000.0)
    hu[..., 24:40] = np.random.default_rng(0).normal(40, 10, (128, 128, 16))
    assert volumes.why_implausible(hu) is None
    assert "1024" in volumes.why_implausible(hu + 1024)


def test_the_reader_remarks_once(tmp_path):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(scores(make_ct()), np.diag([-0.7, -0.7, 5, 1])), path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volumes.read_volume(path)
    (remark,) = (w.message for w in caught)
    assert isinstance(remark, volumes.FileRemark)
    assert (remark.path, remark.kind) == (path, "values are not Hounsfield units")
    assert str(remark).startswith(f"{path}: values ") and "data.window_hu" in str(remark)
