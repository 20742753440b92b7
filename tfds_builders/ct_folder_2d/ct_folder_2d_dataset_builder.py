"""ct_folder_2d: any folder with images/ and labels/ of NIfTI volumes, stored upright."""

import csv
import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from ecc_jax import catalog
from tfds_builders import nifti_builder
from tfds_builders.nifti_builder import SUFFIXES, raw_folder, short, stem
from tfds_builders.nifti_volumes import Problem, VolumeFiles
from tfds_builders.preparation import DataOptions, check_window

FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
WINDOWS_FILE = "windows.csv"
WINDOWS_COLUMNS = ("volume", "low", "high")


class Pair(NamedTuple):
    """One volume of the folder: image and label file."""

    image: Path
    label: Path


class Builder(nifti_builder.NiftiBuilder):
    """Slices with a lesion from a folder of CT volumes and masks."""

    USED_OPTIONS = (*nifti_builder.NiftiBuilder.USED_OPTIONS, "patient_regex", "allow_empty")
    # Two folders prepared alike are told apart by their path only.
    REUSES_PREPARED = False
    ALWAYS_STRICT = True

    @classmethod
    def find(cls, options: DataOptions) -> nifti_builder.Found:
        """Returns the volumes of images/ and labels/.

        Raises:
          ValueError: The folder is missing, empty, or an image lacks its label; windows.csv or
            the patient expression is wrong.
        """
        folder = raw_folder(options)
        pairs = find_pairs(folder)
        windows_file = folder / WINDOWS_FILE
        windows = read_windows(windows_file, list(pairs))
        default = catalog.DATASETS["ct_folder_2d"].window_hu
        files = [
            VolumeFiles(
                name,
                patient_of(name, options.patient_regex),
                pair.image,
                pair.label,
                str(pair.image.relative_to(folder)),
                # An explicit window holds for every volume: readers apply it to every record.
                options.window_hu or windows.get(name, default),
            )
            for name, pair in pairs.items()
        ]
        state = ""
        if windows_file.is_file():
            state = hashlib.sha256(windows_file.read_bytes()).hexdigest()
        return nifti_builder.Found(folder, files, [], {"windows": state})

    def check_lesions(self, empty: list[Problem], *, any_lesion: bool) -> None:
        """Refuses volumes without lesion, unless `allow_empty`; see the base class.

        Raises:
          ValueError: No volume holds a lesion, or one does not and none may be left out.
        """
        wanted = ", ".join(str(value) for value in self.options.lesion_labels)
        if not any_lesion:
            seen = sorted({value for problem in empty for value in problem.label_values})
            raise ValueError(
                f"{self.options.path}: no volume holds a lesion: expected label value {wanted}, "
                f"the {len(empty)} label files hold {short(seen)}; set "
                "--config.data.lesion_labels"
            )
        if not empty:
            return
        listed = short([f"{p.volume} (values {short(p.label_values)})" for p in empty])
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
            f"{short(found)}; {catalog.DATASETS['ct_folder_2d'].how_to_get}"
        )
    image_files, label_files = _files_by_name(folder / images), _files_by_name(folder / labels)
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
            f"{folder}: {len(missing)} images without a label: {short(missing)}; add masks of "
            f"the same names to {labels}, or remove these images"
        )
    orphans = [path.name for name, path in label_files.items() if name not in pairs]
    if orphans:
        raise ValueError(
            f"{folder}: {len(orphans)} labels without an image: {short(orphans)}; add the images "
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
                f"{short(list(reader.fieldnames or ()))}; add a header line"
            )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            name = stem((row["volume"] or "").strip())
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


def _files_by_name(folder: Path) -> dict[str, Path]:
    """Returns the NIfTI files of a folder by name without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(SUFFIXES):
            continue
        name = stem(path.name)
        if name in files:
            raise ValueError(
                f"{folder}: volume {name!r} is there twice, {files[name].name} and {path.name}; "
                "keep one"
            )
        files[name] = path
    return files
