"""ct_folder_2d: any folder with images/ and labels/ of NIfTI volumes, stored upright."""

import csv
import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecc_jax import catalog, volumes
from tfds_builders import slice_builder
from tfds_builders.preparation import DataOptions, check_window

SUFFIXES = (".nii.gz", ".nii")
FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
WINDOWS_FILE = "windows.csv"
WINDOWS_COLUMNS = ("volume", "low", "high")
MAX_NAMES = 10


class Pair(NamedTuple):
    """One volume of the folder: image and label file."""

    image: Path
    label: Path


class Builder(slice_builder.SliceBuilder):
    """Slices with a lesion from a folder of CT volumes and masks."""

    USED_OPTIONS = ("patient_regex", "lesion_labels", "slice_axis", "allow_empty")

    @classmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns path, files (name, bytes, time of change) and a hash of windows.csv.

        Raises:
          ValueError: The folder is missing, empty, or an image lacks its label.
        """
        folder = _folder(options.path)
        files = sorted(path for pair in find_pairs(folder).values() for path in pair)
        windows = folder / WINDOWS_FILE
        return {
            "path": str(folder),
            "files": [
                [str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in files
            ],
            "windows": hashlib.sha256(windows.read_bytes()).hexdigest()
            if windows.is_file()
            else "",
        }

    def survey(self) -> Sequence[slice_builder.VolumeEntry]:
        """Reads every label; see the base class."""
        folder = _folder(self.options.path)
        self._pairs = find_pairs(folder)
        windows = read_windows(folder / WINDOWS_FILE, list(self._pairs))
        default = catalog.DATASETS["ct_folder_2d"].window_hu
        entries, empty = [], {}
        for name, pair in self.bar(list(self._pairs.items()), "read labels"):
            patient = patient_of(name, self.options.patient_regex)
            geometry = volumes.read_geometry(pair.image)
            labels = volumes.read_label(pair.label, like=geometry)
            axis = slice_axis(geometry.spacing_mm, self.options.slice_axis)
            others = tuple(i for i in range(3) if i != axis)
            areas = np.count_nonzero(np.isin(labels, self.options.lesion_labels), axis=others)
            if not areas.any():
                empty[name] = np.unique(labels).tolist()
                continue
            slice_areas = {int(i): int(areas[i]) for i in np.flatnonzero(areas)}
            # An explicit window holds for every volume: readers apply it to every record.
            window = self.options.window_hu or windows.get(name, default)
            entries.append(slice_builder.VolumeEntry(name, patient, slice_areas, window))
        self._check_empty(empty, bool(entries))
        return entries

    def read(self, entry: slice_builder.VolumeEntry) -> slice_builder.SliceVolume:
        """Reads a volume, slices first; see the base class."""
        pair = self._pairs[entry.volume]
        volume = volumes.read_volume(pair.image)
        labels = volumes.read_label(pair.label, like=volume)
        axis = slice_axis(volume.spacing_mm, self.options.slice_axis)
        mask = np.isin(labels, self.options.lesion_labels)
        spacing = list(volume.spacing_mm)
        first = spacing.pop(axis)
        return slice_builder.SliceVolume(
            np.moveaxis(volume.image_hu, axis, 0),
            np.moveaxis(mask, axis, 0),
            (first, spacing[0], spacing[1]),
            volumes.display_orientation(volume.geometry, slice_axis=axis),
        )

    def _check_empty(self, empty: dict[str, list[int]], any_lesion: bool) -> None:
        wanted = ", ".join(str(value) for value in self.options.lesion_labels)
        if not any_lesion:
            seen = sorted({value for values in empty.values() for value in values})
            raise ValueError(
                f"{self.options.path}: no volume holds a lesion: expected label value {wanted}, "
                f"the {len(empty)} label files hold {_short(seen)}; set "
                "--config.data.lesion_labels"
            )
        if not empty:
            return
        listed = _short([f"{name} (values {_short(seen)})" for name, seen in empty.items()])
        problem = f"label value {wanted} is missing in {len(empty)} label files: {listed}"
        if not self.options.allow_empty:
            raise ValueError(
                f"{self.options.path}: {problem}; set --config.data.lesion_labels, remove these "
                "volumes, or pass --config.data.allow_empty=True to skip them"
            )
        warnings.warn(f"{self.options.path}: {problem}; skipped", stacklevel=2)


def find_pairs(folder: Path) -> dict[str, Pair]:
    """Returns image and label file of every volume, by volume name, sorted.

    A label is named like its image, or like its image without the `_0000` of nnU-Net. Hidden
    files (also the `._x` of macOS) are ignored.

    Raises:
      ValueError: No such subfolders, no image, an image without label or a label without image, a
        volume twice, or several channels of one volume.
    """
    for images, labels in FOLDERS:
        if (folder / images).is_dir() and (folder / labels).is_dir():
            break
    else:
        found = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise ValueError(
            f"{folder}: expected subfolders images and labels (or imagesTr and labelsTr), found "
            f"{_short(found)}; {catalog.DATASETS['ct_folder_2d'].how_to_get}"
        )
    image_files, label_files = _nifti_files(folder / images), _nifti_files(folder / labels)
    if not image_files:
        raise ValueError(
            f"{folder / images}: holds no .nii or .nii.gz file; "
            f"{catalog.DATASETS['ct_folder_2d'].how_to_get}"
        )
    pairs: dict[str, Pair] = {}
    missing = []
    for name, image in image_files.items():
        bare = re.sub(r"_0000$", "", name)
        volume = name if name in label_files else bare
        if volume not in label_files:
            missing.append(image.name)
        elif volume in pairs:
            raise ValueError(
                f"{folder}: volume {volume!r} has two images, {pairs[volume].image.name} and "
                f"{image.name}; keep one"
            )
        else:
            pairs[volume] = Pair(image, label_files[volume])
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} images without a label: {_short(missing)}; add masks of "
            f"the same names to {labels}, or remove these images"
        )
    orphans = [path.name for name, path in label_files.items() if name not in pairs]
    if orphans:
        raise ValueError(
            f"{folder}: {len(orphans)} labels without an image: {_short(orphans)}; add the images "
            f"to {images}, or remove these labels"
        )
    return dict(sorted(pairs.items()))


def patient_of(volume: str, patient_regex: str) -> str:
    """Returns the patient of a volume: first group of the match, else the whole match.

    Raises:
      ValueError: The expression does not match the name, or matches nothing of it.
    """
    if not patient_regex:
        return volume
    match = re.search(patient_regex, volume)
    patient = match and (match.group(1) if match.re.groups else match.group(0))
    if not patient:
        raise ValueError(
            f"data.patient_regex {patient_regex!r} finds no patient in the volume name "
            f"{volume!r}; correct it, or leave it empty for one patient per file"
        )
    return patient


def slice_axis(spacing_mm: tuple[float, float, float], chosen: int | None) -> int:
    """Returns the chosen axis, else the one axis of largest spacing, else the last."""
    if chosen is not None:
        return chosen
    order = np.argsort(spacing_mm)
    # A per cent: in-plane spacings of one scan differ by rounding only.
    is_unique = spacing_mm[order[2]] > 1.01 * spacing_mm[order[1]]
    return int(order[2]) if is_unique else 2


def read_windows(path: Path, names: list[str]) -> dict[str, tuple[float, float]]:
    """Returns the windows of windows.csv (columns volume, low, high) by volume; {} without file.

    Raises:
      ValueError: Columns missing, a volume that is not in the folder or twice, not two numbers.
    """
    if not path.is_file():
        return {}
    windows: dict[str, tuple[float, float]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8") from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = [column for column in WINDOWS_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}: expected columns {', '.join(WINDOWS_COLUMNS)}, got "
                f"{_short(list(reader.fieldnames or ()))}; add a header line"
            )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            name = _stem((row["volume"] or "").strip())
            if name not in names or name in windows:
                problem = "is listed twice" if name in windows else "is not in the folder"
                raise ValueError(f"{where}: volume {name!r} {problem}; correct or remove the line")
            try:
                window = (float(row["low"] or ""), float(row["high"] or ""))
            except ValueError as error:
                raise ValueError(
                    f"{where}: low and high must be numbers, got {row['low']!r}, {row['high']!r}; "
                    "correct the line"
                ) from error
            windows[name] = check_window(window, where=where)
    return windows


def _folder(path: str) -> Path:
    how_to = catalog.DATASETS["ct_folder_2d"].how_to_get
    if not path:
        raise ValueError(f"ct_folder_2d needs a folder, data.path is empty; {how_to}")
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"data.path {folder} is not a folder; {how_to}")
    return folder


def _nifti_files(folder: Path) -> dict[str, Path]:
    """Returns the NIfTI files of a folder by name without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(SUFFIXES):
            continue
        name = _stem(path.name)
        if name in files:
            raise ValueError(
                f"{folder}: volume {name!r} is there twice, {files[name].name} and {path.name}; "
                "keep one"
            )
        files[name] = path
    return files


def _stem(name: str) -> str:
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _short(items: Sequence[Any]) -> str:
    rest = len(items) - MAX_NAMES
    shown = ", ".join(str(item) for item in items[:MAX_NAMES])
    return (shown + (f" and {rest} more" if rest > 0 else "")) or "none"
