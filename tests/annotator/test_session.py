"""Sessions: pure states, undo and redo without end, and events that are refused."""

import json
import math

import numpy as np
import pytest

from ecc_jax.annotator.session import Session, apply
from ecc_jax.annotator.state import Frame, Missing, Refused, changed, plain

FRAME = Frame(num_slices=9, shape=(30, 40), display_shape=(30, 80))
WINDOW = [-150.0, 250.0]


def press(**values):
    base = {"lesion": 1, "slice": 2, "y": 5, "x": 6, "radius": 3, "positive": True}
    return {"kind": "press", **base, "window_hu": WINDOW, **values}


def begin(**values):
    event = press(**values)
    del event["lesion"]
    return {"begin": True, **event}


def play(*events):
    session = Session(FRAME)
    for event in events:
        session = apply(session, event)
    return session


ADD = {"kind": "add"}
DRAWN = (ADD, press(), press(y=7, positive=False))


def random_event(rng, session):
    """Returns an event that mostly fits."""
    lesion, index = int(rng.integers(1, 4)), int(rng.integers(9))
    kinds = ["press"] * 4 + ["add", "move", "resize", "delete", "undo", "undo", "redo", "rename"]
    kinds += ["finish", "open", "remove", "clear", "begin", "propagate"]
    kind = str(rng.choice(kinds))
    ring = int(rng.integers(1, 1 + session.state.next_ring))
    y, x, radius = (float(v) for v in rng.uniform(0.5, 29, 3))
    about = {"lesion": lesion, "slice": index, "ring": ring}
    if kind == "begin":
        return begin(slice=index, y=y, x=x, radius=radius)
    if kind == "open":
        return {"kind": "finish", "lesion": lesion, "finished": False}
    carried = {"slice": index, "y": y, "x": x, "radius": radius, "window_hu": WINDOW, "prior": "AA"}
    return {
        "press": press(lesion=lesion, slice=index, y=y, x=x, radius=radius),
        "move": {**about, "y": y, "x": x},
        "resize": {**about, "radius": radius},
        "delete": about,
        "clear": {"lesion": lesion, "slice": index},
        "rename": {"lesion": lesion, "name": f"n{ring}"},
        "finish": {"lesion": lesion},
        "remove": {"lesion": lesion},
        "propagate": {"lesion": lesion, "slices": [carried]},
    }.get(kind, {}) | {"kind": kind}


@pytest.mark.parametrize("seed", range(5))
def test_undo_and_redo_walk_the_same_states_and_a_log_is_the_whole_session(seed):
    rng, session, log = np.random.default_rng(seed), Session(FRAME), []
    # The oracle keeps whole states in two plain stacks.
    past, future, state = [], [], session.state
    for _ in range(300):
        event = random_event(rng, session)
        try:
            after = apply(session, event)
        except Refused:
            continue
        log.append(json.dumps(event))
        if event["kind"] == "undo":
            future.append(state)
            state = past.pop()
        elif event["kind"] == "redo":
            past.append(state)
            state = future.pop()
        else:
            past.append(state)
            future, state = [], after.state
        session = after
        assert session.state == state
    assert len(log) > 60
    assert play(*map(json.loads, log)) == session
    while session.past:
        session = apply(session, {"kind": "undo"})
    assert session.state == Session(FRAME).state


@pytest.mark.parametrize("seed", range(5))
def test_a_press_that_begins_a_lesion_is_an_add_and_a_press_in_one(seed):
    rng, session = np.random.default_rng(seed), Session(FRAME)
    begun = 0
    for _ in range(200):
        event = random_event(rng, session)
        try:
            after = apply(session, event)
        except Refused:
            continue
        if "begin" in event:
            number = session.state.next_lesion
            two = apply(session, {"kind": "add"})
            values = {key: value for key, value in event.items() if key not in ("begin", "kind")}
            assert after.state == apply(two, press(**values, lesion=number)).state
            assert changed(session.state, after.state) == [(number, event["slice"])]
            assert after.version == session.version + 1
            assert apply(after, {"kind": "undo"}).state == session.state
            begun += 1
        session = after
    assert begun > 5


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_of_a_finished_lesion_never_changes(seed):
    rng, session = np.random.default_rng(seed), Session(FRAME)
    refused = 0
    for _ in range(400):
        event = random_event(rng, session)
        finished = {n: each for n, each in session.state.lesions.items() if each.finished}
        try:
            after = apply(session, event)
        except Refused as error:
            refused += "is finished; open it again first" in str(error)
            continue
        if event["kind"] not in ("undo", "redo"):
            for number, lesion in finished.items():
                now = after.state.lesions.get(number)
                assert now is None or now.slices == lesion.slices
                assert now is not None or event["kind"] == "remove"
        session = after
    assert refused


def test_a_finished_lesion_is_renamed_opened_and_removed_but_not_drawn_on():
    carried = {"slice": 3, "y": 5, "x": 6, "radius": 3, "window_hu": WINDOW, "prior": "AA"}
    finish = {"kind": "finish", "lesion": 1}
    done = play(*DRAWN, {"kind": "rename", "lesion": 1, "name": "node"}, finish)
    disk = {"lesion": 1, "slice": 2, "ring": 1}
    for event in (
        press(),
        press(slice=4),
        {"kind": "move", **disk, "y": 1, "x": 2},
        {"kind": "resize", **disk, "radius": 2},
        {"kind": "delete", **disk},
        {"kind": "clear", "lesion": 1, "slice": 2},
        {"kind": "propagate", "lesion": 1, "slices": [carried]},
    ):
        with pytest.raises(Refused, match="lesion 'node' is finished; open it again first"):
            apply(done, event)
        apply(play(*DRAWN), event)
        # Logs of before it was protected are still read.
        assert apply(done, event, is_logged=True).version == done.version + 1
        apply(apply(done, {**finish, "finished": False}), event)
    for event in ({"kind": "rename", "lesion": 1, "name": "b"}, finish, {"kind": "undo"}, begin()):
        apply(done, event)
    assert not apply(done, {"kind": "remove", "lesion": 1}).state.lesions


def test_what_a_press_a_move_and_a_delete_leave():
    session = play(*DRAWN, {"kind": "move", "lesion": 1, "slice": 2, "ring": 1, "y": 1, "x": 2})
    lesion = plain(session.state)[0]
    assert lesion["name"] == "lesion 1" and not lesion["finished"]
    assert lesion["slices"][0]["rings"] == [
        {"id": 1, "y": 1.0, "x": 2.0, "radius": 3.0, "positive": True},
        {"id": 2, "y": 7.0, "x": 6.0, "radius": 3.0, "positive": False},
    ]
    # Background alone marks nothing: the slice is empty again.
    session = apply(session, {"kind": "delete", "lesion": 1, "slice": 2, "ring": 1})
    assert plain(session.state)[0]["slices"] == []
    # Numbers are never used again, so that a late request cannot mean another disk.
    session = apply(session, press())
    assert plain(session.state)[0]["slices"][0]["rings"][0]["id"] == 3


def test_a_propagation_of_an_older_log_still_plays():
    entry = {"y": 5, "x": 6, "radius": 3, "window_hu": WINDOW, "prior": "AA"}
    old = {"kind": "propagate", "lesion": 1, "slices": [{"slice": k, **entry} for k in (3, 4)]}
    session = play(ADD, press(), old)
    told = [(s["slice"], s["is_propagated"]) for s in plain(session.state)[0]["slices"]]
    assert told == [(2, False), (3, True), (4, True)]
    session = apply(session, {"kind": "propagate", "lesion": 1, "slices": [], "gone": [4]})
    assert [s["slice"] for s in plain(session.state)[0]["slices"]] == [2, 3]


def test_changed_names_what_differs():
    one, two = play(ADD, press()), play(ADD, press(), press(slice=4))
    assert changed(one.state, two.state) == [(1, 4)]
    gone = apply(two, {"kind": "remove", "lesion": 1})
    assert changed(two.state, gone.state) == [(1, 2), (1, 4)]
    renamed = apply(two, {"kind": "rename", "lesion": 1, "colour": "#000000"})
    assert changed(two.state, renamed.state) == []


HUGE = 10**400
BAD = [
    ({"kind": "fly"}, "kind must be one of press"),
    ({"kind": ["press"]}, "kind must be one of"),
    ({}, "kind must be one of"),
    (press(y=-0.1), "inside the slice"),
    (press(x=39.01), "inside the slice"),
    (press(y=math.nan), "finite"),
    (press(x=math.inf), "finite"),
    (press(x=HUGE), "finite"),
    (press(y="1"), "y must be a number"),
    (press(y=True), "y must be a number"),
    (press(radius=0), "0 < radius <= 85.4"),
    (press(radius=86), "0 < radius <= 85.4"),
    (press(positive=1), "true or false"),
    (press(positive=False, slice=5), "press positive first"),
    (press(window_hu=[5, 5]), "low < high"),
    (press(window_hu=[5]), "two numbers"),
    (press(window_hu=None), "two numbers"),
    (press(extra=1), "unknown keys extra"),
    ({"kind": "press"}, "expected lesion, positive"),
    (begin(positive=False), "press positive first"),
    ({**begin(), "begin": False}, "begin must be true, or left out"),
    ({**begin(), "begin": 1}, "begin must be true, or left out"),
    (press(begin=True), "unknown keys lesion; expected begin"),
    (begin(name="a"), "unknown keys name"),
    (begin(slice=2, y=99), "inside the slice"),
    ({"kind": "undo", "x": 1}, "unknown keys x"),
    ({"kind": "redo"}, "nothing to redo"),
    ({"kind": "rename", "lesion": 1, "name": "a\nb"}, "printable"),
    ({"kind": "rename", "lesion": 1, "name": "\ud800"}, "printable"),
    ({"kind": "rename", "lesion": 1, "name": " "}, "1 to 64"),
    ({"kind": "rename", "lesion": 1, "name": "n" * 81}, "1 to 64"),
    ({"kind": "rename", "lesion": 1, "colour": "red"}, "#e69f00"),
    ({"kind": "finish", "lesion": 1, "finished": 0}, "true or false"),
    ({"kind": "propagate", "lesion": 1, "slices": []}, "at least one"),
    ({"kind": "propagate", "lesion": 1, "slices": [{"slice": 1}]}, "packed mask"),
    ({"kind": "propagate", "lesion": 1, "slices": [], "gone": [2]}, "nobody changed"),
    ({"kind": "propagate", "lesion": 1, "slices": [], "gone": [7]}, "nobody changed"),
    ({"kind": "propagate", "lesion": 1, "slices": [], "gone": 2}, "two lists"),
]
ABSENT = [
    press(lesion=2),
    press(lesion=True),
    press(lesion=[1]),
    press(slice=9),
    press(slice=-1),
    press(slice=2.0),
    {"kind": "delete", "lesion": 1, "slice": 2, "ring": 9},
    {"kind": "delete", "lesion": 1, "slice": 2, "ring": True},
    {"kind": "delete", "lesion": 1, "slice": 3, "ring": 1},
    {"kind": "clear", "lesion": 1, "slice": 3},
    {"kind": "remove", "lesion": 7},
    {"kind": "propagate", "lesion": 1, "slices": [], "gone": [[2]]},
]


@pytest.mark.parametrize(("event", "says"), BAD)
def test_refused_events(event, says):
    with pytest.raises(Refused, match=says) as error:
        apply(play(*DRAWN), event)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("event", ABSENT)
def test_events_about_what_is_not_there(event):
    with pytest.raises(Missing):
        apply(play(*DRAWN), event)


def test_disks_and_lesions_have_an_end():
    session = play(ADD, *[press()] * 64)
    with pytest.raises(Refused, match="at most 64 disks"):
        apply(session, press())
    apply(session, press(slice=3))
    with pytest.raises(Refused, match="at most 200 lesions"):
        play(*[ADD] * 201)
    with pytest.raises(Refused, match="at most 200 lesions"):
        play(*[ADD] * 200, begin())
