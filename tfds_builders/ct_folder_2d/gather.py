"""Several folders of images/ and labels/ as one, so that one ct_folder_2d reads them all."""

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ecc_jax import atomic
from ecc_jax.volumes import files_of
from tfds_builders.ct_folder_2d import windows
from tfds_builders.ct_folder_2d.files import INFO, READERS, Pair, read_folder
from tfds_builders.ct_folder_2d.whole_folder import check_free, made_whole
from tfds_builders.label_checks import NAMES_FILE
from tfds_builders.options import check_window
from tfds_builders.words import short

Window = tuple[float, float]


class Source(NamedTuple):
    """A folder of volumes.

    Attributes:
      folder: Holds images/ and labels/ (or imagesTr/ and labelsTr/), perhaps readers/.
      only: Regular expression; volumes whose name it does not match stay out.
      window_hu: HU window of its volumes; empty means that of its windows.csv, else the default.
    """

    folder: Path
    only: str = ""
    window_hu: tuple[float, ...] = ()


class Gathered(NamedTuple):
    """What came from one source.

    Attributes:
      folder: The source.
      volumes: Names of its volumes.
      windows_hu: Their windows, each once.
      num_readers: How many of them have masks of readers.
      left_out: Names of the volumes that `only` does not match.
    """

    folder: Path
    volumes: list[str]
    windows_hu: list[Window]
    num_readers: int
    left_out: list[str]


class _Plan(NamedTuple):
    """What goes into the folder.

    Attributes:
      windows_hu: Window of every volume.
      files: Where the files are now, by their path in the folder.
      taken: Names of volumes and files, case folded, with the source that has them.
    """

    windows_hu: dict[str, Window]
    files: dict[str, Path]
    taken: dict[str, Path]


def gather(sources: Sequence[Source], out: Path, *, copy: bool = False) -> list[Gathered]:
    """Puts several folders together as one, with a windows.csv that names every volume.

    Files keep their names. Nothing is written before every source was read and every name is
    found to be free.

    Args:
      sources: The folders.
      out: Folder to make; must be empty or not there.
      copy: Copy the files, instead of linking to where they are.

    Raises:
      ValueError: `out` holds something, a source is no such folder or has no volume that matches,
        two volumes share a name, or the values of a source's labels have names of their own.
      OSError: A file cannot be written.
    """
    check_free(out)
    plan = _Plan({}, {}, {})
    found = [_add(plan, source) for source in sources]
    with made_whole(out) as folder:
        _write(plan, folder, copy=copy)
    return found


def _write(plan: _Plan, folder: Path, *, copy: bool) -> None:
    for place, path in plan.files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copy2(path, target)
        else:
            target.symlink_to(os.path.abspath(path))
    atomic.write_text(folder / windows.FILE, _table(plan.windows_hu))


def _add(plan: _Plan, source: Source) -> Gathered:
    """Adds the volumes of a source, and returns what they are."""
    folder = source.folder
    chosen, left_out, own = _volumes(source)
    for name, pair in chosen.items():
        files = dict(_files(pair))
        # Some file systems take names for equal that differ in upper and lower case.
        for key in (name, *files):
            if key.casefold() in plan.taken:
                raise ValueError(
                    f"{key} is in {plan.taken[key.casefold()]} and in {folder}; rename one, or "
                    "leave it out with --only"
                )
        plan.taken.update(dict.fromkeys((key.casefold() for key in (name, *files)), folder))
        plan.files.update(files)
        plan.windows_hu[name] = own[name]
    windows_hu = sorted({own[name] for name in chosen})
    num_readers = sum(pair.readers is not None for pair in chosen.values())
    return Gathered(folder, list(chosen), windows_hu, num_readers, left_out)


def _volumes(source: Source) -> tuple[dict[str, Pair], list[str], dict[str, Window]]:
    """Returns the volumes that are wanted, the names of the others, and the windows of all."""
    folder = source.folder
    if not folder.is_dir():
        raise ValueError(f"{folder}: is not a folder; expected one with images and labels")
    if (folder / NAMES_FILE).is_file():
        raise ValueError(
            f"{folder}: its {NAMES_FILE} gives names to the values of its labels, which need not "
            "hold for other folders; make the lesion value 1 everywhere and remove that file"
        )
    try:
        pattern = re.compile(source.only)
    except re.error as error:
        raise ValueError(f"{source.only!r} is not a regular expression: {error}") from error
    pairs = read_folder(folder).pairs
    chosen = {name: pair for name, pair in pairs.items() if pattern.search(name)}
    if not chosen:
        raise ValueError(f"{folder}: {source.only!r} matches none of {short(list(pairs))}")
    given = check_window(source.window_hu, where=str(folder)) if source.window_hu else None
    own = windows.read_windows(windows.find_file(folder), list(pairs))
    every = {name: given or own.get(name, INFO.window_hu) for name in pairs}
    return chosen, [name for name in pairs if name not in chosen], every


def _files(pair: Pair) -> Iterator[tuple[str, Path]]:
    """Yields the files of a volume: path in the gathered folder, and where they are now."""
    parts = [("images", pair.image), ("labels", pair.label)]
    if pair.readers is not None:
        parts.append((READERS, pair.readers))
    for part, path in parts:
        for file in files_of(path):
            yield f"{part}/{file.name}", file


def _table(windows_hu: dict[str, Window]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(windows.COLUMNS)
    writer.writerows((name, *window) for name, window in sorted(windows_hu.items()))
    return text.getvalue()
