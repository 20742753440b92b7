"""A small LIDC-IDRI archive of four patients, and what a build of it holds."""

import tensorflow_datasets as tfds

from tests.preparing import prepare
from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import UID_ROOT, Ball, Scan
from tfds_builders import preparation

SPLITS = ("train", "validation", "test")
SHAPE = (9, 48, 60)  # neither square nor the size of the records
# By patient: a nodule of four readers and one of three that share slices; readers who disagree;
# one that only two saw beside one that three saw.
BALLS = {
    "LIDC-IDRI-0001": (Ball((4, 20, 16), (5, 6, 4, 7)), Ball((6, 30, 40), (4, 0, 5, 4.5))),
    "LIDC-IDRI-0002": (Ball((5, 24, 30), (5, 6, 5, 6)),),
    "LIDC-IDRI-0003": (Ball((3, 24, 30), (0, 6, 6, 6)), Ball((6, 10, 12), (5, 5, 0, 0))),
    "LIDC-IDRI-0004": (Ball((2, 40, 50), (4, 4, 4, 1.5)),),
}
SCANS = {
    "LIDC-IDRI-0001": Scan(UID_ROOT + "1", "LIDC-IDRI-0001"),
    "LIDC-IDRI-0002": Scan(UID_ROOT + "2", "LIDC-IDRI-0002", reverse=True, step_mm=1.25),
    "LIDC-IDRI-0003": Scan(UID_ROOT + "3", "LIDC-IDRI-0003", z0_mm=-8.0, pixel_mm=(0.6, 0.8)),
    "LIDC-IDRI-0004": Scan(UID_ROOT + "4", "LIDC-IDRI-0004"),
}


def flat(scan):
    """Balls are round in pixels however far the slices are apart."""
    return [ball._replace(flat=scan.step_mm) for ball in BALLS[scan.patient]]


def write(root):
    """Writes the four patients; returns the folder."""
    for scan in SCANS.values():
        lidc.write_patient(root, flat(scan), SHAPE, scan)
    return root


def index_of(options):
    return preparation.read_index(prepare(options))


def records(options):
    builder = tfds.builder_from_directory(prepare(options))
    rows = [row for split in SPLITS for row in builder.as_data_source(split)]
    return {(row["patient"].decode(), int(row["slice_index"])): row for row in rows}


def folder_of(archive, number):
    (folder,) = (archive / f"LIDC-IDRI-000{number}" / "study-1").iterdir()
    return folder
