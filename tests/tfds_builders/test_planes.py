"""Volumes of one set are cut along one anatomical plane, unless that was not asked for."""

import itertools

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ecc_jax import config as ecc_config
from ecc_jax.catalog import SPLITS
from ecc_jax.volumes import Geometry
from tests.folders import save, scan
from tests.preparing import prepare
from tfds_builders import planes, preparation
from tfds_builders.options import DataOptions
from tfds_builders.prepared_index import is_complete

NAMES = {
    "kits_2d": ("case_0000{}/imaging.nii.gz", "case_0000{}/segmentation.nii.gz"),
    "lits_2d": ("volume-{}.nii", "segmentation-{}.nii"),
    "md_panc_2d": ("imagesTr/pancreas_{}.nii.gz", "labelsTr/pancreas_{}.nii.gz"),
    "ct_folder_2d": ("images/case{}.nii", "labels/case{}.nii"),
}
# Array axes along patient axes: which patient axis (right, anterior, superior) each runs along.
AXES = {"sagittal": (1, 2, 0), "coronal": (0, 2, 1), "axial": (0, 1, 2)}
SPACING = (0.8, 0.7, 5.0)


def affine_of(plane):
    """Returns the affine of a volume whose last array axis is stacked slices of a plane."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (patient_axis, size) in enumerate(zip(AXES[plane], SPACING, strict=True)):
        affine[patient_axis, axis] = -size
    return affine


AFFINES = {**{plane: affine_of(plane) for plane in AXES}, "none": None, "identity": np.eye(4)}


def write(root, name, kinds):
    """Writes volumes of the given kinds; slices run along the last array axis."""
    value = 1 if name == "ct_folder_2d" else 2
    for number, kind in enumerate(kinds):
        image, labels = scan(number)
        for pattern, array in zip(NAMES[name], (image, labels * value), strict=True):
            save(root / pattern.format(number), array, AFFINES[kind])
    return DataOptions(
        name, root=str(root / "root"), path=str(root), size=32, slice_axis=2, strict=True
    )


MIXTURES = [
    (["axial", "coronal", "axial", "axial"], "1 of 4 .* 3 that are axial: {1} .coronal.; reorient"),
    (["sagittal", "coronal", "axial", "axial"], "2 of 4 .*: {0} .sagittal., {1} .coronal.; "),
    (["coronal", "coronal", "axial", "coronal"], "1 of 4 .* 3 that are coronal: {2} .axial.; "),
    (["axial", "none", "axial", "axial"], "1 of 4 .* axial: {1} .without orientation.; reor"),
    (["identity", "axial", "none", "axial"], "2 of 4 .* axial: {0} .without .*, {2} .without"),
    (["none", "none", "none", "axial"], "1 of 4 .* 3 without orientation: {3} .axial.; "),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kinds", "says"), MIXTURES)
def test_mixed_planes_are_refused_unless_asked_for(name, kinds, says, tmp_path):
    options = write(tmp_path, name, kinds)
    stems = {
        "kits_2d": "case_0000{}",
        "lits_2d": "volume-{}",
        "md_panc_2d": "pancreas_{}",
        "ct_folder_2d": "case{}",
    }
    names = [stems[name].format(number) for number in range(len(kinds))]
    with pytest.raises(ValueError, match=says.format(*names)) as caught:
        prepare(options)
    message = str(caught.value)
    assert "data.slice_axis" in message and "data.mixed_planes=True" in message
    with pytest.warns(UserWarning, match="slices of another plane than most in . of 4 volumes"):
        index = preparation.read_index(prepare(options._replace(mixed_planes=True)))
    told = index["remarks"][planes.MIXED]
    assert list(told) == [volume for volume in names if f"{volume} (" in message]
    assert sum(counts["volumes"] for counts in index["counts"].values()) == 4
    with pytest.raises(ValueError, match=f"{len(told)} volumes have slices of another plane"):
        prepare(options)  # it lies there now, and is still not what was asked for


@pytest.mark.parametrize("kind", ["axial", "coronal", "sagittal"])
def test_one_plane_is_no_remark(tmp_path, kind):
    index = preparation.read_index(prepare(write(tmp_path, "ct_folder_2d", [kind] * 3)))
    assert not index["remarks"]


@pytest.mark.parametrize("kinds", [["none"] * 3, ["identity"] * 3, ["none", "identity", "none"]])
@pytest.mark.parametrize("name", ["ct_folder_2d", "lits_2d"])
def test_no_orientation_at_all_is_accepted_with_a_remark(tmp_path, kinds, name):
    with pytest.warns(UserWarning, match="no orientation in the header in 3 of 3 volumes"):
        directory = prepare(write(tmp_path, name, kinds))
    assert len(preparation.read_index(directory)["remarks"][planes.UNKNOWN]) == 3
    builder = tfds.builder_from_directory(directory)
    for row in (row for split in SPLITS for row in builder.as_data_source(split)):
        assert np.isnan(row["spacing_mm"]).all() and not row["fit_orientation"].any()


def test_the_slice_axis_that_makes_planes_one_is_accepted(tmp_path):
    """Of the same scan stored with its axes in another order, each axis may be the slices'."""
    options = write(tmp_path, "ct_folder_2d", ["axial", "axial", "coronal"])
    assert "1 of 3 volumes" in _refusal(options)
    assert "1 of 3 volumes" in _refusal(options._replace(slice_axis=1))
    prepare(options._replace(slice_axis=0))  # sagittal all three


def _refusal(options):
    with pytest.raises(ValueError) as caught:
        prepare(options)
    return str(caught.value)


@given(
    turn=st.sampled_from(list(itertools.permutations(range(3)))),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    tilt=st.tuples(*[st.floats(-20, 20)] * 3),
    axis=st.integers(0, 2),
)
def test_the_plane_of_an_oblique_volume_is_the_nearest(turn, signs, tilt, axis):
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()
    affine[:3, :3] = rotation @ np.eye(3)[:, turn] @ np.diag(signs) @ np.diag(SPACING)
    geometry = Geometry((4, 4, 4), SPACING, affine, True, None)
    expected = ("sagittal", "coronal", "axial")[int(np.abs(affine[:3, axis]).argmax())]
    assert planes.plane_of(geometry, axis) == expected


def test_the_option_reaches_the_builder_from_a_configuration(tmp_path):
    options = write(tmp_path, "ct_folder_2d", ["axial", "axial", "coronal"])
    config = ecc_config.get_config("ct_folder_2d")
    config.data.path, config.data.root, config.data.size = options.path, options.root, 32
    config.data.slice_axis = 2
    with pytest.raises(ValueError, match="mixed_planes"):
        preparation.prepare_for(config)
    config.data.mixed_planes = True
    assert is_complete(preparation.prepare_for(config))
