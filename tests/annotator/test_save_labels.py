"""Label maps read back by nibabel, pynrrd and the package's own reader; odd names; targets."""

import json

import nibabel as nib
import nrrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax import volumes
from ecc_jax.annotator import save_labels
from ecc_jax.annotator.save_lesions import Lesion
from tests import folders

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([0.7, -0.9, 2.5]), [-90, 40, 12]
)
SHAPE = (12, 10, 6)


def source(tmp_path, affine=OBLIQUE, name="ct.nii.gz", shape=SHAPE):
    image = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    path = folders.save(tmp_path / name, image, affine)
    return volumes.read_volume(path)


def blobs(shape, *, seed=0, count=3, share=0.2):
    rng = np.random.default_rng(seed)
    return [rng.random(shape) < share for _ in range(count)]


def lesion(name, whole, axis=2, **kwargs):
    return Lesion(name, dict(enumerate(np.moveaxis(whole, axis, 0))), axis, **kwargs)


def labels_of(folder, names):
    """What the JSON and the files beside it say of each lesion, read by nibabel."""
    found = {}
    for entry in json.loads((folder / names).read_text("utf-8"))["labels"]:
        image = nib.load(folder / entry["file"])
        found[entry["name"]] = np.asarray(image.dataobj) == entry["label"]
        assert entry["voxels"] == np.count_nonzero(found[entry["name"]])
    return found


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nifti_is_voxel_exact_on_the_grid_of_the_source(tmp_path, axis):
    volume = source(tmp_path)
    first, second, third = blobs(SHAPE)
    # The first two overlap, the third fits beside the first.
    third &= ~first
    files = save_labels.write_nifti(
        tmp_path / "out" / "a.nii.gz",
        [lesion(name, m, axis) for name, m in zip("abc", (first, second, third), strict=True)],
        volume.geometry,
    )
    assert [file.name for file in files] == ["a.nii.gz", "a.2.nii.gz", "a.json"]
    found = labels_of(tmp_path / "out", "a.json")
    for name, mask in zip("abc", (first, second, third), strict=True):
        np.testing.assert_array_equal(found[name], mask)
    original = nib.load(volume.path)
    for file in files[:2]:
        image = nib.load(file)
        assert image.shape == SHAPE and image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(image.affine, original.affine)
        for form in ("sform", "qform"):
            ours, code = getattr(image, f"get_{form}")(coded=True)
            theirs, expected = getattr(original, f"get_{form}")(coded=True)
            assert code == expected
            np.testing.assert_array_equal(ours, theirs)
    read = volumes.read_label(files[0], like=volume)
    np.testing.assert_array_equal(read, 1 * first + 2 * third)


@pytest.mark.filterwarnings("ignore:.*its sform says")
@pytest.mark.parametrize("forms", [(1, 0), (0, 2), (2, 1)])
def test_the_source_decides_which_affine_holds(tmp_path, forms):
    """With a shear in the sform and codes as scanners write them."""
    sheared = OBLIQUE.copy()
    sheared[1, 2] += 0.8
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), sheared)
    image.set_sform(sheared, forms[0])
    image.set_qform(OBLIQUE, forms[1])
    image.header["descrip"] = b"Doe^Jane"
    nib.save(image, tmp_path / "ct.nii")
    geometry = volumes.read_geometry(tmp_path / "ct.nii")
    mask = blobs(SHAPE)[0]
    save_labels.write_nifti(tmp_path / "a.nii.gz", [lesion("a", mask)], geometry)
    written = volumes.read_geometry(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(written.affine, geometry.affine)
    assert written.spacing_mm == geometry.spacing_mm
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == forms
    assert b"Doe" not in header.binaryblock


def test_a_file_is_the_same_whenever_it_is_written(tmp_path):
    volume = source(tmp_path)
    mask = lesion("a", blobs(SHAPE)[0])
    for write, name in (
        (save_labels.write_nifti, "{}.nii.gz"),
        (save_labels.write_nrrd, "{}.seg.nrrd"),
    ):
        for stem in "xy":
            write(tmp_path / name.format(stem), [mask], volume.geometry)
        assert (tmp_path / name.format("x")).read_bytes() == (
            tmp_path / name.format("y")
        ).read_bytes()


@pytest.mark.parametrize("overlap", [False, True])
def test_nrrd_is_read_by_pynrrd(tmp_path, overlap):
    volume = source(tmp_path)
    first, second, _ = blobs(SHAPE)
    second = second if overlap else second & ~first
    path = save_labels.write_nrrd(
        tmp_path / "a.seg.nrrd", [lesion("a", first), lesion("b", second)], volume.geometry
    )
    voxels, header = nrrd.read(str(path))
    voxels = voxels if overlap else voxels[None]
    assert voxels.shape == (1 + overlap, *SHAPE)
    for number, (name, mask) in enumerate((("a", first), ("b", second))):
        assert header[f"Segment{number}_Name"] == name
        layer = int(header[f"Segment{number}_Layer"])
        label = int(header[f"Segment{number}_LabelValue"])
        np.testing.assert_array_equal(voxels[layer] == label, mask)
    to_ras = np.diag([-1, -1, 1])
    steps = header["space directions"][-3:]
    np.testing.assert_array_equal(to_ras @ steps.T, volume.affine[:3, :3])
    np.testing.assert_array_equal(to_ras @ header["space origin"], volume.affine[:3, 3])
    assert header["space"] == "left-posterior-superior"


def test_more_lesions_than_a_byte_holds(tmp_path):
    volume = source(tmp_path)
    order = np.random.default_rng(3).permutation(np.prod(SHAPE))[:300]
    wholes = []
    for place in order:
        whole = np.zeros(SHAPE, bool)
        whole.flat[place] = True
        wholes.append(whole)
    lesions = [lesion(f"l{n}", whole) for n, whole in enumerate(wholes)]
    save_labels.write_nifti(tmp_path / "a.nii.gz", lesions, volume.geometry)
    found = labels_of(tmp_path, "a.json")
    assert all((found[f"l{n}"] == whole).all() for n, whole in enumerate(wholes))


def writable(name):
    """What every format keeps: printable, no backslash, no spaces at the ends, 64 characters."""
    return 0 < len(name) <= 64 and name.isprintable() and name == name.strip() and "\\" not in name


@settings(max_examples=30, deadline=None)
@given(
    name=st.text(max_size=70) | st.sampled_from(["=1+1", "a\nb", "../x", "a\\b", " a", "é\u0301"])
)
def test_odd_names_are_kept_or_refused(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    volume = source(folder)
    mask = lesion(name, blobs(SHAPE)[0])
    if not writable(name):
        with pytest.raises(ValueError, match="name") as caught:
            save_labels.write_nifti(folder / "a.nii.gz", [mask], volume.geometry)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in folder.iterdir()) == ["ct.nii.gz"]
        return
    save_labels.write_nifti(folder / "a.nii.gz", [mask], volume.geometry)
    path = save_labels.write_nrrd(folder / "a.seg.nrrd", [mask], volume.geometry)
    assert list(labels_of(folder, "a.json")) == [name]
    header = path.read_bytes().split(b"\n\n", 1)[0].decode("utf-8")
    assert f"Segment0_Name:={name}" in header.split("\n")
    assert sorted(p.name for p in folder.iterdir()) == [
        "a.json", "a.nii.gz", "a.seg.nrrd", "ct.nii.gz",
    ]  # fmt: skip


def test_lesions_that_cannot_be_saved(tmp_path):
    volume = source(tmp_path)
    whole = blobs(SHAPE)[0]
    for lesions, word in (
        ([], "no lesion"),
        ([lesion("a", whole), lesion("a", whole)], "two lesions are called 'a'"),
        ([lesion("a", np.zeros(SHAPE, bool))], "no pixels"),
        ([Lesion("a", {0: np.ones((3, 3), bool)})], "of shape"),
        ([Lesion("a", {}, 3)], "slice axis"),
    ):
        for write, name in (
            (save_labels.write_nifti, "a.nii.gz"),
            (save_labels.write_nrrd, "a.seg.nrrd"),
        ):
            with pytest.raises(ValueError, match=word):
                write(tmp_path / name, lesions, volume.geometry)


def test_targets_that_are_refused(tmp_path):
    volume = source(tmp_path)
    before = volume.path.read_bytes()
    mask = lesion("a", blobs(SHAPE)[0])
    (tmp_path / "link.nii.gz").symlink_to(volume.path)
    (tmp_path / "hard.nii.gz").hardlink_to(volume.path)
    (tmp_path / "folder.nii.gz").mkdir()
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), OBLIQUE), tmp_path / "other.nii.gz")

    def refused(name, *, replace=True):
        with pytest.raises(ValueError) as caught:
            save_labels.write_nifti(tmp_path / name, [mask], volume.geometry, replace=replace)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    for name in ("ct.nii.gz", "link.nii.gz", "hard.nii.gz", "../" + tmp_path.name + "/ct.nii.gz"):
        assert "is the source itself" in refused(name)
    assert "is a folder" in refused("folder.nii.gz")
    assert "was not written by ecc_jax" in refused("other.nii.gz")
    assert "ends in .nii.gz" in refused("a.nii")
    save_labels.write_nifti(tmp_path / "a.nii.gz", [mask], volume.geometry)
    assert "is there already" in refused("a.nii.gz", replace=False)
    # A JSON of somebody else beside it: nothing is written, not even the label map.
    (tmp_path / "b.json").write_text("{}")
    assert "was not written by ecc_jax" in refused("b.nii.gz")
    assert not (tmp_path / "b.nii.gz").exists()
    other = lesion("b", blobs(SHAPE, seed=1)[0])
    save_labels.write_nifti(tmp_path / "a.nii.gz", [other], volume.geometry, replace=True)
    assert list(labels_of(tmp_path, "a.json")) == ["b"]
    assert volume.path.read_bytes() == before


def test_no_label_map_of_a_former_version_stays(tmp_path):
    volume = source(tmp_path)
    first, second, third = (lesion(n, m) for n, m in zip("abc", blobs(SHAPE), strict=True))
    target = tmp_path / "out" / "a.nii.gz"
    save_labels.write_nifti(target, [first, second, third], volume.geometry)
    assert (tmp_path / "out" / "a.3.nii.gz").is_file()
    folders.save(tmp_path / "out" / "a.4.nii.gz", np.zeros(SHAPE, np.uint8))
    save_labels.write_nifti(target, [first], volume.geometry, replace=True)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    # The fourth is somebody else's.
    assert left == ["a.4.nii.gz", "a.json", "a.nii.gz"]


@pytest.mark.filterwarnings("ignore:.*holds no voxel size")
def test_a_source_without_voxel_size_has_labels_without(tmp_path):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    nib.save(image, tmp_path / "ct.nii")
    geometry = volumes.read_geometry(tmp_path / "ct.nii")
    mask = blobs(SHAPE)[0]
    save_labels.write_nifti(tmp_path / "a.nii.gz", [lesion("a", mask)], geometry)
    written = volumes.read_geometry(tmp_path / "a.nii.gz")
    assert np.isnan(written.spacing_mm).all() and not written.has_affine
    np.testing.assert_array_equal(labels_of(tmp_path, "a.json")["a"], mask)


def test_both_halves_of_a_pair_are_the_source(tmp_path):
    volume = source(tmp_path, name="ct.img")
    mask = lesion("a", blobs(SHAPE)[0])
    save_labels.write_nifti(tmp_path / "a.nii.gz", [mask], volume.geometry)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii.gz").affine, volume.affine)
    (tmp_path / "a.seg.nrrd").symlink_to(tmp_path / "ct.hdr")
    with pytest.raises(ValueError, match="is the source itself"):
        save_labels.write_nrrd(tmp_path / "a.seg.nrrd", [mask], volume.geometry)
