"""What is known of each dataset: HU window, lesion label, schedule, where the data come from."""

from typing import NamedTuple


class DatasetInfo(NamedTuple):
    """Facts of one dataset.

    Attributes:
      window_hu: HU range that maps to [0, 1].
      lesion_labels: Values of the label file that mean lesion.
      organ: Tissue around the lesions.
      how_to_get: What a user downloads, and where it goes.
    """

    window_hu: tuple[float, float]
    lesion_labels: tuple[int, ...]
    organ: str
    how_to_get: str


SOFT_TISSUE_HU = (-150.0, 250.0)
LUNG_HU = (-900.0, 600.0)
LIVER_HU = (-45.0, 105.0)

DATASETS: dict[str, DatasetInfo] = {
    "ct_phantom_2d": DatasetInfo(
        SOFT_TISSUE_HU, (1,), "synthetic", "nothing: the phantom is generated on first use"
    ),
    "ct_folder_2d": DatasetInfo(
        SOFT_TISSUE_HU,
        (1,),
        "any",
        "put NIfTI volumes in DIR/images and masks of the same names in DIR/labels, then pass "
        "--config.data.path=DIR",
    ),
    "lidc_2d": DatasetInfo(
        LUNG_HU, (1,), "lung", "LIDC-IDRI from The Cancer Imaging Archive (DICOM + XML)"
    ),
    "kits_2d": DatasetInfo(SOFT_TISSUE_HU, (2,), "kidney", "KiTS23 from the kits23 repository"),
    "lits_2d": DatasetInfo(LIVER_HU, (2,), "liver", "LiTS17 training volumes from CodaLab"),
    "md_panc_2d": DatasetInfo(
        SOFT_TISSUE_HU, (2,), "pancreas", "Task07_Pancreas from the Medical Segmentation Decathlon"
    ),
    "combined_2d": DatasetInfo(
        SOFT_TISSUE_HU, (1,), "mixed", "the four sets lidc_2d, kits_2d, lits_2d and md_panc_2d"
    ),
}
