"""Writes weight files as torch and safetensors do, opcode by opcode, without either."""

import json
import struct
import zipfile
from typing import NamedTuple

import ml_dtypes
import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
SAFE_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"} | {
    f"{kind}{bits}": f"{kind[0].upper()}{bits}"
    for kind, bits in (("int", 64), ("int", 32), ("int", 16), ("int", 8), ("uint", 8))
}
SAFE_DTYPES["bool"] = "BOOL"
DTYPES = tuple(STORAGES)


class View(NamedTuple):
    """A tensor cut from a flat storage; strides and offset in elements."""

    storage: np.ndarray
    offset: int
    shape: tuple
    strides: tuple
    key: str = ""  # the storage's record; empty = a new one
    size: int = -1  # declared elements of the storage; -1 = as many as it has


class Raw(NamedTuple):
    """Opcodes to insert as they are."""

    opcodes: bytes


class Parameter(NamedTuple):
    """A tensor wrapped as torch.nn.Parameter."""

    array: np.ndarray


def dtype(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def random_values(name, size, seed):
    """Returns small whole numbers, exact in every dtype."""
    raw = np.random.default_rng(seed).integers(0, 100, size)
    return raw % 2 == 0 if name == "bool" else raw.astype(dtype(name))


def name_of(module, name):
    return Raw(f"c{module}\n{name}\n".encode())


def call(module, name, *arguments):
    """Opcodes that call module.name with the arguments, as pickles do."""
    return Raw(emit(name_of(module, name), {}) + emit(arguments, {}) + b"R")


def emit(value, storages):
    """Returns the opcodes of a value; its storages are added to `storages`."""
    if isinstance(value, Raw):
        return value.opcodes
    if isinstance(value, Parameter):
        array = Raw(emit(value.array, storages))
        hooks = call("collections", "OrderedDict")
        return call("torch._utils", "_rebuild_parameter", array, True, hooks).opcodes
    if isinstance(value, (np.ndarray, View)):
        return _tensor(value, storages)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        size = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, dict):
        items = b"".join(emit(x, storages) for pair in value.items() for x in pair)
        return b"}(" + items + b"u"
    items = b"".join(emit(x, storages) for x in value)
    return {tuple: b"(" + items + b"t", list: b"](" + items + b"e"}[type(value)]


def _tensor(value, storages):
    if isinstance(value, np.ndarray):
        value = np.asarray(value, order="C")
        strides = tuple(step // value.itemsize for step in value.strides)
        value = View(value.reshape(-1), 0, value.shape, strides)
    key = value.key or str(len(storages))
    storages[key] = value.storage.tobytes()
    size = value.storage.size if value.size < 0 else value.size
    kind = name_of("torch", STORAGES[value.storage.dtype.name])
    identifier = emit(("storage", kind, key, "cpu", size), {}) + b"Q"
    hooks = call("collections", "OrderedDict")
    arguments = (Raw(identifier), value.offset, value.shape, value.strides, False, hooks)
    return emit(call("torch._utils", "_rebuild_tensor_v2", *arguments), {})


def write(path, value, *, records=None, root="archive", compression=zipfile.ZIP_STORED):
    """Writes what `torch.save(value, path)` would; `records` adds or replaces members."""
    storages = {}
    pickled = b"\x80\x02" + emit(value, storages) + b"."
    members = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": data for key, data in storages.items()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in (members | (records or {})).items():
            if data is not None:
                file.writestr(f"{root}/{name}", data)
    return path


def write_safetensors(path, arrays, *, change=lambda header: header, tail=b""):
    """Writes a safetensors file; `change` gets the header before it is written."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        raw = array.tobytes()
        header[name] = {
            "dtype": SAFE_DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(change(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data + tail)
    return path
