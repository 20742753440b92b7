"""Headers with their voxels in a second file, and the names of NIfTI files."""

import gzip
import warnings

import nibabel
import numpy as np
import pytest

from ecc_jax import volumes

AFFINE = np.array([[-0.8, 0, 0, 100], [0, -0.7, 0, 120], [0, 0, 5, -300], [0, 0, 0, 1.0]])
SHAPE = (5, 6, 4)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def error(path, read=volumes.read_volume):
    with pytest.raises(ValueError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz")])
@pytest.mark.parametrize("half", [0, 1])
def test_pairs_are_read_from_either_half(tmp_path, hu, kind, names, half):
    nibabel.save(kind(hu, AFFINE), tmp_path / names[1])
    path = tmp_path / names[half]
    volume, geometry = volumes.read_volume(path), volumes.read_geometry(path)
    np.testing.assert_array_equal(volume.image_hu, hu)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert geometry.shape == SHAPE and geometry.has_affine and volume.path == path
    nibabel.save(kind((hu > 0).astype(np.uint8), AFFINE), tmp_path / names[1])
    np.testing.assert_array_equal(volumes.read_label(path, like=volume), hu > 0)


@pytest.mark.parametrize(
    "names", [("a.HDR", "a.IMG"), ("a.HDR", "a.img"), ("a.hdr", "a.img.gz"), ("a.hdr.gz", "a.img")]
)
def test_halves_written_differently_find_each_other(tmp_path, hu, names):
    nibabel.save(nibabel.Nifti1Pair(hu, AFFINE), tmp_path / "b.img")
    for half, name in zip(("b.hdr", "b.img"), names, strict=True):
        raw = (tmp_path / half).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    for name in names:
        np.testing.assert_array_equal(volumes.read_volume(tmp_path / name).image_hu, hu)


@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz")])
def test_a_missing_half_is_named(tmp_path, hu, names):
    nibabel.save(nibabel.Nifti1Pair(hu, AFFINE), tmp_path / names[1])
    for gone, there in (names, names[::-1]):
        kept = (tmp_path / gone).read_bytes()
        (tmp_path / gone).unlink()
        for read in (volumes.read_geometry, volumes.read_volume, volumes.read_label):
            message = error(tmp_path / there, read)
            assert message.startswith(f"{tmp_path / gone}: no such file") and there in message
        (tmp_path / gone).write_bytes(kept)
    volumes.read_volume(tmp_path / names[0])
    assert "none.img: no such file" in error(tmp_path / "none.img")
    assert "none.hdr: no such file" in error(tmp_path / "none.hdr")


def test_damage_is_named_where_it_is(tmp_path, hu):
    path = tmp_path / "a.img"
    nibabel.save(nibabel.Nifti1Pair(hu, AFFINE), path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    for half in ("a.hdr", "a.img"):
        message = error(tmp_path / half)
        assert message.startswith(f"{path}: truncated: expected 240 bytes") and "230" in message
    path.write_bytes(raw)
    (tmp_path / "a.hdr").write_bytes(b"ENVI\nsamples = 5\n" * 40)
    assert "a.hdr: expected a NIfTI file" in error(path)


def test_a_lone_file_under_the_name_of_a_half(tmp_path, hu):
    nibabel.save(nibabel.Nifti1Image(hu, AFFINE), tmp_path / "a.nii")
    for name in ("b.img", "c.hdr"):
        (tmp_path / name).write_bytes((tmp_path / "a.nii").read_bytes())
    np.testing.assert_array_equal(volumes.read_volume(tmp_path / "b.img").image_hu, hu)
    (tmp_path / "c.img").write_bytes(b"")
    np.testing.assert_array_equal(volumes.read_volume(tmp_path / "c.hdr").image_hu, hu)


def test_a_half_under_the_name_of_a_lone_file(tmp_path, hu):
    nibabel.save(nibabel.Nifti1Pair(hu, AFFINE), tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    assert "a.nii: its header belongs to a pair" in error(tmp_path / "a.nii")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("sizes", [(0.7, 0.8, 5), (1, 1, 1)])
def test_analyze_has_sizes_but_no_orientation(tmp_path, hu, order, sizes):
    header = nibabel.AnalyzeHeader(endianness=order)
    header.set_data_dtype(np.int16)
    image = nibabel.AnalyzeImage(hu, None, header)
    image.header.set_zooms(sizes)
    nibabel.save(image, tmp_path / "a.img")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = volumes.read_volume(tmp_path / "a.hdr")
    np.testing.assert_array_equal(volume.image_hu, hu)
    assert not volume.has_affine
    known = sizes != (1, 1, 1)
    np.testing.assert_allclose(volume.spacing_mm, sizes if known else [np.nan] * 3, rtol=1e-6)
    kinds = [w.message.kind for w in caught]
    assert kinds == ([] if known else ["pixel size unknown"])


def test_spms_scale_of_analyze_is_applied(tmp_path, hu):
    image = nibabel.Spm99AnalyzeImage(hu.astype(np.int16), AFFINE)
    nibabel.save(image, tmp_path / "a.img")
    raw = bytearray((tmp_path / "a.hdr").read_bytes())
    raw[112:116] = np.array(0.5, "<f4").tobytes()
    (tmp_path / "a.hdr").write_bytes(raw)
    expected = nibabel.load(tmp_path / "a.img").get_fdata()
    read = volumes.read_volume(tmp_path / "a.img").image_hu
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(read, hu / 2)


def test_analyze_header_without_voxels_of_its_own_is_no_nifti(tmp_path, hu):
    nibabel.save(nibabel.AnalyzeImage(hu, None), tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    assert "expected a NIfTI file" in error(tmp_path / "a.nii")


NAMES = {
    "case.nii": "case",
    "case.nii.gz": "case",
    "CASE.NII.GZ": "CASE",
    "case.1.hdr": "case.1",
    "case.img": "case",
    "case.Img.Gz": "case",
    "case.hdr.gz": "case",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_nifti(name):
    assert volumes.is_nifti_name(name) and volumes.stem(name) == NAMES[name]
    assert name.lower().endswith(volumes.NIFTI_SUFFIXES)


@pytest.mark.parametrize("name", ["case.nrrd", "case.gz", "nii", "case.nii.bz2", "case.img.txt"])
def test_other_names(name):
    assert not volumes.is_nifti_name(name) and volumes.stem(name) == name


def test_files_of_a_volume(tmp_path, hu):
    nibabel.save(nibabel.Nifti1Pair(hu, AFFINE), tmp_path / "a.img")
    pair = (tmp_path / "a.hdr", tmp_path / "a.img")
    assert volumes.files_of(pair[0]) == volumes.files_of(pair[1]) == pair
    assert volumes.files_of(tmp_path / "b.nii.gz") == (tmp_path / "b.nii.gz",)
    assert volumes.is_second_half(pair[1]) and not volumes.is_second_half(pair[0])
    assert not volumes.is_second_half(tmp_path / "b.nii.gz")
    pair[0].unlink()
    assert not volumes.is_second_half(pair[1])
