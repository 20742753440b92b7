"""Counts the slices of LIDC-IDRI from its XML files alone, to check the rule of lidc_2d.

    python scripts/count_lidc.py DIR --list seriesuids.csv --jobs 4

DIR holds the XML files at any depth. Of several files of one series the corrected one counts, else
the first. The XML names no patient: a patient's second scan is counted here, but not in lidc_2d.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ecc_jax import console
from tfds_builders.lidc_2d import annotations
from tfds_builders.lidc_2d.lidc_2d_dataset_builder import CORRECTION, read_list
from tfds_builders.workers import results_in_order

LEAST = (1, 2, 3)


class _Counts(NamedTuple):
    """Slices of one XML file for each number of annotations in LEAST, or why there are none."""

    series_uid: str
    slices: tuple[int, ...]
    problem: str = ""
    is_ct: bool = True


def count(path: Path) -> _Counts:
    """Returns the slices of one XML file."""
    try:
        reading = annotations.read_reading(path)
    except ValueError as error:
        return _Counts("", (), str(error), not isinstance(error, annotations.NotCtError))
    groups = annotations.group_nodules(reading.annotations)
    agreed = [[annotations.consensus(g, min_annotations=n) for g in groups] for n in LEAST]
    return _Counts(reading.series_uid, tuple(len(set().union(*masks)) for masks in agreed))


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    path = console.path_argument
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=path, help="folder of the XML files")
    parser.add_argument("--list", type=path, help="LUNA16's seriesuids.csv: counted apart")
    parser.add_argument("--jobs", type=int, default=1, help="processes that read")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() == ".xml")
    # Of several files of a series the first counts: the corrected one.
    files.sort(key=lambda path: CORRECTION in path.name.lower(), reverse=True)
    with results_in_order(count, files, jobs=arguments.jobs) as results:
        counted = list(tqdm(results, total=len(files), file=sys.stderr, disable=None))
    problems = [result.problem for result in counted if result.problem and result.is_ct]
    series = {result.series_uid: result.slices for result in reversed(counted) if result.slices}
    if not series:
        console.complain(f"{arguments.folder}: holds no reading of a CT")
        return 1
    for problem in problems:
        print(f"skipped: {problem}", file=sys.stderr)
    print(f"{'':24s}{'scans':>8s}" + "".join(f"{f'>= {n}':>8s}" for n in LEAST))
    _print_row("all", series)
    if arguments.list:
        listed = read_list(arguments.list) or set()
        _print_row(arguments.list.name, {u: n for u, n in series.items() if u in listed})
    return 0


def _print_row(name: str, series: dict[str, tuple[int, ...]]) -> None:
    totals = [sum(slices[i] for slices in series.values()) for i in range(len(LEAST))]
    print(f"{name:24s}{len(series):8d}" + "".join(f"{total:8d}" for total in totals))


if __name__ == "__main__":
    sys.exit(console.run(main))
