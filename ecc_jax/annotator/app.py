"""The web application: a JSON and binary API on open volumes, listed in this folder's README."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ecc_jax.annotator import documents, save
from ecc_jax.annotator.desk import Answered, Desk
from ecc_jax.annotator.events import (
    KINDS,
    check_keys,
    check_press,
    check_unfinished,
    point_of,
    radius_of,
)
from ecc_jax.annotator.guards import Guard, Policy, is_token, login_cookie
from ecc_jax.annotator.packing import bits_of
from ecc_jax.annotator.refusals import guarded, http_refused
from ecc_jax.annotator.replies import Refusal, reply
from ecc_jax.annotator.state import Missing, Refused, check_slice, is_whole, lesion_of, plain
from ecc_jax.annotator.work import Work
from ecc_jax.annotator.worker import INTERRUPTED, Busy, Superseded

PAGES = Path(__file__).with_name("static")
MAX_PROPAGATED = 500


def make_app(desk: Desk, policy: Policy) -> Guard:
    """Returns the application, behind its guards.

    Args:
      desk: The volumes and the network; closed when the server ends.
      policy: Who may talk to it.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(desk.close)

    one = "/api/documents/{document}"
    routes = [
        Route("/", guarded(_page)),
        Route("/api/login", guarded(_login), methods=["POST"]),
        Route("/api/documents", guarded(_list)),
        Route(one, guarded(_facts)),
        Route(f"{one}/open", guarded(_open), methods=["POST"]),
        Route(f"{one}/slices/{{index}}", guarded(_slice)),
        Route(f"{one}/masks/{{lesion}}/{{index}}", guarded(_mask)),
        Route(f"{one}/measures/{{lesion}}", guarded(_measures)),
        Route(f"{one}/propagate", guarded(_propagate), methods=["POST"]),
        Route(f"{one}/save", guarded(_save), methods=["POST"]),
        Route(f"{one}/{{kind}}", guarded(_event), methods=["POST"]),
        Mount("/static", StaticFiles(directory=PAGES)),
    ]
    app = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: http_refused}
    )
    app.router.redirect_slashes = False  # an address has one spelling
    app.state.desk, app.state.policy = desk, policy
    return Guard(app, policy)


async def _page(_: Request) -> Response:
    return FileResponse(PAGES / "index.html")


async def _login(request: Request) -> Response:
    """Exchanges the token of the address for a cookie that scripts cannot read."""
    body, policy = await _json(request), request.app.state.policy
    if not isinstance(body.get("token"), str) or not is_token(body["token"], policy.token):
        raise Refusal(401, "the token is wrong; open the address that was printed")
    return reply({"read_only": policy.read_only}, headers={"set-cookie": login_cookie(policy)})


async def _list(request: Request) -> Response:
    desk = request.app.state.desk
    listed = [
        {"id": source.id, "name": source.name, "kind": source.kind, "detail": source.detail}
        for source in desk.sources.values()
    ]
    return reply({"documents": listed, "read_only": desk.read_only, "formats": _formats(desk)})


def _formats(desk: Desk) -> list[dict[str, Any]]:
    """Returns what can be saved, for a person who chooses."""
    formats = [(name, save.FORMATS.get(name)) for name in desk.savers]
    return [
        {
            "name": name,
            "meaning": form.meaning if form else "",
            "kinds": list(form.kinds) if form and form.kinds else None,
        }
        for name, form in formats
    ]


async def _open(request: Request) -> Response:
    check_keys(await _json(request), set())
    desk = request.app.state.desk
    return _told(await asyncio.wrap_future(desk.open(request.path_params["document"])))


async def _facts(request: Request) -> Response:
    return _told(_work(request))


async def _slice(request: Request) -> Response:
    """Answers a slice: little-endian int16 or uint16, or uint8 or PNG in a window."""
    work, form = _work(request), request.query_params.get("format", "int16")
    index = check_slice(work.session.frame, _whole(request.path_params["index"]))
    values = documents.pixels_of(work.document, index)
    if form == "int16":
        return _binary(values.astype(values.dtype.newbyteorder("<"), copy=False), work)
    if form not in ("uint8", "png"):
        raise Refusal(422, f"format must be int16, uint8 or png, got {form[:20]}")
    low, high = (_end(request, key) for key in ("low", "high"))
    if not low < high:
        raise Refusal(422, f"expected low < high, got {low:g} and {high:g}")
    grey = documents.windowed(values, low, high)
    return _binary(grey, work) if form == "uint8" else await _png(grey, work)


async def _mask(request: Request) -> Response:
    """Answers a mask: bytes 0 and 1, JSON with bits, or PNG."""
    work, form = _work(request), request.query_params.get("format", "uint8")
    lesion, index = (_whole(request.path_params[key]) for key in ("lesion", "index"))
    if form not in ("uint8", "bits", "png"):
        raise Refusal(422, f"format must be uint8, bits or png, got {form[:20]}")
    check_slice(work.session.frame, index)
    asked = work.annotation(lesion, index)
    answered = await asyncio.wrap_future(request.app.state.desk.mask(work, lesion, index))
    if work.annotation(lesion, index) != asked:
        raise Superseded("the disks have changed meanwhile; ask again")
    if form == "bits":
        return reply(_shown(lesion, index, answered, work.session.version))
    if form == "png":
        return await _png(answered.mask.astype(np.uint8) * 255, work)
    return _binary(answered.mask.astype(np.uint8), work)


async def _measures(request: Request) -> Response:
    """Answers what a lesion measures, and one slice of it."""
    work, lesion = _work(request), _whole(request.path_params["lesion"])
    asked = request.query_params.get("slice")
    index = None if asked is None else check_slice(work.session.frame, _whole(asked))
    version = work.session.version
    future = request.app.state.desk.measures(work, lesion, index)
    return reply({**await asyncio.wrap_future(future), "version": version})


async def _event(request: Request) -> Response:
    """Changes the session by one event and answers the mask of what has changed, if it is one."""
    work, kind = _work(request), request.path_params["kind"]
    if kind not in (*KINDS, "undo", "redo"):
        names = ", ".join((*KINDS, "undo", "redo"))
        raise Refusal(404, f"expected one of {names}; got {kind[:20]!r}")
    body = await _json(request)
    _check_version(work, body)
    is_shown = _is_mask_wanted(body)
    event = {**body, "kind": kind}
    if kind == "press":
        event = _with_window(work, event)
    pairs = work.do(event)
    return await _changes(request, work, pairs, is_shown=is_shown)


async def _propagate(request: Request) -> Response:
    """Carries a mask to neighbouring slices, as one event."""
    work, body = _work(request), await _json(request)
    _check_version(work, body)
    _is_mask_wanted(body)  # none is answered either way
    check_keys(body, {"lesion", "slice"}, {"direction", "most"})
    direction, most = body.get("direction", 0), body.get("most", MAX_PROPAGATED)
    if not is_whole(direction) or direction not in (-1, 0, 1):
        raise Refused(f"direction must be -1, 1, or 0 for both; got {direction!r:.40}")
    if not is_whole(most) or not 1 <= most <= MAX_PROPAGATED:
        raise Refused(f"most must be 1 to {MAX_PROPAGATED}, got {most!r:.40}")
    lesion, index = body["lesion"], check_slice(work.session.frame, body["slice"])
    check_unfinished(work.session.state, lesion)
    version, steps = work.session.version, (direction,) if direction else (1, -1)
    found = await asyncio.wrap_future(
        request.app.state.desk.propagate(work, lesion, index, steps=steps, most=most)
    )
    if work.session.version != version:
        raise Superseded("the session has changed meanwhile; propagate again", INTERRUPTED)
    pairs = []
    if any(found.values()):
        pairs = work.do({"kind": "propagate", "lesion": lesion, **found})
    return await _changes(request, work, pairs, is_shown=False)


async def _save(request: Request) -> Response:
    work, body = _work(request), await _json(request)
    _check_version(work, body)
    check_keys(body, {"format"})
    form = body["format"]
    if not isinstance(form, str):
        raise Refused("format must be a name")
    saved = await asyncio.wrap_future(request.app.state.desk.save(work, form))
    return reply(
        {
            "files": [path.name for path in saved.files],
            "folder": work.folder.name,
            "left_out": [each._asdict() for each in saved.left_out],
            "unfinished": saved.unfinished,
        }
    )


async def _changes(
    request: Request, work: Work, pairs: list[tuple[int, int]], *, is_shown: bool
) -> Response:
    """Answers the session after an event; with the mask, where one slice of one lesion changed."""
    request.state.is_kept = True
    told = {**_session(work), "changed": pairs, "mask": None, "superseded": False}
    if is_shown and len(pairs) == 1:
        lesion, index = pairs[0]
        # The event is on the disk whatever becomes of the answer.
        try:
            asked = work.annotation(lesion, index)
            future = request.app.state.desk.mask(work, lesion, index)
            answered = await asyncio.wrap_future(future)
            now = work.session.state.lesions.get(lesion)
            # Others may have changed it while it was answered; the mask is that of the event then.
            is_same = now is not None and now.slices.get(index) == asked
            version = work.session.version if is_same else told["version"]
            told["mask"] = _shown(lesion, index, answered, version)
        except Missing:  # its last disk is gone
            pass
        except (Superseded, Busy):
            told["superseded"] = True
    return reply(told)


def _with_window(work: Work, event: dict[str, Any]) -> dict[str, Any]:
    """Returns a press with its window: that of the slice, else the one asked for, else a rule's."""
    check_press(event, set(), {"window_hu"})
    index, known = check_slice(work.session.frame, event["slice"]), None
    if "lesion" in event:
        known = lesion_of(work.session.state, event["lesion"]).slices.get(index)
    if known is not None:
        return {**event, "window_hu": list(known.window_hu)}
    if event.get("window_hu") is not None:
        return event
    y, x = point_of(event, work.session.frame)
    radius = radius_of(event, work.session.frame)
    window = documents.automatic_window(work.document, index, y=y, x=x, radius=radius)
    return {**event, "window_hu": list(window)}


def _check_version(work: Work, body: dict[str, Any]) -> None:
    """Refuses a change of a session that has gone on, and takes the version out of the body."""
    version = body.pop("version", None)
    if version is not None and version != work.session.version:
        raise Refusal(
            409,
            f"the session is at version {work.session.version}; load it again, then repeat",
            "version",
        )


def _is_mask_wanted(body: dict[str, Any]) -> bool:
    """Returns whether an event is to be answered with its mask, and takes that out of the body."""
    wanted = body.pop("mask", True)
    if not isinstance(wanted, bool):
        raise Refused(f"mask must be true or false, got {wanted!r:.40}")
    return wanted


def _told(work: Work) -> Response:
    """Answers what is to be known of an open volume."""
    session = {
        **_session(work),
        "remarks": list(work.remarks),
        "folder": work.folder.name,
    }
    return reply({**documents.facts_of(work.document), "session": session})


def _session(work: Work) -> dict[str, Any]:
    """Returns what every answer about a session tells of it."""
    session = work.session
    return {
        "version": session.version,
        "lesions": plain(session.state),
        "can_undo": bool(session.past),
        "can_redo": bool(session.future),
    }


def _shown(lesion: int, index: int, answered: Answered, version: int) -> dict[str, Any]:
    return {
        "version": version,
        "lesion": lesion,
        "slice": index,
        "shape": list(answered.mask.shape),
        "bits": bits_of(answered.mask),
        "pixels": int(np.count_nonzero(answered.mask)),
        "ms": round(answered.ms, 2),
        "warning": answered.warning,
    }


def _work(request: Request) -> Work:
    return request.app.state.desk.work(request.path_params["document"])


async def _json(request: Request) -> dict[str, Any]:
    """Returns the object of a body.

    Raises:
      Refusal: It is no JSON object.
    """
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "expected a JSON object") from error
    if not isinstance(body, dict) or "kind" in body:
        raise Refusal(400, "expected a JSON object without the key kind")
    return body


def _whole(text: str) -> int:
    """Returns a number of the address.

    Raises:
      Refusal: It is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise Refusal(404, f"expected a whole number in the address, got {text[:20]!r}")
    return int(text)


def _end(request: Request, key: str) -> float:
    """Returns one end of a window from the query."""
    try:
        value = float(request.query_params[key])
    except (KeyError, ValueError) as error:
        raise Refusal(422, f"expected a number {key}=, in HU") from error
    if not abs(value) <= 1e6:
        raise Refusal(422, f"expected {key} within 1e6 HU")
    return value


def _binary(values: np.ndarray, work: Work) -> Response:
    headers = {
        "x-shape": ",".join(map(str, values.shape)),
        "x-dtype": values.dtype.name,
        "x-version": str(work.session.version),
    }
    return Response(values.tobytes(), headers=headers, media_type="application/octet-stream")


async def _png(grey: np.ndarray, work: Work) -> Response:
    def encode() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    headers = {"x-version": str(work.session.version)}
    return Response(await run_in_threadpool(encode), headers=headers, media_type="image/png")
