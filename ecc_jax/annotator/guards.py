"""Who may talk to the server, and what every answer tells the browser.

A page of any other site can send requests to 127.0.0.1, and by DNS rebinding even read answers. So
every request must name a host that was allowed, come from a page of this server or from no page at
all, and carry the token of this start.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecc_jax.annotator.replies import Refusal, refusal

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 16 * 1024
# Requests that were let in and are being answered; connections that only stay open are no work.
MAX_IN_WORK = 64
# Without the token: the page, its scripts, and the exchange of the token for the cookie.
OPEN_PATHS = frozenset({"/", "/api/login"})
STATIC = "/static/"
SECURITY = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Policy(NamedTuple):
    """Who may talk to the server.

    Attributes:
      token: Secret of this start.
      hosts: Values of the Host header that are allowed, with their ports.
      read_only: Whether nothing may be changed.
      cookie: Name of the cookie; browsers send cookies of one host to all its ports, so that each
        port has its own.
    """

    token: str
    hosts: frozenset[str]
    read_only: bool = False
    cookie: str = "ecc_annotator"


def new_token() -> str:
    """Returns a secret that nobody guesses."""
    return secrets.token_urlsafe(32)


def allowed_hosts(host: str, port: int) -> frozenset[str]:
    """Returns the Host headers under which a server may be asked.

    Args:
      host: Name or address that it is bound to; an IPv6 address without brackets.
      port: Its port.
    """
    names = {*LOOPBACK, f"[{host}]" if ":" in host else host.lower()} - {"0.0.0.0", "[::]"}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def is_token(given: str, token: str) -> bool:
    """Returns whether a token is the right one, in a time that tells nothing of it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode("utf-8"))


def login_cookie(policy: Policy) -> str:
    """Returns the Set-Cookie header that stands for the token."""
    return f"{policy.cookie}={policy.token}; Path=/; HttpOnly; SameSite=Strict"


class Guard:
    """ASGI middleware that refuses requests before anything else sees them."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        """Wraps an application.

        Args:
          app: Of Starlette.
          policy: Who may talk to it.
        """
        self._app = app
        self._policy = policy
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no WebSocket here
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers[name] = value
            await send(message)

        try:
            check(scope, self._policy)
            body = await _body(receive)
            if self._in_work >= MAX_IN_WORK:
                raise Refusal(429, f"{MAX_IN_WORK} requests are being answered; try again soon")
        except Refusal as error:
            await refusal(error.status, str(error))(scope, receive, guarded_send)
            return
        self._in_work += 1
        try:
            await self._app(scope, _once(body, receive), guarded_send)
        finally:
            self._in_work -= 1


def check(scope: Mapping[str, Any], policy: Policy) -> None:
    """Refuses a request that its headers give away.

    Args:
      scope: Of ASGI.
      policy: Who may talk to the server.

    Raises:
      Refusal: Another host (421), another site (403), no or a wrong token (401), or a change where
        only reading is allowed (403).
    """
    headers, path, method = Headers(scope=scope), scope["path"], scope["method"]  # type: ignore[arg-type]
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        raise Refusal(431, f"expected at most {MAX_HEADER_BYTES} bytes of headers")
    hosts = headers.getlist("host")
    if len(hosts) != 1 or hosts[0].lower() not in policy.hosts:
        raise Refusal(421, "this host name is not allowed; use the address that was printed")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in _origins(policy):
        raise Refusal(403, "requests from other sites are refused")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "requests from other sites are refused")
    if method not in ("GET", "HEAD", "POST"):
        raise Refusal(405, f"expected GET or POST, got {method[:20]}")
    if method == "POST" and not headers.get("content-type", "").startswith("application/json"):
        # What a form of another site can send without asking is never JSON.
        raise Refusal(415, "expected content-type: application/json")
    if path in OPEN_PATHS or path.startswith(STATIC):
        return
    if not is_token(_given_token(headers, policy.cookie), policy.token):
        raise Refusal(401, "the token is missing or wrong; open the address that was printed")
    if policy.read_only and method == "POST" and not path.endswith("/open"):
        raise Refusal(403, "the annotator was started with --read-only; nothing can be changed")


def _origins(policy: Policy) -> frozenset[str]:
    return frozenset(f"{scheme}://{host}" for scheme in ("http", "https") for host in policy.hosts)


def _given_token(headers: Headers, cookie: str) -> str:
    """Returns the token of the Authorization header or the cookie; empty if there is none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == cookie:
            return value
    return ""


async def _body(receive: Receive) -> bytes:
    """Reads a body whose length nobody needs to be believed about.

    Raises:
      Refusal: Longer than allowed (413), or the client has gone (400).
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the client has gone")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, f"expected at most {MAX_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _once(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that hands out a body that was read before."""
    is_read = False

    async def again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
