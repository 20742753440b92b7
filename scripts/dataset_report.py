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
from ecc_jax.catalog import INDEX_FILE, SPLITS
from ecc_jax.data import pipeline
from ecc_jax.places import expanded
from ecc_jax.report.dataset_write import Prepared, write_dataset_report
from tfds_builders import options, prepared_index


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
        directory = find(arguments.name, arguments.root)
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


def find(name: str, root: str) -> Path:
    """Returns the prepared directory of a dataset.

    Raises:
      ValueError: None, or more than one.
    """
    given = expanded(name)
    if (given / INDEX_FILE).is_file():
        return given.resolve()
    folder = (expanded(root) if root else options.default_root()) / given
    found = [p.parent for p in sorted(folder.glob(f"[!.]*/*/{INDEX_FILE}"))]
    found = [path for path in found if prepared_index.is_complete(path)]
    if not found:
        raise ValueError(
            f"no prepared dataset in {folder}; prepare it with scripts/build_dataset.py {name}, or "
            "pass --root"
        )
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise ValueError(f"{name} is prepared {len(found)} times, pass one directory: {listed}")
    return found[0]


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
