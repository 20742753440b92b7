"""How the PyTorch originals of the networks name their tensors, one entry for each family."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Original(NamedTuple):
    """A PyTorch model whose weights a family of networks takes.

    Attributes:
      prefixes: Where each part of the network (first key of its variables) lives in the original.
      backbone: Names of the tensors that pretrained trunks have. A source must fill all of them: a
        trunk with gaps would be worse than none.
      options: Stored options that change what a network computes from the same weights, with the
        values of the networks here.
    """

    prefixes: Mapping[str, str]
    backbone: re.Pattern[str]
    options: Mapping[str, Any]


_HRNET = re.compile(r"feature_extractor\.(conv\d|bn\d|layer\d|transition\d|stage\d)\.")
_RESNET = re.compile(r"encoder\.")
# Source: isegm/model/is_model.py (RITM), isegm/model/is_hrnet_model.py (FocalClick).
_ISEGM_OPTIONS = {
    "use_leaky_relu": True,
    "use_rgb_conv": False,
    "use_disks": True,
    "with_prev_mask": True,
    "binary_prev_mask": False,
    "conv_extend": False,
    "pipeline_version": "s2",
}
# Trunk and head share one module there.
_ISEGM_PREFIXES = {"trunk": "feature_extractor.", "head": "feature_extractor.", "fusion": ""}

# By the family of `build.SPECS`; a family without an original has no entry.
ORIGINALS = {
    "ritm": Original(_ISEGM_PREFIXES, _HRNET, _ISEGM_OPTIONS),
    "focalclick": Original({**_ISEGM_PREFIXES, "refiner": "refiner."}, _HRNET, _ISEGM_OPTIONS),
    # The names of segmentation_models_pytorch.
    "unetpp": Original(
        {
            "encoder": "encoder.",
            "decoder": "decoder.blocks.",
            "segmentation_head_0": "segmentation_head.0.",
        },
        _RESNET,
        {},
    ),
}


def original(name: str) -> Original:
    """Returns the original of a network.

    Args:
      name: One of `build.NAMES`.

    Raises:
      ValueError: The network has none.
    """
    family = name.partition("_")[0]
    if family not in ORIGINALS:
        raise ValueError(
            f"{name} takes no PyTorch weights; those of {', '.join(ORIGINALS)} do: give one of them"
        )
    return ORIGINALS[family]
