"""Weight files: what is read, and that hostile or broken files are refused without a trace."""

import hashlib
import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.weights import torch_file
from ecc_jax.weights.torch_file import read_checkpoint
from tests.torch_files import (
    DTYPES,
    Parameter,
    Raw,
    View,
    call,
    emit,
    name_of,
    random_values,
    write,
    write_safetensors,
)

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@st.composite
def _views(draw):
    """A tensor with any shape, dtype, strides and offset, and its values."""
    name, seed = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    storage = random_values(name, int(np.prod(np.add(shape, 1))) + 3, seed)
    offset = draw(st.integers(0, 3))
    whole = storage[offset : offset + int(np.prod(shape))].reshape(shape)
    order = draw(st.permutations(range(len(shape))))
    view = whole.transpose(order)
    if shape and draw(st.booleans()):
        view = view[::2]
    if draw(st.booleans()):
        view = np.broadcast_to(view, (2, *view.shape))
    strides = tuple(step // storage.itemsize for step in view.strides)
    return View(storage, offset, view.shape, strides), view


@given(st.lists(_views(), min_size=1, max_size=3), st.booleans())
def test_round_trip_of_any_layout(tmp_path_factory, views, is_compressed):
    path = tmp_path_factory.mktemp("files") / "a.pth"
    method = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
    write(path, {f"t{i}": view for i, (view, _) in enumerate(views)}, compression=method)
    got = read_checkpoint(path).state_dict
    assert len(got) == len(views)
    for i, (_, want) in enumerate(views):
        assert got[f"t{i}"].dtype == want.dtype
        assert got[f"t{i}"].flags.c_contiguous
        np.testing.assert_array_equal(got[f"t{i}"], want)


def test_big_endian_files_are_read(tmp_path):
    for name in DTYPES:
        values = random_values(name, 6, 2)
        raw = values.view(f"u{values.itemsize}").byteswap().tobytes()
        path = tmp_path / f"{name}.pth"
        write(path, {"a": values}, records={"byteorder": b"big", "data/0": raw})
        np.testing.assert_array_equal(read_checkpoint(path).state_dict["a"], values)


def test_tensors_may_share_a_storage(tmp_path):
    base = np.arange(12, dtype=np.float32)
    tied = View(base, 0, (3, 4), (4, 1), key="7")
    part = View(base, 5, (2,), (4,), key="7")
    bits = View(base.view(np.int32), 1, (1,), (1,), key="7")
    got = read_checkpoint(write(tmp_path / "a.pth", {"a": tied, "b": part, "c": bits})).state_dict
    np.testing.assert_array_equal(got["a"], base.reshape(3, 4))
    np.testing.assert_array_equal(got["b"], [5, 9])
    np.testing.assert_array_equal(got["c"], base[1:2].view(np.int32))


def test_state_dict_is_found_and_its_prefix_removed(tmp_path):
    path = tmp_path / "a.pth"
    config = {"class": "isegm.Net", "params": {"width": {"type": "int", "value": 18}}, "l": [(1,)]}
    inner = {"module.w": ARRAY, "module.p": Parameter(ARRAY[0]), "step": 3}
    extras = {"epoch": 1.5, "best": None, "dtype": name_of("torch", "float16")}
    for value, want_config in (
        ({"state_dict": inner, "config": config, **extras}, config),
        ({"model": inner, **extras}, None),
        (inner, None),
    ):
        got = read_checkpoint(write(path, value))
        assert list(got.state_dict) == ["w", "p"]
        np.testing.assert_array_equal(got.state_dict["p"], ARRAY[0])
        assert got.config == want_config
        assert got.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_sets_and_layer_versions_are_data(tmp_path):
    versions = emit({"_metadata": {"": {"version": 2}}}, {})
    state_dict = Raw(emit({"w": ARRAY}, {}) + versions + b"b")
    value = {"state_dict": state_dict, "seen": call("__builtin__", "set", [1, "a"])}
    path = write(tmp_path / "a.pth", value, records={"data/0": ARRAY.tobytes()})
    assert list(read_checkpoint(path).state_dict) == ["w"]


BROKEN_TENSORS = {
    "reaches element 6, the storage has 6": View(ARRAY.ravel(), 1, (2, 3), (3, 1)),
    "reaches element 12": View(ARRAY.ravel(), 0, (3,), (6,)),
    "whole numbers": View(ARRAY.ravel(), 0, (2, -3), (3, 1)),
    "whole numbers ": View(ARRAY.ravel(), 0, (2, 3), (-3, 1)),
    "whole numbers  ": View(ARRAY.ravel(), 0, (2.0, 3), (3, 1)),
    "do not fit together": View(ARRAY.ravel(), 0, (2, 3), (1,)),
    "do not fit together ": View(ARRAY.ravel(), -1, (2, 3), (3, 1)),
    "do not fit together  ": View(ARRAY.ravel(), 0, (1,) * 33, (1,) * 33),
    "the limit": View(ARRAY.ravel(), 0, (2**20, 2**20), (0, 0)),
    "the limit ": View(ARRAY.ravel(), 0, (0, 2**40), (0, 0)),
    "has 24 bytes, the tensors need 32": View(ARRAY.ravel(), 0, (2,), (1,), size=8),
    "has 24 bytes, the tensors need 20": View(ARRAY.ravel(), 0, (2,), (1,), size=5),
    "the limit  ": View(ARRAY.ravel(), 0, (2,), (1,), size=2**40),
}


@pytest.mark.parametrize("message", BROKEN_TENSORS)
def test_tensor_outside_its_storage_is_refused(tmp_path, message):
    path = write(tmp_path / "a.pth", {"w": BROKEN_TENSORS[message]})
    with pytest.raises(ValueError, match=rf"a\.pth: .*{message.rstrip()}"):
        read_checkpoint(path)


def test_storage_declared_with_two_sizes_is_refused(tmp_path):
    views = {str(n): View(ARRAY.ravel(), 0, (1,), (1,), key="0", size=n) for n in (5, 6)}
    with pytest.raises(ValueError, match="data/0 is declared with two sizes"):
        read_checkpoint(write(tmp_path / "a.pth", views))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"data/0": None}, "record archive/data/0 is missing"),
        ({"byteorder": b"middle"}, "archive/byteorder is neither little nor big"),
        ({"../../etc/x": b""}, "named 'archive/../../etc/x', a path"),
        ({"/x": b""}, "named 'archive//x', a path"),
        ({"a\\b": b""}, "a path"),
        ({"x\x1b[2J": b""}, "a path"),
        ({"constants.pkl": b"N."}, "TorchScript"),
        ({"data.pkl": None}, "without the one <folder>/data.pkl"),
        ({"data.pkl": b"N" * (torch_file.MAX_PICKLE_BYTES + 1)}, "data.pkl declares 16777217"),
        ({f"x/{i}": b"" for i in range(torch_file.MAX_RECORDS)}, "65540 records, more than"),
    ],
)
def test_unusual_records_are_refused(tmp_path, records, message):
    path = write(tmp_path / "a.pth", {"w": ARRAY}, records=records)
    with pytest.raises(ValueError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_absolute_and_repeated_names_are_refused(tmp_path):
    for root, message in (("/archive", "a path"), ("..", "a path"), ("a/b", "without the one")):
        with pytest.raises(ValueError, match=message):
            read_checkpoint(write(tmp_path / "a.pth", {"w": ARRAY}, root=root))
    path = write(tmp_path / "b.pth", {"w": ARRAY})
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("archive/data.pkl", b"N.")
    with pytest.raises(ValueError, match="two records of the same name"):
        read_checkpoint(path)


def _patched(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def test_bombs_are_refused_before_anything_is_allocated(tmp_path):
    zeros = np.zeros(2**22, np.float32)
    bomb = write(tmp_path / "a.pth", {"w": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**16
    with pytest.raises(ValueError, match="need 16777216 bytes, more than the limit of 1000000"):
        read_checkpoint(bomb, max_tensor_bytes=1_000_000)
    # A stored record that claims more than the file has.
    size, claimed = struct.pack("<I", ARRAY.nbytes), struct.pack("<I", 2**28)
    view = View(ARRAY.ravel(), 0, (1,), (1,), size=2**26)
    path = write(tmp_path / "b.pth", {"w": view})
    for layout in (size + size, size):
        _patched(path, layout, claimed * (len(layout) // 4))
        with pytest.raises(ValueError, match="declares 268435456 bytes, more than it can hold"):
            read_checkpoint(path)
        path = write(tmp_path / "b.pth", {"w": view})
    # A directory of more bytes than are ever read at once.
    names = {"x" * 60_000 + str(i): b"" for i in range(300)}
    path = write(tmp_path / "c.pth", {"w": ARRAY}, records=names)
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_checkpoint(path)


def test_unusual_compression_and_encryption_are_refused(tmp_path):
    path = write(tmp_path / "a.pth", {"w": ARRAY}, compression=zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match="compressed by an unusual method"):
        read_checkpoint(path)
    path = write(tmp_path / "b.pth", {"w": ARRAY})
    data = bytearray(path.read_bytes())
    for start, shift in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        position = data.index(start)
        data[position + shift] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="is encrypted"):
        read_checkpoint(path)


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


OTHER_FILES = {
    "weights_only=True": pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + b"\x80\x02M\xe9\x03.",
    "tar archive.*weights_only=True": _tar(),
    "empty": b"",
    "gzip": b"\x1f\x8b\x08\x00",
    "web page": b"\n<!DOCTYPE html><html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "neither a PyTorch nor": b"weights\n" * 90,
    "no sound safetensors file": b"weights {",
    "zip archive is truncated": b"PK\x03\x04" + bytes(40),
}


@pytest.mark.parametrize("message", OTHER_FILES)
def test_other_files_are_named_with_the_remedy(tmp_path, message):
    path = tmp_path / "a.pth"
    path.write_bytes(OTHER_FILES[message])
    with pytest.raises(ValueError, match=rf"a\.pth: it.*{message}") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.pth"):
        with pytest.raises(ValueError, match="is not a file; expected"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([ARRAY], "holds a list, not a dict"),
        ({"epoch": 3, "optimizer": {}}, "no tensors at its top.*: 'epoch', 'optimizer'"),
        ({"state_dict": {"nested": {"w": ARRAY}}}, "no tensors"),
        ({"state_dict": {3: ARRAY}}, "named 3, which is no name"),
        ({"a\x1b[2J": ARRAY}, r"named 'a\\x1b\[2J', which is no name"),
        ({"module.w": ARRAY, "w": ARRAY}, "with and without the prefix 'module.'"),
    ],
)
def test_content_without_named_tensors_is_refused(tmp_path, value, message):
    with pytest.raises(ValueError, match=message):
        read_checkpoint(write(tmp_path / "a.pth", value))


def test_every_truncation_is_refused(tmp_path):
    for path in (
        write(tmp_path / "a.pth", {"w": ARRAY}),
        write_safetensors(tmp_path / "a.safetensors", {"w": ARRAY}),
    ):
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with pytest.raises(ValueError, match=path.name):
                read_checkpoint(path)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1))
def test_flipped_bytes_raise_nothing_but_value_errors(tmp_path_factory, flips):
    folder = tmp_path_factory.mktemp("flips")
    value = {"state_dict": {"w": ARRAY, "p": Parameter(ARRAY[0])}, "config": {"a": [1, (2.5,)]}}
    for path in (
        write(folder / "a.pth", value),
        write(folder / "b.pth", value, compression=zipfile.ZIP_DEFLATED),
        write_safetensors(folder / "a.safetensors", value["state_dict"] | {"p": ARRAY[0]}),
    ):
        data = bytearray(path.read_bytes())
        for position, bits in flips:
            data[int(position * len(data))] ^= bits
        path.write_bytes(bytes(data))
        try:
            read_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
