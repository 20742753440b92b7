"""Public weights: which network they fit, how their names translate, and what they lack.

Three kinds of sources are known. A checkpoint of RITM, FocalClick or the thesis holds a whole
network; HRNet weights of ImageNet or of a segmentation benchmark hold a trunk; torchvision's
ResNet holds the encoder of U-Net++. What a source lacks keeps its fresh values.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ecc_jax.models.build import NAMES
from ecc_jax.weights.originals import ORIGINALS, original
from ecc_jax.weights.state_dict import export_state_dict, import_state_dict, slots

NETWORK = "whole network"
HRNET = "HRNet trunk"
RESNET = "ResNet encoder"

_COUNTER = "num_batches_tracked"
_FEATURES = "feature_extractor."
_THESIS_UNETPP = "feature_extractor.model."
_ENCODER = "encoder."
_FIRST_CONV = "encoder.conv1.weight"
_COLOURS = 3
# The thesis's U-Net++ inherits layers for the clicks that it never calls.
_UNUSED = "maps_transform."

_Shapes = Mapping[str, tuple[int, ...]]


class Report(NamedTuple):
    """What became of a source's tensors; the lists hold PyTorch names, sorted.

    Attributes:
      kind: NETWORK, HRNET or RESNET.
      placed: Tensors of the network that the source gave.
      ignored: Tensors of the source, under its own names, that have no place in the network.
      missing: Tensors of the network that the source lacks; they keep their fresh values.
      counters: Batch counters of the source (`num_batches_tracked`), which nothing reads.
    """

    kind: str
    placed: list[str]
    ignored: list[str]
    missing: list[str]
    counters: list[str]


def translate_names(keys: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Returns the kind of a source and, for each of its names, the name in the networks here.

    Names without a place get one that no network has. Batch counters are left out.

    Args:
      keys: The names in the source, without the prefix "module.".

    Raises:
      ValueError: The names are of none of the known sources.

    Source: isegm/model/modeling/hrnet_ocr.py:552-574 ("last_layer" becomes "aux_head", "model."
    goes); segmentation_models_pytorch names its encoders as torchvision does.
    """
    names = [key for key in keys if not key.endswith(_COUNTER)]
    if _any_starts(names, _FEATURES, "maps_transform."):
        return NETWORK, {key: key.replace(_THESIS_UNETPP, "", 1) for key in names}
    if _any_starts(names, "stage4.", "model.stage4."):
        plain = {key: key.removeprefix("model.") for key in names}
        return HRNET, {k: _FEATURES + v.replace("last_layer", "aux_head") for k, v in plain.items()}
    if _any_starts(names, "encoder.layer4."):
        return NETWORK if _any_starts(names, "decoder.") else RESNET, {key: key for key in names}
    if _any_starts(names, "layer4."):
        return RESNET, {key: key if key.startswith("fc.") else _ENCODER + key for key in names}
    raise ValueError(
        "the weights are of no known source (RITM, FocalClick, U-Net++, HRNet, ResNet): their "
        f"names begin with {', '.join(sorted(names)[:3])}"
    )


def widen_first_convolution(weight: np.ndarray, channels: int) -> np.ndarray:
    """Returns a convolution of `channels` inputs that repeats one of three.

    Input i gets the weights of input i mod 3, all scaled by 3 / channels, so that equal inputs
    give the same output as before.

    Args:
      weight: [out 3 kh kw].
      channels: Inputs of the network.

    Source: segmentation_models_pytorch, `patch_first_conv`.
    """
    repeated = weight[:, np.arange(channels) % weight.shape[1]]
    return repeated * np.float32(weight.shape[1] / channels)


def choose_model(state_dict: Mapping[str, np.ndarray], config: dict[Any, Any] | None = None) -> str:
    """Returns the name of the one network that the weights fit.

    Names and shapes decide, because RITM and FocalClick name the same class and widths in the
    configuration that they store; it only tells what a file is that fits nothing.

    Args:
      state_dict: PyTorch name -> array.
      config: The configuration stored beside it, or None.

    Raises:
      ValueError: No network fits, or several do; says which to choose among.
    """
    kind, names = translate_names(state_dict)
    given = {new: np.shape(state_dict[key]) for key, new in names.items()}
    tried = [name for name in NAMES if not _is_ruled_out(name, kind, given)]
    fitting = [name for name in tried if _fits(kind, given, _shapes(name))]
    if len(fitting) > 1:
        raise ValueError(
            f"the weights ({kind}) fit {' and '.join(fitting)}; choose one with --model"
        )
    if not fitting:
        stored = _get(config, "class")
        raise ValueError(
            f"the weights ({kind}{f', class {_shown(stored)}' if stored else ''}) fit none of "
            f"{', '.join(NAMES)}; --model=NAME says why"
        )
    return fitting[0]


def check_options(name: str, config: dict[Any, Any] | None) -> None:
    """Refuses weights trained with options under which the network computes something else.

    Args:
      name: One of `NAMES`.
      config: The configuration stored with the weights, {"params": {option: {"value": …}}}, or
        None. Options that it does not have are not checked.

    Raises:
      ValueError: Names the option.
    """
    for option, expected in original(name).options.items():
        value = _get(_get(_get(config, "params"), option), "value")
        if value is not None and value != expected:
            raise ValueError(
                f"the weights were trained with {option}={_shown(value)}, {name} has "
                f"{option}={expected!r}: the same weights would give other results"
            )


def merge_state_dict(
    name: str, state_dict: Mapping[str, np.ndarray], fresh: Mapping[str, Any]
) -> tuple[dict[str, Any], Report]:
    """Places a source's tensors in the variables of the network `name`.

    Args:
      name: One of `NAMES`.
      state_dict: PyTorch name -> array in PyTorch layout, of any floating dtype.
      fresh: {"params": …, "batch_stats": …} of the network; keeps what the source lacks.

    Returns:
      The variables as NumPy float32 arrays, and what became of every tensor.

    Raises:
      ValueError: The source does not fill the network's trunk or encoder exactly, a shape
        differs, or values are no finite numbers. Heads of trunk sources may differ: they are
        ignored.
    """
    shapes = _shapes(name)
    kind, names = translate_names(state_dict)
    source = {new: key for key, new in names.items()}
    if len(source) != len(names):
        twice = next(key for key, new in names.items() if source[new] != key)
        raise ValueError(f"the weights have two tensors for {names[twice]}, one named {twice}")
    values = {new: state_dict[key] for new, key in source.items()}
    given = _as_widened({key: value.shape for key, value in values.items()}, shapes)
    _check_backbone(name, kind, given, shapes)
    if _FIRST_CONV in values:
        weight = _checked(source[_FIRST_CONV], values[_FIRST_CONV])
        values[_FIRST_CONV] = widen_first_convolution(weight, given[_FIRST_CONV][1])
    placed = {
        key: _checked(source[key], value)
        for key, value in values.items()
        if key in shapes and value.shape == shapes[key]
    }
    merged = import_state_dict(name, export_state_dict(name, fresh) | placed)
    ignored = sorted(source[key] for key in values.keys() - placed.keys())
    missing = sorted(shapes.keys() - placed.keys())
    counters = sorted(key for key in state_dict if key.endswith(_COUNTER))
    return merged, Report(kind, sorted(placed), ignored, missing, counters)


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: slot.shape for key, slot in slots(name).items()}


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _shown(value: Any) -> str:
    # Only short values: a few bytes of pickle can nest lists that print for ever.
    is_short = isinstance(value, (str, int, float))
    return f"{value!r:.80}" if is_short else type(value).__name__


def _any_starts(names: list[str], *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _is_ruled_out(name: str, kind: str, given: _Shapes) -> bool:
    """Whether names alone exclude a network, for speed: tracing its shapes takes a second."""
    family = name.partition("_")[0]
    if family not in ORIGINALS:
        return True
    if kind != NETWORK:
        return not any(map(ORIGINALS[family].backbone.match, given))
    needed = ORIGINALS[family].prefixes.values()
    return not all(any(key.startswith(prefix) for key in given) for prefix in needed)


def _fits(kind: str, given: _Shapes, shapes: _Shapes) -> bool:
    """Whether a source gives exactly what a network, or its backbone, consists of."""
    needed = shapes if kind == NETWORK else _backbone(shapes)
    got = given if kind == NETWORK else _backbone(given)
    if not any(key.startswith(_UNUSED) for key in shapes):
        got = {key: shape for key, shape in got.items() if not key.startswith(_UNUSED)}
    return bool(needed) and needed == _as_widened(got, shapes)


def _backbone(shapes: _Shapes) -> _Shapes:
    patterns = {entry.backbone for entry in ORIGINALS.values()}
    return {k: v for k, v in shapes.items() if any(pattern.match(k) for pattern in patterns)}


def _as_widened(given: _Shapes, shapes: _Shapes) -> _Shapes:
    """Returns the shapes of a source once its first convolution has been widened."""
    old, new = given.get(_FIRST_CONV, ()), shapes.get(_FIRST_CONV, ())
    if len(old) == len(new) == 4 and old[1] == _COLOURS:
        return {**given, _FIRST_CONV: (old[0], new[1], *old[2:])}
    return given


def _check_backbone(name: str, kind: str, given: _Shapes, shapes: _Shapes) -> None:
    """Refuses a source that does not fill the backbone, or that has another network's shapes."""
    needed, got = _backbone(shapes), _backbone(given)
    checked = shapes if kind == NETWORK else needed
    problems = [
        f"{key} expected shape {shapes[key]}, got {given[key]}"
        for key in sorted(checked)
        if key in given and given[key] != shapes[key]
    ]
    problems += [f"{key} is missing" for key in sorted(needed.keys() - given.keys())]
    problems += [f"{key} is unknown" for key in sorted(got.keys() - needed.keys())]
    if problems or not needed:
        more = f" and {len(problems) - 2} more" if len(problems) > 2 else ""
        raise ValueError(
            f"the weights ({kind}) do not fit {name}: {'; '.join(problems[:2])}{more}; choose "
            "another model, or leave --model away to see which one fits"
        )


def _checked(key: str, value: np.ndarray) -> np.ndarray:
    """Returns the values as float32, refusing what is no weight."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{key} holds {value.dtype} values; expected floating-point weights")
    with np.errstate(over="ignore"):
        values = np.asarray(value, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{key} holds values that are not finite; use undamaged weights")
    if key.endswith("running_var") and (values < 0).any():
        raise ValueError(f"{key} holds negative variances; use undamaged weights")
    return values
