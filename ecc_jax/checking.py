"""Checks of single keys of a configuration, with one form of refusal."""

from collections.abc import Callable
from typing import Any

import ml_collections


def value_of(config: ml_collections.ConfigDict, key: str) -> Any:
    """Returns the value of a key.

    Args:
      config: A configuration.
      key: Groups and name with dots, as in `train.batch_size`.
    """
    node = config
    for part in key.split("."):
        node = node[part]
    return node


def one_of(config: ml_collections.ConfigDict, key: str, valid: tuple[Any, ...]) -> None:
    """Refuses a value that is none of those that are valid.

    Args:
      config: A configuration.
      key: See `value_of`.
      valid: The valid values, for the message too.

    Raises:
      ValueError: In one line.
    """
    value = value_of(config, key)
    if value not in valid:
        raise ValueError(f"{key} must be one of {', '.join(map(str, valid))}; got {value!r}")


def check(
    config: ml_collections.ConfigDict, key: str, is_valid: Callable[[Any], bool], expected: str
) -> None:
    """Refuses a value that fails a test.

    Args:
      config: A configuration.
      key: See `value_of`.
      is_valid: The test.
      expected: What passes it, in words that follow "must be".

    Raises:
      ValueError: In one line.
    """
    value = value_of(config, key)
    if not is_valid(value):
        raise ValueError(f"{key} must be {expected}; got {value!r}")
