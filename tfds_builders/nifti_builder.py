"""What the datasets of NIfTI volumes share: pairs of files, reading, cache, what is left out."""

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ecc_jax import catalog
from ecc_jax.volumes import is_nifti_name
from tfds_builders import nifti_volumes, planes, raw_files, remarks, slice_builder
from tfds_builders.nifti_volumes import Problem, Rules, Survey, Task, VolumeFiles
from tfds_builders.options import DataOptions, used_options
from tfds_builders.slice_builder import SliceVolume, VolumeEntry
from tfds_builders.words import short
from tfds_builders.workers import results_in_order

# The cache holds the records once, beside what the writer needs.
DISK_FACTOR = 1.0 + slice_builder.DISK_FACTOR
UNKNOWN_NAME = "its name is not one of this dataset"
FOREIGN_FORMAT = "in a format that is not read"
TOO_DEEP = f"too deep: {raw_files.SEARCH_DEPTH} levels of folders are searched"


class Found(NamedTuple):
    """The raw data of a dataset.

    Attributes:
      folder: Where they are.
      files: Volumes with image and label, sorted by name.
      problems: Volumes that cannot be read, for want of a file or because there are two.
      facts: What identifies the raw data beside the files.
      ignored: What looks like a volume and is not used, with the reason, by its path.
    """

    folder: Path
    files: list[VolumeFiles]
    problems: list[Problem]
    facts: dict[str, Any]
    ignored: dict[str, str]


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
    # Files beside them that the dataset is distributed with, a regular expression for the path.
    OTHER_FILES: ClassVar[str] = ""
    # Array axis of the slices; None means the axis of the largest spacing, else the last.
    SLICE_AXIS: ClassVar[int | None] = None
    # Values that a label may hold; empty means any.
    KNOWN_LABELS: ClassVar[tuple[int, ...]] = ()
    # Whether image and label belong together voxel by voxel, whatever origin and voxel size their
    # headers name.
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
        files, ignored = cls._recognised(folder)
        if not files:
            seen = f", but {short(list(ignored), raw_files.MAX_IGNORED)}" if ignored else ""
            raise ValueError(f"{folder}: holds no {cls.EXPECTED_FILES}{seen}; {info.how_to_get}")
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
        return Found(folder, pairs, problems, {}, ignored)

    @classmethod
    def _recognised(cls, folder: Path) -> tuple[dict[str, dict[str, list[Path]]], dict[str, str]]:
        """Returns images and labels of each volume, and what looks like a volume and is none."""
        files: dict[str, dict[str, list[Path]]] = {}
        ignored = {}
        for path in raw_files.volume_files(folder):
            place = path.relative_to(folder).as_posix()
            is_nifti = is_nifti_name(path.name) and not path.is_dir()
            recognised = cls.recognise(path) if is_nifti else None
            if recognised:
                kind, name = recognised
                files.setdefault(name, {"image": [], "label": []})[kind].append(path)
            elif not (cls.OTHER_FILES and re.search(cls.OTHER_FILES, place)):
                reason = UNKNOWN_NAME if is_nifti else FOREIGN_FORMAT
                ignored[place] = TOO_DEEP if path.is_dir() else reason
        return files, ignored

    @classmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns path and files (name, bytes, time of change); see the base class.

        Warns of what is not used, every time: it may have come since the data were prepared.

        Raises:
          ValueError: As `find`; a file whose name is no text.
        """
        found = cls.find(options)
        paths = [path for files in found.files for path in files.paths]
        raw_files.check_names(paths)
        if found.ignored:
            warnings.warn(
                raw_files.ignored_text(options.name, found.ignored, cls._hint()), stacklevel=5
            )
        return {
            "path": str(found.folder),
            "files": [list(state) for state in raw_files.states(found.folder, paths)],
            **found.facts,
        }

    @classmethod
    def _hint(cls) -> str:
        """Returns which files are used, for messages."""
        return f"rename or convert what should be used to {cls.EXPECTED_FILES}"

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
        if found.ignored:
            self.remarks[remarks.IGNORED] = found.ignored
        rules = self._rules()
        tasks = [Task(files, rules) for files in found.files]
        surveyed = self._run(nifti_volumes.survey_volume, tasks, "read labels")
        self._check_surveys(surveyed)
        surveyed = [(task, survey) for task, survey in surveyed if survey.slice_areas]
        tasks = [task for task, _ in surveyed]
        entries = [nifti_volumes.entry_of(task.files, survey) for task, survey in surveyed]
        subset = self.options.subset
        num_slices = sum(len(slice_builder.chosen_slices(entry, subset)) for entry in entries)
        rules.cache.mkdir(parents=True, exist_ok=True)
        present = sum(path.stat().st_size for path in rules.cache.iterdir())
        slice_builder.check_disk(
            rules.cache, num_slices, self.options.size, factor=DISK_FACTOR, present=present
        )
        staged = self._run(nifti_volumes.stage_volume, tasks, "read volumes")
        for task, odd in staged:
            remarks.add(self.remarks, task.files.volume, odd)
        self._tasks = {task.files.volume: task for task, _ in staged}
        self._report_broken(len(found.files) + len(found.problems))
        return [entry for entry in entries if entry.volume in self._tasks]

    def _check_surveys(self, surveyed: Sequence[tuple[Task, Survey]]) -> None:
        """Notes remarks and volumes without lesion; refuses sets that make no sense.

        Raises:
          ValueError: No lesion, doubtful labels, or slices of different planes.
        """
        for task, survey in surveyed:
            files = task.files
            remarks.add(self.remarks, files.volume, survey.remarks)
            if not survey.slice_areas:
                values = short(list(survey.found.voxels))
                reason = f"{files.label}: no lesion, label values {values}"
                self._note(Problem(files.volume, reason, is_broken=False))
        surveys = {task.files.volume: survey for task, survey in surveyed}
        self.check_labels(surveys)
        held = {volume: survey for volume, survey in surveys.items() if survey.slice_areas}
        self.check_lesions(surveys, any_lesion=bool(held))
        self.remarks.update(
            planes.check_planes(
                self.options.path or self.name,
                {volume: survey.plane for volume, survey in held.items()},
                mixed=self.options.mixed_planes,
            )
        )

    def read(self, entry: VolumeEntry) -> SliceVolume:
        """Reads a surveyed volume, slices first; see the base class."""
        return nifti_volumes.read_slices(self._tasks[entry.volume])

    def records(self, entry: VolumeEntry, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yields records from the cache; see the base class."""
        return nifti_volumes.load_records(self._tasks[entry.volume], entry, indices)

    def discard_cache(self) -> None:
        """Removes the cache; see the base class."""
        shutil.rmtree(self._rules().cache, ignore_errors=True)

    def check_labels(self, surveys: Mapping[str, Survey]) -> None:
        """Decides about the label values of the whole set; they are as documented here.

        Raises:
          ValueError: They cannot be what they are taken for.
        """

    def check_lesions(self, surveys: Mapping[str, Survey], *, any_lesion: bool) -> None:
        """Decides about sound volumes without lesion: some are left out, all are an error.

        Args:
          surveys: Of all sound volumes.
          any_lesion: Whether one of them holds a lesion.

        Raises:
          ValueError: No volume holds a lesion.
        """
        if any_lesion:
            return
        reasons = [problem.reason for problem in (*self._broken, *self._empty)]
        raise ValueError(
            f"{self.options.path}: no volume with a lesion can be read; {short(reasons, 3)}"
        )

    def _rules(self) -> Rules:
        options = self.options
        facts = [options.path, str(self.VERSION), used_options(type(self), options)]
        facts += ["readers"] * self.has_readers
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        cache = Path(options.root) / options.name / f".{digest}.volumes"
        axis = self.SLICE_AXIS if options.slice_axis is None else options.slice_axis
        doubt = bool(options.labels_by_default) and not self.KNOWN_LABELS
        return Rules(
            options, axis, self.KNOWN_LABELS, self.MATCH_BY_INDEX, doubt, cache, self.has_readers
        )

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
    missing = (raw_files.why_missing(path) for paths in parts.values() for path in paths)
    return next(filter(None, missing), "")
