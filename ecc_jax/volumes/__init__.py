"""CT volumes in Hounsfield units from NIfTI files and DICOM series; errors name the file."""

from ecc_jax.volumes.dicom import read_series
from ecc_jax.volumes.geometry import (
    ARRAY_ORDER,
    Geometry,
    Orientation,
    Volume,
    display_orientation,
)
from ecc_jax.volumes.identity import hash_of, identity_of
from ecc_jax.volumes.nifti import read_geometry, read_label, read_volume
from ecc_jax.volumes.remarks import FileRemark

__all__ = [
    "ARRAY_ORDER",
    "FileRemark",
    "Geometry",
    "Orientation",
    "Volume",
    "display_orientation",
    "hash_of",
    "identity_of",
    "read_geometry",
    "read_label",
    "read_series",
    "read_volume",
]
