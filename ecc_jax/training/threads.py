"""What threads of the checkpoint libraries print when the disk does not take their files."""

import contextlib
import logging as stdlib_logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

from absl import logging


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
    """Keeps threads that write a checkpoint from printing the error that the caller gets as well.

    If one fails, hundreds of others report for a while that nobody waits for them any more; so
    after a failure those reports stay off.
    """
    tasks = stdlib_logging.getLogger("asyncio")
    level, of_threads, of_others = logging.get_verbosity(), threading.excepthook, sys.unraisablehook

    def report(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            of_others(unraisable)

    logging.set_verbosity(logging.FATAL)
    threading.excepthook = lambda arguments: None
    sys.unraisablehook = report
    tasks.disabled = True
    try:
        yield
        sys.unraisablehook = of_others
        tasks.disabled = False
    finally:
        threading.excepthook = of_threads
        logging.set_verbosity(level)
