"""Slices of ct_folder_2d stand upright, however the file lays out its axes."""

import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy.spatial.transform import Rotation

from ecc_jax.data import slices
from tfds_builders import preparation
from tfds_builders.options import DataOptions

PATIENT_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
OBLIQUE = Rotation.from_euler("xyz", (20, -15, 10), degrees=True).as_matrix()


@pytest.fixture
def options(tmp_path):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), size=20)


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def records(options):
    builder = tfds.builder_from_directory(preparation.prepare(options, progress=False))
    rows = [
        row for split in ("train", "validation", "test") for row in builder.as_data_source(split)
    ]
    return {(row["volume"].decode(), int(row["slice_index"])): row for row in rows}


def laid_out(array, code):
    """Returns an array with axes right, anterior, superior as a scanner of that code stores it."""
    axes, steps = zip(*(PATIENT_AXES[letter] for letter in code))
    return np.transpose(array, axes)[tuple(slice(None, None, step) for step in steps)]


def affine_of(code, shape, spacing):
    """Returns the affine that puts every voxel of `laid_out` where the array had it."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, letter in enumerate(code):
        axis, step = PATIENT_AXES[letter]
        affine[axis, column] = step * spacing[axis]
        affine[axis, 3] += 0 if step > 0 else (shape[axis] - 1) * spacing[axis]
    return affine


def patient(seed):
    """Returns HU and labels with axes right, anterior, superior and no symmetry."""
    hu = np.random.default_rng(seed).integers(-1000, 400, (20, 16, 9)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[4:9, 8:11, 1:4] = 1
    return hu, labels


SPACING_RAS = (0.7, 0.8, 3.0)
# By plane: patient axis of the slices, the upright slice of an array with axes right, anterior,
# superior, the spacing of slices, rows and columns, and the size at which nothing is resized.
PLANES = {
    "axial": (2, lambda array, i: array[::-1, ::-1, i].T, (3.0, 0.8, 0.7), 20),
    "coronal": (1, lambda array, i: array[::-1, i, ::-1].T, (0.8, 3.0, 0.7), 20),
    "sagittal": (0, lambda array, i: array[i, ::-1, ::-1].T, (0.7, 3.0, 0.8), 16),
}


def store_patients(folder, code, oblique):
    tilt = np.eye(4)
    tilt[:3, :3] = OBLIQUE if oblique else np.eye(3)
    for seed in range(3):
        hu, labels = patient(seed)
        affine = tilt @ affine_of(code, hu.shape, SPACING_RAS)
        save(folder / "images" / f"p{seed}.nii", laid_out(hu, code), affine)
        save(folder / "labels" / f"p{seed}.nii", laid_out(labels, code), affine)
    return str(folder)


ORIENTATIONS = [("RAS", 0), ("LPS", 0), ("LAS", 0), ("ASL", 0), ("PIR", 0), ("RAS", 1), ("ASL", 1)]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("code", "oblique"), ORIENTATIONS)
def test_every_orientation_of_a_patient_is_stored_upright(tmp_path, options, code, oblique, plane):
    patient_axis, upright, spacing, size = PLANES[plane]
    axis = next(i for i in range(3) if PATIENT_AXES[code[i]][0] == patient_axis)
    path = store_patients(tmp_path / "turned", code, oblique)
    chosen = None if plane == "axial" else axis  # axial: the largest spacing
    rows = records(options._replace(path=path, slice_axis=chosen, variant="raw", size=size))
    lesion_slices = np.flatnonzero(patient(0)[1].any(tuple({0, 1, 2} - {patient_axis})))
    assert len(rows) == 3 * len(lesion_slices)
    for (name, index), row in rows.items():
        hu, labels = patient(int(name[-1]))
        step = PATIENT_AXES[code[axis]][1]
        image = upright(hu, index if step > 0 else hu.shape[patient_axis] - 1 - index)
        lesion = upright(labels, index if step > 0 else hu.shape[patient_axis] - 1 - index)
        missing = [size - n for n in image.shape]
        pad = [(n // 2, n - n // 2) for n in missing]
        np.testing.assert_array_equal(row["image"], np.pad(image, pad, constant_values=hu.min()))
        np.testing.assert_array_equal(row["mask"], np.pad(lesion, pad))
        np.testing.assert_allclose(row["spacing_mm"], spacing, rtol=1e-5)
        back = slices.unfit_mask(row["mask"], slices.stored_fit(row))
        np.testing.assert_array_equal(back, np.take(laid_out(labels, code), index, axis) == 1)


def test_resized_slices_do_not_depend_on_the_orientation(tmp_path, options):
    options = options._replace(size=16)
    straight = records(options._replace(path=store_patients(tmp_path / "a", "RAS", False)))
    turned = records(options._replace(path=store_patients(tmp_path / "b", "PIL", True)))
    assert len(straight) == len(turned) == 9
    for (name, index), row in straight.items():
        other = turned[name, 8 - index]  # inferior last
        for key in ("image", "mask", "spacing_mm", "fit_original_shape", "fit_padding"):
            np.testing.assert_allclose(other[key], row[key], rtol=1e-5)


def test_without_orientation_slices_keep_the_array_order(tmp_path, options):
    other = tmp_path / "bare"
    for seed in range(3):
        for part, array in zip(("images", "labels"), patient(seed)):
            image = nibabel.Nifti1Image(array, None)
            image.header.set_zooms(SPACING_RAS)
            (other / part).mkdir(parents=True, exist_ok=True)
            nibabel.save(image, other / part / f"p{seed}.nii")
    for (name, index), row in records(options._replace(path=str(other), variant="raw")).items():
        hu, labels = patient(int(name[-1]))
        padded = np.pad(hu[:, :, index], ((0, 0), (2, 2)), constant_values=hu.min())
        np.testing.assert_array_equal(row["image"], padded)
        np.testing.assert_array_equal(row["fit_orientation"], (0, 0, 0))
        np.testing.assert_allclose(row["spacing_mm"], (3.0, 0.7, 0.8), rtol=1e-6)
        back = slices.unfit_mask(row["mask"], slices.stored_fit(row))
        np.testing.assert_array_equal(back, labels[:, :, index] == 1)
