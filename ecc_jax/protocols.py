"""Protocols of evaluation: who clicks and how it is counted, set together under one name."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

from ecc_jax.config import from_dict, set_key, to_dict


class Protocol(NamedTuple):
    """A coherent set of evaluation keys.

    Attributes:
      description: One sentence for the report.
      values: What it sets; all other keys stay as they are configured, the radius above all, for a
        network is trained with one.
    """

    description: str
    values: dict[str, Any]


PROTOCOLS = {
    "thesis": Protocol(
        "the configured user (by default the thesis's: deepest point of the largest error)", {}
    ),
    "ritm": Protocol(
        "deepest error pixel of all; a success exactly at the last click counts as failure",
        {
            "clicks.next_click": "deepest",
            "inference.threshold": 0.49,
            "eval.nof_convention": "ritm",
        },
    ),
    "cvpr25": Protocol(
        "largest error component; a first disk in place of the challenge's box, then five clicks",
        {"clicks.next_click": "largest_component", "eval.num_clicks": 6},
    ),
    "robustness": Protocol(
        "the configured user, then the same user with an unsteady hand, other radii, other habits",
        {},
    ),
    "readers": Protocol(
        "one click; then disks measured on one reader's outline, scored against the other readers",
        {"eval.num_clicks": 1, "eval.initial_mask": ""},
    ),
}


def with_protocol(
    config: ml_collections.ConfigDict, overrides: Mapping[str, Any] | None = None
) -> ml_collections.ConfigDict:
    """Returns the configuration of an evaluation: what its protocol sets, set.

    Args:
      config: A resolved configuration.
      overrides: The keys that were given one by one.

    Raises:
      ValueError: Unknown protocol, or a key given one by one of which the protocol sets another
        value: its report would bear the protocol's name without following it.
    """
    name = config.eval.protocol
    if name not in PROTOCOLS:
        raise ValueError(f"eval.protocol must be one of {', '.join(PROTOCOLS)}; got {name!r}")
    copy = from_dict(to_dict(config))
    for key, value in PROTOCOLS[name].values.items():
        given = (overrides or {}).get(key, value)
        if given != value:
            raise ValueError(
                f"eval.protocol={name} means {key}={value}, but {given} was given; leave one away"
            )
        set_key(copy, key, value)
    return copy
