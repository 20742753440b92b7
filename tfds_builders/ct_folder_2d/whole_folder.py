"""A folder that is made as a whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def check_free(out: Path) -> None:
    """Refuses a folder that holds something.

    Raises:
      ValueError: `out` is neither missing nor an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: is there already; name a new folder, or empty this one")


@contextlib.contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """Yields the place to write to, which becomes `out` at the end; an error leaves nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.incomplete-"))
    try:
        yield staging / out.name
        os.rename(staging / out.name, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
