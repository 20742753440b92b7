"""Voxel sizes and orientation of NIfTI headers: unknown, contradictory, or oddly written."""

import itertools
import logging
import struct
import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ecc_jax import volumes

SHAPE = (5, 6, 4)
GOOD = np.array([[0, -0.8, 0, 100], [-0.7, 0, 0, 120], [0, 0, 5, -300], [0, 0, 0, 1.0]])
GOOD_MM = (0.7, 0.8, 5)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def write(path, array, *, sform=None, qform=None, pixdim=None):
    """Writes a file with the forms given, then puts pixdim into the bytes as it is."""
    image = nibabel.Nifti1Image(array, None)
    image.header.set_qform(qform, None if qform is None else 1)
    image.header.set_sform(sform, None if sform is None else 2)
    if qform is None:
        image.header["qform_code"] = 0
    raw = bytearray(image.to_bytes())
    if pixdim is not None:
        at = 80 if len(pixdim) == 3 else 76
        raw[at : at + 4 * len(pixdim)] = struct.pack(f"<{len(pixdim)}f", *pixdim)
    path.write_bytes(raw)
    return path


def read(path):
    """Returns volume and remarks; geometry alone and volume must say the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = volumes.read_volume(path)
        remarks = [w.message for w in caught]
        geometry = volumes.read_geometry(path)
    assert [str(w.message) for w in caught[len(remarks) :]] == [str(r) for r in remarks]
    assert all(isinstance(remark, volumes.FileRemark) for remark in remarks)
    assert all(remark.path == path and "\n" not in str(remark) for remark in remarks)
    np.testing.assert_array_equal(geometry.spacing_mm, volume.spacing_mm)
    np.testing.assert_array_equal(geometry.affine, volume.affine)
    assert geometry.has_affine == volume.has_affine
    return volume, remarks


def identities():
    """Yields the 48 affines that are an identity up to order and signs of the axes."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[:, axes] * signs
            yield affine


@pytest.mark.parametrize("forms", [("sform",), ("qform",), ("sform", "qform")])
def test_identities_say_nothing(tmp_path, hu, forms):
    for affine in identities():
        given_forms = dict.fromkeys(forms, affine)
        sizes = None if "qform" in forms else (1, 1, 1)
        volume, (remark,) = read(write(tmp_path / "a.nii", hu, **given_forms, pixdim=sizes))
        assert np.isnan(volume.spacing_mm).all() and not volume.has_affine
        assert np.isfinite(volume.affine).all()
        assert remark.kind == "pixel size unknown" and "pixels" in str(remark)
        for axis in range(3):
            upright = volumes.display_orientation(volume.geometry, slice_axis=axis)
            assert upright == volumes.ARRAY_ORDER


@pytest.mark.parametrize("unit", ["mm", "meter", "micron", "unknown"])
def test_identity_of_nibabel_in_any_unit(tmp_path, hu, unit):
    image = nibabel.Nifti1Image(hu, np.eye(4))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert np.isnan(read(tmp_path / "a.nii.gz")[0].spacing_mm).all()


def test_no_code_and_sizes_of_one(tmp_path, hu):
    volume, (remark,) = read(write(tmp_path / "a.nii", hu, pixdim=(1, 1, 1)))
    assert np.isnan(volume.spacing_mm).all() and not volume.has_affine
    assert remark.kind == "pixel size unknown"


def test_no_code_but_sizes(tmp_path, hu):
    volume, remarks = read(write(tmp_path / "a.nii", hu, pixdim=(0.7, 0.8, 5)))
    np.testing.assert_allclose(volume.spacing_mm, GOOD_MM, rtol=1e-6)
    assert not volume.has_affine and not remarks


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_isotropic_millimetres_with_a_place_are_known(tmp_path, hu, form):
    affine = np.diag([-1.0, -1, 1, 1])
    affine[:3, 3] = 3, -2, 0.5
    volume, remarks = read(write(tmp_path / "a.nii", hu, **{form: affine}, pixdim=(1, 1, 1)))
    assert volume.spacing_mm == (1, 1, 1) and volume.has_affine and not remarks


def test_unknown_sizes_match_each_other_by_index(tmp_path, hu):
    like = read(write(tmp_path / "i.nii", hu, sform=np.eye(4), pixdim=(1, 1, 1)))[0]
    label = np.arange(hu.size).reshape(SHAPE) % 2
    path = write(tmp_path / "l.nii", label.astype(np.uint8), pixdim=(1, 1, 1))
    for match in ("geometry", "index"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(volumes.read_label(path, like=like, match=match), label)


def test_agreeing_forms_give_the_sform_in_silence(tmp_path, hu):
    moved = GOOD.copy()
    moved[:3, 3] += 40  # another frame of reference
    volume, remarks = read(write(tmp_path / "a.nii", hu, sform=moved, qform=GOOD))
    np.testing.assert_allclose(volume.affine, moved, rtol=1e-6)
    assert not remarks


BAD_SFORMS = {
    "identity": np.eye(4),
    "mirrored identity": np.diag([-1.0, -1, 1, 1]),
    "sizes of one in place": GOOD / np.array([0.7, 0.8, 5, 1]),
    "a tenth": GOOD @ np.diag([0.1, 0.1, 0.1, 1]),
    "slices 2 % too far": GOOD @ np.diag([1, 1, 1.02, 1]),
    "zeros": np.diag([0.0, 0, 0, 1]),
    "not a number": np.full((4, 4), np.nan),
}


@pytest.mark.parametrize("case", BAD_SFORMS)
def test_a_sform_against_pixdim_gives_way_to_the_qform(tmp_path, hu, case):
    path = write(tmp_path / "a.nii", hu, sform=BAD_SFORMS[case], qform=GOOD)
    volume, (remark,) = read(path)
    np.testing.assert_allclose(volume.affine, GOOD, atol=1e-5)
    assert volume.has_affine
    assert remark.kind == "sform and qform differ"
    assert "the qform is used" in str(remark) and "0.7 x 0.8 x 5" in str(remark)


@given(
    st.lists(st.floats(0.3, 8), min_size=3, max_size=3),
    st.lists(st.floats(0.3, 8), min_size=3, max_size=3),
    st.integers(0, 9999),
)
def test_the_form_that_agrees_with_pixdim_wins(tmp_path_factory, true_mm, other_mm, seed):
    """Sizes of the volume are those of pixdim, whatever the sform says; within 1 % it is used."""
    turn = Rotation.random(random_state=seed).as_matrix()
    forms = []
    for sizes in (other_mm, true_mm):
        form = np.eye(4)
        form[:3, :3], form[:3, 3] = turn * sizes, (1, 2, 3)
        forms.append(form)
    path = tmp_path_factory.mktemp("forms") / "a.nii"
    image = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    volume, remarks = read(write(path, image, sform=forms[0], qform=forms[1]))
    np.testing.assert_allclose(volume.spacing_mm, true_mm, rtol=0.0101)
    apart = np.abs(np.array(other_mm) / true_mm - 1).max()
    if apart < 0.0099:
        np.testing.assert_allclose(volume.affine, forms[0], rtol=1e-5, atol=1e-5)
    if not 0.0099 < apart < 0.0101:
        assert bool(remarks) == (apart > 0.01)


def test_axes_that_run_another_way_are_said(tmp_path, hu):
    volume, (remark,) = read(
        write(tmp_path / "a.nii", hu, sform=GOOD @ np.diag([-1, 1, 1, 1.0]), qform=GOOD)
    )
    np.testing.assert_allclose(volume.affine[:3, 0], -GOOD[:3, 0], atol=1e-6)
    assert remark.kind == "sform and qform differ" and "the sform is used" in str(remark)


def test_a_lone_sform_is_used_whatever_pixdim(tmp_path, hu):
    for pixdim, kinds in (
        ((1, 1, 1), []),
        ((0, 0, 0), []),
        ((2, 2, 2), ["sform and qform differ"]),
    ):
        volume, remarks = read(write(tmp_path / "a.nii", hu, sform=GOOD, pixdim=pixdim))
        np.testing.assert_allclose(volume.spacing_mm, GOOD_MM, rtol=1e-6)
        assert [remark.kind for remark in remarks] == kinds


def test_a_lone_identity_gives_way_to_pixdim(tmp_path, hu):
    path = write(tmp_path / "a.nii", hu, sform=np.eye(4), pixdim=(0.7, 0.8, 5))
    volume, (remark,) = read(path)
    np.testing.assert_allclose(volume.spacing_mm, GOOD_MM, rtol=1e-6)
    assert not volume.has_affine and "from pixdim" in str(remark)


def test_an_identity_as_qform_gives_way_to_the_sform(tmp_path, hu):
    path = write(tmp_path / "a.nii", hu, sform=GOOD, qform=np.eye(4))
    volume, (remark,) = read(path)
    np.testing.assert_allclose(volume.affine, GOOD, rtol=1e-6)
    assert volume.has_affine and "the sform is used" in str(remark)


ODD_PIXDIM = {
    "sign 0": (0.0, 0.7, 0.8, 5.0),
    "sign of nonsense": (3.0, 0.7, 0.8, 5.0),
    "sign -1": (-1.0, 0.7, 0.8, 5.0),
    "negative sizes": (1.0, -0.7, -0.8, 5.0),
    "all negative": (-1.0, -0.7, -0.8, -5.0),
    "sign 0, negative": (0.0, 0.7, -0.8, -5.0),
}


@pytest.mark.parametrize("case", ODD_PIXDIM)
def test_pixdim_is_read_as_nibabel_does(tmp_path, hu, case, caplog):
    path = write(tmp_path / "a.nii", hu, qform=GOOD, pixdim=ODD_PIXDIM[case])
    with caplog.at_level(logging.DEBUG):
        volume, remarks = read(path)
    assert not caplog.records and not remarks
    np.testing.assert_allclose(volume.affine, nibabel.load(path).affine, rtol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, GOOD_MM, rtol=1e-6)
    np.testing.assert_array_equal(volume.image_hu, hu)


def test_a_qform_without_sense(tmp_path, hu):
    """Beside a sform it is not looked at; alone it is an error."""
    for sform in (GOOD, None):
        path = write(tmp_path / "a.nii", hu, sform=sform, qform=GOOD)
        raw = bytearray(path.read_bytes())
        raw[256:268] = struct.pack("<fff", 3, 3, 3)  # no unit quaternion
        path.write_bytes(raw)
        if sform is None:
            with pytest.raises(ValueError, match="header is corrupt"):
                volumes.read_volume(path)
        else:
            np.testing.assert_allclose(read(path)[0].affine, GOOD, rtol=1e-6)


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan])
def test_an_offset_without_sense(tmp_path, hu, offset):
    path = write(tmp_path / "a.nii", hu, sform=GOOD)
    raw = bytearray(path.read_bytes())
    raw[108:112] = struct.pack("<f", offset)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.nii: the NIfTI header is corrupt"):
        volumes.read_volume(path)
