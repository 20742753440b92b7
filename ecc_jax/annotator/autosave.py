"""The log of a session: every event on disk before it is answered, read back after a kill.

A line of the log is 8 hexadecimal digits of its CRC-32, a blank, and a JSON object. The first says
what the log is of; each later one holds an event or the answer to a set of disks. Lines are only
ever added, and each is on the disk (fsync) before anybody hears of it. What a power failure leaves
half written at the end is dropped with a word; damage anywhere else is refused.
"""

import contextlib
import json
import os
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ecc_jax import atomic

FORMAT, VERSION = "ecc_jax annotator log", 1
NAME = "events.log"


class Restored(NamedTuple):
    """What a log held.

    Attributes:
      header: Its first line.
      entries: Its other lines, the oldest first.
      remark: What was dropped at its end; empty if nothing was.
    """

    header: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    remark: str


class Log:
    """An open log, which no other process can open meanwhile."""

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Opens the log of a session, or begins it.

        Args:
          folder: Of the session; made if missing, for the eyes of its owner alone, as the log is.
          header: What the log is of: a log whose `image` or `shape` differ is refused.

        Raises:
          ValueError: Another process has it, it is of something else, or damaged before its end.
          OSError: The folder takes no files.
        """
        self.path = folder / NAME
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()
        for level in (folder.parent, folder):
            level.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = atomic.locked(folder / f"{NAME}.lock", on_busy=self._refuse_second)
        self._stack.enter_context(lock)
        try:
            self.restored = self._open(header)
        except BaseException:
            self._stack.close()
            raise

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds a line and waits until it is on the disk.

        Raises:
          OSError: It is not; what was half written is taken back.
        """
        raw, number = _line(entry), self._file.fileno()
        with self._lock:
            size = os.fstat(number).st_size
            try:
                while raw:
                    raw = raw[self._file.write(raw) :]
                os.fsync(number)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(number, size)
                raise

    def close(self) -> None:
        """Lets others open it."""
        self._stack.close()

    def _open(self, header: Mapping[str, Any]) -> Restored:
        full = _full(header)
        lines, end, remark = _read(self.path, full)
        # Unbuffered: what could not be written must not be tried again later.
        self._file = self._stack.enter_context(open(self.path, "ab", buffering=0, opener=_private))
        if remark:
            os.ftruncate(self._file.fileno(), end)
        if not lines:
            self.append(full)
            _sync_folder(self.path.parent)
            lines = [full]
        return Restored(lines[0], tuple(lines[1:]), remark)

    def _refuse_second(self) -> NoReturn:
        raise ValueError(
            f"{self.path.parent}: another annotator has this session open; close it first"
        )


def read(folder: Path, header: Mapping[str, Any]) -> Restored:
    """Returns what the log of a session holds without writing anything; nothing if there is none.

    Args:
      folder: Of the session.
      header: See `Log`.

    Raises:
      ValueError: See `Log`.
    """
    lines, _, remark = _read(folder / NAME, _full(header))
    return Restored(lines[0] if lines else _full(header), tuple(lines[1:]), remark)


def _full(header: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, **header}


def _read(path: Path, header: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int, str]:
    """Returns the lines of a log, where the good ones end, and what is dropped after them."""
    lines, end, remark = _parse(path.read_bytes() if path.exists() else b"", path)
    if lines:
        _check(lines[0], header, path)
    return lines, end, remark


def _line(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(raw: bytes, path: Path) -> tuple[list[Mapping[str, Any]], int, str]:
    *complete, tail = raw.split(b"\n")
    lines: list[Mapping[str, Any]] = []
    end, is_torn = 0, bool(tail)
    for number, piece in enumerate(complete, 1):
        entry = _entry(piece)
        if entry is None and number == len(complete) and not tail:
            is_torn = True
        elif entry is None:
            raise ValueError(
                f"{path}: line {number} is damaged; repair it, or move the file away to begin anew"
            )
        else:
            lines.append(entry)
            end += len(piece) + 1
    dropped = f"the last {len(raw) - end} bytes were half written and are dropped"
    return lines, end, dropped if is_torn else ""


def _entry(piece: bytes) -> Mapping[str, Any] | None:
    """Returns what a line holds; None if it is damaged."""
    code, _, text = piece.partition(b" ")
    if code != b"%08x" % zlib.crc32(text):
        return None
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _check(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Refuses a log of something else."""
    for key in ("format", "version", "image", "shape"):
        if found.get(key) != wanted.get(key):
            raise ValueError(
                f"{path}: expected a log of {key} {wanted.get(key)}, got {found.get(key)}; it "
                "belongs to another volume or version: move it away, or choose another --workdir"
            )


def _private(path: str, flags: int) -> int:
    """Opens a file that, if it is new, nobody else may read: it tells what a patient has."""
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    """Makes the name of a new file as lasting as its bytes."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
