"""Reads weight files, PyTorch's zip format and safetensors, without torch and without running code.

A file is untrusted: sizes are compared with what the tensors need and with a limit before anything
is allocated, the pickle inside is read as data (`torch_pickle.py`), and nothing is written. For
safetensors the package of that name does so; for PyTorch's format no package does.
"""

import hashlib
import math
import struct
import sys
import zipfile
import zlib
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ecc_jax.weights.torch_pickle import Tensor, read_pickle

# The largest network here has 200 MB; optimiser states beside the weights are never read.
MAX_TENSOR_BYTES = 2**30
MAX_PICKLE_BYTES = 2**24
MAX_RECORDS = 2**16
# Bounds the zip directory, which `zipfile` reads at once, and thereby the memory it takes.
_MAX_READ = 2**24
_CHUNK = 2**20
_DEFLATE_RATIO = 1032  # the most that one byte of deflate can hold
_ENCRYPTED = 0x1
# What `zipfile` raises on damaged bytes, beside its own error.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    EOFError,
    OSError,
    struct.error,
    zlib.error,
)

_RESAVE = (
    "re-save it once with a current PyTorch: "
    "torch.save(torch.load(source, weights_only=True), destination)"
)
_STATE_DICT = "save only the tensors: torch.save(model.state_dict(), destination)"
_AGAIN = "download or save it again"
# First bytes of files that are often taken for weights, what they are, and what to do.
_OTHER_FORMATS = (
    (b"\x80", "is a plain pickle, PyTorch's format before 1.6", _RESAVE),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (b"\x89HDF", "is an HDF5 file", "expected a .pth, .pt or .safetensors file"),
    (b"<", "is a web page, not the file behind it", "download the file itself"),
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the file behind it",
        "git lfs pull",
    ),
)
_TAR = (slice(257, 262), b"ustar")
# The element types of safetensors that weights come in; NumPy has none for most others.
_SAFETENSORS_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


class Checkpoint(NamedTuple):
    """The content of a weight file.

    Attributes:
      state_dict: PyTorch name, without the prefix "module." -> array in PyTorch layout.
      config: What the file stores as "config" beside the weights, as plain data; else None.
      sha256: Of the file, 64 hex digits.
    """

    state_dict: dict[str, np.ndarray]
    config: dict[Any, Any] | None
    sha256: str


def read_checkpoint(path: str | Path, *, max_tensor_bytes: int = MAX_TENSOR_BYTES) -> Checkpoint:
    """Reads a `.pth` or `.pt` file of PyTorch's zip format, or a `.safetensors` file.

    The weights are the dict under "state_dict", else under "model", else the outermost dict.
    Entries of it that are no tensors are left out.

    Args:
      path: The file; its content decides what it is, not its suffix.
      max_tensor_bytes: Larger weights are refused before anything is allocated.

    Raises:
      ValueError: No such file, another format, damaged, asks to run code, or too large, or a
        `.safetensors` file where the package safetensors is not installed. One line with the file,
        the record and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file; expected a .pth, .pt or .safetensors file")
    with _BoundedFile(path) as file:
        try:
            return _read(path, file, max_tensor_bytes)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class _BoundedFile(FileIO):
    """A file that never returns more than `_MAX_READ` bytes at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = _MAX_READ
        if size > _MAX_READ:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(size)


def _read(path: Path, file: _BoundedFile, max_tensor_bytes: int) -> Checkpoint:
    start = file.read(512)
    sha256 = _rewound_sha256(file)
    if start.startswith(b"PK"):
        records = _Records(file)
        tensors, config = _find_state_dict(records.pickle())
        arrays = _load(tensors, records, max_tensor_bytes)
    elif start[8:9] == b"{":
        arrays, config = _safetensors(path, max_tensor_bytes), None
    else:
        raise ValueError(_other_format(start))
    return Checkpoint(_cleaned(arrays), config, sha256)


def _safetensors(path: Path, max_bytes: int) -> dict[Any, np.ndarray]:
    """Returns the tensors of a safetensors file of at most `max_bytes`."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ValueError(
            "reading .safetensors needs the package safetensors: pip install 'ecc_jax[convert]'"
        ) from error
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"it has {size} bytes, more than the limit of {max_bytes}")
    arrays = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                kind = file.get_slice(name).get_dtype()
                if kind not in _SAFETENSORS_DTYPES:
                    raise ValueError(
                        f"tensor {name!r:.80}: dtype {kind} is none of "
                        f"{', '.join(_SAFETENSORS_DTYPES)}"
                    )
                arrays[name] = file.get_tensor(name)
    except SafetensorError as error:
        raise ValueError(
            f"it is no sound safetensors file ({str(error)[:200]!r}); {_AGAIN}"
        ) from error
    return arrays


def _rewound_sha256(file: _BoundedFile) -> str:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest


def _other_format(start: bytes) -> str:
    """Returns what a file is instead, and the remedy, from its first bytes."""
    if not start:
        return f"it is empty; {_AGAIN}"
    position, magic = _TAR
    if start[position] == magic:
        return f"it is a tar archive, PyTorch's format before 0.1.10; {_RESAVE}"
    for magic, meaning, remedy in _OTHER_FORMATS:
        if start.lstrip().startswith(magic):
            return f"it {meaning}; {remedy}"
    return "it is neither a PyTorch nor a safetensors file; expected .pth, .pt or .safetensors"


class _Records:
    """The members of a PyTorch zip file, by their names inside its one folder."""

    def __init__(self, file: _BoundedFile) -> None:
        self._file_size = file.seek(0, 2)
        try:
            self._zip = zipfile.ZipFile(file)  # type: ignore[arg-type]
        except _ZIP_ERRORS as error:
            raise ValueError(f"its zip archive is truncated or damaged; {_AGAIN}") from error
        self._members = self._checked_members()

    def pickle(self) -> Any:
        """Returns the content of data.pkl as plain data."""
        size = self._members["data.pkl"].file_size
        if size > MAX_PICKLE_BYTES:
            raise ValueError(
                f"record {self._root}/data.pkl declares {size} bytes, more than "
                f"{MAX_PICKLE_BYTES}; {_STATE_DICT}"
            )
        data = self.read("data.pkl", size).tobytes()
        try:
            return read_pickle(data)
        except ValueError as error:
            raise ValueError(f"record {self._root}/data.pkl: {error}; {_STATE_DICT}") from error

    def is_swapped(self) -> bool:
        """Whether the numbers have the other byte order; files before 2.1 do not say."""
        if "byteorder" not in self._members:
            return sys.byteorder == "big"
        size = self._members["byteorder"].file_size
        order = self.read("byteorder", size).tobytes() if size <= len("little") else b""
        if order not in (b"little", b"big"):
            raise ValueError(f"record {self._root}/byteorder is neither little nor big; {_AGAIN}")
        return order.decode() != sys.byteorder

    def read(self, name: str, size: int) -> np.ndarray:
        """Returns the `size` bytes of a member, checked before they are allocated."""
        record = f"record {self._root}/{name}"
        if name not in self._members:
            raise ValueError(f"{record} is missing; {_AGAIN}")
        info = self._members[name]
        self._check_size(record, info, size)
        data = np.empty(size, np.uint8)
        filled = 0
        try:
            with self._zip.open(info) as member:
                while chunk := member.read(_CHUNK):  # to the end, which compares the checksum
                    data[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
                    filled += len(chunk)
        except _ZIP_ERRORS as error:
            raise ValueError(f"{record} is damaged ({error}); {_AGAIN}") from error
        if filled != size:
            raise ValueError(f"{record} ends after {filled} of {size} bytes; {_AGAIN}")
        return data

    def _check_size(self, record: str, info: zipfile.ZipInfo, size: int) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"{record} is encrypted; {_AGAIN}")
        if info.file_size != size:
            raise ValueError(
                f"{record} has {info.file_size} bytes, the tensors need {size}; {_AGAIN}"
            )
        room = info.compress_size
        if info.compress_type == zipfile.ZIP_DEFLATED:
            room *= _DEFLATE_RATIO
        elif info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{record} is compressed by an unusual method; {_AGAIN}")
        if info.compress_size > self._file_size or size > room:
            raise ValueError(f"{record} declares {size} bytes, more than it can hold; {_AGAIN}")

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if len(infos) > MAX_RECORDS:
            raise ValueError(f"it has {len(infos)} records, more than {MAX_RECORDS}; {_STATE_DICT}")
        names = [info.orig_filename for info in infos]
        for name in names:
            parts = name.removesuffix("/").split("/")
            if not name.isprintable() or "\\" in name or {"", ".", ".."} & {*parts}:
                raise ValueError(f"it has a record named {name[:60]!r}, a path; {_AGAIN}")
        if len(set(names)) != len(names):
            raise ValueError(f"it has two records of the same name; {_AGAIN}")
        roots = [name.split("/")[0] for name in names if name.count("/") == 1]
        roots = sorted({root for root in roots if f"{root}/data.pkl" in names})
        if len(roots) != 1:
            raise ValueError(
                "it is a zip archive without the one <folder>/data.pkl that torch.save writes; "
                "expected a .pth, .pt or .safetensors file"
            )
        self._root = roots[0]
        if f"{self._root}/constants.pkl" in names:
            raise ValueError(f"it is a TorchScript program; {_STATE_DICT}")
        return {
            name.removeprefix(f"{self._root}/"): info
            for name, info in zip(names, infos, strict=True)
            if name.startswith(f"{self._root}/")
        }


def _find_state_dict(content: Any) -> tuple[dict[Any, Tensor], dict[Any, Any] | None]:
    """Returns the tensors by name, and the "config" beside them."""
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict of tensors")
    inner = next(
        (content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)),
        content,
    )
    tensors = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(repr(key)[:40] for key in list(content)[:8])
        raise ValueError(f"it has no tensors at its top, in 'state_dict' or in 'model': {keys}")
    config = content.get("config") if inner is not content else None
    return tensors, config if isinstance(config, dict) else None


def _load(
    tensors: dict[Any, Tensor], records: _Records, max_tensor_bytes: int
) -> dict[Any, np.ndarray]:
    """Reads every storage once and cuts the tensors from them."""
    sizes: dict[str, int] = {}
    total = 0
    for storage, _, shape, _ in tensors.values():
        item = _dtype(storage.dtype).itemsize
        total += item * math.prod(max(length, 1) for length in shape)
        size = sizes.setdefault(storage.key, item * storage.size)
        if size != item * storage.size:
            raise ValueError(f"record data/{storage.key} is declared with two sizes; {_AGAIN}")
    total = max(total, sum(sizes.values()))
    if total > max_tensor_bytes:
        raise ValueError(
            f"its tensors need {total} bytes, more than the limit of {max_tensor_bytes}; "
            f"{_STATE_DICT}"
        )
    is_swapped = records.is_swapped()
    raw = {key: records.read(f"data/{key}", size) for key, size in sizes.items()}
    return {
        name: _array(tensor, raw[tensor.storage.key], is_swapped)
        for name, tensor in tensors.items()
    }


def _array(tensor: Tensor, raw: np.ndarray, is_swapped: bool) -> np.ndarray:
    """Returns a tensor's values in row-major order; shares memory with `raw` where it can."""
    dtype = _dtype(tensor.storage.dtype)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    if is_swapped:
        raw = raw.view(f"u{dtype.itemsize}").byteswap().view(np.uint8)
    # Bytes other than 0 and 1 are no valid NumPy bool.
    flat = raw != 0 if dtype.kind == "b" else raw.view(dtype)
    # The step of an axis of length 1 is arbitrary, and may not fit into NumPy's.
    steps = zip(tensor.shape, tensor.strides, strict=True)
    strides = tuple(0 if length == 1 else step * dtype.itemsize for length, step in steps)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides)
    return np.asarray(view, order="C")


def _dtype(name: str) -> np.dtype:
    return np.dtype(jnp.bfloat16 if name == "bfloat16" else name)


def _cleaned(arrays: dict[Any, np.ndarray]) -> dict[str, np.ndarray]:
    """Checks the names, and removes the prefix of data-parallel training from them."""
    cleaned = {}
    for key, value in arrays.items():
        if not isinstance(key, str) or not key.isprintable() or len(key) > 200:
            raise ValueError(f"a tensor is named {key!r:.60}, which is no name of a parameter")
        cleaned[key.removeprefix("module.")] = value
    if len(cleaned) != len(arrays):
        raise ValueError("it has the same tensor with and without the prefix 'module.'")
    return cleaned
