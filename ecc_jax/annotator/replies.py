"""Answers to requests: JSON in plain ASCII, and errors as one line of it."""

import json
from typing import Any

from starlette.responses import Response

MAX_MESSAGE = 500


class Refusal(Exception):
    """A request that is refused.

    Attributes:
      status: Of HTTP, 4xx.
      reason: One word for programs; every 409 has one.
    """

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        """Makes a refusal.

        Args:
          status: Of HTTP, 4xx.
          message: What was expected, what was found, what to do.
          reason: One word for programs; empty for none.
        """
        super().__init__(message)
        self.status, self.reason = status, reason


def reply(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Returns a JSON answer; characters beyond ASCII are escaped, so that any text can be sent."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, "application/json")


def refusal(status: int, message: str, reason: str = "") -> Response:
    """Returns an error as one line: {"error": …}, with "reason": … if there is one."""
    line = " ".join(message.split())[:MAX_MESSAGE]
    return reply({"error": line} | ({"reason": reason} if reason else {}), status=status)
