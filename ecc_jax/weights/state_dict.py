"""Moves weights between the PyTorch originals and this package.

There is no table of names, only one of prefixes (`originals.py`). Submodules are named after the
originals (see `layers.py`), so the PyTorch name follows from the path: positions such as `_0`
become `.0`, kernels become `weight`, and kernels [kh kw in out] are stored as [out in kh kw].
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from ecc_jax.models.build import build, variable_shapes
from ecc_jax.weights.originals import original

# The one kind of name whose numbers are no positions in a list: nodes of U-Net++'s decoder.
_NODE = re.compile(r"x_\d_\d")
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


class Slot(NamedTuple):
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

    Source: key patterns of the published RITM and FocalClick checkpoints
    (isegm/utils/serialization.py) and of segmentation_models_pytorch 0.6.0. The thesis code puts
    "feature_extractor.model." before the names of U-Net++ and keeps unused "maps_transform" beside.
    """
    table = slots(name)
    counters = _counters(table)
    unknown = [key for key in state_dict if key not in table and key not in counters]
    missing = [key for key in table if key not in state_dict]
    if unknown or missing:
        raise ValueError(
            f"the state dict does not fit {name}: unknown keys {unknown}, missing keys {missing}; "
            "check the model name (width, OCR width) and pass the inner 'state_dict'"
        )
    flat = {}
    for key, slot in table.items():
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
    table = slots(name)
    flat = traverse_util.flatten_dict(variables)
    difference = set(flat) ^ {slot.path for slot in table.values()}
    if difference:
        paths = sorted("/".join(path) for path in difference)
        raise ValueError(f"the variables are not those of {name}: missing or unknown {paths}")
    state_dict = {}
    for key, slot in table.items():
        value = np.asarray(flat[slot.path], np.float32)
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        if value.shape != slot.shape:
            raise ValueError(
                f"{key}: expected shape {slot.shape}, got {value.shape}; check the model name"
            )
        state_dict[key] = np.ascontiguousarray(value)
    return state_dict | {key: np.zeros((), np.int64) for key in _counters(table)}


@functools.cache
def slots(name: str) -> dict[str, Slot]:
    """Returns PyTorch name -> slot for every variable of the network.

    Args:
      name: One of `build.NAMES`.

    Raises:
      ValueError: Unknown name, or a network that has no PyTorch original.
    """
    model, prefixes = build(name), original(name).prefixes
    flat = traverse_util.flatten_dict(variable_shapes(model))
    table = {}
    for path, leaf in flat.items():
        shape = tuple(leaf.shape)
        if len(shape) == 4:
            shape = (shape[3], shape[2], shape[0], shape[1])
        table[_torch_name(path, prefixes)] = Slot(path, shape)
    return table


def _torch_name(path: tuple[str, ...], prefixes: Mapping[str, str]) -> str:
    _, part, *modules, leaf = path
    dotted = (
        module if _NODE.fullmatch(module) else re.sub(r"_(?=\d)", ".", module) for module in modules
    )
    return prefixes[part] + ".".join((*dotted, _LEAVES[leaf]))


def _counters(table: Mapping[str, Slot]) -> set[str]:
    suffix = "running_mean"
    return {key.removesuffix(suffix) + _COUNTER for key in table if key.endswith(suffix)}
