"""Files that are there in full or not at all, and locks between processes."""

import contextlib
import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name and renames it; makes its folder if missing.

    Raises:
      OSError: It cannot be written; what was there before stays.
    """
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file of bytes as `write_text` writes one of text.

    Raises:
      OSError: It cannot be written; what was there before stays.
    """
    _replace(path, lambda partial: partial.write_bytes(content))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


@contextlib.contextmanager
def locked(path: Path, *, on_busy: Callable[[], None]) -> Iterator[None]:
    """Holds a lock while the block runs; its folder is made if missing.

    Network and FUSE file systems may have no locks. Then a warning says so, once for each file,
    and the block runs without.

    Args:
      path: The file that stands for the lock; it stays behind, empty.
      on_busy: Called where another process has the lock. If it returns, this process waits.

    Raises:
      OSError: The file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number = _open(path)
    try:
        _lock(number, path, on_busy)
        yield
    finally:
        os.close(number)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        # Another user's lock in a shared folder: reading it is enough to hold it.
        return os.open(path, os.O_RDONLY)


def _lock(number: int, path: Path, on_busy: Callable[[], None]) -> None:
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_busy()
            fcntl.flock(number, fcntl.LOCK_EX)
    except OSError as error:
        warnings.warn(
            f"{path.parent}: the file system gives no locks ({error.strerror}); start no second "
            "process that writes there",
            stacklevel=2,
        )
