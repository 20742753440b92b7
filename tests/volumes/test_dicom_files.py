"""Files without the mark of DICOM or without transfer syntax: read as pydicom would, or named."""

import struct
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ecc_jax import volumes
from ecc_jax.volumes.dicom_files import HEAD_BYTES, data_offset, dicom_files
from tests.raw_layouts import lidc

SHAPE = (5, 6, 7)
META = 132  # where the meta information begins
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
}


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def series(folder, hu, syntax):
    """Writes a series in a transfer syntax; returns its files."""
    lidc.write_series(folder, hu)
    files = sorted(folder.glob("*.dcm"))
    for path in files:
        data = pydicom.dcmread(path)
        if syntax == ExplicitVRBigEndian:
            data.PixelData = data.pixel_array.astype(">u2").tobytes()
        fresh = pydicom.Dataset()  # pydicom does not turn the bytes of a data set that it read
        fresh.update(data)
        fresh.file_meta = data.file_meta
        fresh.file_meta.TransferSyntaxUID = syntax
        fresh.save_as(path, enforce_file_format=True)
    return files


def data_start(raw):
    """Returns where the data set begins, from the length of the meta information."""
    return META + 12 + struct.unpack_from("<I", raw, META + 8)[0]


def without_syntax(raw):
    """Takes the transfer syntax out of the meta information."""
    at = raw.index(b"\x02\x00\x10\x00UI")
    size = 8 + struct.unpack_from("<H", raw, at + 6)[0]
    length = struct.pack("<I", data_start(raw) - META - 12 - size)
    return raw[: META + 8] + length + raw[META + 12 : at] + raw[at + size :]


SPOILED = {
    "data set only": lambda raw: raw[data_start(raw) :],
    "meta without preamble": lambda raw: raw[META:],
    "no meta": lambda raw: raw[:META] + raw[data_start(raw) :],
    "no syntax": without_syntax,
    "meta without preamble and syntax": lambda raw: without_syntax(raw)[META:],
    "mark without preamble": lambda raw: raw[128:],
    "preamble without mark": lambda raw: raw[:128] + raw[data_start(raw) :],
}


def error(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError) as caught:
            volumes.read_series(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("suffix", [".dcm", "", ".IMG"])
def test_bare_files_are_read(tmp_path, hu, syntax, how, suffix):
    """All of them, or the first two beside whole ones: none may be lost in silence."""
    for name, count in (("all", 5), ("some", 2)):
        for path in series(tmp_path / name, hu, SYNTAXES[syntax])[:count]:
            path.write_bytes(SPOILED[how](path.read_bytes()))
            path.rename(path.with_suffix(suffix))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume = volumes.read_series(tmp_path / name)
        np.testing.assert_array_equal(volume.image_hu, hu)


@pytest.mark.parametrize("how", SPOILED)
def test_pydicom_reads_the_same(tmp_path, hu, how):
    """Whatever `dcmread(force=True)` makes a slice of, is one here."""
    path = series(tmp_path / "s", hu[:1], ImplicitVRLittleEndian)[0]
    path.write_bytes(SPOILED[how](path.read_bytes()))
    data = pydicom.dcmread(path, force=True)
    stored = np.frombuffer(data.get("PixelData", b""), "<u2")
    if stored.size:  # with the mark first even pydicom is lost
        assert data.SeriesInstanceUID == lidc.Scan().series_uid
        own = volumes.read_series(tmp_path / "s").image_hu.ravel()
        np.testing.assert_array_equal(own, stored.astype(int) - 1024)
    assert bool(stored.size) == (how != "mark without preamble")


@pytest.mark.parametrize("how", ["data set only", "meta without preamble", "no meta"])
@pytest.mark.parametrize("keep", [160, 190, -50])
def test_truncated_bare_files_are_named(tmp_path, hu, how, keep):
    path = series(tmp_path / "s", hu, ExplicitVRLittleEndian)[2]
    path.write_bytes(SPOILED[how](path.read_bytes())[:keep])
    path = path.rename(path.with_suffix(""))
    assert str(path) in error(tmp_path / "s")


def test_bare_files_of_another_kind_are_a_series_of_their_own(tmp_path, hu):
    """As with the mark: a structure set beside the scan."""
    folder = tmp_path / "s"
    series(folder, hu, ImplicitVRLittleEndian)
    plan = series(tmp_path / "plan", hu[:1], ImplicitVRLittleEndian)[0]
    lidc.edit(plan, Modality="RTSTRUCT", SeriesInstanceUID="1.2.9", PixelData=None)
    raw = plan.read_bytes()
    (folder / "RS001").write_bytes(raw[data_start(raw) :])
    assert "holds 2 series" in error(folder) and "1.2.9 (1 files)" in error(folder)
    got = volumes.read_series(folder, series_uid=lidc.Scan().series_uid)
    np.testing.assert_array_equal(got.image_hu, hu)
    raw = pydicom.dcmread(plan)
    del raw.SeriesInstanceUID
    raw.save_as(plan)
    (folder / "RS001").write_bytes(plan.read_bytes()[data_start(plan.read_bytes()) :])
    assert "RS001: has no SeriesInstanceUID" in error(folder)


def test_compressed_without_syntax_is_named(tmp_path, hu):
    for path in series(tmp_path / "s", hu, ExplicitVRLittleEndian):
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
        path.write_bytes(without_syntax(path.read_bytes()))
    message = error(tmp_path / "s")
    assert "1-001.dcm" in message and "compressed, but no TransferSyntaxUID says how" in message


OTHERS = {
    "notes.txt": b"08 00 patients seen today\n" * 40,
    "table.csv": b"a,b\n1,2\n",
    "empty": b"",
    "zeros": bytes(4000),
    "dataset.json": b'{"a": 1}',
    "069.xml": b'<?xml version="1.0"?><a/>',
    "page.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(600),
    "report.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 4,
    "all.zip": b"PK\x03\x04\x14\x00\x08\x00\x08\x00" + bytes(range(256)),
    "scan.nii": struct.pack("<I", 348) + bytes(344) + b"n+1\x00",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512),
    ".DS_Store": b"\x00\x00\x00\x01Bud1" + bytes(512),
    "icon.ico": b"\x00\x00\x01\x00\x01\x00\x10\x10" + bytes(512),
    "counts": np.arange(8, 400, dtype="<u2").tobytes(),
    "words": np.arange(8, 400, dtype="<u4").tobytes(),
    "big": np.arange(8, 400, dtype=">u4").tobytes(),
    "eight": struct.pack("<4H", 8, 5, 0xFFFE, 0xFFFE) + bytes(512),
}


def test_other_files_stay_ignored(tmp_path, hu):
    folder = tmp_path / "s"
    files = series(folder, hu, ExplicitVRLittleEndian)
    for name, content in OTHERS.items():
        (folder / name).write_bytes(content)
    assert dicom_files(folder) == files
    np.testing.assert_array_equal(volumes.read_series(folder).image_hu, hu)


@given(st.binary(min_size=8, max_size=HEAD_BYTES))
def test_random_bytes_are_no_dicom(head):
    assert data_offset(head) is None or head[:2] in (b"\x08\0", b"\0\x08", b"\x02\0", b"\0\x02")


def test_only_the_first_bytes_are_looked_at(tmp_path):
    """A huge file of another kind costs nothing: here a sparse one of a terabyte."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    assert dicom_files(tmp_path) == []


def test_a_link_to_nothing_is_named(tmp_path, hu):
    files = series(tmp_path / "s", hu, ExplicitVRLittleEndian)
    files[4].unlink()
    files[4].symlink_to(tmp_path / "gone")
    assert "1-005.dcm: a link to nothing" in error(tmp_path / "s")
    files[4].unlink()
    (tmp_path / "s" / "link.txt").symlink_to(tmp_path / "gone")
    assert volumes.read_series(tmp_path / "s").image_hu.shape == (4, 6, 7)
