"""Labels scaled by an old header, and labels whose axes are not those of their image."""

import itertools
import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import ornt_transform
from scipy.spatial.transform import Rotation

from ecc_jax import volumes

SHAPE = (5, 6, 4)
AFFINE = np.array([[-0.8, 0, 0, 100], [0, -0.7, 0, 120], [0, 0, 5, -300], [0, 0, 0, 1.0]])
STORED = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32]


@pytest.fixture
def label():
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 11 == 0).astype(np.uint8) * 2


@pytest.fixture
def image(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, AFFINE), tmp_path / "i.nii.gz")
    return volumes.read_geometry(tmp_path / "i.nii.gz")


def read(path, **kwargs):
    """Returns a label and the remarks on it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        label = volumes.read_label(path, **kwargs)
    remarks = [w.message for w in caught]
    assert all(isinstance(remark, volumes.FileRemark) for remark in remarks)
    assert all(str(path) in str(remark) and "\n" not in str(remark) for remark in remarks)
    return label, remarks


def error(path, **kwargs):
    with pytest.raises(ValueError) as caught:
        volumes.read_label(path, **kwargs)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def save_under_old_header(path, values, dtype):
    """Saves floating point under a header of integers, as after an edit of `get_fdata()`."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE, header), path)
    return nibabel.load(path)


@given(
    st.sampled_from(STORED),
    st.sets(st.integers(1, 100), min_size=1, max_size=8),
    st.integers(0, 99),
)
def test_edited_labels_come_back_whole(tmp_path_factory, dtype, values, seed):
    path = tmp_path_factory.mktemp("edited") / "l.nii"
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, *values], SHAPE)
    stored = save_under_old_header(path, labels.astype(np.float64), dtype)
    expected = stored.get_fdata()
    read_back, remarks = read(path)
    np.testing.assert_array_equal(read_back, labels)
    assert read_back.dtype == np.uint8
    moved = bool((expected.astype(np.float32) != np.rint(expected)).any())
    kinds = [remark.kind for remark in remarks]
    assert set(kinds) <= {"label scaled by an old header"} and len(kinds) <= 1
    if dtype in (np.uint8, np.int8):
        assert bool(kinds) == moved
    if kinds:
        assert "scl_slope" in str(remarks[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_the_common_edit(tmp_path, dtype):
    labels = np.zeros(SHAPE)
    labels[1, 2:4] = 1
    labels[3, 1, 1:3] = 2
    stored = save_under_old_header(tmp_path / "l.nii", labels, dtype)
    assert stored.dataobj.slope != 1 and not np.array_equal(stored.get_fdata(), labels)
    read_back, (remark,) = read(tmp_path / "l.nii")
    np.testing.assert_array_equal(read_back, labels)
    assert remark.kind == "label scaled by an old header" and "scl_slope" in str(remark)


SOFT = {
    "halves": lambda rng: rng.choice([0, 0.5, 1], SHAPE),
    "interpolated": lambda rng: rng.uniform(0, 1, SHAPE),
    "mostly whole": lambda rng: np.where(rng.random(SHAPE) < 0.9, 1, rng.uniform(0.1, 0.9, SHAPE)),
    "between labels": lambda rng: rng.uniform(0, 30, SHAPE),
    "probabilities in per cent": lambda rng: rng.uniform(0, 100, SHAPE),
}


@pytest.mark.parametrize("case", SOFT)
@pytest.mark.parametrize("dtype", [*STORED, np.float32])
def test_soft_masks_are_refused(tmp_path, case, dtype):
    values = SOFT[case](np.random.default_rng(0))
    save_under_old_header(tmp_path / "l.nii", values, dtype)
    message = error(tmp_path / "l.nii")
    assert "labels must be whole numbers" in message and "nearest neighbour" in message
    assert ("scl_slope" in message) == (dtype != np.float32)


def test_a_message_shows_the_value_in_full(tmp_path):
    labels = np.full(SHAPE, 2.0000002)
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "l.nii")
    assert "got 2.0000002 (120 such voxels)" in error(tmp_path / "l.nii")


def test_a_slope_that_keeps_whole_numbers_is_no_remark(tmp_path, label):
    stored = nibabel.Nifti1Image(label // 2, AFFINE)
    stored.header.set_slope_inter(2, 0)
    nibabel.save(stored, tmp_path / "l.nii")
    raw = bytearray((tmp_path / "l.nii").read_bytes())
    raw[352:] = (label // 2).tobytes(order="F")
    raw[112:120] = np.array([2, 0], "<f4").tobytes()
    (tmp_path / "l.nii").write_bytes(raw)
    read_back, remarks = read(tmp_path / "l.nii")
    np.testing.assert_array_equal(read_back, label)
    assert not remarks


def orders():
    """Yields the 48 orders and directions of three axes, as nibabel's orientation arrays."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.column_stack([axes, signs])


@pytest.mark.parametrize("match", ["geometry", "index"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -10, 30)])
def test_every_turn_is_undone(tmp_path, label, match, degrees):
    """nibabel turns array and header together; read on the image, the label is as before."""
    affine = AFFINE.copy()
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ AFFINE[:3, :3]
    affine[0, 2] += 0.9  # a tilted gantry
    original = nibabel.Nifti1Image(label, affine)
    nibabel.save(original, tmp_path / "i.nii")
    like = volumes.read_geometry(tmp_path / "i.nii")
    own = np.array([[0, 1], [1, 1], [2, 1]])
    for order in orders():
        turned = original.as_reoriented(ornt_transform(order, own))
        nibabel.save(turned, tmp_path / "l.nii")
        read_back, remarks = read(tmp_path / "l.nii", like=like, match=match)
        np.testing.assert_array_equal(read_back, label)
        is_turned = not np.array_equal(order, own)
        assert [r.kind for r in remarks] == ["label turned to the image's axes"] * is_turned


def test_a_turned_label_tells_how(tmp_path, image, label):
    mirrored = AFFINE @ np.diag([-1.0, 1, 1, 1])
    mirrored[:, 3] = AFFINE @ [4, 0, 0, 1]
    nibabel.save(nibabel.Nifti1Image(label[::-1], mirrored), tmp_path / "l.nii")
    read_back, (remark,) = read(tmp_path / "l.nii", like=image)
    np.testing.assert_array_equal(read_back, label)
    assert "run RPS, those of i.nii.gz LPS" in str(remark) and "axis 0 reversed" in str(remark)


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_other_axes_on_another_grid_are_refused(tmp_path, image, label, axes):
    """The label's axes are swapped, but its grid is another one: neither turned nor by index."""
    affine = AFFINE[:, [*axes, 3]].copy()
    affine[:3, 3] += 9
    nibabel.save(nibabel.Nifti1Image(label.transpose(axes), affine), tmp_path / "l.nii")
    for match in ("geometry", "index"):
        assert "shape" in error(tmp_path / "l.nii", like=image, match=match)


@pytest.mark.parametrize("flips", [(-1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_mirrored_headers_that_do_not_meet_are_refused(tmp_path, image, label, flips):
    affine = AFFINE @ np.diag([*flips, 1.0])  # the origin stays, so the grids lie side by side
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "l.nii")
    assert "its affine places corners" in error(tmp_path / "l.nii", like=image)
    message = error(tmp_path / "l.nii", like=image, match="index")
    assert "its axes run " in message and "LPS" in message and "copy the image's header" in message


@pytest.mark.parametrize("change", [np.diag([2, 2, 0.5, 1.0]), np.diag([1, 1, 1, 3.0])])
def test_by_index_origin_and_size_need_not_agree(tmp_path, image, label, change):
    affine = AFFINE @ change
    affine[3, 3] = 1
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "l.nii")
    read_back, remarks = read(tmp_path / "l.nii", like=image, match="index")
    np.testing.assert_array_equal(read_back, label)
    assert not remarks
    assert "its affine places corners" in error(tmp_path / "l.nii", like=image)


@pytest.mark.parametrize("match", ["geometry", "index"])
@pytest.mark.parametrize("affine", [None, np.eye(4), np.diag([-1.0, -1, 1, 1])])
def test_orientation_missing_on_one_side(tmp_path, image, label, match, affine):
    path = tmp_path / "l.nii"
    nibabel.save(nibabel.Nifti1Image(label, affine), path)
    read_back, (remark,) = read(path, like=image, match=match)
    np.testing.assert_array_equal(read_back, label)
    assert (remark.kind, remark.path) == ("orientation missing", path)
    # The other way round the image is the one to blame.
    bare = volumes.read_label(path)
    nibabel.save(nibabel.Nifti1Image(bare, AFFINE), tmp_path / "complete.nii")
    with pytest.warns(volumes.FileRemark, match="l.nii: its header holds no orientation"):
        like = image._replace(path=path, has_affine=False, affine=np.eye(4))
        volumes.read_label(tmp_path / "complete.nii", like=like, match=match)
