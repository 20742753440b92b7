"""The safetensors format: any shape and dtype, and broken headers."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.weights import safetensors_file
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


def _header(**changes):
    return lambda header: header | {"w": header["w"] | changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_header(dtype="F8_E4M3"), "tensor 'w': dtype 'F8_E4M3' is none of"),
        (_header(dtype=["F32"]), "is none of"),
        (_header(shape=[2, 4]), "do not span the 32 bytes"),
        (_header(shape=[2.0, 3]), "whole numbers"),
        (_header(shape="23"), "whole numbers"),
        (_header(shape=[-2, -3]), "whole numbers"),
        (_header(shape=[1] * 33), "do not span"),
        (_header(shape=[0, 2**40], data_offsets=[0, 0]), "absurd shape"),
        (_header(data_offsets=[0]), "do not span"),
        (_header(data_offsets=[24, 48]), "starts at byte 24, expected 0"),
        (_header(extra=1), "expected dtype, shape and data_offsets"),
        (lambda header: header | {"v": header["w"]}, "starts at byte 0, expected 24"),
        (lambda header: {}, "need 0 bytes, it has 24"),
    ],
)
def test_broken_safetensors_are_refused(tmp_path, change, message):
    path = write_safetensors(tmp_path / "a.safetensors", {"w": ARRAY}, change=change)
    with pytest.raises(ValueError, match=f"a.safetensors: .*{message}"):
        read_checkpoint(path)


def test_broken_safetensors_headers_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    entry = b'"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}'
    for text in (b'{"a":', b"{" + b'"a":[' * 100_000, b"{" + entry + b"," + entry + b"}"):
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
        with pytest.raises(ValueError, match="header is damaged"):
            read_checkpoint(path)
    size = safetensors_file.MAX_HEADER_BYTES + 1
    path.write_bytes(struct.pack("<Q", size) + b"{" + b" " * size)
    with pytest.raises(ValueError, match="longer than"):
        read_checkpoint(path)
    write_safetensors(path, {"w": ARRAY})
    with pytest.raises(ValueError, match="more than the limit of 20"):
        read_checkpoint(path, max_tensor_bytes=20)
