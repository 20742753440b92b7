"""Commands of this package, for scripts that start many of them one after the other."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecc_jax import places

ROOT = Path(__file__).parents[1]


def main_command(*flags: str, keys: Iterable[str] = ()) -> list[str]:
    """Returns a command line of ecc_jax.main.

    Args:
      *flags: Flags in full, such as "--mode=evaluate".
      keys: Keys of the configuration with their values, such as "data.size=160".
    """
    return [sys.executable, "-m", "ecc_jax.main", *flags, *(f"--config.{key}" for key in keys)]


def environment(cache: str | os.PathLike[str]) -> dict[str, str]:
    """Returns the environment of commands that share what they compile.

    Args:
      cache: Folder of the compiled programs; one that the user has set goes before it.
    """
    return {"JAX_COMPILATION_CACHE_DIR": places.absolute(cache), **os.environ}


def run(command: Sequence[str], variables: Mapping[str, str], *, output: Any = None) -> int:
    """Runs a command in the root of the repository; returns its exit code.

    Args:
      command: The program and its arguments.
      variables: Its environment.
      output: A file that takes what it prints; None prints it.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )
    return done.returncode
