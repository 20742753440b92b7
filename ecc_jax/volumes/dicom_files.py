"""DICOM files of a folder: which there are, and what each says of its slice without its pixels.

A file of the standard begins with 128 bytes and the mark "DICM". Exports of treatment planning
systems and old archives lack both, or the name of their encoding: such a file is recognised by its
first elements and read all the same.
"""

import io
import struct
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

TAGS = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
)
PREAMBLE_BYTES = 128
MARK = b"DICM"
SUFFIXES = (".dcm", ".dicom", ".ima")
# Enough for the first elements of a file without the mark.
HEAD_BYTES = 512
# Groups that a data set may begin with: the file's meta information, the identification.
FIRST_GROUPS = (0x0002, 0x0008)
# The first elements are short texts and numbers; a longer one is another kind of file.
MAX_FIRST_BYTES = 2**16
UNDEFINED_LENGTH = 2**32 - 1
SHORT_VR = {vr.encode() for vr in EXPLICIT_VR_LENGTH_16}
LONG_VR = {vr.encode() for vr in EXPLICIT_VR_LENGTH_32}


class Header(NamedTuple):
    """What one file says of its slice.

    Attributes:
      path: The file.
      series_uid: SeriesInstanceUID.
      modality: CT, MR, CR, ...
      tags: The tags named in `TAGS` that the file has, a pydicom Dataset.
    """

    path: Path
    series_uid: str
    modality: str
    tags: Any

    def has(self, keyword: str) -> bool:
        """Returns whether a tag is there and not empty."""
        return self.tags.get(keyword) not in (None, "")


def dicom_files(folder: Path) -> list[Path]:
    """Returns the DICOM files below a folder, sorted; files named so are in even if they are not.

    Left out: hidden files, files that neither are DICOM by their first bytes nor have a suffix
    that promises it.

    Raises:
      ValueError: A file cannot be opened, or is a link to nothing.
    """
    return [path for path in sorted(folder.rglob("*")) if is_listed(path)]


def is_listed(path: Path) -> bool:
    """Returns whether an entry of a folder is one of its `dicom_files`.

    Raises:
      ValueError: It cannot be opened, or is a link to nothing.
    """
    if path.name.startswith("."):
        return False
    if path.is_symlink() and path.suffix.lower() in SUFFIXES and not path.exists():
        raise ValueError(f"{path}: a link to nothing; get the file that it names, or remove it")
    return path.is_file() and is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Returns whether a file is DICOM by its first bytes, or its suffix promises DICOM.

    Raises:
      ValueError: The file cannot be opened.
    """
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        return data_offset(_head(path)) is not None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


def data_offset(head: bytes) -> int | None:
    """Returns where pydicom must begin to read a file; None if it is not DICOM.

    Args:
      head: The first `HEAD_BYTES` of the file, or all if it is shorter.

    Returns:
      0 with the mark in its place, or where elements begin at once; 4 with the mark but without
      the 128 bytes before it; 128 with these bytes, all zero, but without the mark.
    """
    if head[PREAMBLE_BYTES:].startswith(MARK) or _begins_with_elements(head):
        return 0
    if head.startswith(MARK) and _begins_with_elements(head[len(MARK) :]):
        return len(MARK)
    bare = not any(head[:PREAMBLE_BYTES]) and _begins_with_elements(head[PREAMBLE_BYTES:])
    return PREAMBLE_BYTES if bare else None


def parse(path: Path, **options: Any) -> pydicom.FileDataset:
    """Returns the data set of a file, its TransferSyntaxUID set.

    A file that does not name its transfer syntax has the uncompressed one of its encoding.

    Args:
      path: The file, with or without the 128 bytes and the mark.
      **options: Of `pydicom.dcmread`.

    Raises:
      Exception: Whatever pydicom raises on a damaged file.
    """
    try:
        data = pydicom.dcmread(path, **options)
    except InvalidDicomError:
        offset = data_offset(_head(path))
        if offset is None:
            raise
        source = io.BytesIO(path.read_bytes()[offset:]) if offset else path
        data = pydicom.dcmread(source, force=True, **options)
    if not data.file_meta.get("TransferSyntaxUID"):
        data.file_meta.TransferSyntaxUID = _transfer_syntax(data)
    return data


def read_header(path: Path) -> Header:
    """Returns what a file says of its slice, without its pixels.

    Raises:
      ValueError: Not DICOM, truncated or corrupt, a directory file, or no series.
    """
    try:
        data = parse(path, stop_before_pixels=True, specific_tags=list(TAGS))
        list(data)  # parses the values, which are raw until looked at
        storage = data.file_meta.get("MediaStorageSOPClassUID")
        header = Header(
            path, str(data.get("SeriesInstanceUID", "")), str(data.get("Modality", "")), data
        )
    # A damaged file can raise anything in the parser.
    except Exception as error:
        raise ValueError(
            f"{path}: not a DICOM file, or truncated or corrupt ({one_line(error)}); copy or "
            "download it again"
        ) from error
    if storage == MediaStorageDirectoryStorage:
        raise ValueError(f"{path}: a DICOMDIR, which is not read; remove it from the folder")
    if not header.series_uid or not header.series_uid.isprintable():
        raise ValueError(
            f"{path}: has no SeriesInstanceUID, perhaps truncated; copy or download it again"
        )
    return header


def one_line(error: Exception) -> str:
    """Returns the text of an error as one line; its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _begins_with_elements(head: bytes) -> bool:
    """Returns whether bytes are the first elements of a data set, their tags rising."""
    return any(_are_elements(head, order) for order in "<>")


def _are_elements(head: bytes, order: str) -> bool:
    position, last = 0, -1
    while position + 8 <= len(head):
        group, element = struct.unpack_from(f"{order}HH", head, position)
        tag = group << 16 | element
        if tag <= last or (last < 0 and group not in FIRST_GROUPS):
            return False
        kind = head[position + 4 : position + 6]
        if kind in SHORT_VR:
            start, length = 8, struct.unpack_from(f"{order}H", head, position + 6)[0]
        elif kind in LONG_VR:
            if position + 12 > len(head):
                return True
            start, length = 12, struct.unpack_from(f"{order}I", head, position + 8)[0]
        # Without a type there is only the length, in little endian.
        elif order == "<":
            start, length = 8, struct.unpack_from("<I", head, position + 4)[0]
        else:
            return False
        if length == UNDEFINED_LENGTH:
            return True
        if length > MAX_FIRST_BYTES:
            return False
        position, last = position + start + length, tag
    return last >= 0


def _transfer_syntax(data: pydicom.FileDataset) -> UID:
    if "PixelData" in data and data["PixelData"].is_undefined_length:
        raise ValueError("its pixels are compressed, but no TransferSyntaxUID says how")
    is_implicit, is_little = data.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
