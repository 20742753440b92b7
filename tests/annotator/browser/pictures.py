"""Draws the README's screenshots of the annotator: python -m tests.annotator.browser.pictures

A disk while it is dragged, the mask with its measures, and a lesion that was propagated; of the
built-in synthetic volume, in 1280 x 800 pixels.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ecc_jax import console
from tests.annotator.browser.driver import Viewer, chromium
from tests.annotator.browser.processes import ROOT, annotator
from tests.annotator.browser.scene import built_in_lesion, middle

FOLDER = ROOT / "ecc_jax" / "annotator" / "pictures"
SIZE = {"width": 1280, "height": 800}
# So many more pixels than voxels show a small lesion well.
ZOOMS = 6
# Shades are rounded to this: noise makes large files, and nobody sees the difference.
STEP = 8
# What moves and fades after a click.
REST_MS = 700


def write(page, path):
    """Writes a screenshot of less than 200 KB."""
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    rounded = np.minimum(np.round(picture / STEP) * STEP, 255).astype(np.uint8)
    Image.fromarray(rounded).save(path, optimize=True)


def draw(viewer, lesion, folder):
    """Acts, and writes a picture of each of three moments."""
    page = viewer.page
    index, y, x, radius = middle(lesion)
    viewer.go_to(index)
    page.locator("#window-liver").click()
    page.mouse.move(*viewer.at(y, x))
    page.keyboard.down("Control")
    for _ in range(ZOOMS):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_timeout(REST_MS)
    page.mouse.move(*viewer.at(y, x))
    page.mouse.down()
    page.mouse.move(*viewer.rim(y, x, radius, angle=0.6), steps=5)
    page.wait_for_timeout(REST_MS)
    write(page, folder / "press.png")
    with viewer.changing():
        page.mouse.up()
    page.wait_for_timeout(REST_MS)
    write(page, folder / "mask.png")
    with viewer.changing():
        viewer.key("p")
    page.wait_for_timeout(REST_MS)
    write(page, folder / "propagated.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=console.path_argument, default=FOLDER)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lesion = built_in_lesion()
    with chromium() as browser, tempfile.TemporaryDirectory() as work:
        with annotator(Path(work)) as started:
            viewer = Viewer(browser.new_context(viewport=SIZE), started.url).open()
            draw(viewer, lesion, args.out)
            viewer.check()
    sys.stdout.write(f"{args.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
