"""Worker processes that read volumes: results in order, no orphans, no forks."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any


@contextlib.contextmanager
def results_in_order(
    function: Callable[[Any], Any], items: Sequence[Any], *, jobs: int
) -> Iterator[Iterator[Any]]:
    """Yields an iterator over `function(item)` in the order of `items`.

    Leaving the context drops what has not begun, so an error ends the run within one item's time.

    Args:
      function: A function at module level, so that another process can import it.
      items: Arguments that can be pickled.
      jobs: Processes; 1 runs in this one.

    Raises:
      ValueError: A worker was killed.
    """
    if jobs == 1 or len(items) < 2:
        yield map(function, items)
        return
    # Spawned, not forked: JAX and TFDS run threads, which a fork may leave holding locks.
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(items))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool.map(function, items)
    except BrokenProcessPool as error:
        raise ValueError(
            f"one of {workers} reading processes was killed, perhaps for want of memory; run the "
            "same command with fewer jobs, it continues with what has been read"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends this process when its parent is killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
