"""Measures the page: from letting go of the mouse to the painted mask, and slices in a second.

  python -m tests.annotator.browser.speed

Of the built-in volume, 512 x 512, on its slices in turn, with the clock of the page. Times are
those of this machine and of what else runs on it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from ecc_jax import console
from tests.annotator.browser.driver import Viewer, chromium
from tests.annotator.browser.processes import annotator

# The mask is painted in the first frame after which nothing of the new version is awaited.
WATCH = """() => {
  const view = document.querySelector('#view');
  window.painted = [];
  let start = null, version = null;
  addEventListener('pointerup', () => {
    start = performance.now();
    version = view.dataset.version;
  }, {capture: true});
  new MutationObserver(() => {
    const {busy, version: now} = view.dataset;
    if (start === null || busy !== 'no' || now === version) return;
    painted.push([performance.now() - start, Number(view.dataset.ms)]);
    start = null;
  }).observe(view, {attributes: true});
}"""

# The next key follows as soon as the slice before is painted; no slice was seen before.
SCROLL = """async count => {
  const view = document.querySelector('#view');
  const start = performance.now();
  for (let slice = 1; slice <= count; slice += 1) {
    const shown = new Promise((resolve, reject) => {
      setTimeout(() => reject(Error(`slice ${slice} is not shown`)), 30_000);
      const watch = new MutationObserver(() => {
        if (Number(view.dataset.slice) !== slice) return;
        watch.disconnect();
        resolve();
      });
      watch.observe(view, {attributes: true});
    });
    document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true}));
    await shown;
  }
  return count / (performance.now() - start) * 1000;
}"""


def scroll(viewer):
    """Returns slices in a second, from the first to the last, as fast as they are painted."""
    last = int(viewer.page.locator("#slice").get_attribute("max"))
    viewer.go_to(0)
    return viewer.page.evaluate(SCROLL, last)


def measure(viewer, presses):
    """Returns milliseconds from letting go to the painted mask, and of them the network's."""
    rng = np.random.default_rng(0)
    last = int(viewer.page.locator("#slice").get_attribute("max"))
    viewer.page.evaluate(WATCH)
    for number in range(presses):
        viewer.go_to(number % (last + 1))
        y, x = rng.uniform(180, 330, 2)
        viewer.press(y, x, rng.uniform(5, 20))
    times = np.array(viewer.page.evaluate("painted"))
    if len(times) != presses:
        raise ValueError(f"expected {presses} painted masks, saw {len(times)}")
    return times


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presses", type=int, default=30)
    args = parser.parse_args()
    if args.presses < 1:
        parser.error(f"--presses must be at least 1, got {args.presses}")
    with chromium() as browser, tempfile.TemporaryDirectory() as work:
        with annotator(Path(work)) as started:
            viewer = Viewer(browser.new_context(), started.url).open()
            rate, times = scroll(viewer), measure(viewer, args.presses)
            viewer.check()
    sys.stdout.write(f"scrolling: {rate:.0f} slices/s\n")
    for name, values in zip(("let go to painted", "of it the network"), times.T, strict=True):
        low, high = np.percentile(values, [50, 95])
        sys.stdout.write(f"{name}: p50 {low:.0f} ms, p95 {high:.0f} ms ({args.presses} presses)\n")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
