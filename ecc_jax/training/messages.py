"""What a training says on stderr, from the first host, without breaking a progress bar."""

import sys
from pathlib import Path
from typing import Any

import jax
from clu import parameter_overview
from tqdm import tqdm

from ecc_jax import atomic, parallel

PARAMETERS_FILE, SHOWN_LINES = "parameters.txt", 12


def say(text: str) -> None:
    """Prints a text."""
    if parallel.is_first_host():
        tqdm.write(text, file=sys.stderr)


def say_parameters(params: Any, workdir: Path) -> None:
    """Prints the first lines of the table of all parameters, and writes the whole to a file."""
    table = parameter_overview.get_parameter_overview(params, include_stats=False)
    if parallel.is_first_host():
        atomic.write_text(workdir / PARAMETERS_FILE, f"{table}\n")
    lines = table.splitlines()
    more = [f"… {lines[-1]}; all of them in {PARAMETERS_FILE}"] if len(lines) > SHOWN_LINES else []
    say("\n".join([*lines[:SHOWN_LINES], *more]))


def circumstances() -> dict[str, Any]:
    """Returns what the bits of a run depend on beside its configuration."""
    cores, devices = parallel.available_cores(), jax.device_count()
    return {"cores": cores, "devices": devices, "jax": jax.__version__}


def warn_of_change(progress: dict[str, Any]) -> None:
    """Says so when a resumed run cannot repeat the bits of the one before.

    Args:
      progress: What was saved with the checkpoint, circumstances among it.
    """
    for name, value in circumstances().items():
        if progress.get(name, value) != value:
            say(
                f"WARNING: the run was saved with {name} = {progress[name]}, now {value}; "
                "it continues, but not bit for bit"
            )
