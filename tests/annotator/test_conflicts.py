"""The API over HTTP: several requests at once, and sessions that have gone on meanwhile."""

import json
import threading
import time

import numpy as np
import pytest

from ecc_jax.annotator.client import ApiError
from tests.annotator.serving import PRESS, Painter, open_with_lesion, serving, shown


def test_two_tabs_do_not_overwrite_each_other(running):
    client, volume, _ = running
    version = client.event(volume, "press", **PRESS)["version"]
    client.event(volume, "press", **PRESS, version=version)
    for kind, values in (("undo", {}), ("save", {"format": "x"}), ("propagate", {})):
        with pytest.raises(ApiError, match="load it again") as error:
            client.event(volume, kind, **values, version=version)
        assert (error.value.status, error.value.reason) == (409, "version")
    with pytest.raises(ApiError, match="format must be one of") as error:
        client.event(volume, "save", format="x", version=version + 1)
    assert (error.value.status, error.value.reason) == (404, "")
    client.event(volume, "undo", version=version + 1)


def test_a_mask_says_which_version_of_the_session_it_is_of(scan, tmp_path):
    painter = Painter()
    with serving(scan[0], tmp_path / "work", painter=painter) as (client, _):
        volume = open_with_lesion(client)
        assert client.event(volume, "press", **PRESS)["mask"]["version"] == 2
        client.event(volume, "press", **{**PRESS, "slice": 4}, mask=False)
        _, _, raw = client.request("GET", f"/api/documents/{volume}/masks/1/3?format=bits")
        assert json.loads(raw)["version"] == 3
        told = []

        def press_then(kind, **values):
            calls = painter.calls
            thread = threading.Thread(
                target=lambda: told.append(client.event(volume, "press", **PRESS))
            )
            thread.start()
            while painter.calls == calls:
                time.sleep(0.01)
            client.event(volume, kind, **values, mask=False)
            thread.join()
            return told[-1]["version"], told[-1]["mask"]["version"]

        painter.seconds = 0.4
        # Answered at version 5, at which it holds; and of a disk that was moved meanwhile.
        assert press_then("add") == (4, 5)
        assert press_then("move", lesion=1, slice=3, ring=1, y=5, x=6) == (6, 6)
        assert press_then("remove", lesion=1) == (8, 8)


def test_a_propagation_that_an_event_overtakes_says_so(scan, tmp_path):
    painter = Painter()
    with serving(scan[0], tmp_path / "work", painter=painter) as (client, _):
        volume = open_with_lesion(client)
        client.event(volume, "press", **{**PRESS, "radius": 6})
        painter.seconds, calls, told = 0.2, painter.calls, []

        def carry():
            with pytest.raises(ApiError, match="changed meanwhile") as error:
                client.event(volume, "propagate", lesion=1, slice=3)
            told.append((error.value.status, error.value.reason))

        thread = threading.Thread(target=carry)
        thread.start()
        while painter.calls == calls:
            time.sleep(0.01)
        client.event(volume, "add")
        thread.join()
        assert told == [(409, "interrupted")]
        assert len(client.open(volume)["session"]["lesions"][0]["slices"]) == 1


def test_of_quick_presses_all_are_kept_and_the_newest_is_answered(scan, tmp_path):
    with serving(scan[0], tmp_path / "work", painter=Painter(seconds=0.15)) as (client, desk):
        volume = open_with_lesion(client)
        answers = [None] * 6

        def press(number):
            answers[number] = client.event(volume, "press", **{**PRESS, "radius": 1 + number})

        threads = [threading.Thread(target=press, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
            time.sleep(0.02)
        for thread in threads:
            thread.join()
        rings = client.open(volume)["session"]["lesions"][0]["slices"][0]["rings"]
        assert sorted(ring["radius"] for ring in rings) == [1, 2, 3, 4, 5, 6]
        overtaken = [answer["version"] for answer in answers if answer["superseded"]]
        newest = max(answers, key=lambda answer: answer["version"])
        assert 3 <= len(overtaken) <= 5 and not newest["superseded"]
        np.testing.assert_array_equal(shown(newest["mask"]), client.mask(volume, 1, 3))


def test_only_a_newer_request_for_the_same_mask_overtakes_one(running):
    client, volume, desk = running
    client.event(volume, "add")
    pairs = [(1, 3), (1, 4), (2, 3)]
    for lesion, index in pairs:
        client.event(volume, "press", **{**PRESS, "lesion": lesion, "slice": index}, mask=False)
    gate, begun = threading.Event(), threading.Event()
    desk.worker.submit("busy", lambda: (begun.set(), gate.wait(30)))
    assert begun.wait(30)
    codes = {}

    def ask(name, lesion, index):
        path = f"/api/documents/{volume}/masks/{lesion}/{index}?format=bits"
        code, _, raw = client.request("GET", path)
        codes[name] = (code, json.loads(raw).get("reason"))

    threads = [threading.Thread(target=ask, args=(pair, *pair)) for pair in pairs]
    for thread in threads:
        thread.start()
    while len(desk.worker.waiting()) < 3:
        time.sleep(0.01)
    client.event(volume, "press", **{**PRESS, "radius": 2}, mask=False)
    newer = threading.Thread(target=ask, args=("newer", 1, 3))
    newer.start()
    threads[0].join(10)  # while the worker is still busy
    overtaken = {(1, 3): (409, "superseded")}
    assert codes == overtaken
    gate.set()
    for thread in (newer, *threads):
        thread.join()
    assert codes == overtaken | dict.fromkeys(["newer", (1, 4), (2, 3)], (200, None))


def test_a_mask_of_disks_that_have_changed_is_not_told(scan, tmp_path):
    painter = Painter()
    with serving(scan[0], tmp_path / "work", painter=painter) as (client, desk):
        volume = open_with_lesion(client)
        client.event(volume, "press", **PRESS)
        client.event(volume, "press", **{**PRESS, "radius": 2}, mask=False)
        painter.seconds, calls, codes = 0.5, painter.calls, {}

        def ask(name):
            code, _, raw = client.request("GET", f"/api/documents/{volume}/masks/1/3")
            codes[name] = (code, json.loads(raw)["reason"] if code == 409 else None)

        running = threading.Thread(target=ask, args=("while it was answered",))
        running.start()
        while painter.calls == calls:
            time.sleep(0.01)
        client.event(volume, "press", **{**PRESS, "radius": 3}, mask=False)
        running.join()
        gate, begun = threading.Event(), threading.Event()
        desk.worker.submit("busy", lambda: (begun.set(), gate.wait(60)))
        assert begun.wait(30)
        waiting = threading.Thread(target=ask, args=("while it waited",))
        waiting.start()
        while not desk.worker.waiting():
            time.sleep(0.01)
        # Back at disks that were answered before: nothing has to wait for that.
        for _ in range(2):
            client.event(volume, "undo", mask=False)
        ask("answered before")
        waiting.join(10)
        assert codes == {
            "while it was answered": (409, "superseded"),
            "answered before": (200, None),
            "while it waited": (409, "superseded"),
        }
        gate.set()


def test_a_mask_that_was_answered_before_waits_for_nobody(running):
    client, volume, desk = running
    client.event(volume, "press", **PRESS)
    mask = client.mask(volume, 1, 3)
    gate = threading.Event()
    desk.worker.submit("busy", lambda: gate.wait(90))  # a client waits 30 seconds
    try:
        np.testing.assert_array_equal(client.mask(volume, 1, 3), mask)
    finally:
        gate.set()
