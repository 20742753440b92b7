"""Files that are there in full or not at all, and locks between processes."""

import contextlib
import fcntl
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np


def write_text(path: Path, text: str) -> None:
    """Writes a text file as `write_bytes` does, in UTF-8.

    Raises:
      OSError: It cannot be written; what was there before stays.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under another name and renames it; makes its folder if missing.

    Raises:
      OSError: It cannot be written; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as a compressed .npz file, as `write_bytes` does.

    Raises:
      OSError: It cannot be written; what was there before stays.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # names are free
    write_bytes(path, buffer.getvalue())


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
