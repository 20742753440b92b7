"""Memory that reading takes: a CT of 512 x 512 x 600 fills 300 MB, and twice that is too much."""

import tracemalloc

import nibabel
import nrrd
import numpy as np
import pytest

from ecc_jax import volumes
from ecc_jax.annotator import readers

SHAPE = (160, 160, 240)  # 12 MB of int16, many times the pieces in which files are read


def most_taken(read, path):
    """Returns the image and the most memory that reading it took, in its own size."""
    tracemalloc.start()
    try:
        image = read(path).image_hu
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return image, most / image.nbytes


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "gzip.nrrd"])
def test_a_volume_of_int16_takes_its_own_memory_once(tmp_path, name):
    hu = np.random.default_rng(0).integers(-1000, 1500, SHAPE).astype(np.int16)
    path = tmp_path / name
    if name.endswith(".nrrd"):
        encoding = "gzip" if "gzip" in name else "raw"
        nrrd.write(str(path), hu, {"encoding": encoding, "spacings": [1, 1, 3]})
        read = readers.read_nrrd
    else:
        nibabel.save(nibabel.Nifti1Image(hu, np.diag([1.0, 1, 3, 1])), path)
        read = volumes.read_volume
    image, most = most_taken(read, path)
    np.testing.assert_array_equal(image, hu)
    assert image.dtype == np.int16 and image.flags.writeable
    assert most < 1.5
