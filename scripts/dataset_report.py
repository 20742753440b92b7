"""Tells what a prepared dataset holds, in numbers and pictures.

    python scripts/dataset_report.py kits_2d
    python scripts/dataset_report.py PREPARED_DIRECTORY --out report/

Writes report.md, report.json, areas.png, hu.png and contact_sheet.png; the last line on stdout is
the path of report.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ecc_jax import console
from ecc_jax.catalog import SPLITS
from ecc_jax.data import pipeline
from ecc_jax.report.dataset_write import Prepared, write_dataset_report
from tfds_builders import prepared_index


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a dataset, or a prepared directory")
    parser.add_argument("--root", default="", help="folder of prepared data ($TFDS_DATA_DIR)")
    parser.add_argument(
        "--out", type=console.path_argument, help="default runs/dataset_report/<name>-<config>"
    )
    arguments = parser.parse_args()
    try:
        directory = prepared_index.find(arguments.name, arguments.root)
        default = Path("runs/dataset_report") / "-".join(directory.parts[-3:-1])
        prepared = open_prepared(directory)
        total = sum(len(part) for part in prepared.splits.values())

        def progress(records: Any) -> Any:
            return tqdm(records, desc="read slices", total=total, file=sys.stderr)

        out = arguments.out or default
        console.say_path(write_dataset_report(prepared, out, progress=progress))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    return 0


def open_prepared(directory: Path) -> Prepared:
    """Returns a prepared dataset with the slices of all its splits."""
    index = prepared_index.read_index(directory)
    return Prepared(
        name=index["name"],
        directory=directory,
        options=index["options"],
        counts=prepared_index.summary(index),
        splits={split: pipeline.open_split(directory, split) for split in SPLITS},
    )


if __name__ == "__main__":
    sys.exit(console.run(main))
