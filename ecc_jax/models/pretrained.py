"""Moves weights between the PyTorch originals and this package.

There is no table of names. Submodules are named after the originals (see `layers.py`), so the
PyTorch name follows from the path: positions such as `_0` become `.0`, kernels become `weight`,
and kernels [kh kw in out] are stored as [out in kh kw].
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from ecc_jax.models.build import build, variable_shapes

# Where the parts of a network live in the original; the trunk and the head share one module.
_PREFIXES = {"trunk": "feature_extractor.", "head": "feature_extractor.", "fusion": ""}
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "multiplier": "scale",
    "mean": "running_mean",
    "var": "running_var",
}
# PyTorch counts training batches per normalisation layer; nothing reads the count.
_COUNTER = "num_batches_tracked"


class _Slot(NamedTuple):
    """Where one PyTorch tensor goes, and the shape it must have there (PyTorch layout)."""

    path: tuple[str, ...]
    shape: tuple[int, ...]


def import_state_dict(name: str, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a PyTorch state dict to the variables of the network `name`.

    Args:
      name: One of `build.NAMES`.
      state_dict: PyTorch name -> array (anything `np.asarray` reads). `num_batches_tracked` of a
        known layer is ignored.

    Returns:
      {"params": …, "batch_stats": …} of NumPy float32 arrays, with every entry filled.

    Raises:
      ValueError: An unknown or missing key, or a shape that does not fit; all of them are named.

    Source: key patterns of the published RITM checkpoints (isegm/utils/serialization.py).
    """
    slots = _slots(name)
    counters = _counters(slots)
    unknown = [key for key in state_dict if key not in slots and key not in counters]
    missing = [key for key in slots if key not in state_dict]
    if unknown or missing:
        raise ValueError(
            f"the state dict does not fit {name}: unknown keys {unknown}, missing keys {missing}; "
            "check the model name (width, OCR width) and pass the inner 'state_dict'"
        )
    flat = {}
    for key, slot in slots.items():
        value = np.asarray(state_dict[key], np.float32)
        if value.shape != slot.shape:
            raise ValueError(
                f"{key}: expected shape {slot.shape}, got {value.shape}; check the model name"
            )
        flat[slot.path] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
    return traverse_util.unflatten_dict(flat)


def export_state_dict(name: str, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Converts variables of the network `name` to a PyTorch state dict.

    The inverse of `import_state_dict`, bit for bit; the counters `num_batches_tracked` are 0.

    Args:
      name: One of `build.NAMES`.
      variables: {"params": …, "batch_stats": …}.

    Returns:
      PyTorch name -> float32 array in PyTorch layout (int64 for the counters).

    Raises:
      ValueError: The variables are not those of the network, or a shape does not fit.
    """
    slots = _slots(name)
    flat = traverse_util.flatten_dict(variables)
    difference = set(flat) ^ {slot.path for slot in slots.values()}
    if difference:
        paths = sorted("/".join(path) for path in difference)
        raise ValueError(f"the variables are not those of {name}: missing or unknown {paths}")
    state_dict = {}
    for key, slot in slots.items():
        value = np.asarray(flat[slot.path], np.float32)
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        if value.shape != slot.shape:
            raise ValueError(
                f"{key}: expected shape {slot.shape}, got {value.shape}; check the model name"
            )
        state_dict[key] = np.ascontiguousarray(value)
    return state_dict | {key: np.zeros((), np.int64) for key in _counters(slots)}


@functools.cache
def _slots(name: str) -> dict[str, _Slot]:
    """Returns PyTorch name -> slot for every variable of the network."""
    flat = traverse_util.flatten_dict(variable_shapes(build(name)))
    slots = {}
    for path, leaf in flat.items():
        shape = tuple(leaf.shape)
        if len(shape) == 4:
            shape = (shape[3], shape[2], shape[0], shape[1])
        slots[_torch_name(path)] = _Slot(path, shape)
    return slots


def _torch_name(path: tuple[str, ...]) -> str:
    _, part, *modules, leaf = path
    dotted = (re.sub(r"_(?=\d)", ".", module) for module in modules)
    return _PREFIXES[part] + ".".join((*dotted, _LEAVES[leaf]))


def _counters(slots: Mapping[str, _Slot]) -> set[str]:
    suffix = "running_mean"
    return {key.removesuffix(suffix) + _COUNTER for key in slots if key.endswith(suffix)}


slots = _slots
