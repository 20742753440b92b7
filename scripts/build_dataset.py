"""Prepares a dataset by name and prints its directory.

    python scripts/build_dataset.py ct_phantom_2d --size 160
    python scripts/build_dataset.py ct_folder_2d --path DIR --lesion-labels 2 --subset small

Training prepares what it needs by itself; this is for preparing ahead, and on another machine.
"""

import argparse
import sys

from ecc_jax import catalog
from tfds_builders import preparation


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = vars(_parser().parse_args())
    progress = not arguments.pop("no_progress")
    try:
        directory = preparation.prepare(preparation.DataOptions(**arguments), progress=progress)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    default = preparation.DataOptions("")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("name", help=f"one of {', '.join(catalog.DATASETS)}")
    add("--root", default=default.root, help="folder of prepared data ($TFDS_DATA_DIR)")
    add("--path", default=default.path, help="folder of the raw data (ct_folder_2d)")
    add("--size", type=int, default=default.size, help="side of the stored slices, pixels")
    add("--variant", default=default.variant, choices=preparation.VARIANTS)
    add("--subset", default=default.subset, choices=preparation.SUBSETS)
    add("--patient-regex", default="", help="finds the patient in a volume's name")
    add("--lesion-labels", type=int, nargs="+", default=(), help="label values that mean lesion")
    add("--allow-empty", action="store_true", help="skip volumes without a lesion")
    add("--slice-axis", type=int, default=None, help="0, 1 or 2; default: the largest spacing")
    add("--window-hu", type=float, nargs=2, default=None, metavar=("LOW", "HIGH"))
    add("--split-rule", default=default.split_rule, choices=preparation.SPLIT_RULES)
    add("--split-seed", type=int, default=default.split_seed)
    add("--kind", default=default.kind, help="organ of the phantom")
    add("--num-patients", type=int, default=default.num_patients, help="patients of the phantom")
    add("--no-progress", action="store_true", help="no progress bars")
    return parser


if __name__ == "__main__":
    sys.exit(main())
