"""One thread for all heavy work, with a short queue in which the newest request wins."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

MAX_WAITING = 8
OVERTAKEN = "a newer request has taken its place"


class Superseded(Exception):
    """A newer request of the same kind has taken this one's place in the queue."""


class Busy(Exception):
    """The queue is full."""


class Worker:
    """Runs jobs one after the other; of waiting jobs with one key only the newest stays."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        """Starts the thread.

        Args:
          max_waiting: Most jobs that wait; one more is refused.
        """
        self._max_waiting = max_waiting
        self._waiting: OrderedDict[Hashable, tuple[Future[Any], Callable[[], Any]]] = OrderedDict()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="annotator", daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, job: Callable[[], Any]) -> "Future[Any]":
        """Returns the future of a job.

        Args:
          key: What the job is about. A waiting job of the same key fails with `Superseded`; one
            that runs goes on.
          job: What to run.

        Raises:
          Busy: Too many jobs of other keys wait.
        """
        future: Future[Any] = Future()
        with self._changed:
            if key not in self._waiting and len(self._waiting) >= self._max_waiting:
                raise Busy(f"{len(self._waiting)} requests wait already; try again in a moment")
            former = self._waiting.pop(key, None)
            self._waiting[key] = (future, job)
            self._changed.notify()
        if former is not None:
            _fail(former[0], OVERTAKEN)
        return future

    def drop(self, key: Hashable) -> None:
        """Fails the waiting job of a key with `Superseded`, if there is one."""
        with self._changed:
            former = self._waiting.pop(key, None)
        if former is not None:
            _fail(former[0], OVERTAKEN)

    def waiting(self) -> tuple[Hashable, ...]:
        """Returns the keys of the jobs that wait, the oldest first."""
        with self._changed:
            return tuple(self._waiting)

    def close(self) -> None:
        """Ends the thread after the job that runs; jobs that wait fail with `Superseded`."""
        with self._changed:
            self._is_open = False
            waiting, self._waiting = self._waiting, OrderedDict()
            self._changed.notify()
        for future, _ in waiting.values():
            _fail(future, "the annotator is closing")
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                if not self._waiting:
                    return
                _, (future, job) = self._waiting.popitem(last=False)
            if not future.set_running_or_notify_cancel():  # nobody waits any more
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # handed to whoever waits
                future.set_exception(error)


def _fail(future: "Future[Any]", text: str) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(Superseded(text))
