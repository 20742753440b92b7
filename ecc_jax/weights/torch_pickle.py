"""Reads the pickle inside a PyTorch file as plain data, without running any of it.

Python's unpickler imports what a file names and calls it, so a weight file can do anything. This
one is an interpreter of the few opcodes that `torch.save` writes for tensors, containers, numbers
and strings. Names are compared with a list and never imported; nothing is called; every other
opcode and name is refused.
"""

import pickletools
from typing import Any, NamedTuple

MAX_OPCODES = 500_000
_MAX_INTEGER = 2**63
_MAX_AXES = 32

# Storage classes by name, with the NumPy name of their elements.
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_DTYPES = (
    *("float64", "double", "float32", "float", "float16", "half", "bfloat16"),
    *("int64", "long", "int32", "int", "int16", "short", "int8", "uint8", "bool"),
)
_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = ("torch._utils", "_rebuild_parameter")
_ORDERED_DICT = ("collections", "OrderedDict")
_SETS = {(module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}
_ADMITTED = {
    _TENSOR,
    _PARAMETER,
    _ORDERED_DICT,
    *_SETS,
    *(("torch", name) for name in (*_STORAGES, *_DTYPES)),
}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
_STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_PUTS = ("BINPUT", "LONG_BINPUT")
_GETS = ("BINGET", "LONG_BINGET")
_FILLED = {"SETITEM": dict, "SETITEMS": dict, "APPEND": list, "APPENDS": list, "ADDITEMS": set}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Storage(NamedTuple):
    """A flat block of elements that tensors are cut from.

    Attributes:
      key: Digits; the block is the record `data/<key>`.
      dtype: NumPy name of the elements, or "bfloat16".
      size: Number of elements.
    """

    key: str
    dtype: str
    size: int


class Tensor(NamedTuple):
    """Where the values of a tensor lie; inside its storage, which has been checked.

    Attributes:
      storage: The block.
      offset: Of the first element, in elements.
      shape: Of the tensor.
      strides: Per axis, in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(NamedTuple):
    """A name that the pickle refers to; never imported."""

    module: str
    name: str


def read_pickle(data: bytes) -> Any:
    """Returns the content of one pickle, with `Tensor` and `Name` where it has tensors and names.

    Admitted are dict, OrderedDict (as dict), list, tuple, set, str, int of 64 bits, float, bool,
    None, tensors, parameters (as tensors), and the names of torch's dtypes and storage classes.

    Args:
      data: The bytes of `data.pkl`. Its size bounds time and memory, together with MAX_OPCODES.

    Raises:
      ValueError: Anything else, or damaged bytes; says what, but not in which file.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count == MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES} opcodes")
            if opcode.name == "STOP":
                if position != len(data) - 1:
                    raise ValueError("it goes on after its end")
                return machine.result()
            machine.run(opcode.name, argument)
    except (IndexError, KeyError) as error:
        raise ValueError("it is damaged: its stack or memo runs empty") from error
    raise ValueError("it is truncated: it does not end with STOP")


class _Machine:
    """Stack and memo of the interpreter."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # stacks below each open mark
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if self._outer or len(self._stack) != 1:
            raise ValueError("it is damaged: it does not end with one value")
        return self._stack[0]

    def run(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self._stack.append(_EMPTY[opcode]())
        elif opcode in _NUMBERS:
            self._stack.append(_number(argument))
        elif opcode in _STRINGS:
            self._stack.append(argument)
        elif opcode in _PUTS:
            self._memo[argument] = self._stack[-1]
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif opcode in _GETS:
            self._stack.append(self._memo[argument])
        elif opcode == "GLOBAL":
            self._stack.append(_admitted(*argument.split(" ", 1)))
        elif opcode not in ("PROTO", "FRAME"):
            self._combine(opcode)

    def _combine(self, opcode: str) -> None:
        """Runs an opcode that takes values from the stack."""
        if opcode == "MARK":
            self._outer.append(self._stack)
            self._stack = []
        elif opcode in _SHORT_TUPLES:
            size = _SHORT_TUPLES[opcode]
            if len(self._stack) < size:
                raise IndexError
            self._stack[-size:] = [tuple(self._stack[-size:])]
        elif opcode == "TUPLE":
            items = self._since_mark()
            self._stack.append(tuple(items))
        elif opcode == "APPEND":
            self._fill(opcode, [self._stack.pop()])
        elif opcode == "SETITEM":
            value, key = self._stack.pop(), self._stack.pop()
            self._fill(opcode, [key, value])
        elif opcode in _FILLED:
            self._fill(opcode, self._since_mark())
        elif opcode == "FROZENSET":
            self._stack.append(_set_of(self._since_mark()))
        elif opcode == "STACK_GLOBAL":
            name, module = self._stack.pop(), self._stack.pop()
            self._stack.append(_admitted(module, name))
        elif opcode == "BINPERSID":
            self._stack.append(_storage(self._stack.pop()))
        elif opcode == "REDUCE":
            arguments, called = self._stack.pop(), self._stack.pop()
            self._stack.append(_rebuild(called, arguments))
        elif opcode == "BUILD":
            self._stack.pop()  # `_metadata`, layer versions that state dicts carry
            if not isinstance(self._stack[-1], dict):
                raise ValueError("it sets attributes of an object (opcode BUILD)")
        else:
            raise ValueError(f"it uses opcode {opcode}, which tensors and plain data do not need")

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _fill(self, opcode: str, items: list[Any]) -> None:
        """Adds items to the container on top of the stack."""
        target, kind = self._stack[-1], _FILLED[opcode]
        if type(target) is not kind:
            raise ValueError(f"it is damaged: {opcode} on a value that is no {kind.__name__}")
        if isinstance(target, dict):
            if len(items) % 2:
                raise IndexError
            keys = [_key(key) for key in items[::2]]
            target.update(zip(keys, items[1::2], strict=True))
        elif isinstance(target, list):
            target.extend(items)
        else:
            target.update(_set_of(items))


def _number(value: int | float) -> int | float:
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise ValueError("a number of more than 64 bits")
    return value


def _key(value: Any) -> Any:
    # Others either cannot be hashed or, nested deeply, exhaust the stack while they are.
    if not isinstance(value, (str, int, float, type(None))):
        raise ValueError(f"a {type(value).__name__} as a key; expected strings or numbers")
    return value


def _set_of(items: list[Any]) -> set[Any]:
    return {_key(item) for item in items}


def _admitted(module: Any, name: Any) -> Name:
    is_text = isinstance(module, str) and isinstance(name, str)
    if not is_text or (module, name) not in _ADMITTED:
        raise ValueError(f"it names {_shown(module)}.{_shown(name)}, which is no tensor or number")
    return Name(module, name)


def _shown(text: Any) -> str:
    """Returns a name for an error message: one short line, whatever the file says."""
    return repr(text)[1:-1][:60] if isinstance(text, str) else type(text).__name__


def _storage(identifier: Any) -> Storage:
    """Returns the storage of ("storage", class, key, device, number of elements)."""
    if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
        raise ValueError("it refers to something outside that is no tensor storage")
    _, kind, key, _, size = identifier
    if not isinstance(kind, Name) or kind.name not in _STORAGES:
        raise ValueError("a tensor storage of unknown class")
    if not isinstance(key, str) or not (key.isascii() and key.isdigit() and len(key) <= 32):
        raise ValueError("a tensor storage whose key is not a number")
    if not _is_count(size):
        raise ValueError(f"record data/{key}: its number of elements is no whole number >= 0")
    return Storage(key, _STORAGES[kind.name], size)


def _rebuild(called: Any, arguments: Any) -> Any:
    """Returns what calling a name of the list would give."""
    if not isinstance(called, Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls something that is no tensor or container")
    if called == _ORDERED_DICT and arguments == ():
        return {}
    if called in _SETS and len(arguments) == 1 and isinstance(arguments[0], list):
        return _set_of(arguments[0])
    if called == _PARAMETER and arguments and isinstance(arguments[0], Tensor):
        return arguments[0]
    if called == _TENSOR and len(arguments) in (6, 7):
        return _tensor(*arguments[:4])
    raise ValueError(f"it calls {called.module}.{called.name} with unknown arguments")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    """Returns a tensor whose every element is inside its storage."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    record = f"record data/{storage.key}"
    for axes in (shape, strides):
        if not isinstance(axes, tuple) or not all(map(_is_count, axes)):
            raise ValueError(f"{record}: sizes and strides must be whole numbers >= 0")
    if not _is_count(offset) or len(shape) != len(strides) or len(shape) > _MAX_AXES:
        raise ValueError(f"{record}: offset, sizes and strides of a tensor do not fit together")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise ValueError(
            f"{record}: a tensor reaches element {last}, the storage has {storage.size}"
        )
    return Tensor(storage, offset, shape, strides)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
