"""A running annotator with a painter in place of a network, for tests."""

import base64
import contextlib
import threading
import time
from pathlib import Path

import numpy as np

from ecc_jax.annotator.answers import Answers
from ecc_jax.annotator.client import Client
from ecc_jax.annotator.desk import Desk
from ecc_jax.annotator.guards import Policy, allowed_hosts
from ecc_jax.annotator.server import listen, make_server
from ecc_jax.annotator.sources import sources_of

TOKEN = "a-token-of-the-tests"
# In the middle of `ball`.
PRESS = {"lesion": 1, "slice": 3, "y": 11, "x": 9, "radius": 4, "positive": True}


class Painter:
    """Paints disks where the image is bright: like a network, its answer depends on the order."""

    def __init__(self, *, seconds=0.0):
        self.calls = 0
        self.seconds = seconds

    def set_image(self, image, *, window_hu=None, first_mask=None):
        low, high = window_hu
        self.image = np.clip((image.astype(float) - low) / (high - low), 0, 1)
        first = np.zeros(image.shape, bool) if first_mask is None else first_mask.copy()
        self.masks = [first]

    def add_click(self, y, x, radius, is_positive=True):
        assert 0 <= y <= self.image.shape[0] - 1 and 0 <= x <= self.image.shape[1] - 1
        self.calls += 1
        time.sleep(self.seconds)
        yy, xx = np.indices(self.image.shape)
        disk = np.hypot(yy - y, xx - x) <= radius
        before = self.masks[-1]
        self.masks.append(before | (disk & (self.image > 0.5)) if is_positive else before & ~disk)
        return self.masks[-1]

    def undo(self):
        self.masks.pop()
        return self.masks[-1]


def ball(shape=(6, 24, 20), centre=(3, 11, 9), radii=(2.5, 5, 5), hu=200):
    """Returns air with a bright ball, int16, and where it is."""
    grid = np.indices(shape).reshape(3, -1)
    away = (grid - np.array(centre)[:, None]) / np.array(radii)[:, None]
    inside = ((away**2).sum(0) <= 1).reshape(shape)
    return np.where(inside, hu, -100).astype(np.int16), inside


def shown(answer):
    """Returns the mask of an answer."""
    bits = np.frombuffer(base64.b64decode(answer["bits"]), np.uint8)
    height, width = answer["shape"]
    return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)


def open_with_lesion(client):
    """Opens the first volume, begins a lesion, and returns the volume's id."""
    volume = client.documents()[0]["id"]
    client.open(volume)
    client.event(volume, "add")
    return volume


@contextlib.contextmanager
def serving(path, workdir, *, painter=None, read_only=False, network=""):
    """Yields a client and the desk of a server on a free port."""
    desk = Desk(
        sources_of(Path(path)),
        Answers(painter or Painter()),
        workdir=Path(workdir),
        read_only=read_only,
        network=network,
    )
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        policy = Policy(TOKEN, allowed_hosts("127.0.0.1", port), read_only)
        server = make_server(desk, policy)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Client(f"http://127.0.0.1:{port}/#token={TOKEN}", timeout=30.0), desk
        finally:
            server.should_exit = True
            thread.join()
