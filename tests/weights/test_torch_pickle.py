"""Pickles are read as data: hostile and broken ones are refused, and nothing is run."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.weights import torch_pickle
from ecc_jax.weights.torch_file import read_checkpoint
from tests.torch_files import Raw, call, emit, name_of, write

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data_of_every_binary_protocol(protocol):
    shared = ["x"]
    value = {"a": [1, -(2**40), 2.5, None, True], "b": ("é", (), shared, shared), 3: {"k"}, "f": {}}
    data = pickle.dumps(value, protocol=protocol)
    assert torch_pickle.read_pickle(data) == value


def _hostile(sentinel):
    command = f"touch {sentinel}"
    stacked = emit("posix", {}) + emit("system", {}) + b"\x93"
    return {
        "posix.system": call("posix", "system", command),
        "posix.system again": Raw(stacked + emit((command,), {}) + b"R"),
        "builtins.eval": call("builtins", "eval", f"open({str(sentinel)!r}, 'w')"),
        "subprocess.Popen": call("subprocess", "Popen", ["touch", str(sentinel)]),
        "torch.load": name_of("torch", "load"),
        "isegm.model.Net": name_of("isegm.model", "Net"),
        "numpy._core.multiarray.scalar": name_of("numpy._core.multiarray", "scalar"),
        "collections.OrderedDict.fromkeys": name_of("collections", "OrderedDict.fromkeys"),
    }


def test_the_hostile_pickles_are_effective(tmp_path):
    for case in ("posix.system", "posix.system again", "builtins.eval", "subprocess.Popen"):
        sentinel = tmp_path / case.replace(" ", "_")
        result = pickle.loads(b"\x80\x04" + _hostile(sentinel)[case].opcodes + b".")
        if case == "subprocess.Popen":
            result.wait()
        assert sentinel.exists(), case


@pytest.mark.parametrize("case", _hostile("x"))
def test_code_is_refused_and_not_run(tmp_path, case):
    sentinel = tmp_path / "sentinel"
    value = {"state_dict": {"w": ARRAY}, "config": _hostile(sentinel)[case]}
    path = write(tmp_path / "a.pth", value)
    with pytest.raises(ValueError) as error:
        read_checkpoint(path)
    name = case.removesuffix(" again")
    assert str(error.value).startswith(f"{path}: record archive/data.pkl: it names {name}, which")
    assert "state_dict()" in str(error.value) and "\n" not in str(error.value)
    assert not sentinel.exists()


def _pickled(*opcodes):
    return b"\x80\x02" + b"".join(opcodes) + b"."


_NAME = name_of("collections", "OrderedDict").opcodes
_SET = emit(name_of("builtins", "set"), {})
_DEEP = b")" + b"\x85" * 50_000
BROKEN_PICKLES = {
    "opcode NEWOBJ": _pickled(_NAME, b")\x81"),
    "opcode INST": _pickled(b"(iposix\nsystem\n"),
    "opcode BYTEARRAY8": _pickled(b"\x96", bytes(8)),
    "opcode EXT1": _pickled(b"\x82\x01"),
    "opcode INT": _pickled(b"I5\n"),
    "sets attributes": _pickled(_NAME, b"}b"),
    "calls something": _pickled(b"K\x05)R"),
    "OrderedDict with unknown": _pickled(_NAME, emit(([],), {}), b"R"),
    "FloatStorage with unknown": _pickled(name_of("torch", "FloatStorage").opcodes, b")R"),
    "set with unknown": _pickled(_SET, emit((3,), {}), b"R"),
    "no tensor storage": _pickled(emit(("module", "x"), {}), b"Q"),
    "unknown class": _pickled(
        emit(("storage", name_of("torch", "float32"), "0", "cpu", 1), {}), b"Q"
    ),
    "key is not a number": _pickled(
        emit(("storage", name_of("torch", "FloatStorage"), "../0", "cpu", 1), {}), b"Q"
    ),
    "number of elements": _pickled(
        emit(("storage", name_of("torch", "FloatStorage"), "0", "cpu", -1), {}), b"Q"
    ),
    "without a storage": _pickled(
        emit(call("torch._utils", "_rebuild_tensor_v2", 1, 0, (), (), False, {}), {})
    ),
    "more than 64 bits": _pickled(emit(2**63, {})),
    "tuple as a key": _pickled(b"}", _DEEP, b"Ns"),
    "tuple as a key ": _pickled(_SET, b"](", _DEEP, b"e\x85R"),
    "names tuple.": _pickled(_DEEP, _DEEP, b"\x93"),
    "no dict": _pickled(b"](NNu"),
    "runs empty": _pickled(b"0"[:0], b"h\x07"),
    "runs empty ": _pickled(b"u"),
    "runs empty  ": _pickled(b"}(Nu"),
    "runs empty   ": _pickled(b"\x87"),
    "one value": _pickled(b"NN"),
    "one value ": _pickled(b"N("),
    "goes on": _pickled(b"N") + b"N.",
    "STOP": b"\x80\x02N",
    "opcodes": _pickled(b"]" * (torch_pickle.MAX_OPCODES + 1)),
}


@pytest.mark.parametrize("message", BROKEN_PICKLES)
def test_broken_pickle_is_refused(tmp_path, message):
    path = write(tmp_path / "a.pth", None, records={"data.pkl": BROKEN_PICKLES[message]})
    with pytest.raises(ValueError, match=rf"a\.pth: record archive/data.pkl: .*{message.rstrip()}"):
        read_checkpoint(path)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1))
def test_flipped_opcodes_raise_nothing_but_value_errors(flips):
    data = bytearray(b"\x80\x02" + emit({"w": ARRAY, "s": call("builtins", "set", [1])}, {}) + b".")
    for position, bits in flips:
        data[int(position * len(data))] ^= bits
    try:
        torch_pickle.read_pickle(bytes(data))
    except ValueError:
        pass
