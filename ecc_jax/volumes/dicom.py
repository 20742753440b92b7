"""DICOM series -> volumes in Hounsfield units, with errors that say which file and what to do.

The headers of a folder are read first; `dicom_stack` puts the slices in order and checks them; the
pixels come last, one file at a time, so that a volume takes its own memory and one slice more.
"""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from jaxtyping import Num
from pydicom.pixels import get_decoder

from ecc_jax.volumes.dicom_files import Header, dicom_files, one_line, parse, read_header
from ecc_jax.volumes.dicom_stack import Stack, stack_slices
from ecc_jax.volumes.geometry import Volume
from ecc_jax.volumes.plausibility import warn_unless_hu
from ecc_jax.volumes.voxels import gather

AIR_HU = -1000
# A padding value that means a tissue is not believed: some writers name 0, which may be water.
TISSUE_HU = (-900.0, 4000.0)
MAX_NAMES = 5


class _Rescale(NamedTuple):
    """How the stored values of one slice become Hounsfield units.

    Attributes:
      slope: Factor.
      intercept: Added after it.
      padding: Lowest and highest stored value that mean no measurement; None if no value does.
    """

    slope: float
    intercept: float
    padding: tuple[int, int] | None


def read_series(folder: str | Path, *, series_uid: str | None = None) -> Volume:
    """Reads the CT series of a folder and its subfolders, or one slice of it from its file.

    The array axes are slices (rising along the normal of the image plane: feet to head in an axial
    scan), rows and columns. Rescale slope and intercept are applied slice by slice; pixels with
    the padding value become air. A tilted gantry gives a warning; the affine holds the shear.
    Positions may be rounded: slices are even if rounding explains how they differ.

    Args:
      folder: Files that are not DICOM are ignored, as are hidden files. Files without the mark of
        DICOM or without transfer syntax are read where their first elements are those of DICOM.
        A file is read alone, whatever lies beside it.
      series_uid: SeriesInstanceUID to read; needed only if the folder holds several.

    Raises:
      ValueError: No DICOM file, several series, a file that is truncated or corrupt, not CT,
        multi-frame, compressed in a way that no installed decoder reads, without the rescale tags
        that others have, or otherwise unlike the others of the series; two patients; slices
        missing, twice or unevenly spaced.
    """
    folder = Path(folder)
    if not folder.exists():
        raise ValueError(f"{folder}: no such folder; check the path")
    series: dict[str, list[Header]] = {}
    for path in [folder] if folder.is_file() else dicom_files(folder):
        header = read_header(path)
        series.setdefault(header.series_uid, []).append(header)
    if not series:
        raise ValueError(f"{folder}: holds no DICOM file; check the path")
    listed = _listed([f"{uid} ({len(files)} files)" for uid, files in sorted(series.items())])
    if series_uid is None and len(series) > 1:
        raise ValueError(
            f"{folder}: holds {len(series)} series: {listed}; choose one with series_uid, or give "
            "each a folder of its own"
        )
    chosen = next(iter(series)) if series_uid is None else series_uid
    if chosen not in series:
        raise ValueError(f"{folder}: series {chosen} is not there, but {listed}; correct it")
    stack = stack_slices(series[chosen], folder=folder)
    image = read_pixels(stack)
    warn_unless_hu(image, folder)
    return Volume(
        image,
        *stack.geometry[1:3],
        path=folder,
        slice_uids=stack.slice_uids,
        slice_z_mm=stack.slice_z_mm,
    )


def read_pixels(stack: Stack, *, indices: Sequence[int] | None = None) -> Num[np.ndarray, "s h w"]:
    """Returns Hounsfield units: int16 where they are whole numbers in its range, else float32.

    Args:
      stack: The slices.
      indices: Which slices to read, in this order; None means all.

    Raises:
      ValueError: A file is truncated, corrupt or compressed in a way that no installed decoder
        reads.
    """
    chosen = range(len(stack.files)) if indices is None else indices
    files = [stack.files[index] for index in chosen]
    shape = (len(files), *stack.geometry.shape[1:])
    blocks = _slices(files, shape[1:])
    # One slice is read before memory is taken for all: a damaged header may promise any size.
    first = list(itertools.islice(blocks, 1))
    blocks = itertools.chain(first, blocks)
    return gather(blocks, shape, narrow=np.int16, wide=np.float32, order="C")


def _slices(files: Sequence[Path], shape: tuple[int, int]) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields index and Hounsfield units of one slice after the other."""
    warned = False
    for index, path in enumerate(files):
        stored, rescale = _read_slice(path)
        if stored.shape != shape:
            raise ValueError(
                f"{path}: expected pixels of shape {shape}, got {stored.shape}; download it again"
            )
        # 16 bits and fewer are exact in float32.
        wide = np.float32 if stored.dtype.itemsize <= 2 else np.float64
        values = stored * wide(rescale.slope) + wide(rescale.intercept)
        if rescale.padding is not None and not _is_tissue(rescale):
            low, high = rescale.padding
            values[(stored >= low) & (stored <= high)] = AIR_HU
        elif rescale.padding is not None and not warned:
            warned = True
            warnings.warn(
                f"{path}: its PixelPaddingValue {rescale.padding[0]} means a tissue; not taken as "
                "padding",
                stacklevel=5,
            )
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{path}: Hounsfield units are not finite; repair the file")
        yield index, values


def _read_slice(path: Path) -> tuple[Num[np.ndarray, "h w"], _Rescale]:
    try:
        data = parse(path)
        decoder = get_decoder(data.file_meta.TransferSyntaxUID)
        missing = "" if decoder.is_available else str(decoder.UID.name)
        if not missing:
            return data.pixel_array, _rescale(data)
    except Exception as error:  # as in read_header
        raise ValueError(
            f"{path}: the pixels cannot be read, truncated or corrupt ({one_line(error)}); copy "
            "or download the file again"
        ) from error
    raise ValueError(
        f"{path}: compressed as {missing}, which no installed decoder reads; "
        "pip install 'ecc_jax[dicom]'"
    )


def _rescale(data: pydicom.Dataset) -> _Rescale:
    if "ModalityLUTSequence" in data:
        raise ValueError("a ModalityLUTSequence is not read; expected RescaleSlope")
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    slope = 1.0 if slope in (None, "") else float(slope)
    intercept = 0.0 if intercept in (None, "") else float(intercept)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise ValueError(f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g} make no sense")
    if data.get("PixelPaddingValue") is None:
        return _Rescale(slope, intercept, None)
    first = int(data.PixelPaddingValue)
    last = data.get("PixelPaddingRangeLimit")
    ends = [first, first if last is None else int(last)]
    # Some writers give a negative value as an unsigned number.
    span = 2 ** int(data.BitsAllocated)
    top = span // 2 if data.PixelRepresentation else span
    ends = [end - span if end >= top else end for end in ends]
    return _Rescale(slope, intercept, (min(ends), max(ends)))


def _is_tissue(rescale: _Rescale) -> bool:
    ends = [end * rescale.slope + rescale.intercept for end in rescale.padding or ()]
    return max(ends) >= TISSUE_HU[0] and min(ends) <= TISSUE_HU[1]


def _listed(items: Sequence[str]) -> str:
    rest = len(items) - MAX_NAMES
    return ", ".join(items[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
