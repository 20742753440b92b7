"""lidc_2d: slices of LIDC-IDRI with a lung nodule that at least three readers outlined."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ecc_jax import catalog, volumes
from ecc_jax.volumes import dicom
from ecc_jax.volumes.dicom_files import is_dicom
from ecc_jax.volumes.dicom_stack import Stack
from ecc_jax.volumes.plausibility import warn_unless_hu
from tfds_builders import preparation, remarks, slice_builder
from tfds_builders.lidc_2d import scans
from tfds_builders.lidc_2d.annotations import MIN_ANNOTATIONS
from tfds_builders.lidc_2d.scans import MAX_THICKNESS_MM, Marks, Scan
from tfds_builders.nifti_builder import raw_folder, short
from tfds_builders.nifti_volumes import Problem
from tfds_builders.options import DataOptions
from tfds_builders.remarks import Remark
from tfds_builders.slice_builder import SliceVolume, VolumeEntry
from tfds_builders.workers import results_in_order

# LUNA16's list of its 888 scans.
LIST_FILE = "seriesuids.csv"
# The raw folder is searched this deep: a link to a folder above it would never end.
SEARCH_DEPTH = 8
# The archive's erratum of one reading stands beside the reading that it corrects.
CORRECTION = "correct"
NO_THESIS_SPLIT = (
    "the thesis's split of lidc_2d cannot be reproduced: 5097/830/1680 slices of 416/57/127 "
    "patients do not follow the arithmetic of its other datasets; use "
    "--config.data.split_rule=patient"
)


class _Found(NamedTuple):
    """The files of the raw folder.

    Attributes:
      folder: The raw folder.
      dicom: DICOM files of each folder that has any.
      xml: XML files.
      state: For each folder: path, number of files, their bytes, sum of their times of change.
    """

    folder: Path
    dicom: list[list[Path]]
    xml: list[Path]
    state: list[tuple[str, int, int, int]]


class Builder(slice_builder.SliceBuilder):
    """Slices of LIDC-IDRI where the consensus of a nodule's readers is not empty."""

    BUILDER_CONFIGS = [
        config
        for config in slice_builder.named_configs("lidc_2d")
        if config.options.split_rule != "thesis"
    ]
    EXTRA_FEATURES: ClassVar[tuple[str, ...]] = ("source",)
    REUSES_PREPARED = True

    @property
    def has_readers(self) -> bool:
        """The readers of every scan; see the base class."""
        return True

    @classmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns path and state of every folder; see the base class.

        Raises:
          ValueError: The folder is missing or holds no DICOM or no XML; the split is the thesis's.
        """
        if options.split_rule == "thesis":
            raise ValueError(NO_THESIS_SPLIT)
        found = _find(raw_folder(options))
        return {"path": str(found.folder), "folders": found.state}

    @property
    def skipped(self) -> dict[str, str]:
        """Broken scans with the reason; see the base class."""
        return self._broken

    @property
    def without_lesion(self) -> list[str]:
        """Scans without a nodule that counts; see the base class."""
        return self._empty

    def survey(self) -> Sequence[VolumeEntry]:
        """Reads headers and XML, then the lesion slices; see the base class.

        The slices are read before the split is drawn, because a scan that turns out broken must
        not count in it.
        """
        self._broken: dict[str, str] = {}
        self._excluded: dict[str, str] = {}
        self._empty: list[str] = []
        self._uncounted: list[Marks] = []
        self._odd: dict[str, Sequence[Remark]] = {}
        found = _find(raw_folder(self.options))
        stacks = self._stacks(found.dicom)
        marks = self._marks(found.xml, stacks)
        matched = self._matched(stacks, marks, read_list(found.folder / LIST_FILE))
        entries = {uid: self._entry(found.folder, scan) for uid, scan in matched.items()}
        subset = self.options.subset
        tasks = [
            (scan.stack, slice_builder.chosen_slices(entries[uid], subset))
            for uid, scan in matched.items()
        ]
        for problem in self._run(scans.read_problem, tasks, "read slices"):
            if problem is not None:
                self._note(problem)
                del matched[problem.volume]
        self._scans = self._one_per_patient(matched)
        for uid in self._scans:
            remarks.add(self.remarks, uid, self._odd[uid])
        self._report(len(stacks))
        return [entries[uid] for uid in self._scans]

    def read(self, entry: VolumeEntry) -> SliceVolume:
        """Reads a surveyed scan; see the base class."""
        return self._volume(entry, range(len(self._scans[entry.volume].stack.files)))

    def records(self, entry: VolumeEntry, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yields records, reading their slices alone; see the base class."""
        volume = self._volume(entry, indices)
        warn_unless_hu(volume.image_hu, self._scans[entry.volume].stack.geometry.path)
        air = float(volume.image_hu.min())
        for position, index in enumerate(indices):
            record = slice_builder.make_record(volume, entry, position, self.options, air=air)
            record["slice_index"] = index
            yield record

    def build(self) -> Path:
        """Writes records and index, with what the rule excludes; see the base class."""
        directory = super().build()
        index = preparation.read_index(directory)
        index["excluded"] = self._excluded
        (directory / catalog.INDEX_FILE).write_text(json.dumps(index, indent=1), "utf-8")
        return directory

    def _stacks(self, folders: list[list[Path]]) -> dict[str, Stack | Problem]:
        """Returns every series by its uid, with the reason where it is left out."""
        stacks: dict[str, Stack | Problem] = {}
        for folder in self._run(scans.read_stacks, folders, "read DICOM headers"):
            for uid, item, odd in folder:
                if uid in stacks:
                    item = Problem(uid, f"series {uid} lies in several folders; keep one copy")
                stacks[uid] = item
                self._odd[uid] = odd
        for item in stacks.values():
            if isinstance(item, Problem):
                self._note(item)
        return stacks

    def _marks(self, files: list[Path], stacks: dict[str, Stack | Problem]) -> dict[str, Marks]:
        """Returns the readings of every series that is there."""
        readings: dict[str, list[Marks]] = {}
        for item in self._run(scans.read_marks, files, "read XML"):
            if isinstance(item, Problem):
                self._note(item)
            elif item.series_uid not in stacks:
                reason = f"{item.path}: its DICOM series {item.series_uid} is not there; get it"
                self._note(Problem(item.series_uid, reason))
            else:
                readings.setdefault(item.series_uid, []).append(item)
        chosen = {}
        for uid, several in readings.items():
            corrected = [m for m in several if CORRECTION in m.path.name.lower()] or several
            if any(not _alike(marks, corrected[0]) for marks in corrected):
                names = short([str(marks.path) for marks in corrected])
                reason = f"series {uid} has XML files that differ: {names}; keep one"
                stacks[uid] = Problem(uid, reason)
                self._note(Problem(uid, reason))
            chosen[uid] = corrected[0]
        return chosen

    def _matched(
        self,
        stacks: dict[str, Stack | Problem],
        marks: dict[str, Marks],
        listed: set[str] | None,
    ) -> dict[str, Scan]:
        """Returns the scans that the rule keeps and that have a nodule, sorted by uid."""
        matched = {}
        for uid, series in sorted(stacks.items()):
            if isinstance(series, Problem):
                if uid in (listed or ()) and self._excluded.pop(uid, ""):
                    self._note(series._replace(is_broken=True))  # the list wants it
                continue
            reason = _why_excluded(series, listed)
            if reason:
                self._note(Problem(uid, reason, is_broken=False))
            elif uid not in marks:
                where = series.geometry.path
                self._note(Problem(uid, f"{where}: no XML file for its series; get the XML too"))
            else:
                try:
                    scan = scans.match(series, marks[uid])
                except ValueError as error:
                    self._note(Problem(uid, str(error)))
                    continue
                if scan.marks:
                    matched[uid] = scan
                else:
                    self._empty.append(uid)
                    self._uncounted.append(marks[uid])
        return matched

    def _one_per_patient(self, matched: dict[str, Scan]) -> dict[str, Scan]:
        kept: dict[str, Scan] = {}
        first: dict[str, str] = {}
        for uid, scan in matched.items():
            patient = _patient(scan.stack)
            if patient in first:
                reason = f"{patient}: a second scan; {first[patient]} is kept"
                self._note(Problem(uid, reason, is_broken=False))
            else:
                first[patient] = uid
                kept[uid] = scan
        return kept

    def _entry(self, folder: Path, scan: Scan) -> VolumeEntry:
        areas = {index: int(marks.mask[0].sum()) for index, marks in scan.marks.items()}
        window = self.options.window_hu or catalog.DATASETS["lidc_2d"].window_hu
        source = str(scan.stack.geometry.path.relative_to(folder))
        return VolumeEntry(
            scan.stack.series_uid, _patient(scan.stack), areas, window, {"source": source}
        )

    def _volume(self, entry: VolumeEntry, indices: Sequence[int]) -> SliceVolume:
        scan = self._scans[entry.volume]
        geometry = scan.stack.geometry
        shape = geometry.shape[1:]
        masks = np.zeros((len(indices), *shape), bool)
        bits = np.zeros((len(indices), *shape), np.uint8)
        for position, index in enumerate(indices):
            if index in scan.marks:
                masks[position] = scans.place(scan.marks[index].mask, shape)
                bits[position] = scans.reader_bits(scan.marks[index], shape)
        return SliceVolume(
            dicom.read_pixels(scan.stack, indices=indices),
            masks,
            geometry.spacing_mm,
            volumes.display_orientation(geometry, slice_axis=0),
            # Only some slices are read, so the pixels cannot name the scan.
            volumes.hash_of(entry.volume.encode()),
            reader_bits=bits,
            num_readers=scan.num_readers,
        )

    def _run(self, function: Callable[[Any], Any], items: Sequence[Any], what: str) -> list[Any]:
        with results_in_order(function, items, jobs=self.options.jobs) as results:
            return list(self.bar(results, what, total=len(items)))

    def _note(self, problem: Problem) -> None:
        if problem.is_broken and self.options.strict:
            raise ValueError(problem.reason)
        (self._broken if problem.is_broken else self._excluded)[problem.volume] = problem.reason

    def _report(self, total: int) -> None:
        reasons = list(self._broken.values())
        if not self._scans:
            nothing = [scans.why_nothing_counts(self._uncounted)] if self._uncounted else []
            others = [*nothing, *reasons, *self._excluded.values()]
            raise ValueError(
                f"{self.options.path}: no scan with a nodule can be read; {short(others, 3)}"
            )
        if reasons:
            warnings.warn(
                f"lidc_2d: {len(reasons)} broken inputs left out beside {total} series: "
                f"{short(reasons, 3)}",
                stacklevel=3,
            )
        lone = [str(m.path) for m in self._uncounted if m.num_readers < MIN_ANNOTATIONS]
        if lone:
            warnings.warn(
                f"lidc_2d: {len(lone)} scans have XML of fewer than {MIN_ANNOTATIONS} reading "
                f"sessions, so none of their nodules counts: {short(lone, 3)}; get XML files with "
                "all four",
                stacklevel=3,
            )


def read_list(path: Path) -> set[str] | None:
    """Returns the series of LUNA16's list (one SeriesInstanceUID a line); None without file.

    Raises:
      ValueError: The file holds no SeriesInstanceUID.
    """
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    fields = [line.split(",")[0].strip().strip('"') for line in lines]
    listed = {field for field in fields if re.fullmatch(r"[0-9]+(\.[0-9]+)+", field)}
    if not listed:
        raise ValueError(
            f"{path}: expected LUNA16's list, one SeriesInstanceUID a line, found none; download "
            "it again, or remove it to select scans by slice thickness"
        )
    return listed


def _find(folder: Path) -> _Found:
    """Returns the files of the raw folder, links followed, hidden ones not.

    Raises:
      ValueError: There is no DICOM or no XML.
    """
    series, xml, state = [], [], []
    for directory, subfolders, names in os.walk(folder, followlinks=True):
        depth = len(Path(directory).relative_to(folder).parts)
        deeper = depth + 1 < SEARCH_DEPTH
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".")) if deeper else []
        shown = [Path(directory) / name for name in sorted(names) if not name.startswith(".")]
        paths = [path for path in shown if path.is_file()]
        if not paths:
            continue
        stats = [path.stat() for path in paths]
        times = sum(stat.st_mtime_ns for stat in stats)
        sizes = sum(stat.st_size for stat in stats)
        state.append((str(Path(directory).relative_to(folder)), len(paths), sizes, times))
        xml += [path for path in paths if path.suffix.lower() == ".xml"]
        files = [p for p in paths if p.suffix.lower() not in (".xml", ".csv") and is_dicom(p)]
        series += [files] if files else []
    if not series or not xml:
        lacking = "DICOM" if not series else "XML"
        how_to = catalog.DATASETS["lidc_2d"].how_to_get
        raise ValueError(f"{folder}: holds no {lacking} file; {how_to}")
    return _Found(folder, series, xml, state)


def _why_excluded(series: Stack, listed: set[str] | None) -> str:
    """Returns why the rule leaves a sound series out, or nothing."""
    where = series.geometry.path
    if listed is not None:
        return "" if series.series_uid in listed else f"{where}: not in {LIST_FILE}"
    if series.thickness_mm is None:
        return f"{where}: no SliceThickness"
    if series.thickness_mm > MAX_THICKNESS_MM:
        return f"{where}: slices {series.thickness_mm:g} mm thick, more than {MAX_THICKNESS_MM}"
    return ""


def _patient(series: Stack) -> str:
    """Returns PatientID; if there is none, the scan is a patient of its own."""
    return series.patient or series.series_uid


def _alike(one: Marks, other: Marks) -> bool:
    """Returns whether two XML files mark the same slices alike."""
    return len(one.slices) == len(other.slices) and all(
        a.z_mm == b.z_mm and a.mask[1] == b.mask[1] and np.array_equal(a.mask[0], b.mask[0])
        for a, b in zip(one.slices, other.slices, strict=True)
    )
