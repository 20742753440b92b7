"""Measures the annotator over its API: press to mask, slices per second, memory.

The built-in synthetic volume has slices of 512 x 512. Times are those of this machine and of what
else runs on it. With --open a volume of 512 x 512 x 600 is made in a temporary folder (which takes
1 GB) as zipped NIfTI, as plain NIfTI and as 600 DICOM files, and each is opened and scrolled
through in a process of its own, without a network: seconds of the clock, of the processor, memory.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ecc_jax import console, places, runs
from ecc_jax.annotator import documents, sources
from ecc_jax.annotator.answers import Answers
from ecc_jax.annotator.client import Client
from ecc_jax.annotator.desk import Desk
from ecc_jax.annotator.guards import Policy, allowed_hosts, new_token
from ecc_jax.annotator.server import listen, make_server
from ecc_jax.annotator.sources import Source, sources_of, synthetic

MIB = 2**20
SLICES = 600


class Blank:
    """Answers nothing, at once: what is left is what opening takes without a network."""

    def set_image(
        self, image: np.ndarray, *, window_hu: object = None, first_mask: object = None
    ) -> None:
        """Takes a slice."""
        self._mask = np.zeros(image.shape, bool)

    def add_click(self, *_: float) -> np.ndarray:
        """Returns an empty mask."""
        return self._mask

    def undo(self) -> np.ndarray:
        """Returns an empty mask."""
        return self._mask


def measure(source: Source, checkpoint: str, *, presses: int, folder: Path) -> None:
    """Serves a volume, asks as a page would, and prints what it took."""
    desk = Desk((source,), Answers(runs.load_predictor(checkpoint)), workdir=folder)
    start = time.perf_counter()
    document = desk.open_now(source).document
    print(f"opened and compiled in {time.perf_counter() - start:.1f} s")
    with asked(desk) as client:
        ask(client, document, presses)
    voxels = document.volume.image_hu.nbytes / MIB
    print(f"memory at most {most_memory():.0f} MiB, of which the volume {voxels:.0f} MiB")


@contextmanager
def asked(desk: Desk) -> Iterator[Client]:
    """Serves a desk and yields a client of it."""
    with listen("127.0.0.1", 0) as listener:
        port, token = listener.getsockname()[1], new_token()
        server = make_server(desk, Policy(token, allowed_hosts("127.0.0.1", port)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Client(f"http://127.0.0.1:{port}/#token={token}")
        finally:
            server.should_exit = True
            thread.join()


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
        scroll(client, volume, document.num_slices, form, query)


def scroll(client: Client, volume: str, count: int, form: str, query: dict[str, int]) -> None:
    """Asks for 100 slices and prints how many came per second."""
    start = time.perf_counter()
    for number in range(100):
        client.slice(volume, number % count, format=form, **query)
    print(f"scrolling: {100 / (time.perf_counter() - start):.0f} slices/s as {form}")


def measure_opening(folder: Path) -> None:
    """Makes a large volume in three forms, opens each in a new process, and prints what it took."""
    print(f"making a volume of 512 x 512 x {SLICES} …")
    for path in made(folder):
        # A process of its own, so that its memory is its own.
        process = multiprocessing.get_context("spawn").Process(
            target=open_and_scroll, args=(path, folder / "work")
        )
        process.start()
        process.join()
        if process.exitcode:
            raise ValueError(f"{path.name}: could not be opened, see above")


def made(folder: Path) -> list[Path]:
    """Writes the same voxels as zipped and as plain NIfTI and as a DICOM series; returns where."""
    few = sources.read(synthetic())
    # Noise of its own on every slice, or a zipped file would be smaller than that of a patient.
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, few.image_hu.shape[1:]).astype(np.int16)
    image = np.stack(
        [
            few.image_hu[n % len(few.image_hu)] + np.roll(noise, 977 * n).astype(np.int16)
            for n in range(SLICES)
        ]
    )
    # In the order of the array: columns, rows, slices, as NIfTI files have them.
    affine = few.affine[:, [2, 1, 0, 3]]
    paths = [folder / name for name in ("zipped.nii.gz", "plain.nii", "dicom")]
    for path in paths[:2]:
        nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), affine), path)
    paths[2].mkdir()
    write_series(paths[2], image, few.spacing_mm)
    return paths


def write_series(folder: Path, image: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Writes slices [d h w] as files of a CT series."""
    series, study, frame = (generate_uid() for _ in range(3))
    for number, pixels in enumerate(image):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID = series, study
        data.FrameOfReferenceUID, data.PatientID, data.Modality = frame, "synthetic", "CT"
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.RescaleSlope, data.RescaleIntercept = 0, 1, -1024
        data.PixelSpacing = [float(mm) for mm in spacing_mm[1:]]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, number * float(spacing_mm[0])]
        data.PixelData = np.clip(pixels.astype(np.int32) + 1024, 0, None).astype("<u2").tobytes()
        data.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def open_and_scroll(path: Path, workdir: Path) -> None:
    """Opens one volume without a network, scrolls through it, and prints what it took."""
    warnings.simplefilter("ignore")
    before, start, busy = most_memory(), time.perf_counter(), time.process_time()
    (source,) = sources_of(path)
    desk = Desk((source,), Answers(Blank()), workdir=workdir)
    document = desk.open_now(source).document
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    voxels = document.volume.image_hu.nbytes / MIB
    more = most_memory() - before
    print(
        f"{path.name}: opened in {seconds:.1f} s ({busy:.1f} s of the processor); "
        f"{more:.0f} MiB more, {more / voxels:.2f} x the volume of {voxels:.0f} MiB"
    )
    with asked(desk) as client:
        scroll(client, source.id, document.num_slices, "int16", {})


def most_memory() -> float:
    """Returns the most memory that this process has held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # the other figure is that of the parent where that is larger
        lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    # Bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        MIB if sys.platform == "darwin" else 1024
    )


def main() -> None:
    """Parses the arguments and measures in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = console.path_argument
    parser.add_argument("volume", nargs="?", type=path, help="default: synthetic")
    parser.add_argument("--checkpoint", default=places.SHIPPED, metavar="DIR")
    parser.add_argument("--presses", type=int, default=60)
    parser.add_argument("--open", action="store_true", help="measure opening a large volume")
    args = parser.parse_args()
    if args.presses < 1:
        parser.error(f"--presses must be at least 1, got {args.presses}")
    if args.open and args.volume is not None:
        parser.error("--open makes its own volume; leave VOLUME out")
    with tempfile.TemporaryDirectory() as folder:
        if args.open:
            measure_opening(Path(folder))
            return
        source = synthetic() if args.volume is None else sources_of(args.volume)[0]
        measure(source, args.checkpoint, presses=args.presses, folder=Path(folder))


if __name__ == "__main__":
    sys.exit(console.run(main))
