"""images/, labels/ and readers/ of a folder: which file belongs to which, and what is left."""

import os
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from ecc_jax import catalog
from ecc_jax.volumes import is_nifti_name, is_second_half, stem
from tfds_builders.raw_files import why_missing
from tfds_builders.words import nearest, short

INFO = catalog.DATASETS["ct_folder_2d"]
FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
READERS = "readers"
# Files that lie beside volumes and are none, by suffix and by name.
HARMLESS_SUFFIXES = (
    ".txt .md .rst .json .csv .tsv .xls .xlsx .ods .pdf .doc .docx .htm .html .xml .yml .yaml "
    ".toml .ini .cfg .log .md5 .sha1 .sha256 .sha512 .py .sh .ipynb .m .r .png .jpg "
    ".jpeg .gif .bak .db"
).split()
HARMLESS_NAMES = re.compile(r"(readme|licen[cs]e|copying|changelog|makefile|md5|sha\d+)\w*", re.I)


class Pair(NamedTuple):
    """The files of one volume: image, label, and what each reader drew if that is told."""

    image: Path
    label: Path
    readers: Path | None = None


class Contents(NamedTuple):
    """What lies in a folder.

    Attributes:
      pairs: Image and label of every volume, by volume name, sorted.
      ignored: What is not used and may be a volume, with the reason, by its path in the folder.
    """

    pairs: dict[str, Pair]
    ignored: dict[str, str]


class _Listing(NamedTuple):
    """One of the subfolders.

    Attributes:
      folder: The subfolder.
      files: Its volumes by name without suffix, in composed Unicode.
      ignored: As in `Contents`.
    """

    folder: Path
    files: dict[str, Path]
    ignored: dict[str, str]


def find_pairs(folder: Path) -> dict[str, Pair]:
    """Returns image and label file of every volume; see `read_folder`."""
    return read_folder(folder).pairs


def read_folder(folder: Path) -> Contents:
    """Returns the volumes of a folder, and what is left over.

    A label is named like its image, or like its image without the `_0000` of nnU-Net; so is a file
    of readers, which volumes may lack. Names count as equal however their Unicode is spelled.
    Hidden files (also the `._x` of macOS) are not seen.

    Raises:
      ValueError: No such subfolders, no image, an image without label or a label without image,
        readers of a volume that is not there, a volume twice, several channels of one volume, or a
        link to nowhere.
    """
    names = next((pair for pair in FOLDERS if all((folder / name).is_dir() for name in pair)), None)
    if names is None:
        found = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise ValueError(
            f"{folder}: expected subfolders images and labels (or imagesTr and labelsTr), found "
            f"{short(found)}; {INFO.how_to_get}"
        )
    images, labels = (_list(folder, name) for name in names)
    ignored = {**images.ignored, **labels.ignored}
    if not images.files:
        seen = f", but {short(list(ignored))}" if ignored else ""
        remedy = INFO.how_to_get
        if any(images.folder.glob("*.png")):
            remedy = "python scripts/pictures_to_nifti.py makes volumes of PNG slices"
        raise ValueError(f"{images.folder}: holds no .nii or .nii.gz file{seen}; {remedy}")
    for other in FOLDERS:
        if other != names:
            unused = (name for name in other if (folder / name).is_dir())
            ignored.update({f"{name}/": f"{' and '.join(names)} are used" for name in unused})
    pairs = _paired(folder, images, labels)
    if (folder / READERS).is_dir():
        readers = _list(folder, READERS)
        ignored.update(readers.ignored)
        pairs = _with_readers(folder, pairs, labels, readers) if readers.files else pairs
    return Contents(pairs, ignored)


def has_readers(folder: Path) -> bool:
    """Returns whether a folder tells of any volume what each of several readers drew."""
    return (folder / READERS).is_dir() and bool(_list(folder, READERS).files)


def composed(name: str) -> str:
    """Returns a name in composed Unicode (NFC); macOS spells it with separate accents."""
    return unicodedata.normalize("NFC", name)


def without_channel(name: str) -> str:
    """Returns a name without the `_0000` by which nnU-Net names the first channel."""
    return re.sub(r"_0000$", "", name)


def _paired(folder: Path, images: _Listing, labels: _Listing) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    missing = []
    for name, image in images.files.items():
        volume = name if name in labels.files else without_channel(name)
        if volume not in labels.files:
            missing.append(name)
        elif volume in pairs:
            raise ValueError(
                f"{folder}: volume {volume!r} has two images, {pairs[volume].image.name} and "
                f"{image.name}; keep one"
            )
        else:
            pairs[volume] = Pair(image, labels.files[volume])
    orphans = [name for name in labels.files if name not in pairs]
    if missing:
        listed = _with_nearest(missing, images, labels, set(orphans))
        raise ValueError(
            f"{folder}: {len(missing)} images without a label: {listed}; add masks of "
            f"the same names to {labels.folder.name}, or remove these images"
        )
    if orphans:
        listed = _with_nearest(orphans, labels, images, set())
        raise ValueError(
            f"{folder}: {len(orphans)} labels without an image: {listed}; add the images "
            f"to {images.folder.name}, or remove these labels"
        )
    return dict(sorted(pairs.items()))


def _with_readers(
    folder: Path, pairs: dict[str, Pair], labels: _Listing, readers: _Listing
) -> dict[str, Pair]:
    """Returns the volumes with their files of readers."""
    found: dict[str, Path] = {}
    orphans = []
    for name, path in readers.files.items():
        volume = name if name in pairs else without_channel(name)
        if volume not in pairs:
            orphans.append(name)
        elif volume in found:
            raise ValueError(
                f"{folder}: volume {volume!r} has two files of readers, {found[volume].name} and "
                f"{path.name}; keep one"
            )
        else:
            found[volume] = path
    if orphans:
        listed = _with_nearest(orphans, readers, labels, pairs.keys() - found.keys())
        raise ValueError(
            f"{folder}: {len(orphans)} files of readers without a volume: {listed}; name them like "
            "their labels, or remove them"
        )
    return {name: pair._replace(readers=found.get(name)) for name, pair in pairs.items()}


def _with_nearest(names: list[str], own: _Listing, other: _Listing, free: set[str]) -> str:
    """Returns files that lack their partner, with the one that may be it under another name.

    Args:
      names: Of the files, without suffix.
      own: Where they lie.
      other: Where the partners should be.
      free: Names in `other` that have no partner either.
    """
    candidates = {name: other.files[name].name for name in sorted(free)}
    for path, why in other.ignored.items():
        shown = Path(path).name
        candidates.setdefault(composed(stem(shown).split(".")[0]), f"{shown}, ignored: {why}")
    texts = []
    for name in names:
        match = nearest(without_channel(name), candidates)
        text = own.files[name].name
        if match:
            is_case = match != without_channel(name) and match.casefold() == name.casefold()
            differs = ", which differs in upper and lower case" if is_case else ""
            text += f" (nearest in {other.folder.name}: {candidates[match]}{differs})"
        texts.append(text)
    return short(texts)


def _list(folder: Path, name: str) -> _Listing:
    """Returns the volumes of a subfolder by name, and what else may be one."""
    listing = _Listing(folder / name, {}, {})
    for path in sorted(listing.folder.iterdir()):
        if path.name.startswith("."):
            continue
        why = _why_ignored(path)
        if why:
            suffix = "/" if path.is_dir() else ""
            listing.ignored[f"{name}/{path.name}{suffix}"] = why
        elif is_nifti_name(path.name) and not path.is_dir() and not is_second_half(path):
            _add(listing.files, path)
    return listing


def _add(files: dict[str, Path], path: Path) -> None:
    reason = why_missing(path)
    if reason:
        raise ValueError(reason)
    name = composed(stem(path.name))
    if name in files:
        raise ValueError(
            f"{path.parent}: volume {name!r} is there twice, {files[name].name} and {path.name}; "
            "keep one"
        )
    files[name] = path


def _why_ignored(path: Path) -> str:
    """Returns why something is not used, nothing if it is or if it is no volume."""
    if path.is_dir():
        number = sum(not name.startswith(".") for _, _, names in os.walk(path) for name in names)
        return f"a folder of {number} files" if number else ""
    if is_nifti_name(path.name):
        return ""
    if path.is_symlink() and not path.exists():
        return "a link to nowhere"
    suffix = path.suffix.lower()
    if suffix in HARMLESS_SUFFIXES or HARMLESS_NAMES.fullmatch(path.stem):
        return ""
    return "no NIfTI file" if path.stat().st_size else "an empty file"
