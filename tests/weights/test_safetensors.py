"""The safetensors format: any shape and dtype, broken headers, and files of the real writer."""

import struct
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ecc_jax.weights.torch_file import read_checkpoint
from tests.torch_files import DTYPES, random_values, write_safetensors

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4))
def test_round_trip_of_safetensors(tmp_path_factory, name, shape):
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    want = {
        "one": random_values(name, int(np.prod(shape)), 1).reshape(shape),
        "two": ARRAY,
    }
    got = read_checkpoint(write_safetensors(path, want)).state_dict
    assert got.keys() == want.keys()
    for key, value in want.items():
        assert got[key].dtype == value.dtype
        np.testing.assert_array_equal(got[key], value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_what_the_package_writes_is_read(tmp_path, dtype):
    path = tmp_path / "a.safetensors"
    save_file({"module.w": ARRAY.astype(dtype)}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.config is None and list(checkpoint.state_dict) == ["w"]
    assert checkpoint.state_dict["w"].dtype == dtype
    np.testing.assert_array_equal(checkpoint.state_dict["w"].astype(np.float32), ARRAY)


def _header(**changes):
    return lambda header: header | {"w": header["w"] | changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_header(dtype="F8_E4M3", shape=[24]), "tensor 'w': dtype F8_E4M3 is none of F64, F32"),
        (_header(dtype="C64", shape=[3]), "tensor 'w': dtype C64 is none of F64, F32"),
        (_header(dtype="F33"), "no sound safetensors file"),
        (_header(dtype=["F32"]), "no sound safetensors file"),
        (_header(shape=[2, 4]), "no sound safetensors file"),
        (_header(shape=[2.0, 3]), "no sound safetensors file"),
        (_header(shape="23"), "no sound safetensors file"),
        (_header(shape=[-2, -3]), "no sound safetensors file"),
        (_header(shape=[1] * 33), "no sound safetensors file"),
        (_header(shape=[0, 2**40], data_offsets=[0, 0]), "no sound safetensors file"),
        (_header(data_offsets=[0]), "no sound safetensors file"),
        (_header(data_offsets=[24, 48]), "no sound safetensors file"),
        (lambda header: header | {"v": header["w"]}, "no sound safetensors file"),
        (lambda header: {}, "no sound safetensors file"),
        (lambda header: {"a\n\x1b[2J": header["w"] | {"data_offsets": [4, 28]}}, r"a\\n\\x1b"),
    ],
)
def test_broken_safetensors_are_refused(tmp_path, change, message):
    path = write_safetensors(tmp_path / "a.safetensors", {"w": ARRAY}, change=change)
    with pytest.raises(ValueError, match=f"a.safetensors: .*{message}") as error:
        read_checkpoint(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


@pytest.mark.parametrize("shape", [[0, 2**62], [0, 2**64 - 1], [0] + 3 * [2**30], 65 * [1]])
def test_shapes_beyond_numpy_are_refused(tmp_path, shape):
    end = 0 if 0 in shape else 4
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}
    path = write_safetensors(
        tmp_path / "a.safetensors", {"w": ARRAY[0, : end // 4]}, change=lambda _: {"w": entry}
    )
    with pytest.raises(ValueError, match="a.safetensors: "):
        read_checkpoint(path)


def test_broken_safetensors_headers_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    for text in (b'{"a":', b"{" + b'"a":[' * 100_000, b'{"\xff":{}}'):
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
        with pytest.raises(ValueError, match="no sound safetensors file .* save it again"):
            read_checkpoint(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{" + b" " * 99)
    with pytest.raises(ValueError, match="header too large"):
        read_checkpoint(path)


def test_large_files_are_refused(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", {"w": ARRAY})
    size = path.stat().st_size
    assert read_checkpoint(path, max_tensor_bytes=size).state_dict.keys() == {"w"}
    with pytest.raises(ValueError, match=f"a.safetensors: it has {size} bytes, more than the lim"):
        read_checkpoint(path, max_tensor_bytes=size - 1)


def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch):
    path = write_safetensors(tmp_path / "a.safetensors", {"w": ARRAY})
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ValueError, match=r"a.safetensors: .*pip install 'ecc_jax\[convert\]'"):
        read_checkpoint(path)
