"""Text for people, which no locale, closed pipe or full disk turns into a failed run."""

import argparse
import codecs
import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

from ecc_jax import places

_HANDLER = "ecc_jax.console"
_LIKENESS = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "≥": ">=", "≤": "<=", "±": "+-", "→": "->", "…": "..."}
)


def _imitate(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encodes characters that a stream does not have: similar ones, the bytes of a path, or `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_LIKENESS)
    # Python has the bytes of a path that are no characters as lone surrogates.
    kept = "".join(c if c < "\x80" or "\udc80" <= c <= "\udcff" else "?" for c in text)
    return kept.encode("ascii", "surrogateescape"), error.end


codecs.register_error(_HANDLER, _imitate)


class Lenient:
    """A text stream that drops what it cannot pass on.

    A reader that has gone (`| head`, a closed terminal) or a full disk then costs the text, not
    the work that it tells of.

    Attributes:
      lost: Why something was dropped; None where nothing was.
    """

    def __init__(self, stream: Any) -> None:
        """Wraps a stream; None, as of a process without output, drops everything."""
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")
        self.lost: OSError | None = None
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors=_HANDLER)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or drops it; returns its length."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Hands on what was written."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except OSError as error:
            self.lost = self.lost or error
            # What is still buffered goes nowhere, or the end of the program would fail on it.
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def make_lenient() -> None:
    """Makes stdout and stderr of a program lenient, and its warnings one line each."""
    sys.stdout = cast(TextIO, Lenient(sys.stdout))
    sys.stderr = cast(TextIO, Lenient(sys.stderr))
    warnings.formatwarning = _one_line_warning


def _one_line_warning(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def run(main: Callable[[], int | None]) -> int:
    """Returns the exit code of a program whose `main` prints.

    Args:
      main: The program; returns its own exit code. What it raises of files and values is one line
        on stderr and code 1.
    """
    make_lenient()
    try:
        return main() or check_output()
    except (ValueError, OSError) as error:
        complain(error)
        return 1


def resumable(work: Callable[[], object]) -> int:
    """Returns the exit code of work that the same command goes on with where it was stopped.

    Args:
      work: What it raises of files and values is one line on stderr and code 1, an interrupt
        another line and code 130.
    """
    try:
        work()
    except (ValueError, OSError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command continues\n")
        return 130
    return 0


def check_output() -> int:
    """Returns 1, and says so, where text for stdout is lost though somebody waits for it."""
    sys.stdout.flush()
    lost = getattr(sys.stdout, "lost", None)
    if lost is None or lost.errno in (errno.EPIPE, errno.EIO):  # nobody reads any more
        return 0
    complain(f"cannot write to standard output: {lost.strerror}")
    return 1


def complain(error: BaseException | str) -> None:
    """Says in one line on stderr what went wrong."""
    text = places.describe(error) if isinstance(error, OSError) else str(error)
    sys.stderr.write(f"error: {' '.join(text.split())}\n")


def say_path(path: Path) -> None:
    """Prints a path on a line of its own, its very bytes where stdout lacks the characters."""
    text = f"{path}\n"
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = os.fsencode(text).decode("ascii", "surrogateescape")
    sys.stdout.write(text)


def path_argument(text: str) -> Path:
    """Returns the path of a command-line argument, for `argparse`'s `type`.

    Raises:
      argparse.ArgumentTypeError: It starts with `~user`, and there is no such home folder.
    """
    try:
        return places.expanded(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
