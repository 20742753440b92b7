"""What the datasets of NIfTI volumes share: pairs of files, reading, cache, what is left out."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ecc_jax import catalog
from tfds_builders import nifti_volumes, slice_builder
from tfds_builders.nifti_volumes import Problem, Rules, Task, VolumeFiles
from tfds_builders.preparation import DataOptions, used_options
from tfds_builders.slice_builder import SliceVolume, VolumeEntry
from tfds_builders.workers import results_in_order

SUFFIXES = (".nii.gz", ".nii")
# Raw folders are searched this deep, so that batch folders and unpacked archives are found.
SEARCH_DEPTH = 4
MAX_NAMES = 10
# The cache holds the records once, beside what the writer needs.
DISK_FACTOR = 1.0 + slice_builder.DISK_FACTOR


class Found(NamedTuple):
    """The raw data of a dataset.

    Attributes:
      folder: Where they are.
      files: Volumes with image and label, sorted by name.
      problems: Volumes that cannot be read, for want of a file or because there are two.
      facts: What identifies the raw data beside the files.
    """

    folder: Path
    files: list[VolumeFiles]
    problems: list[Problem]
    facts: dict[str, Any]


class NiftiBuilder(slice_builder.SliceBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base class of datasets made of NIfTI volumes and label volumes.

    A dataset says which files are its own (`recognise`, or `find` where that is not enough), and
    what its labels and its slice axis are. Broken volumes are left out and named, unless `strict`.
    """

    USED_OPTIONS: ClassVar[tuple[str, ...]] = ("lesion_labels", "slice_axis")
    EXTRA_FEATURES: ClassVar[tuple[str, ...]] = ("source",)
    REUSES_PREPARED = True
    # The files that `recognise` looks for, for messages.
    EXPECTED_FILES: ClassVar[str] = ""
    # Array axis of the slices; None means the axis of the largest spacing, else the last.
    SLICE_AXIS: ClassVar[int | None] = None
    # Values that a label may hold; empty means any.
    KNOWN_LABELS: ClassVar[tuple[int, ...]] = ()
    # Whether image and label belong together voxel by voxel, whatever their headers say.
    MATCH_BY_INDEX: ClassVar[bool] = False
    # Whether one broken volume always refuses the dataset.
    ALWAYS_STRICT: ClassVar[bool] = False

    @staticmethod
    def recognise(path: Path) -> tuple[str, str] | None:
        """Returns what a file is ("image" or "label") and its volume, None if neither."""
        raise NotImplementedError

    @classmethod
    def find(cls, options: DataOptions) -> Found:
        """Returns the volumes of the raw folder; every volume is a patient of its own.

        Raises:
          ValueError: The folder is missing or holds no volume.
        """
        folder = raw_folder(options)
        info = catalog.DATASETS[options.name]
        files: dict[str, dict[str, list[Path]]] = {}
        for path in nifti_files(folder):
            recognised = cls.recognise(path)
            if recognised:
                kind, name = recognised
                files.setdefault(name, {"image": [], "label": []})[kind].append(path)
        if not files:
            raise ValueError(f"{folder}: holds no {cls.EXPECTED_FILES}; {info.how_to_get}")
        pairs, problems = [], []
        for name, parts in sorted(files.items()):
            reason = _why_unusable(folder, name, parts)
            if reason:
                problems.append(Problem(name, reason))
                continue
            (image,), (label,) = parts["image"], parts["label"]
            window = options.window_hu or info.window_hu
            source = str(image.relative_to(folder))
            pairs.append(VolumeFiles(name, name, image, label, source, window))
        return Found(folder, pairs, problems, {})

    @classmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns path and files (name, bytes, time of change); see the base class."""
        found = cls.find(options)
        paths = sorted(path for files in found.files for path in (files.image, files.label))
        states = [(str(path.relative_to(found.folder)), path.stat()) for path in paths]
        return {
            "path": str(found.folder),
            "files": [[name, state.st_size, state.st_mtime_ns] for name, state in states],
            **found.facts,
        }

    @property
    def skipped(self) -> dict[str, str]:
        """Broken volumes with the reason; see the base class."""
        return {problem.volume: problem.reason for problem in self._broken}

    @property
    def without_lesion(self) -> list[str]:
        """Sound volumes without lesion; see the base class."""
        return [problem.volume for problem in self._empty]

    def survey(self) -> Sequence[VolumeEntry]:
        """Reads every label, then every volume with a lesion into the cache; see the base class.

        The volumes are read before the split is drawn, because one that turns out broken must not
        count in it.
        """
        found = self.find(self.options)
        self._broken: list[Problem] = []
        self._empty: list[Problem] = []
        for problem in found.problems:
            self._note(problem)
        rules = self._rules()
        tasks = [Task(files, rules) for files in found.files]
        surveyed = self._run(nifti_volumes.survey_volume, tasks, "read labels")
        self.check_lesions(self._empty, any_lesion=bool(surveyed))
        subset = self.options.subset
        num_slices = sum(len(slice_builder.chosen_slices(entry, subset)) for _, entry in surveyed)
        rules.cache.mkdir(parents=True, exist_ok=True)
        present = sum(path.stat().st_size for path in rules.cache.iterdir())
        slice_builder.check_disk(
            rules.cache, num_slices, self.options.size, factor=DISK_FACTOR, present=present
        )
        tasks = [task for task, _ in surveyed]
        staged = self._run(nifti_volumes.stage_volume, tasks, "read volumes")
        self._tasks = {task.files.volume: task for task, _ in staged}
        self._report_broken(len(found.files) + len(found.problems))
        return [entry for _, entry in surveyed if entry.volume in self._tasks]

    def read(self, entry: VolumeEntry) -> SliceVolume:
        """Reads a surveyed volume, slices first; see the base class."""
        return nifti_volumes.read_slices(self._tasks[entry.volume])

    def records(self, entry: VolumeEntry, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yields records from the cache; see the base class."""
        return nifti_volumes.load_records(self._tasks[entry.volume], entry, indices)

    def discard_cache(self) -> None:
        """Removes the cache; see the base class."""
        shutil.rmtree(self._rules().cache, ignore_errors=True)

    def check_lesions(self, empty: list[Problem], *, any_lesion: bool) -> None:
        """Decides about sound volumes without lesion: some are left out, all are an error.

        Raises:
          ValueError: No volume holds a lesion.
        """
        if any_lesion:
            return
        reasons = [problem.reason for problem in (*self._broken, *empty)]
        raise ValueError(
            f"{self.options.path}: no volume with a lesion can be read; {short(reasons, 3)}"
        )

    def _rules(self) -> Rules:
        options = self.options
        facts = [options.path, str(self.VERSION), used_options(type(self), options)]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        cache = Path(options.root) / options.name / f".{digest}.volumes"
        axis = self.SLICE_AXIS if options.slice_axis is None else options.slice_axis
        return Rules(options, axis, self.KNOWN_LABELS, self.MATCH_BY_INDEX, cache)

    def _run(
        self, function: Callable[[Task], Any], tasks: Sequence[Task], what: str
    ) -> list[tuple[Task, Any]]:
        """Returns the tasks that went well, with their results; notes the others."""
        done = []
        with results_in_order(function, tasks, jobs=self.options.jobs) as results:
            for task, result in zip(tasks, self.bar(results, what, total=len(tasks)), strict=True):
                if isinstance(result, Problem):
                    self._note(result)
                else:
                    done.append((task, result))
        return done

    def _note(self, problem: Problem) -> None:
        if problem.is_broken and (self.ALWAYS_STRICT or self.options.strict):
            raise ValueError(problem.reason)
        (self._broken if problem.is_broken else self._empty).append(problem)

    def _report_broken(self, total: int) -> None:
        if not self._broken:
            return
        reasons = [problem.reason for problem in self._broken]
        if not self._tasks:
            raise ValueError(f"{self.options.path}: no volume can be read; {short(reasons, 3)}")
        warnings.warn(
            f"{self.options.name}: {len(reasons)} of {total} volumes left out: {short(reasons, 3)}",
            stacklevel=3,
        )


def raw_folder(options: DataOptions) -> Path:
    """Returns the folder of the raw data.

    Raises:
      ValueError: None is given, or there is none; says what to get and where to put it.
    """
    how_to = catalog.DATASETS[options.name].how_to_get
    if not options.path:
        raise ValueError(
            f"{options.name} is not prepared under {options.root} and data.path is empty; {how_to}"
        )
    folder = Path(options.path)
    if not folder.is_dir():
        raise ValueError(f"data.path {folder} is not a folder; {how_to}")
    return folder


def _why_unusable(folder: Path, name: str, parts: dict[str, list[Path]]) -> str:
    """Returns what is wrong with a volume's files, or nothing."""
    for kind, paths in parts.items():
        if not paths:
            other = next(path for others in parts.values() for path in others)
            return f"{other}: its {kind} is missing; download it again, or remove this file"
        if len(paths) > 1:
            listed = ", ".join(str(path.relative_to(folder)) for path in paths)
            return f"{folder}: patient {name} is there twice, as {kind}s {listed}; keep one"
    return ""


def nifti_files(folder: Path) -> Iterator[Path]:
    """Yields the NIfTI files in a folder and its subfolders, links followed, hidden files not."""
    for directory, subfolders, names in os.walk(folder, followlinks=True):
        here = Path(directory)
        depth = len(here.relative_to(folder).parts)
        deeper = depth + 1 < SEARCH_DEPTH
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".")) if deeper else []
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield here / name


def stem(name: str) -> str:
    """Returns a file's name without .nii or .nii.gz."""
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def short(items: Sequence[Any], most: int = MAX_NAMES) -> str:
    """Returns the first few of a list, and how many more there are."""
    rest = len(items) - most
    shown = ", ".join(str(item) for item in items[:most])
    return (shown + (f" and {rest} more" if rest > 0 else "")) or "none"
