"""A person at the annotator's page: what is pressed, and what the page then says of itself.

The page tells its state in data attributes of its canvas `#view`. Places are voxels (y, x) of the
upright slice, radii display pixels (the shorter side of a voxel), as in the API.
"""

import base64
import contextlib
import io
import os
import re
import shutil
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
NO_CHROMIUM = f"no Chromium: none of {', '.join(CHROMIUM)} is in PATH"
NO_PLAYWRIGHT = "Playwright is not installed: pip install -e '.[test]'"
TIMEOUT_MS = 60_000
STATE = "() => ({...document.querySelector('#view').dataset})"
IS_READY = """version => {
  const {slice, busy, version: now} = document.querySelector('#view').dataset;
  return slice !== undefined && busy === 'no' && now !== version;
}"""
GET = """async path => {
  const response = await fetch(path, {credentials: 'same-origin'});
  return {status: response.status, value: await response.json()};
}"""

# What a newer press has overtaken is refused, which the browser itself logs as an error.
OVERTAKEN = re.compile(r"status of (409|429) .*/(measures|masks)/")


def find_chromium():
    """Returns the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def launch(playwright):
    """Starts a headless Chromium for which only this machine exists."""
    arguments = [
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=find_chromium(), args=arguments)


@contextlib.contextmanager
def chromium():
    """Yields a Chromium, for tools.

    Raises:
      ValueError: There is none, or no Playwright.
    """
    if find_chromium() is None:
        raise ValueError(NO_CHROMIUM)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise ValueError(NO_PLAYWRIGHT) from error
    with sync_playwright() as playwright, contextlib.closing(launch(playwright)) as browser:
        yield browser


class Viewer:
    """A tab with the annotator.

    Attributes:
      page: Playwright's.
      complaints: Errors of the page and requests to elsewhere; a test with one has failed.
      allowed: Texts of errors that a test brings about on purpose.
    """

    def __init__(self, context, url, *, allowed=()):
        self.url, self.complaints, self.allowed = url, [], list(allowed)
        self._origin = f"http://{urlsplit(url).netloc}/"
        self.page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self._complain(f"error: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("websocket", lambda socket: self._complain(f"socket: {socket.url}"))

    def _on_console(self, message):
        text = f"{message.type}: {message.text} {message.location['url']}"
        if message.type in ("error", "warning") and not OVERTAKEN.search(text):
            self._complain(text)

    def _on_request(self, request):
        if not request.url.startswith((self._origin, "data:", "blob:")):
            self._complain(f"request: {request.url}")

    def _complain(self, text):
        if not any(allowed in text for allowed in self.allowed):
            self.complaints.append(text)

    def check(self):
        """Raises a ValueError if the page has complained."""
        if self.complaints:
            raise ValueError("; ".join(self.complaints))

    def open(self):
        """Loads the page and waits for the slice."""
        self.page.goto(self.url)
        return self.settled()

    def reload(self):
        """Loads it again, as a person does: at whatever address the bar shows."""
        self.page.reload()
        return self.settled()

    def settled(self):
        """Waits until a slice is shown and no mask is awaited."""
        self.page.wait_for_function(IS_READY, arg=None)
        return self

    @contextlib.contextmanager
    def changing(self):
        """Waits until what is done within has changed the session and its mask is there."""
        version = self.state("version")
        yield
        self.page.wait_for_function(IS_READY, arg=version)

    def state(self, name):
        """Returns a data attribute of the canvas: a text, or None where there is none."""
        return self.page.evaluate(STATE).get(name)

    def until(self, selector, attribute, value):
        """Waits until an attribute of an element has a value: what is drawn follows in a frame."""
        self.page.wait_for_selector(f'{selector}[{attribute}="{value}"]', state="attached")

    def number(self, name):
        """Returns a data attribute that is a number."""
        return float(self.state(name))

    def window(self):
        """Returns the window that is shown, HU."""
        return tuple(map(float, self.state("window").split(",")))

    def _frame(self):
        """Returns left, top, offsets and scales of the slice on screen, CSS pixels."""
        box, state = self.page.locator("#view").bounding_box(), self.page.evaluate(STATE)
        offset = np.array([box["y"], box["x"]]) + [float(state[f"offset{c}"]) for c in "YX"]
        return offset, np.array([float(state[f"scale{c}"]) for c in "YX"])

    def at(self, y, x):
        """Returns where a voxel's centre is on screen: x, y in CSS pixels."""
        offset, scale = self._frame()
        top, left = offset + (np.array([y, x]) + 0.5) * scale
        return float(left), float(top)

    def voxel_at(self, left, top):
        """Returns the place of the slice at a point of the screen."""
        offset, scale = self._frame()
        y, x = (np.array([top, left]) - offset) / scale - 0.5
        return float(y), float(x)

    def pixel(self):
        """Returns the side of a display pixel, CSS pixels."""
        return float(min(self._frame()[1]))

    def rim(self, y, x, radius, *, angle=0.0):
        """Returns a point on a disk's circle on screen; angle 0 is right of it, then clockwise."""
        left, top = self.at(y, x)
        length = radius * self.pixel()
        return left + length * float(np.cos(angle)), top + length * float(np.sin(angle))

    def drag(self, start, end, *, button="left", steps=4):
        """Presses at a point of the screen, moves and lets go."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down(button=button)
        mouse.move(*end, steps=steps)
        mouse.up(button=button)
        self.frame()

    def press(self, y, x, radius, *, button="left", angle=0.0):
        """Places a disk and waits for its mask."""
        with self.changing():
            self.drag(self.at(y, x), self.rim(y, x, radius, angle=angle), button=button)

    def key(self, *names):
        """Presses keys, one after the other."""
        for name in names:
            self.page.keyboard.press(name)
        self.frame()

    def frame(self):
        """Waits until what has happened is painted."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(done))")

    def go_to(self, index):
        """Shows a slice, as a person with the slider does."""
        self.page.locator("#slice").fill(str(index))
        self.until("#view", "data-slice", index)
        self.settled()

    def touch(self, *moments):
        """Puts fingers on the screen: each moment is a list of points; then lifts them."""
        session = self.page.context.new_cdp_session(self.page)
        for number, points in enumerate(moments):
            kind = "touchMove" if number else "touchStart"
            fingers = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        session.detach()

    def pen(self, start, end):
        """Draws with a pen."""
        session = self.page.context.new_cdp_session(self.page)
        for kind, (x, y), buttons in (
            ("mouseMoved", start, 0),
            ("mousePressed", start, 1),
            ("mouseMoved", end, 1),
            ("mouseReleased", end, 0),
        ):
            what = {"type": kind, "x": x, "y": y, "buttons": buttons, "pointerType": "pen"}
            button = "none" if kind == "mouseMoved" else "left"
            session.send("Input.dispatchMouseEvent", {**what, "button": button, "clickCount": 1})
        session.detach()

    def get(self, path):
        """Asks the server with the cookie of the page; path below /api/documents."""
        told = self.page.evaluate(GET, f"/api/documents{path}")
        assert told["status"] == 200, told
        return told["value"]

    def documents(self):
        """Returns the ids of what can be opened."""
        return [document["id"] for document in self.get("")["documents"]]

    def session(self, *, document=None):
        """Returns the session as the server has it."""
        return self.get(f"/{document or self.documents()[0]}")["session"]

    def rings(self, lesion, index):
        """Returns the disks of a lesion on a slice."""
        (found,) = [entry for entry in self.session()["lesions"] if entry["id"] == lesion]
        return next((s["rings"] for s in found["slices"] if s["slice"] == index), [])

    def mask(self, lesion, index):
        """Returns a mask as the server has it."""
        told = self.get(f"/{self.documents()[0]}/masks/{lesion}/{index}?format=bits")
        bits = np.frombuffer(base64.b64decode(told["bits"]), np.uint8)
        height, width = told["shape"]
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)

    def picture(self):
        """Returns what the canvas shows, RGB."""
        shot = self.page.locator("#view").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def colour(self, y, x):
        """Returns how far from grey the canvas is at a voxel, 0 to 255."""
        box, (left, top) = self.page.locator("#view").bounding_box(), self.at(y, x)
        picture = self.picture()
        ratio = picture.shape[0] / box["height"]
        row, column = round((top - box["y"]) * ratio), round((left - box["x"]) * ratio)
        return int(np.ptp(picture[row, column].astype(int)))

    def text(self, selector):
        """Returns the text of an element."""
        return self.page.locator(selector).inner_text()

    def told(self, *words):
        """Waits for a message that says all of these words."""
        self.page.wait_for_function(
            """words => {
              const text = document.querySelector('#message').textContent.toLowerCase();
              return words.every(word => text.includes(word));
            }""",
            arg=list(words),
        )
        return self.text("#message")


def iou(first, second):
    """Returns the intersection over union of two masks."""
    return (first & second).sum() / (first | second).sum()
