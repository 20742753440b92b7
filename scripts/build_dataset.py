"""Prepares a dataset by name and prints its directory; what it holds goes to stderr.

    python scripts/build_dataset.py kits_2d --source=DIR --config=small --jobs=4
    python scripts/build_dataset.py combined_2d --source=DIR      # DIR/lidc_2d, DIR/kits_2d, ...
    python scripts/build_dataset.py ct_folder_2d --source=DIR --lesion-labels 2
    python scripts/build_dataset.py ct_phantom_2d --size 160

Training prepares what it needs by itself; this is for preparing ahead, with several processes, and
on another machine. A killed build continues when the same command runs again. Every broken volume
is left out and named, unless --strict.
"""

import argparse
import sys

from ecc_jax import catalog, console
from tfds_builders import options, preparation, prepared_index


def main() -> int:
    """Returns the exit code: 0, 1 with one line on stderr, or 130 after an interrupt."""
    arguments = vars(_parser().parse_args())
    progress = not arguments.pop("no_progress")
    changes = options.CONFIGS[arguments.pop("config")]
    given = {key: value for key, value in arguments.items() if value is not None}

    def work() -> None:
        chosen = options.DataOptions(**{**changes, **given})
        directory = preparation.prepare(chosen, progress=progress)
        print(prepared_index.summary(prepared_index.read_index(directory)), file=sys.stderr)
        console.say_path(directory)

    return console.resumable(work)


def _parser() -> argparse.ArgumentParser:
    default = options.DataOptions("")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("name", help=f"one of {', '.join(catalog.DATASETS)}")
    add("--root", default=default.root, help="folder of prepared data ($TFDS_DATA_DIR)")
    add("--source", "--path", dest="path", default=default.path, help="folder of the raw data")
    add("--config", default="full", choices=options.CONFIGS, help="subset, split and HU range")
    add("--jobs", type=int, default=default.jobs, help="processes that read, a volume each")
    add("--strict", action="store_true", help="refuse the dataset if a volume is broken")
    add("--size", type=int, default=default.size, help="side of the stored slices, pixels")
    add("--variant", choices=options.VARIANTS, help="overrides --config")
    add("--subset", choices=options.SUBSETS, help="overrides --config")
    add("--patient-regex", default="", help="finds the patient in a volume's name (ct_folder_2d)")
    add("--lesion-labels", type=int, nargs="+", default=(), help="label values that mean lesion")
    add("--allow-empty", action="store_true", help="skip volumes without a lesion (ct_folder_2d)")
    add("--slice-axis", type=int, help="0, 1 or 2; default: the dataset's, or the largest spacing")
    add("--mixed-planes", action="store_true", help="accept volumes of different planes in one set")
    add("--window-hu", type=float, nargs=2, metavar=("LOW", "HIGH"))
    add("--split-rule", choices=options.SPLIT_RULES, help="overrides --config")
    add("--split-seed", type=int, default=default.split_seed)
    add("--sources", nargs="+", default=(), help="datasets that combined_2d joins")
    add(
        "--all-slices",
        dest="balanced",
        action="store_false",
        help="all of every source (combined_2d)",
    )
    add("--kind", default=default.kind, help="organ of the phantom")
    add("--num-patients", type=int, default=default.num_patients, help="patients of the phantom")
    add("--no-progress", action="store_true", help="no progress bars")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(main))
