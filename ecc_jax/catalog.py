"""What is known of each dataset: HU window, lesion labels, organ, where the data come from."""

from typing import NamedTuple


class DatasetInfo(NamedTuple):
    """Facts of one dataset.

    Attributes:
      window_hu: HU range that maps to [0, 1].
      lesion_labels: Values of the label file that mean lesion.
      organ: Tissue around the lesions.
      how_to_get: What a user downloads, and where it goes.
      names_within: Key of `data` whose value tells where names of patients hold: the folder of
        data that are anybody's own, the kind of synthetic ones. Empty for public data, whose
        names are the same everywhere.
    """

    window_hu: tuple[float, float]
    lesion_labels: tuple[int, ...]
    organ: str
    how_to_get: str
    names_within: str = ""


INDEX_FILE = "index.json"  # of a prepared dataset
SPLITS = ("train", "validation", "test")
VARIANTS = ("windowed", "raw")
SUBSETS = ("full", "small")
SPLIT_RULES = ("patient", "thesis")

SOFT_TISSUE_HU = (-150.0, 250.0)
LUNG_HU = (-900.0, 600.0)
LIVER_HU = (-45.0, 105.0)

DATASETS: dict[str, DatasetInfo] = {
    "ct_phantom_2d": DatasetInfo(
        SOFT_TISSUE_HU,
        (1,),
        "synthetic",
        "nothing: the phantom is generated on first use",
        names_within="phantom_kind",
    ),
    "ct_folder_2d": DatasetInfo(
        SOFT_TISSUE_HU,
        (1,),
        "any",
        "put NIfTI volumes in DIR/images and masks of the same names in DIR/labels, then pass "
        "--config.data.path=DIR",
        names_within="path",
    ),
    "lidc_2d": DatasetInfo(
        LUNG_HU,
        (1,),
        "lung",
        "get LIDC-IDRI (CT images and the XML annotations) from https://www.cancerimagingarchive."
        "net/collection/lidc-idri/, put LUNA16's seriesuids.csv beside them if you have it, then "
        "pass --config.data.path=DIR, the folder that holds LIDC-IDRI-0001/ and so on",
    ),
    "kits_2d": DatasetInfo(
        SOFT_TISSUE_HU,
        (2,),
        "kidney",
        "get KiTS23: clone https://github.com/neheller/kits23, run its download script, then pass "
        "--config.data.path=DIR, the folder that holds case_00000/ to case_00588/",
    ),
    "lits_2d": DatasetInfo(
        LIVER_HU,
        (2,),
        "liver",
        "get both training batches of LiTS17 from https://competitions.codalab.org/competitions/"
        "17094, then pass --config.data.path=DIR, the folder with (batch folders of) volume-N.nii "
        "and segmentation-N.nii",
    ),
    "md_panc_2d": DatasetInfo(
        SOFT_TISSUE_HU,
        (2,),
        "pancreas",
        "get and unpack Task07_Pancreas.tar from http://medicaldecathlon.com, then pass "
        "--config.data.path=DIR, the folder that holds imagesTr/ and labelsTr/",
    ),
    "combined_2d": DatasetInfo(
        SOFT_TISSUE_HU,
        (1,),
        "mixed",
        "prepare lidc_2d, kits_2d, lits_2d and md_panc_2d first, or pass --config.data.path=DIR "
        "with their raw data in DIR/lidc_2d, DIR/kits_2d, DIR/lits_2d and DIR/md_panc_2d",
        names_within="path",
    ),
}


def split_source(source: str) -> tuple[str, str]:
    """Returns dataset and kind of one of `data.sources`: "ct_phantom_2d:lung", or a name alone.

    Args:
      source: A name in `DATASETS`, that of the phantom perhaps with the kind of its patients after
        a colon; the kind is empty where none is named.
    """
    name, _, kind = source.partition(":")
    has_kinds = name in DATASETS and DATASETS[name].names_within == "phantom_kind"
    return (name, kind) if has_kinds else (source, "")


# Slices in training, validation and test of the thesis's sets. Source: thesis Table 1.
TABLE_1: dict[str, dict[str, tuple[int, int, int]]] = {
    "lidc_2d": {"full": (5097, 830, 1680), "small": (416, 57, 127)},
    "kits_2d": {"full": (8527, 1219, 2436), "small": (342, 49, 98)},
    "lits_2d": {"full": (5033, 719, 1438), "small": (82, 12, 24)},
    "md_panc_2d": {"full": (1775, 254, 508), "small": (196, 29, 56)},
    "combined_2d": {"full": (7100, 1016, 2032), "small": (328, 48, 96)},
}
