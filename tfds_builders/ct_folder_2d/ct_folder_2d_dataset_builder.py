"""ct_folder_2d: any folder with images/ and labels/ of NIfTI volumes, stored upright."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from ecc_jax import catalog
from tfds_builders import label_checks, nifti_builder, remarks
from tfds_builders.ct_folder_2d import windows
from tfds_builders.ct_folder_2d.files import find_pairs as find_pairs
from tfds_builders.ct_folder_2d.files import has_readers, read_folder
from tfds_builders.ct_folder_2d.windows import read_windows
from tfds_builders.nifti_builder import raw_folder
from tfds_builders.nifti_volumes import Survey, VolumeFiles
from tfds_builders.options import DataOptions
from tfds_builders.words import short


class Builder(nifti_builder.NiftiBuilder):
    """Slices with a lesion from a folder of CT volumes and masks."""

    USED_OPTIONS = (
        *nifti_builder.NiftiBuilder.USED_OPTIONS,
        "patient_regex",
        "allow_empty",
        # Who names the lesion's values is not asked whether the default makes sense.
        "labels_by_default",
    )
    # Two folders prepared alike are told apart by their path only.
    REUSES_PREPARED = False
    ALWAYS_STRICT = True

    @classmethod
    def find(cls, options: DataOptions) -> nifti_builder.Found:
        """Returns the volumes of images/ and labels/, with their readers/.

        Raises:
          ValueError: The folder is missing, empty, or an image lacks its label; windows.csv or
            the patient expression is wrong.
        """
        folder = raw_folder(options)
        contents = read_folder(folder)
        windows_file = windows.find_file(folder)
        own = read_windows(windows_file, list(contents.pairs))
        default = catalog.DATASETS["ct_folder_2d"].window_hu
        files = [
            VolumeFiles(
                name,
                patient_of(name, options.patient_regex),
                pair.image,
                pair.label,
                str(pair.image.relative_to(folder)),
                # An explicit window holds for every volume: readers apply it to every record.
                options.window_hu or own.get(name, default),
                pair.readers,
            )
            for name, pair in contents.pairs.items()
        ]
        state = ""
        if windows_file.is_file():
            state = hashlib.sha256(windows_file.read_bytes()).hexdigest()
        ignored = {**contents.ignored, **windows.unread(folder)}
        return nifti_builder.Found(folder, files, [], {"windows": state}, ignored)

    @property
    def has_readers(self) -> bool:
        """Whether the folder has readers; see the base class."""
        return bool(self.options.path) and has_readers(Path(self.options.path))

    @classmethod
    def _hint(cls) -> str:
        return (
            "used are .nii, .nii.gz and pairs of .hdr and .img that lie directly in images and "
            "labels: convert or move the volumes, or remove the rest"
        )

    def check_labels(self, surveys: Mapping[str, Survey]) -> None:
        """Asks for the lesion's values where the default may be an organ; see the base class.

        Raises:
          ValueError: The default value encloses another, or is named as an organ.
        """
        if not self.options.labels_by_default:
            return
        folder = Path(self.options.path)
        with remarks.collected() as odd:
            names = label_checks.names_in(folder)
        found = {volume: survey.found for volume, survey in surveys.items()}
        lesion = self.options.lesion_labels
        self.remarks.update(label_checks.doubt_default(str(folder), found, names, lesion))
        remarks.add(self.remarks, label_checks.NAMES_FILE, odd)

    def check_lesions(self, surveys: Mapping[str, Survey], *, any_lesion: bool) -> None:
        """Refuses volumes without lesion, unless `allow_empty`; see the base class.

        Raises:
          ValueError: No volume holds a lesion, or one does not and none may be left out.
        """
        wanted = ", ".join(str(value) for value in self.options.lesion_labels)
        empty = {
            volume: list(survey.found.voxels)
            for volume, survey in surveys.items()
            if not survey.slice_areas
        }
        if not any_lesion:
            seen = sorted({value for values in empty.values() for value in values})
            raise ValueError(
                f"{self.options.path}: no volume holds a lesion: expected label value {wanted}, "
                f"the {len(empty)} label files hold {short(seen)}; set "
                "--config.data.lesion_labels"
            )
        if not empty:
            return
        listed = short([f"{volume} (values {short(values)})" for volume, values in empty.items()])
        problem = f"label value {wanted} is missing in {len(empty)} label files: {listed}"
        if not self.options.allow_empty:
            raise ValueError(
                f"{self.options.path}: {problem}; set --config.data.lesion_labels, remove these "
                "volumes, or pass --config.data.allow_empty=True to skip them"
            )
        warnings.warn(f"{self.options.path}: {problem}; skipped", stacklevel=2)


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
