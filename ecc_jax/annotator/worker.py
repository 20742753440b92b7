"""One thread for all heavy work, with a short queue in which the newest request wins.

What a person waits for goes first: every job has a rank, and of those that wait one of the lowest
rank is run, the oldest of several. A long job asks `is_wanted` now and then whether one of a lower
rank waits, and gives way by raising `Later`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, NamedTuple

MAX_WAITING = 8
# Masks, for which a person waits with a finger on the mouse; what else was asked for; measures.
FIRST, NORMAL, LAST = 0, 1, 2
OVERTAKEN = "a newer request has taken its place"
ENDS = "the annotator is closing"


# Reasons of `Superseded`.
SUPERSEDED, INTERRUPTED = "superseded", "interrupted"


class Superseded(Exception):
    """Something newer has taken a request's place.

    Attributes:
      reason: `SUPERSEDED`: what it asked for is no longer what is there. `INTERRUPTED`: it was to
        change a session that has gone on.
    """

    def __init__(self, message: str, reason: str = SUPERSEDED) -> None:
        """Makes an error of one line and its reason."""
        super().__init__(message)
        self.reason = reason


class Closing(Superseded):
    """The worker ends."""

    def __init__(self, message: str) -> None:
        """Makes an error of one line; asking again would not help."""
        super().__init__(message, "")


class Later(Exception):
    """Raised by a job that gives way: it is run again, from its beginning, after what waits."""


class Busy(Exception):
    """The queue is full."""


class _Job(NamedTuple):
    future: "Future[Any]"
    run: Callable[[], Any]
    rank: int


class Worker:
    """Runs jobs one after the other; of waiting jobs with one key only the newest stays."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        """Starts the thread.

        Args:
          max_waiting: Most jobs that wait; one more is refused.
        """
        self._max_waiting = max_waiting
        self._waiting: OrderedDict[Hashable, _Job] = OrderedDict()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="annotator", daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, job: Callable[[], Any], *, rank: int = NORMAL) -> "Future[Any]":
        """Returns the future of a job.

        Args:
          key: What the job is about. A waiting job of the same key fails with `Superseded`; one
            that runs goes on.
          job: What to run.
          rank: `FIRST`, `NORMAL` or `LAST`.

        Raises:
          Busy: Too many jobs of other keys wait.
        """
        future: Future[Any] = Future()
        with self._changed:
            if key not in self._waiting and len(self._waiting) >= self._max_waiting:
                raise Busy(f"{len(self._waiting)} requests wait already; try again in a moment")
            former = self._waiting.pop(key, None)
            self._waiting[key] = _Job(future, job, rank)
            self._changed.notify()
        if former is not None:
            _fail(former.future, Superseded(OVERTAKEN))
        return future

    def drop(self, key: Hashable) -> None:
        """Fails the waiting job of a key with `Superseded`, if there is one."""
        with self._changed:
            former = self._waiting.pop(key, None)
        if former is not None:
            _fail(former.future, Superseded(OVERTAKEN))

    def is_wanted(self, rank: int) -> bool:
        """Returns whether a job waits that goes before those of a rank."""
        with self._changed:
            return any(job.rank < rank for job in self._waiting.values())

    def waiting(self) -> tuple[Hashable, ...]:
        """Returns the keys of the jobs that wait, the oldest first."""
        with self._changed:
            return tuple(self._waiting)

    def close(self) -> None:
        """Ends the thread after the job that runs; jobs that wait fail with `Closing`."""
        with self._changed:
            self._is_open = False
            waiting, self._waiting = self._waiting, OrderedDict()
            self._changed.notify()
        for job in waiting.values():
            _fail(job.future, Closing(ENDS))
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                if not self._waiting:
                    return
                key = min(self._waiting, key=lambda each: self._waiting[each].rank)
                job = self._waiting.pop(key)
            if not _begun(job.future):  # nobody waits any more
                continue
            try:
                job.future.set_result(job.run())
            except Later:
                self._again(key, job)
            except BaseException as error:  # handed to whoever waits
                job.future.set_exception(error)

    def _again(self, key: Hashable, job: _Job) -> None:
        """Puts a job that gave way back into the queue, unless a newer one of its key waits."""
        with self._changed:
            is_newer = key in self._waiting
            if self._is_open and not is_newer:
                self._waiting[key] = job
                return
        _fail(job.future, Superseded(OVERTAKEN) if is_newer else Closing(ENDS))


def _begun(future: "Future[Any]") -> bool:
    """Returns whether somebody waits for a job; it runs already if it gave way before."""
    return future.running() or future.set_running_or_notify_cancel()


def _fail(future: "Future[Any]", error: Superseded) -> None:
    if _begun(future):
        future.set_exception(error)
