"""lits_2d: slices of LiTS17 with a liver tumour."""

import re
from pathlib import Path

from ecc_jax.volumes import stem
from tfds_builders import nifti_builder, slice_builder


class Builder(nifti_builder.NiftiBuilder):
    """Slices with a liver tumour (label 2) from the 131 training volumes of LiTS17."""

    BUILDER_CONFIGS = slice_builder.named_configs("lits_2d")
    EXPECTED_FILES = "volume-N.nii and segmentation-N.nii"
    OTHER_FILES = r"(^|/)test-(volume|segmentation)-\d+\."  # of the challenge's test set
    SLICE_AXIS = 2
    KNOWN_LABELS = (0, 1, 2)  # background, liver, tumour
    # The challenge compares arrays; origin and voxel size in the two headers need not agree.
    MATCH_BY_INDEX = True

    @staticmethod
    def recognise(path: Path) -> tuple[str, str] | None:
        """Returns kind and name of volume-N.nii and segmentation-N.nii; see the base class."""
        match = re.fullmatch(r"(volume|segmentation)-(\d+)", stem(path.name))
        if not match:
            return None
        return "image" if match[1] == "volume" else "label", f"volume-{int(match[2])}"
