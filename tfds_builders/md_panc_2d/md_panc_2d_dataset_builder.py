"""md_panc_2d: slices of the Decathlon's pancreas task with a tumour."""

import re
from pathlib import Path

from ecc_jax.volumes import stem
from tfds_builders import nifti_builder, slice_builder


class Builder(nifti_builder.NiftiBuilder):
    """Slices with a pancreas tumour (label 2) from the 281 training volumes of MSD Task07."""

    BUILDER_CONFIGS = slice_builder.named_configs("md_panc_2d")
    EXPECTED_FILES = "imagesTr/pancreas_xxx.nii.gz and labelsTr/pancreas_xxx.nii.gz"
    OTHER_FILES = r"(^|/)imagesTs/"  # without labels
    SLICE_AXIS = 2
    KNOWN_LABELS = (0, 1, 2)  # background, pancreas, tumour

    @staticmethod
    def recognise(path: Path) -> tuple[str, str] | None:
        """Returns kind and name of files in imagesTr/ and labelsTr/; see the base class."""
        kind = {"imagesTr": "image", "labelsTr": "label"}.get(path.parent.name)
        name = stem(path.name)
        return (kind, name) if kind and re.fullmatch(r"pancreas_\d+", name) else None
