"""A headless Chromium, tabs in it, and an annotator with a painter in place of a network."""

import contextlib

import pytest

from ecc_jax.annotator.savers import savers
from tests.annotator.browser.driver import (
    NO_CHROMIUM,
    NO_PLAYWRIGHT,
    Viewer,
    find_chromium,
    launch,
)
from tests.annotator.browser.scene import CENTRE, write_ball
from tests.annotator.serving import TOKEN, serving

# Pixels of a small notebook's browser.
VIEWPORT = {"width": 1280, "height": 720}


# Not of the whole session: while Playwright runs, nobody else can start an event loop.
@pytest.fixture(scope="module")
def browser():
    if find_chromium() is None:
        pytest.skip(NO_CHROMIUM)
    playwright = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)
    with playwright.sync_playwright() as started, contextlib.closing(launch(started)) as made:
        yield made


@pytest.fixture
def show(browser):
    """Returns a function that opens an address in a context of its own; no tab may complain."""
    with contextlib.ExitStack() as stack:
        viewers = []

        def opened(url, *, wait=True, allowed=(), **options):
            context = browser.new_context(**{"viewport": VIEWPORT, **options})
            stack.callback(context.close)
            viewers.append(Viewer(context, url, allowed=allowed))
            if wait:
                return viewers[-1].open()
            viewers[-1].page.goto(url)
            return viewers[-1]

        yield opened
        assert [viewer.complaints for viewer in viewers] == [[] for _ in viewers]


@pytest.fixture
def serve(tmp_path):
    """Returns a function that serves a file or folder with a painter and returns the address."""
    with contextlib.ExitStack() as stack:

        def started(path, *, name="work", **options):
            client, desk = stack.enter_context(serving(path, tmp_path / name, **options))
            desk.savers |= savers("painter")
            return f"http://{client.netloc}/#token={TOKEN}"

        yield started


@pytest.fixture
def viewer(show, serve, tmp_path):
    """A tab with the ball's middle slice, and `inside`, where the ball is."""
    inside = write_ball(tmp_path / "data" / "ct.nii.gz")
    made = show(serve(tmp_path / "data"))
    made.inside = inside
    made.go_to(CENTRE[0])
    return made
