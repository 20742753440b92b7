"""kits_2d: slices of KiTS23 with a kidney tumour."""

import re
from pathlib import Path

from ecc_jax.volumes import stem
from tfds_builders import nifti_builder, slice_builder


class Builder(nifti_builder.NiftiBuilder):
    """Slices with a kidney tumour (label 2) from the 489 CT volumes of KiTS23."""

    BUILDER_CONFIGS = slice_builder.named_configs("kits_2d")
    EXPECTED_FILES = "case_xxxxx/imaging.nii.gz and case_xxxxx/segmentation.nii.gz"
    OTHER_FILES = r"(^|/)instances/"  # every reader's outlines
    SLICE_AXIS = 0
    KNOWN_LABELS = (0, 1, 2, 3)  # background, kidney, tumour, cyst

    @staticmethod
    def recognise(path: Path) -> tuple[str, str] | None:
        """Returns kind and case of case_xxxxx/{imaging,segmentation}.nii.gz; see the base class."""
        kind = {"imaging": "image", "segmentation": "label"}.get(stem(path.name))
        is_case = re.fullmatch(r"case_\d+", path.parent.name)
        return (kind, path.parent.name) if kind and is_case else None
