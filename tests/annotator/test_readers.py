"""NRRD files and pictures: read right, or refused before memory is taken."""

import bz2
import gzip

import nrrd
import numpy as np
import pytest
from PIL import Image

from ecc_jax.annotator import readers


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 1500, (4, 5, 6)).astype(np.int16)


def refusal(reader, path):
    with pytest.raises(ValueError) as error:
        reader(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32])
def test_nrrd_as_its_own_package_writes_it(tmp_path, hu, encoding, dtype):
    image = (hu % 200).astype(dtype)
    nrrd.write(str(tmp_path / "a.nrrd"), image, {"encoding": encoding, "spacings": [1, 2, 3]})
    volume = readers.read_nrrd(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.image_hu, image)
    assert volume.image_hu.dtype == np.int16
    assert volume.spacing_mm == (1, 2, 3) and not volume.has_affine


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1, 1)), ("RAS", (1, 1, 1)), ("las", (-1, 1, 1))],
)
def test_nrrd_affine(tmp_path, hu, space, signs):
    directions = np.array([[0.0, 0.7, 0], [0.7, 0, 0], [0, 0.5, 2.9]])  # one row per array axis
    header = {"space": space, "space directions": directions, "space origin": [10, 20, 30]}
    nrrd.write(str(tmp_path / "a.nrrd"), hu, header)
    volume = readers.read_nrrd(tmp_path / "a.nrrd")
    assert volume.has_affine
    index = np.array([1, 2, 3])
    wanted = np.array(signs) * ([10, 20, 30] + index @ directions)
    np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], wanted)
    np.testing.assert_allclose(volume.spacing_mm, np.linalg.norm(directions, axis=1))


def header_of(sizes, *, kind="int16", encoding="raw", more=""):
    return (
        f"NRRD0004\ntype: {kind}\ndimension: {len(sizes)}\nsizes: {' '.join(map(str, sizes))}\n"
        f"encoding: {encoding}\nendian: little\n{more}\n"
    ).encode()


def test_a_header_without_an_end_is_not_read_to_its_end(tmp_path):
    path, most = tmp_path / "a.nrrd", readers.MAX_HEADER_BYTES
    begin = header_of((4, 5, 6))[:-1]
    line = b"# " + b"x" * 61 + b"\n"
    path.write_bytes(begin + line * (most // len(line)) + bytes(100))
    with path.open("ab") as file:
        file.truncate(2**33)  # takes no room on the disk
    assert "expected a header of less than" in refusal(readers.read_nrrd, path)
    # A long one with an end is read, and the voxels after it.
    voxels = np.arange(120, dtype="<i2")
    path.write_bytes(begin + line * 10_000 + b"\n" + voxels.tobytes())
    image = readers.read_nrrd(path).image_hu
    np.testing.assert_array_equal(image.ravel(order="F"), voxels)


SMALL = bytes(2 * 4 * 5 * 6)
REFUSED = {
    "huge": (header_of((90000, 90000, 90000)) + SMALL, "expected 1 to 1073741824 voxels"),
    "empty": (header_of((0, 5, 6)), "expected 1 to"),
    "truncated": (header_of((4, 5, 6)) + SMALL[1:], "truncated: expected 240 bytes"),
    "detached": (header_of((4, 5, 6), more="data file: /etc/passwd\n"), "points to other files"),
    "list": (header_of((4, 5, 6), more="data file: x%d.raw 1 4 1\n"), "points to other files"),
    "four axes": (header_of((2, 4, 5, 6)) + 2 * SMALL, "three axes of space"),
    "colours": (
        header_of((3, 5, 6), more="kinds: RGB-color domain domain\n") + SMALL,
        "three axes of space",
    ),
    "blocks": (header_of((4, 5, 6), kind="block", more="block size: 2\n") + SMALL, "got block"),
    "text": (header_of((4, 5, 6), encoding="ascii") + SMALL, "expected encoding"),
    "skips": (header_of((4, 5, 6), more="byte skip: -1\n") + SMALL, "byte skip"),
    "no gzip": (header_of((4, 5, 6), encoding="gzip") + SMALL, "corrupt"),
    "half a gzip": (
        header_of((4, 5, 6), encoding="gzip") + gzip.compress(np.arange(120, dtype="<i2"))[:60],
        "truncated",
    ),
    "other file": (b"\x89PNG\r\n", "not an NRRD file"),
    "nothing": (b"", "not an NRRD file"),
    "no byte order": (header_of((4, 5, 6)).replace(b"endian: little\n", b"") + SMALL, "got none"),
    "odd byte order": (
        header_of((4, 5, 6)).replace(b"endian: little", b"endian: middle") + SMALL,
        "little or big",
    ),
    "metres": (
        header_of((4, 5, 6), more='space: RAS\nspace units: "m" "m" "m"\n') + SMALL,
        "lengths in mm, got m",
    ),
    "nan": (
        header_of((1, 1, 2), kind="float") + np.array([1, np.nan], "<f4").tobytes(),
        "NaN or infinite",
    ),
    "flat": (
        header_of((4, 5, 6), more="space: RAS\nspace directions: (1,0,0) (1,0,0) (0,0,1)\n")
        + SMALL,
        "lie in a plane",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_nrrd(tmp_path, kind):
    raw, says = REFUSED[kind]
    (tmp_path / "a.nrrd").write_bytes(raw)
    assert says in refusal(readers.read_nrrd, tmp_path / "a.nrrd")


@pytest.mark.parametrize(("endian", "order"), [("little", "<"), ("big", ">")])
def test_either_byte_order_is_read_and_one_byte_needs_none(tmp_path, hu, endian, order):
    header = header_of((4, 5, 6), more='space: RAS\nspace units: "mm" "mm" "mm"\n')
    stored = hu.astype(f"{order}i2").tobytes(order="F")
    header = header.replace(b"endian: little", f"endian: {endian}".encode())
    (tmp_path / "a.nrrd").write_bytes(header + stored)
    np.testing.assert_array_equal(readers.read_nrrd(tmp_path / "a.nrrd").image_hu, hu)
    small = header_of((4, 5, 6), kind="uint8").replace(b"endian: little\n", b"")
    (tmp_path / "a.nrrd").write_bytes(small + bytes(range(120)))
    volume = readers.read_nrrd(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.image_hu.ravel(order="F"), range(120))


@pytest.mark.parametrize(("encoding", "packer"), [("gzip", gzip), ("bzip2", bz2)])
def test_what_a_bomb_holds_beyond_the_header_is_never_unpacked(tmp_path, encoding, packer):
    import tracemalloc

    bomb = packer.compress(bytes(200_000_000), 9)
    (tmp_path / "a.nrrd").write_bytes(header_of((4, 5, 6), encoding=encoding) + bomb)
    tracemalloc.start()
    volume = readers.read_nrrd(tmp_path / "a.nrrd")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not volume.image_hu.any() and peak < 20e6


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_grey_pictures(tmp_path, mode):
    values = np.arange(40, dtype=np.uint8).reshape(5, 8) * 6
    picture = Image.fromarray(values)
    if mode == "I;16":
        picture = Image.fromarray(values.astype(np.uint16))
    elif mode != "L":
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.png")
    volume = readers.read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.image_hu[0], values)
    assert np.isnan(volume.spacing_mm).all() and not volume.has_affine


def test_refused_pictures(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    colours = np.zeros((5, 8, 3), np.uint8)
    colours[2, 3, 1] = 9
    Image.fromarray(colours).save(path)
    assert "is a colour picture" in refusal(readers.read_picture, path)
    path.write_bytes(path.read_bytes()[:40])
    assert "cannot be read as a picture" in refusal(readers.read_picture, path)
    Image.fromarray(colours).save(path, "JPEG")
    assert "not a PNG" in refusal(readers.read_picture, path)
    monkeypatch.setattr(readers, "MAX_PICTURE_PIXELS", 39)
    Image.fromarray(colours[..., 0]).save(path)
    assert "at most 39 pixels, got 8 x 5" in refusal(readers.read_picture, path)
