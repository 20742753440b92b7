"""Reads the safetensors format: a JSON header, then the tensors, contiguous and little-endian.

The format is small enough that a package for it would cost users more than these lines.

Source: the format's description in the safetensors repository's README.
"""

import json
import math
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

MAX_HEADER_BYTES = 2**22
_LENGTH_BYTES = 8
_MAX_AXES = 32
_CHUNK = 2**20
_AGAIN = "download or save it again"
_DTYPES: dict[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": jnp.bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


class _Entry(NamedTuple):
    """Where a tensor lies, in bytes after the header, and what it is."""

    begin: int
    end: int
    dtype: np.dtype
    shape: tuple[int, ...]


def read(file: BinaryIO, *, max_tensor_bytes: int) -> dict[str, np.ndarray]:
    """Returns the tensors of a safetensors file by name.

    Args:
      file: Open for reading and seekable.
      max_tensor_bytes: Larger weights are refused before anything is allocated.

    Raises:
      ValueError: Not that format, damaged, or too large; names the tensor, but not the file.
    """
    file_size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    data_size = file_size - _LENGTH_BYTES - length
    if length > MAX_HEADER_BYTES or data_size < 0:
        raise ValueError(
            f"its safetensors header of {length} bytes is truncated or longer than "
            f"{MAX_HEADER_BYTES} bytes; {_AGAIN}"
        )
    entries = _parse(file.read(length))
    if data_size > max_tensor_bytes:
        raise ValueError(
            f"its tensors need {data_size} bytes, more than the limit of {max_tensor_bytes}"
        )
    _check_extents(entries, data_size)
    start = _LENGTH_BYTES + length
    return {name: _values(file, start, name, entry) for name, entry in entries.items()}


def _parse(text: bytes) -> dict[str, _Entry]:
    try:
        header = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its safetensors header is damaged; {_AGAIN}") from error
    if not isinstance(header, dict):
        raise ValueError(f"its safetensors header is no object; {_AGAIN}")
    return {name: _entry(name, value) for name, value in header.items() if name != "__metadata__"}


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name twice")
    return values


def _entry(name: str, value: Any) -> _Entry:
    """Returns a checked header entry."""
    shown = f"tensor {name!r:.80}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown}: expected dtype, shape and data_offsets; {_AGAIN}")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ValueError(f"{shown}: dtype {kind!r:.20} is none of {', '.join(_DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"{shown}: shape and offsets must be whole numbers >= 0; {_AGAIN}")
    dtype = np.dtype(_DTYPES[kind])
    size = dtype.itemsize * math.prod(shape)
    if len(shape) > _MAX_AXES or len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise ValueError(f"{shown}: its offsets do not span the {size} bytes it needs; {_AGAIN}")
    if size == 0 and max(shape) > MAX_HEADER_BYTES:
        raise ValueError(f"{shown}: an empty tensor of absurd shape; {_AGAIN}")
    return _Entry(offsets[0], offsets[1], dtype, tuple(shape))


def _check_extents(entries: dict[str, _Entry], data_size: int) -> None:
    """Checks that the tensors tile the data: no gap, no overlap, nothing after them."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][:2]):
        if entry.begin != position:
            raise ValueError(
                f"tensor {name!r:.80}: starts at byte {entry.begin}, expected {position}; {_AGAIN}"
            )
        position = entry.end
    if position != data_size:
        raise ValueError(f"its tensors need {position} bytes, it has {data_size}; {_AGAIN}")


def _values(file: BinaryIO, start: int, name: str, entry: _Entry) -> np.ndarray:
    raw = np.empty(entry.end - entry.begin, np.uint8)
    file.seek(start + entry.begin)
    filled = 0
    while filled < raw.size:
        chunk = file.read(min(_CHUNK, raw.size - filled))
        if not chunk:
            raise ValueError(f"tensor {name!r:.80}: the file ends inside it; {_AGAIN}")
        raw[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    # Bytes other than 0 and 1 are no valid NumPy bool.
    flat = raw != 0 if entry.dtype.kind == "b" else raw.view(entry.dtype)
    return flat.reshape(entry.shape).astype(entry.dtype.newbyteorder("="), copy=False)
