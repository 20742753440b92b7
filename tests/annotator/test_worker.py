"""The queue of heavy work: who goes first, who gives way, and how it ends."""

import threading

import pytest

from ecc_jax.annotator.worker import FIRST, LAST, Busy, Closing, Later, Superseded, Worker


@pytest.fixture
def held():
    """A worker that is busy until the gate opens."""
    worker, gate, begun = Worker(), threading.Event(), threading.Event()
    worker.submit("busy", lambda: (begun.set(), gate.wait(30)))
    assert begun.wait(30)
    yield worker, gate
    gate.set()
    worker.close()


def test_the_lowest_rank_goes_first_and_then_the_oldest(held):
    worker, gate = held
    order = []
    ranks = {"a": LAST, "b": 1, "c": FIRST, "d": 1, "e": LAST, "f": FIRST}
    futures = [worker.submit(k, lambda k=k: order.append(k), rank=r) for k, r in ranks.items()]
    assert worker.is_wanted(LAST) and worker.is_wanted(1) and not worker.is_wanted(FIRST)
    gate.set()
    for future in futures:
        future.result(30)
    assert "".join(order) == "cfbdae"


def test_a_job_that_gives_way_is_run_again_after_what_waits(held):
    worker, gate = held
    order = []

    def long():
        order.append("long")
        if len(order) == 1:
            other = worker.submit("other", lambda: order.append("other"), rank=FIRST)
            assert worker.is_wanted(LAST) and other is not None
            raise Later
        return "done"

    future = worker.submit("long", long, rank=LAST)
    gate.set()
    assert future.result(30) == "done" and order == ["long", "other", "long"]


def test_a_job_that_gave_way_is_overtaken_by_a_newer_one_of_its_key(held):
    worker, gate = held

    def long():
        newer.append(worker.submit("long", lambda: "newer", rank=LAST))
        raise Later

    newer = []
    future = worker.submit("long", long, rank=LAST)
    gate.set()
    with pytest.raises(Superseded) as error:
        future.result(30)
    assert error.value.reason == "superseded" and newer[0].result(30) == "newer"


def test_a_job_that_gave_way_can_be_dropped_and_counts_as_one_that_waits():
    worker, blocked, gate = Worker(max_waiting=1), threading.Event(), threading.Event()

    def block():
        blocked.set()
        gate.wait(30)

    def long():
        worker.submit("block", block, rank=FIRST)
        raise Later

    future = worker.submit("long", long, rank=LAST)
    assert blocked.wait(30) and worker.waiting() == ("long",)
    with pytest.raises(Busy):
        worker.submit("another", lambda: None)
    worker.drop("long")
    with pytest.raises(Superseded):
        future.result(30)
    gate.set()
    worker.close()


def test_closing_ends_what_waits_and_what_gives_way():
    worker, begun, gate = Worker(), threading.Event(), threading.Event()

    def long():
        begun.set()
        gate.wait(30)
        raise Later

    running = worker.submit("long", long, rank=LAST)
    assert begun.wait(30)
    waiting = worker.submit("other", lambda: None)
    closing = threading.Thread(target=worker.close)
    closing.start()
    assert isinstance(waiting.exception(30), Closing)
    gate.set()
    closing.join(30)
    assert isinstance(running.exception(30), Closing) and not closing.is_alive()
