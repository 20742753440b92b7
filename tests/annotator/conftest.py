"""A scan and an annotator that has it open."""

import nibabel
import numpy as np
import pytest

from tests.annotator.serving import ball, serving


@pytest.fixture
def scan(tmp_path):
    image, inside = ball()
    path = tmp_path / "data" / "ct.nii.gz"
    path.parent.mkdir()
    # Voxels run from right to left, front to back, feet to head: upright as they stand.
    affine = np.diag([-0.7, -0.7, 3.0, 1])
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), affine), path)
    return path, image, inside


@pytest.fixture
def running(scan, tmp_path):
    with serving(scan[0], tmp_path / "work") as (client, desk):
        volume = client.documents()[0]["id"]
        client.open(volume)
        client.event(volume, "add", name="liver ✓")
        yield client, volume, desk
