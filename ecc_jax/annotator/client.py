"""A client of the annotator's API in the standard library: what a plug-in would do.

client = Client("http://127.0.0.1:8765/#token=...")
volume = client.documents()[0]["id"]
client.open(volume)
client.event(volume, "add", name="lesion")
client.event(volume, "press", lesion=1, slice=9, y=200, x=180, radius=12, positive=True)
mask = client.mask(volume, 1, 9)
"""

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
from jaxtyping import Bool, Integer


class ApiError(ValueError):
    """The server has refused a request.

    Attributes:
      status: Of HTTP.
      reason: One word why it conflicts with what is there (409): "version", "superseded" or
        "interrupted"; empty otherwise.
    """

    def __init__(self, status: int, answer: bytes) -> None:
        """Makes an error of what the server has answered."""
        told = json.loads(answer)
        super().__init__(told["error"])
        self.status, self.reason = status, told.get("reason", "")


class Client:
    """A running annotator.

    Attributes:
      netloc: Its host and port.
    """

    def __init__(self, url: str, *, timeout: float = 120.0) -> None:
        """Takes the address that the annotator has printed; connects with each request anew.

        Args:
          url: With the token in its fragment.
          timeout: Seconds to wait for an answer.
        """
        parts = urlsplit(url)
        self._token = parse_qs(parts.fragment)["token"][0]
        self.netloc, self._timeout = parts.netloc, timeout

    def documents(self) -> list[dict[str, Any]]:
        """Returns what can be opened."""
        return self._json("GET", "/api/documents")["documents"]

    def open(self, volume: str) -> dict[str, Any]:
        """Opens a volume and returns its facts and session."""
        return self._json("POST", f"/api/documents/{volume}/open", {})

    def event(self, volume: str, kind: str, **values: Any) -> dict[str, Any]:
        """Changes a session: press, move, resize, delete, undo, redo, add, propagate and so on."""
        return self._json("POST", f"/api/documents/{volume}/{kind}", values)

    def slice(self, volume: str, index: int, **query: Any) -> Integer[np.ndarray, "r c"]:
        """Returns an upright slice: its values, or 0 to 255 with format="uint8", low= and high=."""
        return self._array(f"/api/documents/{volume}/slices/{index}?{urlencode(query)}")

    def mask(self, volume: str, lesion: int, index: int) -> Bool[np.ndarray, "r c"]:
        """Returns the mask of a lesion on an upright slice."""
        return self._array(f"/api/documents/{volume}/masks/{lesion}/{index}").astype(bool)

    def request(
        self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Sends any request; returns status, headers with names in lower case, and body."""
        sent = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        connection = http.client.HTTPConnection(self.netloc, timeout=self._timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, {**sent, **(headers or {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, response.read()

    def _json(self, method: str, path: str, value: Any = None) -> Any:
        body = b"" if value is None else json.dumps(value).encode("ascii")
        status, _, raw = self.request(method, path, body=body)
        if status != 200:
            raise ApiError(status, raw)
        return json.loads(raw)

    def _array(self, path: str) -> np.ndarray:
        status, headers, raw = self.request("GET", path)
        if status != 200:
            raise ApiError(status, raw)
        shape = [int(n) for n in headers["x-shape"].split(",")]
        return np.frombuffer(raw, np.dtype(headers["x-dtype"]).newbyteorder("<")).reshape(shape)
