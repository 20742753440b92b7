"""The annotator as a person starts it: a process of its own, with the network that is shipped."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Reading the weights and compiling the first click, on a busy machine.
START_S = 300


class Started:
    """A running annotator.

    Attributes:
      url: The address that it has printed.
      process: For killing it.
    """

    def __init__(self, arguments, folder):
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        # The tests' flags make eight devices and slow code.
        variables.pop("XLA_FLAGS", None)
        self._log = folder / "annotator.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ecc_jax.annotator", *map(str, arguments)],
                cwd=folder,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        watch = threading.Timer(START_S, self.process.kill)
        watch.start()
        self.url = self.process.stdout.readline().strip()
        watch.cancel()
        if not self.url:
            self.process.wait()
            raise RuntimeError(f"the annotator did not start: {self.log()}")

    def log(self):
        """Returns what it has said on stderr."""
        return self._log.read_text("utf-8", "replace")

    def kill(self):
        """Ends it at once, as a power failure does."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def annotator(folder, *arguments):
    """Yields a running annotator whose sessions lie in a folder; ends it afterwards."""
    started = Started([*arguments, "--workdir", folder / "sessions"], folder)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            try:
                started.process.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()
        started.process.stdout.close()
