"""The two halves of a LIDC-IDRI scan, series and readings, each on its own, and their match.

The functions that read files return problems instead of raising them: they run in worker
processes, and a broken file must not stop the other scans.
"""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from ecc_jax.data.readers import READER_BITS
from ecc_jax.volumes import dicom
from ecc_jax.volumes.dicom_files import Header, read_header
from ecc_jax.volumes.dicom_members import LocalizerError
from ecc_jax.volumes.dicom_stack import Stack, stack_slices
from ecc_jax.volumes.dicom_steps import SpacingError
from tfds_builders.lidc_2d import annotations
from tfds_builders.lidc_2d.annotations import MAX_READERS
from tfds_builders.lidc_2d.outlines import Mask, stack, trim
from tfds_builders.nifti_volumes import Problem
from tfds_builders.remarks import Remark, collected

MAX_THICKNESS_MM = 2.5
# Positions in the XML are those of the DICOM headers but for rounding.
NEAR_STEPS = 0.25


class SliceMarks(NamedTuple):
    """What the readers marked on one slice of a scan, as far as the nodule counts.

    Attributes:
      z_mm: Position of the slice.
      sop_uids: SOPInstanceUID of the slice, as the readers' outlines name it.
      mask: Pixels of the consensus of any nodule; not empty.
      readers: For each reader who outlined one of these nodules here: number of the reading
        session, and what they count to it.
    """

    z_mm: float
    sop_uids: tuple[str, ...]
    mask: Mask
    readers: tuple[tuple[int, Mask], ...]


class Marks(NamedTuple):
    """What one XML file marks.

    Attributes:
      path: The file.
      series_uid: SeriesInstanceUID of its scan.
      num_readers: Reading sessions, those without a nodule included.
      slices: Slices where the consensus of a nodule is not empty, rising in z.
      num_outlined: For each nodule, whether it counts or not, how often it was outlined.
    """

    path: Path
    series_uid: str
    num_readers: int
    slices: tuple[SliceMarks, ...]
    num_outlined: tuple[int, ...]


class Scan(NamedTuple):
    """A series with its readings.

    Attributes:
      stack: The series.
      num_readers: Reading sessions.
      marks: By index of the slice.
    """

    stack: Stack
    num_readers: int
    marks: dict[int, SliceMarks]


class Series(NamedTuple):
    """A series of a folder.

    Attributes:
      uid: SeriesInstanceUID.
      stack: Its slices, or why it is left out.
      remarks: What is odd about it.
    """

    uid: str
    stack: Stack | Problem
    remarks: tuple[Remark, ...] = ()


def read_stacks(files: Sequence[Path]) -> list[Series]:
    """Returns every series of the DICOM files of one folder.

    A file that cannot be read spoils every series of its folder, because nobody knows to which it
    belongs. Problems that are not broken: series that are not CT, localizers, and series whose
    slices are missing, twice or unevenly spaced.
    """
    series: dict[str, list[Header]] = {}
    broken = ""
    for path in files:
        try:
            header = read_header(path)
            series.setdefault(header.series_uid, []).append(header)
        except ValueError as error:
            broken = broken or str(error)
    folder = files[0].parent
    if broken:
        return [Series(uid, Problem(uid, broken)) for uid in sorted(series) or [str(folder)]]
    found = []
    for uid, headers in sorted(series.items()):
        kinds = {header.modality for header in headers}
        if "CT" not in kinds:
            reason = f"{folder}: modality {', '.join(sorted(kinds))}, not CT"
            found.append(Series(uid, Problem(uid, reason, is_broken=False)))
            continue
        try:
            with collected() as odd:
                slices = stack_slices(headers, folder=folder)
            found.append(Series(uid, slices, tuple(odd)))
        except ValueError as error:
            by_rule = isinstance(error, (SpacingError, LocalizerError))
            found.append(Series(uid, Problem(uid, str(error), is_broken=not by_rule)))
    return found


def read_marks(path: Path) -> Marks | Problem:
    """Returns what an XML file marks, or why it cannot be read.

    Not broken: the reading of a chest X-ray.
    """
    try:
        reading = annotations.read_reading(path)
        if not reading.series_uid:
            raise ValueError(f"{path}: has no SeriesInstanceUid; download it again")
        # One scan was read by eight, all others by up to four.
        if reading.num_readers > READER_BITS:
            raise ValueError(
                f"{path}: expected up to {READER_BITS} reading sessions, got "
                f"{reading.num_readers}; remove the doubled ones"
            )
    except ValueError as error:
        not_ct = isinstance(error, annotations.NotCtError)
        return Problem(str(path), str(error), is_broken=not not_ct)
    groups = annotations.group_nodules(reading.annotations)
    return Marks(
        path,
        reading.series_uid,
        reading.num_readers,
        _marked(groups),
        tuple(len(group) for group in groups),
    )


def why_nothing_counts(readings: Sequence[Marks]) -> str:
    """Returns, in words, why no nodule of some scans counts, and what to do."""
    times = collections.Counter(number for marks in readings for number in marks.num_outlined)
    where = f"in {len(readings)} scans"
    if not times:
        return f"no reader outlined a nodule of 3 mm or more {where}; add scans with nodules"
    least, total = annotations.MIN_ANNOTATIONS, times.total()
    if max(times) >= least:
        return f"readers agree on no pixel of the {total} nodules {where}; add other scans"
    words = {1: "one", 2: "two"}
    listed = ", ".join(f"{times[n]} have those of {words[n]}" for n in sorted(times, reverse=True))
    sessions = max(marks.num_readers for marks in readings)
    remedy = "get XML files with all four" if sessions < MAX_READERS else "add other scans"
    return (
        f"no nodule has the outlines of three readers: of {total} nodules {where} {listed}, the "
        f"rule needs {least}; the XML files hold up to {sessions} reading sessions, {remedy}"
    )


def match(series: Stack, marks: Marks) -> Scan:
    """Returns a series with its readings, found by SOPInstanceUID, else by position.

    Raises:
      ValueError: Readings of a slice that the series does not have, or outside its pixels.
    """
    index_of = {uid: index for index, uid in enumerate(series.slice_uids) if uid}
    z_mm = np.asarray(series.slice_z_mm)
    _, height, width = series.geometry.shape
    found = {}
    for slice_marks in marks.slices:
        named = [index_of[uid] for uid in slice_marks.sop_uids if uid in index_of]
        index = named[0] if named else int(np.argmin(np.abs(z_mm - slice_marks.z_mm)))
        off_mm = abs(z_mm[index] - slice_marks.z_mm)
        if not named and off_mm > NEAR_STEPS * series.geometry.spacing_mm[0]:
            raise ValueError(
                f"{marks.path}: outlines at z = {slice_marks.z_mm:g} mm, the nearest slice of "
                f"{series.geometry.path} is {off_mm:.2f} mm away; XML and DICOM do not belong "
                "together, download both again"
            )
        for mask, (y, x) in (slice_marks.mask, *(mask for _, mask in slice_marks.readers)):
            bottom, right = y + mask.shape[0], x + mask.shape[1]
            if min(y, x) < 0 or bottom > height or right > width:
                raise ValueError(
                    f"{marks.path}: a nodule at rows {y} to {bottom - 1}, columns {x} to "
                    f"{right - 1} lies outside the {height} x {width} pixels of "
                    f"{series.geometry.path}; XML and DICOM do not belong together, download both "
                    "again"
                )
        found[index] = slice_marks
    return Scan(series, marks.num_readers, dict(sorted(found.items())))


def read_problem(task: tuple[Stack, Sequence[int]]) -> Problem | None:
    """Reads some slices of a series; returns why they cannot be read, else None."""
    series, indices = task
    try:
        for index in indices:
            dicom.read_pixels(series, indices=[index])
    except ValueError as error:
        return Problem(series.series_uid, str(error))
    return None


def place(mask: Mask, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Returns a mask on the whole slice."""
    pixels, (y, x) = mask
    full = np.zeros(shape, bool)
    full[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return full


def reader_bits(marks: SliceMarks, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Returns the readers' masks in one: bit r is set where the reader of session r marked."""
    bits = np.zeros(shape, np.uint8)
    for reader, mask in marks.readers:
        bits |= place(mask, shape).astype(np.uint8) << np.uint8(reader)
    return bits


def _marked(groups: Sequence[Sequence[annotations.Annotation]]) -> tuple[SliceMarks, ...]:
    consensus: dict[float, list[Mask]] = {}
    readers: dict[float, dict[int, list[Mask]]] = {}
    uids: dict[float, set[str]] = {}
    for group in groups:
        agreed = annotations.consensus(group)
        for z, mask in agreed.items():
            consensus.setdefault(z, []).append(mask)
        for annotation in group if agreed else ():
            for contour in annotation.contours:
                uids.setdefault(contour.z_mm, set()).add(contour.sop_uid)
            for z, mask in annotations.annotation_masks(annotation).items():
                readers.setdefault(z, {}).setdefault(annotation.reader, []).append(mask)
    return tuple(
        SliceMarks(
            z,
            tuple(sorted(uids[z])),
            _union(masks),
            tuple((reader, _union(own)) for reader, own in sorted(readers[z].items())),
        )
        for z, masks in sorted(consensus.items())
    )


def _union(masks: Sequence[Mask]) -> Mask:
    layers, origin = stack(masks)
    return trim(np.asarray(layers.any(axis=0)), origin)
