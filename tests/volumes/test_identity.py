"""A scan is recognised whatever a conversion did to it, and no other is taken for it."""

import nibabel as nib
import numpy as np
import pytest

from ecc_jax.volumes import identity, read_volume

SHAPE = (7, 20, 24)


@pytest.fixture
def hu():
    rng = np.random.default_rng(0)
    return np.rint(rng.normal(-200, 400, SHAPE)).clip(-1024, 2900).astype(np.int16)


COPIES = {
    "float": lambda hu: hu.astype(np.float32),
    "rounding errors": lambda hu: hu + np.float32(0.03) * np.sin(np.arange(hu.size)).reshape(SHAPE),
    "turned": lambda hu: hu.transpose(2, 0, 1)[::-1],
    "padding of another format": lambda hu: np.where(hu <= -1000, -3024, hu),
}
OTHERS = {
    "one voxel by one HU": lambda hu: hu + (np.arange(hu.size) == 777).reshape(SHAPE),
    "windowed": lambda hu: hu.clip(-150, 250),
    "shifted by a voxel": lambda hu: np.roll(hu, 1, axis=1),
    "a slice less": lambda hu: hu[1:],
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_recognised(hu, kind):
    assert identity.identity_of(COPIES[kind](hu)) == identity.identity_of(hu)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_images_are_others(hu, kind):
    assert identity.identity_of(OTHERS[kind](hu)) != identity.identity_of(hu)


def test_a_copy_that_nibabel_saved_with_the_old_header_is_recognised(tmp_path, hu):
    path, copy = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    affine = np.diag([-0.7, -0.7, 2.5, 1])
    nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), affine, header), path)
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine, image.header), copy)
    # The header's int16 makes it choose a slope, so the values are no whole numbers any more.
    assert nib.load(copy).dataobj.slope != 1
    one, other = (read_volume(file).image_hu for file in (path, copy))
    assert np.abs(one - other).max() > 0
    assert identity.identity_of(one) == identity.identity_of(other)


def test_images_scaled_to_one_are_told_apart_by_a_thousandth(hu):
    scaled = np.random.default_rng(1).uniform(0, 1, SHAPE).astype(np.float32)
    other = scaled.copy()
    other[3, 4, 5] += 0.002
    assert identity.identity_of(scaled) != identity.identity_of(other)


@pytest.mark.parametrize("value", [np.nan_to_num(np.float32(np.inf)), np.int64(2**62), -3e38])
def test_no_value_is_too_large(value):
    assert len(identity.identity_of(np.full((3, 4), value))) == identity.HEX_DIGITS
