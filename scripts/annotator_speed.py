"""Measures the annotator over its API: press to mask, slices per second, memory.

The built-in synthetic volume has slices of 512 x 512. Times are those of this machine and of what
else runs on it.
"""

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from ecc_jax import console, places, runs
from ecc_jax.annotator import documents
from ecc_jax.annotator.answers import Answers
from ecc_jax.annotator.client import Client
from ecc_jax.annotator.desk import Desk
from ecc_jax.annotator.guards import Policy, allowed_hosts, new_token
from ecc_jax.annotator.server import listen, make_server
from ecc_jax.annotator.sources import Source, sources_of, synthetic

MIB = 2**20


def measure(source: Source, checkpoint: str, *, presses: int, folder: Path) -> None:
    """Serves a volume, asks as a page would, and prints what it took."""
    desk = Desk((source,), Answers(runs.load_predictor(checkpoint)), workdir=folder)
    start = time.perf_counter()
    document = desk.open_now(source).document
    print(f"opened and compiled in {time.perf_counter() - start:.1f} s")
    with listen("127.0.0.1", 0) as listener:
        port, token = listener.getsockname()[1], new_token()
        server = make_server(desk, Policy(token, allowed_hosts("127.0.0.1", port)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            ask(Client(f"http://127.0.0.1:{port}/#token={token}"), document, presses)
        finally:
            server.should_exit = True
            thread.join()
    voxels = document.volume.image_hu.nbytes / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory at most {peak:.0f} MiB, of which the volume {voxels:.0f} MiB")


def ask(client: Client, document: documents.Document, presses: int) -> None:
    """Presses on the middle of every slice in turn, then scrolls."""
    volume, rng = client.documents()[0]["id"], np.random.default_rng(0)
    client.event(volume, "add")
    centre, times, network = np.array(document.shape) / 2, [], []
    for number in range(presses):
        y, x = (float(c + d) for c, d in zip(centre, rng.uniform(-9, 9, 2), strict=True))
        place = {"lesion": 1, "slice": number % document.num_slices, "y": y, "x": x}
        start = time.perf_counter()
        answer = client.event(
            volume, "press", **place, radius=float(rng.uniform(4, 20)), positive=True
        )
        times.append(1000 * (time.perf_counter() - start))
        network.append(answer["mask"]["ms"])
    for name, values in (("press to mask", times), ("of it the network", network)):
        low, high = np.percentile(values, [50, 95])
        print(f"{name}: p50 {low:.1f} ms, p95 {high:.1f} ms ({presses} presses)")
    for form, query in (("int16", {}), ("uint8", {"low": -160, "high": 240})):
        start = time.perf_counter()
        for number in range(100):
            client.slice(volume, number % document.num_slices, format=form, **query)
        print(f"scrolling: {100 / (time.perf_counter() - start):.0f} slices/s as {form}")


def main() -> None:
    """Parses the arguments and measures in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    path = console.path_argument
    parser.add_argument("volume", nargs="?", type=path, help="default: synthetic")
    parser.add_argument("--checkpoint", default=places.SHIPPED, metavar="DIR")
    parser.add_argument("--presses", type=int, default=60)
    args = parser.parse_args()
    if args.presses < 1:
        parser.error(f"--presses must be at least 1, got {args.presses}")
    source = synthetic() if args.volume is None else sources_of(args.volume)[0]
    with tempfile.TemporaryDirectory() as folder:
        measure(source, args.checkpoint, presses=args.presses, folder=Path(folder))


if __name__ == "__main__":
    sys.exit(console.run(main))
