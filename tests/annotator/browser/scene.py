"""What lies under the mouse: a bright ball in air with a painter's answers, or a liver's lesion."""

import nibabel
import numpy as np

from ecc_jax.annotator.sources import PHANTOM
from ecc_jax.phantom.volumes import generate_volume
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


def built_in_lesion():
    """Returns where the lesion of the built-in volume is: slices, rows, columns."""
    return generate_volume(**PHANTOM).mask.astype(bool)


def middle(lesion):
    """Returns the slice with most of a lesion, its centre, and the radius to its edge."""
    index = int(lesion.sum((1, 2)).argmax())
    places = np.argwhere(lesion[index])
    y, x = map(float, places.mean(0))
    return index, y, x, float(np.hypot(*(places - [y, x]).T).max())
