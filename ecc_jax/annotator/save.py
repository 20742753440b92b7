"""Saving what was drawn: one call for every format."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ecc_jax.annotator.measure import measure_lesion
from ecc_jax.annotator.save_labels import write_nifti, write_nrrd
from ecc_jax.annotator.save_lesions import Lesion, check_lesions
from ecc_jax.annotator.save_measures import write_measures
from ecc_jax.annotator.save_prompts import PromptLog, write_prompts
from ecc_jax.annotator.save_target import check_target
from ecc_jax.volumes import Volume


class Drawn(NamedTuple):
    """What is saved.

    Attributes:
      volume: The volume it was drawn on, as its reader gave it.
      lesions: None empty; at least one, unless prompts alone are saved.
      log: The prompts that made them; None if there are none.
      is_hu: Whether voxels are Hounsfield units; of grey values none are saved.
    """

    volume: Volume
    lesions: Sequence[Lesion]
    log: PromptLog | None = None
    is_hu: bool = True


class Format(NamedTuple):
    """A way to save.

    Attributes:
      suffixes: Of the files that it writes whatever was drawn.
      write: Takes what was drawn, the path without suffix, whether to replace; returns the files.
      meaning: For a person who chooses.
      kinds: Of the sources (`sources.Source.kind`) that it can save; empty for all.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Drawn, Path, bool], list[Path]]
    meaning: str
    kinds: tuple[str, ...] = ()


def _nifti(drawn: Drawn, stem: Path, replace: bool) -> list[Path]:
    target = with_suffix(stem, ".nii.gz")
    return write_nifti(target, drawn.lesions, drawn.volume.geometry, replace=replace)


def _nrrd(drawn: Drawn, stem: Path, replace: bool) -> list[Path]:
    target = with_suffix(stem, ".seg.nrrd")
    return [write_nrrd(target, drawn.lesions, drawn.volume.geometry, replace=replace)]


def _dicom(drawn: Drawn, stem: Path, replace: bool) -> list[Path]:
    try:
        from ecc_jax.annotator import save_dicom, save_report
    except ImportError as error:
        raise ValueError(
            f"DICOM needs the package {error.name}; pip install 'ecc_jax[annotator]'"
        ) from error
    volume, lesions = drawn.volume, drawn.lesions
    headers = save_dicom.read_headers(volume, lesions)
    segmentation = save_dicom.segmentation(headers, volume, lesions)
    report = save_report.report(segmentation, headers, volume, lesions)
    return [
        save_dicom.write_dicom(with_suffix(stem, suffix), dataset, volume, replace=replace)
        for suffix, dataset in ((".seg.dcm", segmentation), (".sr.dcm", report))
    ]


def _measures(drawn: Drawn, stem: Path, replace: bool) -> list[Path]:
    measures = [measure_lesion(lesion, drawn.volume) for lesion in drawn.lesions]
    if not drawn.is_hu:
        measures = [
            each._replace(mean_hu=None, sd_hu=None, min_hu=None, max_hu=None) for each in measures
        ]
    target = with_suffix(stem, ".measures.csv")
    return write_measures(target, measures, drawn.volume.path, replace=replace)


def _prompts(drawn: Drawn, stem: Path, replace: bool) -> list[Path]:
    if drawn.log is None:
        raise ValueError("there is no log of prompts to save; choose other formats")
    target = with_suffix(stem, ".prompts.json")
    return [write_prompts(target, drawn.log, drawn.volume.path, replace=replace)]


FORMATS: Mapping[str, Format] = {
    "nifti": Format((".nii.gz", ".json"), _nifti, "label map on the grid of the source"),
    "nrrd": Format((".seg.nrrd",), _nrrd, "segmentation of 3D Slicer"),
    "dicom": Format(
        (".seg.dcm", ".sr.dcm"), _dicom, "segmentation and report, of a DICOM series", ("dicom",)
    ),
    "measures": Format((".measures.csv", ".measures.json"), _measures, "sizes and HU as a table"),
    "prompts": Format((".prompts.json",), _prompts, "every disk, to replay"),
}


def save(stem: Path, formats: Sequence[str], drawn: Drawn, *, replace: bool = False) -> list[Path]:
    """Saves lesions in one or more formats; returns the files that were written.

    Everything that can be is checked before the first file is written. Each file is there as a
    whole or not at all.

    Args:
      stem: Folder and name of the files, without suffix; each format adds its own.
      formats: Names in `FORMATS`, in the order of writing.
      drawn: What to save.
      replace: Whether files that this package wrote may be replaced. Sources never are.

    Raises:
      ValueError: No or an unknown format, one that does not fit the source, lesions that cannot be
        saved, or targets that may not be written.
      OSError: A file cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(
            f"expected formats out of {', '.join(FORMATS)}, got {', '.join(unknown) or 'none'}"
        )
    # Disks are worth keeping even where none has left a pixel.
    has_prompts_alone = list(formats) == ["prompts"] and drawn.log and drawn.log.lesions
    if drawn.lesions or not has_prompts_alone:
        check_lesions(drawn.lesions, drawn.volume.geometry)
    for name in formats:
        for suffix in FORMATS[name].suffixes:
            check_target(with_suffix(stem, suffix), drawn.volume.path, replace=replace)
    return [file for name in formats for file in FORMATS[name].write(drawn, stem, replace)]


def with_suffix(stem: Path, suffix: str) -> Path:
    """Returns a path with a suffix added, whatever dots its name has.

    >>> with_suffix(Path("scan.1"), ".nii.gz").name
    'scan.1.nii.gz'
    """
    return stem.with_name(stem.name + suffix)
