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
_PLACES = ("--workdir=", "--out=")  # marks lie beside the results, and may be moved with them


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


def settings_of(command: Sequence[str]) -> list[str]:
    """Returns the arguments of a command but those that only say where its results go."""
    return [argument for argument in command[1:] if not argument.startswith(_PLACES)]


def settings_in(mark: Path) -> list[str] | None:
    """Returns the settings of the command that a mark says has succeeded; None without a mark."""
    if not mark.is_file():
        return None
    noted = json.loads(mark.read_text(encoding="utf-8"))
    return settings_of(["", *noted])  # marks may hold the whole command


def is_done(command: Sequence[str], *, mark: Path, product: Path | None = None) -> bool:
    """Returns whether a command has succeeded before.

    Args:
      command: The program and its arguments.
      mark: What `run_once` writes; another command in it does not count.
      product: A file that it makes, which has to be there still; None asks for none.
    """
    is_there = product is None or product.is_file()
    return is_there and settings_in(mark) == settings_of(command)


def run_once(
    command: Sequence[str],
    variables: Mapping[str, str],
    *,
    mark: Path,
    say: Callable[[str], object] | None = None,
    product: Path | None = None,
    output: Any = None,
) -> int:
    """Runs a command unless it is done, see `is_done`; returns its exit code.

    Args:
      command: The program and its arguments.
      variables: Its environment.
      mark: File that is written when it has succeeded and its product is there.
      say: Told the command that is run; None tells nobody.
      product: A file that it makes.
      output: A file that takes what it prints; None prints it.
    """
    if is_done(command, mark=mark, product=product):
        return 0
    if say is not None:
        say(" ".join(command))
    code = run(command, variables, output=output)
    if not code and (product is None or product.is_file()):
        atomic.write_text(mark, json.dumps(settings_of(command), indent=1))
    return code
