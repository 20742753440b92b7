"""A state with its history: undo and redo without end, bit for bit.

States share what they have in common, so a long history takes little memory.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ecc_jax.annotator.events import change, check_keys
from ecc_jax.annotator.state import Frame, Refused, State


class Session(NamedTuple):
    """A state with its history.

    Attributes:
      frame: The volume.
      state: Now.
      past: States before it, the latest last.
      future: States that were undone, the latest last.
      version: Number of events so far, undo and redo among them.
    """

    frame: Frame
    state: State = State()
    past: tuple[State, ...] = ()
    future: tuple[State, ...] = ()
    version: int = 0


def apply(session: Session, event: Mapping[str, Any], *, is_logged: bool = False) -> Session:
    """Returns the session after one event.

    Args:
      session: Before it.
      event: Undo, redo, or one of `events`; `kind` says which.
      is_logged: See `events.change`.

    Raises:
      Missing: It is about something that is not there.
      Refused: See `events.change`; or there is nothing to undo or redo.
    """
    kind = event.get("kind")
    if kind == "undo":
        check_keys(event, set())
        if not session.past:
            raise Refused("there is nothing to undo")
        return session._replace(
            state=session.past[-1],
            past=session.past[:-1],
            future=(*session.future, session.state),
            version=session.version + 1,
        )
    if kind == "redo":
        check_keys(event, set())
        if not session.future:
            raise Refused("there is nothing to redo")
        return session._replace(
            state=session.future[-1],
            past=(*session.past, session.state),
            future=session.future[:-1],
            version=session.version + 1,
        )
    state = change(session.state, event, session.frame, is_logged=is_logged)
    past = (*session.past, session.state)
    return session._replace(state=state, past=past, future=(), version=session.version + 1)
