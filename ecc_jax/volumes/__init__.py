"""CT volumes in Hounsfield units from NIfTI files and DICOM series, and grey pictures."""

from ecc_jax.volumes.dicom import read_series
from ecc_jax.volumes.geometry import (
    ARRAY_ORDER,
    Geometry,
    Orientation,
    Volume,
    display_orientation,
    in_plane_mm,
    slice_axis,
)
from ecc_jax.volumes.identity import hash_of, identity_of
from ecc_jax.volumes.nifti import read_geometry, read_label, read_volume
from ecc_jax.volumes.nifti_files import (
    NIFTI_SUFFIXES,
    files_of,
    is_nifti_name,
    is_second_half,
    stem,
)
from ecc_jax.volumes.pictures import PICTURE_SUFFIX, read_picture
from ecc_jax.volumes.plausibility import why_implausible
from ecc_jax.volumes.remarks import FileRemark

__all__ = [
    "ARRAY_ORDER",
    "NIFTI_SUFFIXES",
    "PICTURE_SUFFIX",
    "FileRemark",
    "Geometry",
    "Orientation",
    "Volume",
    "display_orientation",
    "files_of",
    "hash_of",
    "identity_of",
    "in_plane_mm",
    "is_nifti_name",
    "is_second_half",
    "read_geometry",
    "read_label",
    "read_picture",
    "read_series",
    "read_volume",
    "slice_axis",
    "stem",
    "why_implausible",
]
