"""Paths as people write them, and what to say where a folder takes no files."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

# The run that comes with the package, by this name wherever a run's folder is asked for.
SHIPPED = "shipped"
SHIPPED_FOLDER = Path(__file__).with_name(SHIPPED)
AGAIN = "free space; the same command resumes"
# TensorStore, which writes checkpoints, has its own errors; they quote the system's number.
_QUOTED_NUMBER = re.compile(r"os_error_code='(\d+)'")
_FULL = {
    errno.ENOSPC: "no space left in {folder}",
    errno.EDQUOT: "the disk quota is used up in {folder}",
}
_CLOSED = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST}
)


class PlaceError(ValueError):
    """A folder does not take what is to be written there."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with a leading `~` or `~user` replaced by the home folder.

    Shells replace it in words of their own, but not after the `=` of `--workdir=~/run`.

    Raises:
      ValueError: There is no such home folder, and no file or folder of that very name.
    """
    text = os.fspath(path)
    found = os.path.expanduser(text)
    if found == text and text.startswith("~") and not os.path.lexists(text):
        name = text.split(os.sep)[0]
        raise ValueError(
            f"{text}: the home folder {name} is not known; write the path in full, or ./{text} for "
            f"a folder that is called {name}"
        )
    return Path(found)


def run_folder(name: str | os.PathLike[str]) -> Path:
    """Returns the folder of a run to read: that of the package's own for `SHIPPED`.

    A folder of that very name goes before it.
    """
    return SHIPPED_FOLDER if is_shipped(name) else expanded(name)


def is_shipped(name: str | os.PathLike[str]) -> bool:
    """Returns whether a name means the package's own run, and no folder of that name."""
    return os.fspath(name) == SHIPPED and not os.path.isdir(name)


def absolute(path: str | os.PathLike[str]) -> str:
    """Returns the one spelling of a path that is the same from every directory.

    Raises:
      ValueError: It starts with `~user`, and there is no such home folder.
    """
    return os.path.realpath(expanded(path))


@contextlib.contextmanager
def writing(
    folder: str | os.PathLike[str], *, elsewhere: str, again: str = AGAIN
) -> Iterator[None]:
    """Turns what a folder refuses into one line that names it and says what to do.

    Args:
      folder: Where the block writes.
      elsewhere: Remedy where nothing can be written there, such as "choose another --workdir".
      again: Remedy where the disk is full.

    Raises:
      PlaceError: The disk is full, read-only or closed to the user. Errors about files elsewhere
        pass.
    """
    try:
        yield
    except PlaceError:
        raise
    except Exception as error:
        number = error_number(error)
        if number is None or not _is_about(error, folder):
            raise
        raise PlaceError(_refusal(number, folder, elsewhere=elsewhere, again=again)) from error


def error_number(error: BaseException) -> int | None:
    """Returns the system's number of an error where it tells of a folder that takes no files."""
    if isinstance(error, OSError):
        number = error.errno
        if number == errno.EEXIST and not os.path.isfile(error.filename or ""):
            return None  # of a folder that another process made just before
    else:
        quoted = _QUOTED_NUMBER.search(str(error))
        number = int(quoted[1]) if quoted else None
    return number if number in _FULL or number in _CLOSED else None


def describe(error: OSError) -> str:
    """Returns an error of the system in one line, with a remedy where one is known."""
    number, name = error_number(error), error.filename
    if number is None or (name is None and number not in _FULL):
        return " ".join(str(error).split())
    if number in _CLOSED:
        return f"{name}: {os.strerror(number)}; correct the path or its permissions"
    folder = "the folder of the results, of the data or of temporary files"
    if name is not None:
        folder = os.path.dirname(os.path.abspath(name))
    return f"{_FULL[number].format(folder=folder)}: {AGAIN}"


def _is_about(error: BaseException, folder: str | os.PathLike[str]) -> bool:
    """Whether an error can be about a folder: it names no file, or one in or above it."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str):
        return True
    file, root = Path(os.path.realpath(name)), Path(os.path.realpath(folder))
    return file.is_relative_to(root) or root.is_relative_to(file)


def _refusal(number: int, folder: str | os.PathLike[str], *, elsewhere: str, again: str) -> str:
    if number in _FULL:
        return f"{_FULL[number].format(folder=folder)}: {again}"
    return f"cannot write to {folder}: {os.strerror(number)}; {elsewhere}"
