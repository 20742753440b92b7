"""Builds networks by name, initialises them, and splits their parameters for the optimiser."""

import dataclasses
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from ecc_jax.models.disk_unet import DiskUNet
from ecc_jax.models.focalclick import FocalClick
from ecc_jax.models.layers import SCALE_INIT
from ecc_jax.models.ritm import RITM
from ecc_jax.models.unetpp import UNetPP

# width: channels of the finest branch; modules: per stage 2, 3, 4.
_HRNET18S = {"width": 18, "layer1_blocks": 2, "blocks": 2, "modules": (1, 3, 2), "ocr_width": 48}
_HRNET18 = {"width": 18, "layer1_blocks": 4, "blocks": 4, "modules": (1, 4, 3), "ocr_width": 64}
_HRNET32 = {"width": 32, "layer1_blocks": 4, "blocks": 4, "modules": (1, 4, 3), "ocr_width": 128}
# Same topology, for tests and debugging: compiles in seconds, segments little.
_TINY = {
    "width": 4,
    "layer1_blocks": 1,
    "blocks": 1,
    "modules": (1, 1, 1),
    "ocr_width": 8,
    "stem_width": 8,
}
_RESNET50 = {"width": 64, "layers": (3, 4, 6, 3)}
_RESNET18 = {"width": 64, "layers": (2, 2, 2, 2), "bottleneck": False}
_DISK_UNET = {"widths": (12, 24, 48, 96), "bottom": 96}
_TINY_RESNET = {"width": 4, "layers": (1, 1, 1, 1), "decoder_widths": (16, 8, 8, 4, 4)}


class Spec(NamedTuple):
    """A family of networks.

    Attributes:
      network: The module.
      sizes: Its fields, by the suffix of the name under which a size is built.
      trunk: The part that pretrained weights fill, which learns more slowly then; empty where all
        parts learn alike.
      score_heads: Convolutions that score the lesion.
      sees_prev_mask: Whether it reads the previous mask; else it is a map of guidance, if anything.
    """

    network: type[nn.Module]
    sizes: dict[str, dict[str, Any]]
    trunk: str
    score_heads: tuple[str, ...]
    sees_prev_mask: bool = True


# By the first part of a network's name; the second is a size.
SPECS = {
    "ritm": Spec(
        RITM,
        {"hrnet18s": _HRNET18S, "hrnet18": _HRNET18, "hrnet32": _HRNET32, "tiny": _TINY},
        trunk="trunk",
        score_heads=("cls_head", "aux_head_3"),
    ),
    "focalclick": Spec(
        FocalClick,
        {"hrnet18s": _HRNET18S, "hrnet32": _HRNET32, "tiny": {**_TINY, "refiner_width": 8}},
        trunk="trunk",
        score_heads=("cls_head", "aux_head_3", "refine_pred"),
    ),
    "unetpp": Spec(
        UNetPP,
        {"resnet50": _RESNET50, "resnet18": _RESNET18, "tiny": _TINY_RESNET},
        trunk="encoder",
        score_heads=("segmentation_head_0", "supervision_1", "supervision_2", "supervision_3"),
        sees_prev_mask=False,
    ),
    "disk": Spec(
        DiskUNet,
        {"unet": _DISK_UNET, "tiny": {"widths": (4, 8), "bottom": 8}},
        trunk="",
        score_heads=("score_head",),
    ),
}
NAMES = tuple(f"{family}_{size}" for family, spec in SPECS.items() for size in spec.sizes)
# A second stage refines a part of the answers of these.
WITH_REFINER = tuple(n for n in NAMES if hasattr(SPECS[n.partition("_")[0]].network, "refine"))
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
DTYPES = tuple(_DTYPES)
_CONSTANT_INIT = {"bias": 0.0, "scale": 1.0, "multiplier": SCALE_INIT, "mean": 0.0, "var": 1.0}


def build(name: str, **overrides: Any) -> nn.Module:
    """Returns the network of that name; no parameters yet.

    Args:
      name: One of `NAMES`.
      **overrides: Fields of the network that differ from the named one, such as
        `dtype="bfloat16"`, for RITM and FocalClick `remat=True`, `dropout=0.0`, for U-Net++
        `deep_supervision=True`.

    Raises:
      ValueError: Unknown name, field of this network, or dtype; the message lists the valid ones.

    Source: the published RITM and FocalClick models (isegm/model/is_hrnet_model.py;
    HRNet-18-small has OCR width 48, HRNet-18 64, HRNet-32 128; the thesis uses HRNet-32);
    isegm/model/is_unetplusplus_model.py.
    """
    if name not in NAMES:
        raise ValueError(f"unknown model {name!r}; choose one of {', '.join(NAMES)}")
    family, _, size = name.partition("_")
    network, fields_of_size = SPECS[family].network, SPECS[family].sizes[size]
    fields = fields_of(name)
    unknown = sorted(set(overrides) - set(fields))
    if unknown:
        raise ValueError(
            f"unknown options {unknown} of model {name}; choose among {', '.join(fields)}"
        )
    dtype = overrides.get("dtype", "float32")
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose one of {', '.join(_DTYPES)}")
    return network(**{**fields_of_size, **overrides, "dtype": _DTYPES[dtype]})


def fields_of(name: str) -> list[str]:
    """Returns the options of a network.

    Args:
      name: One of `NAMES`.
    """
    fields = dataclasses.fields(spec_of(name).network)
    return [field.name for field in fields if field.name not in ("parent", "name")]


def spec_of(name: str) -> Spec:
    """Returns the family of a network.

    Args:
      name: One of `NAMES`.
    """
    return SPECS[name.partition("_")[0]]


def variable_shapes(model: nn.Module, *, guidance: int = 2) -> dict[str, Any]:
    """Returns the tree of `jax.ShapeDtypeStruct` of a network's variables; computes nothing.

    Args:
      model: A network of `build`.
      guidance: Maps that tell it of clicks.
    """

    def init() -> Any:
        image = jnp.zeros((1, 32, 32, 3))
        maps = jnp.zeros((1, 32, 32, guidance))
        return model.init(jax.random.key(0), image, maps, image[..., :1])

    return jax.eval_shape(init)


def init_variables(
    model: nn.Module,
    seed: int,
    *,
    fusion_scale: float = SCALE_INIT,
    lesion_prior: float = 0.5,
    guidance: int = 2,
    is_residual: bool = False,
) -> dict[str, Any]:
    """Returns fresh variables as NumPy float32 arrays, {"params": …, "batch_stats": …}.

    Convolution kernels are Gaussian with variance 2 / ((fan_in + fan_out) / 2), fans counted
    over the window; biases 0, normalisation gains 1. The defaults of `fusion_scale` and
    `lesion_prior` are the originals', made for pretrained trunks; from random weights a network
    learns within fewer steps to use the clicks and to leave background alone with 1 and with
    the share of lesion pixels.

    Every kernel draws from its own generator, keyed by the seed and the kernel's path, so one
    layer's numbers depend neither on the other layers nor on the machine. Drawn in NumPy:
    compiling `model.init` takes a minute on CPU.

    Args:
      model: A network of `build`.
      seed: At least 0.
      fusion_scale: Factor of the click features added to the stem; U-Net++ has none.
      lesion_prior: Lesion probability that the untrained score heads are biased to.
      guidance: Maps that tell the network of clicks.
      is_residual: Whether the scores are added to others: then all score heads begin at 0.

    Raises:
      ValueError: A negative seed, or a prior outside (0, 1).

    Source: isegm/model/initializer.py:65-105 (XavierGluon, gaussian, magnitude 2).
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if not 0 < lesion_prior < 1:
        raise ValueError(f"lesion_prior must be a probability inside (0, 1), got {lesion_prior}")
    heads = {name for spec in SPECS.values() for name in spec.score_heads}
    flat = traverse_util.flatten_dict(variable_shapes(model, guidance=guidance))
    values = {path: _initial_value(path, leaf.shape, seed) for path, leaf in flat.items()}
    for path, value in values.items():
        if path[-1] == "multiplier":
            value.fill(fusion_scale)
        elif is_residual and path[-2] in heads:
            value.fill(0.0)
        elif path[-1] == "bias" and path[-2] in heads:
            value.fill(np.log(lesion_prior / (1 - lesion_prior)))
    return traverse_util.unflatten_dict(values)


def parameter_groups(params: dict[str, Any]) -> dict[str, Any]:
    """Labels every parameter "trunk" or "head".

    The trunk is HRNet, or the residual network of U-Net++. The rest is head: OCR, score heads,
    click fusion, refiner, decoder.

    Args:
      params: The "params" of a network.

    Returns:
      A tree of strings of the same structure, for `optax.multi_transform` or a multiplier.

    Source: isegm/model/is_hrnet_model.py:12-21, but the original also leaves the two score heads
    at the trunk's slower rate, although they start from scratch as the rest of the head does. The
    original FocalClick trains its trunk faster than the rest by mistake, and U-Net++ everything
    alike.
    """
    trunks = {spec.trunk for spec in SPECS.values()}
    return {
        top: jax.tree.map(lambda _, top=top: "trunk" if top in trunks else "head", tree)
        for top, tree in params.items()
    }


def _initial_value(path: tuple[str, ...], shape: tuple[int, ...], seed: int) -> np.ndarray:
    if path[-1] != "kernel":
        return np.full(shape, _CONSTANT_INIT[path[-1]], np.float32)
    window = int(np.prod(shape[:-2]))
    fan_mean = window * (shape[-2] + shape[-1]) / 2
    rng = np.random.default_rng([seed, zlib.crc32("/".join(path).encode())])
    return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_mean)).astype(np.float32)
