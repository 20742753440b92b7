"""What lies under the mouse in most tests: a bright ball in air, and a painter's answer to it."""

import nibabel
import numpy as np

from tests.annotator.serving import ball

SHAPE, CENTRE, RADII = (24, 160, 128), (11, 80, 60), (7.0, 40.0, 30.0)


def write_ball(path, *, spacing=(0.7, 0.7, 3.0), radii=RADII):
    """Writes a volume with a bright ball and returns where the ball is: slices, rows, columns."""
    image, inside = ball(SHAPE, CENTRE, radii)
    path.parent.mkdir(exist_ok=True)
    # Voxels run from right to left, front to back, feet to head: upright as they stand.
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1])
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), affine), path)
    return inside


def disk_of(ring, shape):
    """Returns the voxels of a disk on square voxels."""
    yy, xx = np.indices(shape)
    return np.hypot(yy - ring["y"], xx - ring["x"]) <= ring["radius"]


def painted(rings, inside):
    """Returns what the painter paints of disks on a slice of the ball."""
    mask = np.zeros(inside.shape, bool)
    for ring in rings:
        disk = disk_of(ring, inside.shape)
        mask = mask | (disk & inside) if ring["positive"] else mask & ~disk
    return mask
