"""Commands of this package, for scripts that start many of them one after the other."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecc_jax import atomic, places

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


def run_once(
    command: Sequence[str],
    variables: Mapping[str, str],
    *,
    mark: Path,
    say: Callable[[str], object],
) -> int:
    """Runs a command unless a mark says that it has succeeded before; returns its exit code.

    Args:
      command: The program and its arguments.
      variables: Its environment.
      mark: File that is written at the end, with the command; another command in it does not count.
      say: Told the command that is run.
    """
    text = json.dumps(list(command[1:]), indent=1)  # whichever interpreter it was
    if mark.is_file() and mark.read_text(encoding="utf-8") == text:
        return 0
    say(" ".join(command))
    code = run(command, variables)
    if not code:
        atomic.write_text(mark, text)
    return code
