"""Pictures: every value as it stands in the file, or a refusal."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ecc_jax.volumes import read_picture


def write(path, rows, *, depth, kind, palette=b""):
    """Writes a PNG file by hand: rows are the bytes of each row; kind is that of IHDR."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    width = len(rows[0]) * 8 // (depth * channels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0))
        + (chunk(b"PLTE", palette) if palette else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )
    return path


def test_sixteen_bits_of_grey(tmp_path):
    values = np.array([[0, 1000, 1001], [255, 256, 65535]], ">u2")
    path = write(tmp_path / "a.png", [row.tobytes() for row in values], depth=16, kind=0)
    found = read_picture(path)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("kind", "row", "wanted"),
    [
        (0, [7, 200], [7, 200]),
        (2, [7, 7, 7, 200, 200, 200], [7, 200]),
        (4, [7, 0, 200, 255], [7, 200]),
        (6, [7, 7, 7, 0, 200, 200, 200, 9], [7, 200]),
    ],
)
def test_eight_bits_whatever_is_transparent(tmp_path, kind, row, wanted):
    found = read_picture(write(tmp_path / "a.png", [bytes(row)], depth=8, kind=kind))
    assert found.dtype == np.uint8
    assert found.tolist() == [wanted]


def test_a_palette_of_few_bits_is_read_exactly(tmp_path):
    palette = bytes([0, 0, 0, 9, 9, 9, 30, 30, 30, 250, 250, 250])
    path = write(tmp_path / "a.png", [bytes([0b00011011])], depth=2, kind=3, palette=palette)
    assert read_picture(path).tolist() == [[0, 9, 30, 250]]


@pytest.mark.parametrize(
    ("depth", "kind", "says"),
    [
        (1, 0, "8 or 16 bits of grey, got 1"),
        (2, 0, "8 or 16 bits of grey, got 2"),
        (4, 0, "8 or 16 bits of grey, got 4"),
        (16, 2, "16 bits of grey alone"),
        (16, 4, "16 bits of grey alone"),
        (16, 6, "16 bits of grey alone"),
    ],
)
def test_what_would_not_be_read_exactly_is_refused(tmp_path, depth, kind, says):
    path = write(tmp_path / "a.png", [bytes(24)], depth=depth, kind=kind)
    with pytest.raises(ValueError, match=f"a.png: cannot be read as a picture: .*{says}"):
        read_picture(path)


def test_several_pictures_in_a_file_are_refused(tmp_path):
    frames = [Image.fromarray(np.full((4, 3), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="expected one picture, got 2"):
        read_picture(tmp_path / "a.png")


def test_a_large_picture_is_refused_before_it_is_unpacked(tmp_path):
    path = write(tmp_path / "a.png", [bytes(6)] * 5, depth=8, kind=0)
    assert read_picture(path, max_pixels=30).shape == (5, 6)
    # What stands behind the header is never looked at.
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="at most 29 pixels, got 6 x 5"):
        read_picture(path, max_pixels=29)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as a picture"):
        read_picture(path)
