"""Writes small LIDC-IDRI trees for tests: DICOM series, and XML by four readers who disagree."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage

NAMES = (
    "subtlety internalStructure calcification sphericity margin lobulation spiculation texture "
    "malignancy"
).split()
RATINGS = dict.fromkeys(NAMES, 3)
UID_ROOT = "1.2.826.0.1.3680043.8.498."


class Ball(NamedTuple):
    """A nodule: centre (slice, row, column) and, reader by reader, its radius in pixels (0: none).

    Slices are `flat` pixels apart, so a ball of radius r spans about 2 r / flat slices.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, ...]
    flat: float = 2.0

    def masks(self, shape):
        """Returns what each reader counts to the nodule, [readers slices rows columns]."""
        z, y, x = np.indices(shape, dtype=float)
        centre = self.centre
        distance = np.sqrt(
            ((z - centre[0]) * self.flat) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
        )
        return np.stack([distance < radius for radius in self.radii])


def outline(mask):
    """Returns the first pixels outside a star-shaped mask, in order round its middle, as (y, x)."""
    padded = np.pad(mask, 1)
    ring = np.argwhere(ndimage.binary_dilation(padded) & ~padded) - 1
    off = ring - np.argwhere(mask).mean(axis=0)
    return ring[np.argsort(np.arctan2(off[:, 0], off[:, 1]))].tolist()


def roi(z, points_yx, *, inclusion="TRUE", sop_uid=""):
    """Returns the XML of one outline; `z` as it shall stand in the file."""
    edges = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for y, x in points_yx
    )
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>{sop_uid}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def nodule(rois: Sequence[str], *, name="Nodule 001", ratings=RATINGS):
    """Returns the XML of one nodule; `ratings` None leaves the element out."""
    listed = "" if ratings is None else "".join(f"<{k}>{v}</{k}>" for k, v in ratings.items())
    element = "" if ratings is None else f"<characteristics>{listed}</characteristics>"
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID>{element}{''.join(rois)}"
        "</unblindedReadNodule>"
    )


def message(
    readers: Sequence[str],
    *,
    series_uid="1.2.3",
    root="LidcReadMessage",
    xmlns=' xmlns="http://www.nih.gov"',
    tag="SeriesInstanceUid",
    session="readingSession",
):
    """Returns a whole XML file; `readers` holds the nodules of each."""
    sessions = "".join(
        f"<{session}><annotationVersion>3.12</annotationVersion>"
        f"<servicingRadiologistID>anonymous</servicingRadiologistID>{nodules}</{session}>"
        for nodules in readers
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} uid="1.3.6"{xmlns}><ResponseHeader>'
        f"<Version>1.8.1</Version><{tag}>{series_uid}</{tag}></ResponseHeader>{sessions}</{root}>"
    )


def scan_xml(balls: Sequence[Ball], shape, z_of, *, series_uid="1.2.3", sop_uids=None):
    """Returns the XML of readers who outline every ball that they see, on every slice.

    A ball is one pixel or more on a slice, or not outlined there. `z_of` gives the text of a
    slice's position.
    """
    readers = ["" for _ in balls[0].radii]
    for number, ball in enumerate(balls):
        for reader, mask in enumerate(ball.masks(shape)):
            rois = [
                roi(z_of(k), outline(mask[k]), sop_uid=sop_uids[k] if sop_uids else "")
                for k in range(shape[0])
                if mask[k].any()
            ]
            if rois:
                readers[reader] += nodule(rois, name=f"{reader}-{number}")
    return message(readers, series_uid=series_uid)


def agreed(balls: Sequence[Ball], shape, *, level=0.5, least=3):
    """Returns the union of the balls' consensus [slices rows columns] from the masks alone."""
    union = np.zeros(shape, bool)
    for ball in balls:
        masks = ball.masks(shape)
        masks = masks[masks.any(axis=(1, 2, 3))]
        if len(masks) >= least:
            union |= masks.mean(axis=0) >= level
    return union


class Scan(NamedTuple):
    """How a DICOM series is written; the defaults are a plain axial CT.

    Attributes:
      series_uid: SeriesInstanceUID.
      patient: PatientID.
      z0_mm: Position of the first slice.
      step_mm: Step between slices.
      pixel_mm: Row and column spacing.
      thickness_mm: Slice thickness; None leaves it out.
      orientation: Direction cosines of a row and of a column.
      shift_mm: Movement of the slices in y per slice (a tilted gantry).
      slope: Rescale slope of each slice, or of all.
      intercept: Rescale intercept.
      reverse: Whether file names run from the last slice to the first.
      skip: Slices without a file.
      twice: Slices with two files.
      tags: Further tags, by keyword.
    """

    series_uid: str = UID_ROOT + "1"
    patient: str = "LIDC-IDRI-0001"
    z0_mm: float = -100.0
    step_mm: float = 2.0
    pixel_mm: tuple[float, float] = (0.7, 0.7)
    thickness_mm: float | None = 2.0
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    shift_mm: float = 0.0
    slope: float | tuple[float, ...] = 1.0
    intercept: float = -1024.0
    reverse: bool = False
    skip: tuple[int, ...] = ()
    twice: tuple[int, ...] = ()
    tags: dict = {}

    def sop_uid(self, k):
        """Returns the SOPInstanceUID of a slice."""
        return f"{self.series_uid}.{k + 1}"

    def z_text(self, k):
        """Returns the position of a slice as the XML holds it."""
        return f"{self.z0_mm + k * self.step_mm:.6f}"


def write_series(folder: Path, image_hu, scan: Scan = Scan()) -> Path:
    """Writes one file per slice of `image_hu` [slices rows columns]; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    total = len(image_hu)
    normal = np.cross(scan.orientation[:3], scan.orientation[3:])
    for k in range(total):
        if k in scan.skip:
            continue
        slope = scan.slope[k] if isinstance(scan.slope, tuple) else scan.slope
        data = _dataset(scan, k, np.rint((image_hu[k] - scan.intercept) / slope))
        position = normal * (scan.z0_mm + k * scan.step_mm) + [-50.0, -40.0 + k * scan.shift_mm, 0]
        data.ImagePositionPatient = [round(float(v), 6) for v in position]
        data.RescaleSlope, data.RescaleIntercept = slope, scan.intercept
        for keyword, value in scan.tags.items():
            setattr(data, keyword, value)
        number = total - k if scan.reverse else k + 1
        data.save_as(folder / f"1-{number:03d}.dcm", enforce_file_format=True)
        if k in scan.twice:
            data.save_as(folder / f"2-{number:03d}.dcm", enforce_file_format=True)
    return folder


def _dataset(scan: Scan, k: int, stored) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = scan.sop_uid(k)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, scan.sop_uid(k)
    data.SeriesInstanceUID, data.StudyInstanceUID = scan.series_uid, scan.series_uid + ".0"
    data.PatientID, data.Modality = scan.patient, "CT"
    data.ImageOrientationPatient = list(scan.orientation)
    data.PixelSpacing = list(scan.pixel_mm)
    if scan.thickness_mm is not None:
        data.SliceThickness = scan.thickness_mm
    signed = bool(stored.min() < 0)
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(signed)
    data.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    return data


def write_patient(root: Path, balls, shape, scan: Scan, *, xml=True, image_hu=None) -> Path:
    """Writes series and XML in the layout of the archive: patient / study / series."""
    folder = root / scan.patient / "study-1" / f"series-{scan.series_uid[-8:]}"
    if image_hu is None:
        image_hu = thorax(shape, balls, seed=int(scan.series_uid[len(UID_ROOT) :].split(".")[0]))
    write_series(folder, image_hu, scan)
    if xml:
        uids = [scan.sop_uid(k) for k in range(shape[0])]
        text = scan_xml(balls, shape, scan.z_text, series_uid=scan.series_uid, sop_uids=uids)
        (folder / "069.xml").write_text(text)
    return folder


def thorax(shape, balls, *, seed):
    """Returns lung-like noise with the balls in it, HU."""
    image = np.random.default_rng(seed).integers(-900, -800, shape).astype(np.int16)
    for ball in balls:
        image[ball.masks(shape).any(axis=0)] = 20
    return image


def edit(path: Path, **tags):
    """Rewrites a DICOM file with other values; None removes a tag."""
    data = pydicom.dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    data.save_as(path)
