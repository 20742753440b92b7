"""Events: plain JSON objects that change a state, checked here, so that a log of them is a session.

press (lesion, slice, y, x, radius, positive, window_hu; `begin`, true, in place of lesion begins
one), move (lesion, slice, ring, y, x), resize (lesion, slice, ring, radius), delete (lesion, slice,
ring), clear (lesion, slice), add (name, colour), rename (lesion, name, colour), finish (lesion,
finished), remove (lesion), propagate (lesion, slices, gone). Undo and redo are those of `session`.
A lesion that is finished can be renamed, opened again and removed, and nothing else.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ecc_jax.annotator.save_lesions import check_name
from ecc_jax.annotator.state import (
    Annotation,
    Frame,
    Lesion,
    Missing,
    Refused,
    Ring,
    State,
    check_slice,
    is_whole,
    lesion_of,
)

MAX_RINGS = 64  # of a lesion on one slice; what the predictor holds
MAX_LESIONS = 200
# Colours that people with any kind of colour blindness tell apart. Source: Okabe and Ito (2008).
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def change(
    state: State, event: Mapping[str, Any], frame: Frame, *, is_logged: bool = False
) -> State:
    """Returns the state after an event.

    Args:
      state: Before it.
      event: `kind`, one of `KINDS`, and what that kind needs.
      frame: The volume.
      is_logged: Whether a log holds it already: older logs change lesions that are finished.

    Raises:
      Missing: It is about something that is not there.
      Refused: Unknown kind, a key too many or too few, a value out of range, or a change of a
        lesion that is finished.
    """
    kind = event.get("kind")
    if not isinstance(kind, str) or kind not in _CHANGES:
        raise Refused(f"kind must be one of {', '.join(KINDS)}; got {kind!r:.40}")
    if kind in DRAWING and "lesion" in event and not is_logged:
        check_unfinished(state, event["lesion"])
    return _CHANGES[kind](state, event, frame)


def check_unfinished(state: State, number: Any) -> None:
    """Refuses to draw on a lesion that a person has said is finished.

    Args:
      state: Now.
      number: Of the lesion.

    Raises:
      Missing: There is none.
      Refused: It is finished.
    """
    lesion = lesion_of(state, number)
    if lesion.finished:
        raise Refused(f"lesion {lesion.name!r} is finished; open it again first")


def check_keys(event: Mapping[str, Any], needed: set[str], allowed: set[str] | None = None) -> None:
    """Refuses keys too many or too few, `kind` apart.

    Args:
      event: An event, or a part of one.
      needed: Keys that must be there.
      allowed: Keys that may be there as well.

    Raises:
      Refused: In one line.
    """
    given, known = set(event) - {"kind"}, needed | (allowed or set())
    if needed - given:
        raise Refused(f"expected {', '.join(sorted(needed - given))} as well")
    if given - known:
        extra = ", ".join(sorted(str(key)[:40] for key in given - known))
        raise Refused(f"unknown keys {extra}; expected {', '.join(sorted(known)) or 'nothing'}")


def check_press(
    event: Mapping[str, Any], needed: set[str], allowed: set[str] | None = None
) -> None:
    """Refuses a press with keys too many or too few; either `lesion` or `begin` is needed.

    Args:
      event: The press.
      needed: Keys that must be there besides those of the disk.
      allowed: Keys that may be there as well.

    Raises:
      Refused: In one line.
    """
    if "begin" in event and event["begin"] is not True:
        raise Refused(f"begin must be true, or left out; got {event['begin']!r:.40}")
    whose = "begin" if "begin" in event else "lesion"
    disk = {"slice", "y", "x", "radius", "positive"}
    check_keys(event, {whose} | disk | needed, allowed)


def _press(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_press(event, {"window_hu"})
    if "begin" in event:
        number, state = state.next_lesion, _add(state, {}, frame)
    else:
        number = event["lesion"]
    lesion = lesion_of(state, number)
    index = check_slice(frame, event["slice"])
    y, x = point_of(event, frame)
    if not isinstance(event["positive"], bool):
        raise Refused(f"positive must be true or false, got {event['positive']!r:.40}")
    ring = Ring(state.next_ring, y, x, radius_of(event, frame), event["positive"])
    before = lesion.slices.get(index, Annotation((), _window(event)))
    if not ring.positive and not before.rings and not before.prior:
        raise Refused("the first disk of a lesion on a slice marks lesion; press positive first")
    if len(before.rings) >= MAX_RINGS:
        raise Refused(f"expected at most {MAX_RINGS} disks on a slice; delete one, or resize it")
    after = before._replace(rings=(*before.rings, ring), is_propagated=False)
    return _with(state, lesion, {index: after})._replace(next_ring=state.next_ring + 1)


def _move(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion", "slice", "ring", "y", "x"})
    y, x = point_of(event, frame)
    return _with_ring(state, event, frame, lambda ring: ring._replace(y=y, x=x))


def _resize(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion", "slice", "ring", "radius"})
    radius = radius_of(event, frame)
    return _with_ring(state, event, frame, lambda ring: ring._replace(radius=radius))


def _delete(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion", "slice", "ring"})
    return _with_ring(state, event, frame, lambda ring: None)


def _clear(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion", "slice"})
    lesion = lesion_of(state, event["lesion"])
    index = check_slice(frame, event["slice"])
    if index not in lesion.slices:
        raise Missing(f"lesion {lesion.id} has nothing on slice index {index} (from 0)")
    return _with(state, lesion, {index: None})


def _add(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, set(), {"name", "colour"})
    if len(state.lesions) >= MAX_LESIONS:
        raise Refused(f"expected at most {MAX_LESIONS} lesions; remove one")
    number = state.next_lesion
    name = _name(event.get("name", f"lesion {number}"))
    colour = _colour(event.get("colour", COLOURS[(number - 1) % len(COLOURS)]))
    lesions = {**state.lesions, number: Lesion(number, name, colour)}
    return state._replace(lesions=lesions, next_lesion=number + 1)


def _rename(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion"}, {"name", "colour"})
    lesion = lesion_of(state, event["lesion"])
    name, colour = event.get("name", lesion.name), event.get("colour", lesion.colour)
    changed_lesion = lesion._replace(name=_name(name), colour=_colour(colour))
    return state._replace(lesions={**state.lesions, lesion.id: changed_lesion})


def _finish(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion"}, {"finished"})
    lesion = lesion_of(state, event["lesion"])
    finished = event.get("finished", True)
    if not isinstance(finished, bool):
        raise Refused(f"finished must be true or false, got {finished!r:.40}")
    return state._replace(lesions={**state.lesions, lesion.id: lesion._replace(finished=finished)})


def _remove(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion"})
    lesion = lesion_of(state, event["lesion"])
    return state._replace(lesions={n: v for n, v in state.lesions.items() if n != lesion.id})


def _propagate(state: State, event: Mapping[str, Any], frame: Frame) -> State:
    check_keys(event, {"lesion", "slices"}, {"gone"})  # older logs have no gone
    lesion, gone = lesion_of(state, event["lesion"]), event.get("gone", [])
    if not isinstance(event["slices"], list) or not isinstance(gone, list):
        raise Refused("expected slices and gone, two lists")
    if not event["slices"] and not gone:
        raise Refused("expected slices or gone, a list of at least one")
    found: dict[int, Annotation | None] = {check_slice(frame, index): None for index in gone}
    if any(index not in lesion.slices or not lesion.slices[index].is_propagated for index in found):
        raise Refused("expected of gone only slices that propagation made and nobody changed")
    number = state.next_ring
    for entry in event["slices"]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("prior"), str):
            raise Refused("expected of every slice its prior, a packed mask")
        check_keys({**entry, "kind": ""}, {"slice", "y", "x", "radius", "window_hu", "prior"})
        ring = Ring(number, *point_of(entry, frame), radius_of(entry, frame), True)
        index = check_slice(frame, entry["slice"])
        found[index] = Annotation((ring,), _window(entry), entry["prior"], is_propagated=True)
        number += 1
    return _with(state, lesion, found)._replace(next_ring=number)


_CHANGES: dict[str, Callable[[State, Mapping[str, Any], Frame], State]] = {
    "press": _press,
    "move": _move,
    "resize": _resize,
    "delete": _delete,
    "clear": _clear,
    "add": _add,
    "rename": _rename,
    "finish": _finish,
    "remove": _remove,
    "propagate": _propagate,
}
KINDS = tuple(_CHANGES)
# What a lesion that is finished is protected from.
DRAWING = frozenset({"press", "move", "resize", "delete", "clear", "propagate"})


def _with(state: State, lesion: Lesion, found: Mapping[int, Annotation | None]) -> State:
    """Returns a state with annotations of one lesion put in, or taken out where None."""
    slices = {**lesion.slices, **found}
    kept = {index: annotation for index, annotation in slices.items() if annotation is not None}
    return state._replace(lesions={**state.lesions, lesion.id: lesion._replace(slices=kept)})


def _with_ring(
    state: State, event: Mapping[str, Any], frame: Frame, change: Callable[[Ring], Ring | None]
) -> State:
    """Returns a state with one ring changed, or taken out where `change` returns None."""
    lesion = lesion_of(state, event["lesion"])
    index = check_slice(frame, event["slice"])
    before = lesion.slices.get(index)
    rings = before.rings if before else ()
    is_there = is_whole(event["ring"]) and event["ring"] in [ring.id for ring in rings]
    if before is None or not is_there:
        raise Missing(
            f"lesion {lesion.id} has no disk {event['ring']!r:.40} on slice index {index} (from 0)"
        )
    changes = [change(ring) if ring.id == event["ring"] else ring for ring in rings]
    kept = tuple(ring for ring in changes if ring is not None)
    # Background disks alone have nothing to take away.
    is_left = bool(before.prior) or any(ring.positive for ring in kept)
    after = before._replace(rings=kept, is_propagated=False)
    return _with(state, lesion, {index: after if kept and is_left else None})


def point_of(event: Mapping[str, Any], frame: Frame) -> tuple[float, float]:
    """Returns y and x of an event, which must lie inside the slice.

    Raises:
      Refused: They do not, or are no numbers.
    """
    y, x = _number(event, "y"), _number(event, "x")
    height, width = frame.shape
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        raise Refused(
            f"expected a point inside the slice, 0 <= y <= {height - 1} and 0 <= x <= {width - 1}, "
            f"got y={y:g}, x={x:g}"
        )
    return y, x


def radius_of(event: Mapping[str, Any], frame: Frame) -> float:
    """Returns the radius of an event, positive and at most the slice's diagonal, display pixels.

    Raises:
      Refused: It is not, or no number.
    """
    radius, most = _number(event, "radius"), math.hypot(*frame.display_shape)
    if not 0 < radius <= most:
        raise Refused(f"expected 0 < radius <= {most:.1f} display pixels, got {radius:g}")
    return radius


def _window(event: Mapping[str, Any]) -> tuple[float, float]:
    window = event["window_hu"]
    if not isinstance(window, list | tuple) or len(window) != 2:
        raise Refused("expected window_hu, two numbers")
    low, high = (_number({"window_hu": end}, "window_hu") for end in window)
    if not -1e6 <= low < high <= 1e6:
        raise Refused(f"expected window_hu low < high within 1e6, got {low:g}, {high:g}")
    return low, high


def _number(event: Mapping[str, Any], key: str) -> float:
    value = event[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{key} must be a number, got {value!r:.40}")
    # Whole numbers of JSON have no largest one.
    if not abs(value) <= 1e9:
        raise Refused(f"{key} must be finite and below 1e9")
    return float(value)


def _name(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    try:
        check_name(text)  # what could not be saved is not taken
    except ValueError as error:
        raise Refused(f"name: {error}") from None
    return text


def _colour(value: Any) -> str:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise Refused(f"colour must look like #e69f00, got {value!r:.40}")
    return value
