"""Errors of requests as one line of JSON that tells no path and no value."""

import asyncio
import errno
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ecc_jax.annotator.replies import Refusal, refusal
from ecc_jax.annotator.state import Missing, Refused
from ecc_jax.annotator.worker import Busy, Closing, Superseded

# What a disk that takes no more says.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint) -> Endpoint:
    """Returns an endpoint whose errors are one line of JSON."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except asyncio.CancelledError:  # the server ends and waits for nobody any longer
            return refusal(503, "the annotator is closing; what was pressed is kept")
        except Exception as error:
            return _refused(error, request)

    return answered


def _refused(error: Exception, request: Request) -> Response:
    """Answers an error; what was not foreseen is told on stderr without any value."""
    for kinds, status in (
        (Missing, 404),
        (Refused, 422),
        (Closing, 503),
        (Superseded, 409),
        (Busy, 429),
    ):
        if isinstance(error, kinds):
            return refusal(status, str(error), getattr(error, "reason", ""))
    if isinstance(error, Refusal):
        return refusal(error.status, str(error), error.reason)
    # An event is on the disk before its mask is answered.
    kept = "; the change itself is kept" if getattr(request.state, "is_kept", False) else ""
    if isinstance(error, OSError):
        text = f"the server could not write or read: {error.strerror or type(error).__name__}"
        if error.errno in FULL:
            return refusal(507, f"{text}; free space, or choose another --workdir{kept}")
        return refusal(500, text + kept)
    if isinstance(error, ValueError):
        return refusal(422, _without_path(str(error), request))
    trace = "".join(traceback.format_tb(error.__traceback__))
    sys.stderr.write(f"unexpected {type(error).__name__}\n{trace}")
    return refusal(500, f"unexpected {type(error).__name__}; the terminal says where{kept}")


def _without_path(text: str, request: Request) -> str:
    """Returns a message in which a volume goes by its name and the sessions' folder untold."""
    desk = request.app.state.desk
    places = {desk.workdir: "the sessions' folder"}
    source = desk.sources.get(request.path_params.get("document", ""))
    if source is not None and source.path is not None:
        places[source.path] = source.name
    names = {str(form): name for path, name in places.items() for form in (path, path.resolve())}
    # One may lie in the other, so the longer goes first. A bare word tells of no other folder.
    for path in sorted(names, key=len, reverse=True):
        if len(Path(path).parts) > 1:
            text = text.replace(path, names[path])
    return text


async def http_refused(_: Request, error: Exception) -> Response:
    """Answers what Starlette itself refuses: unknown addresses and methods."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    return refusal(status, {404: "there is nothing at this address"}.get(status, "refused"))
