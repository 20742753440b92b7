"""Foreign weight files become folders that training and evaluation start from."""

import collections
import json
import shutil
from pathlib import Path
from typing import Any

from ecc_jax import atomic, workdir
from ecc_jax import config as schema
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import checkpoints
from ecc_jax.weights import sources
from ecc_jax.weights.torch_file import read_checkpoint

_OWN_FILES = {"checkpoints", workdir.CONFIG_FILE, workdir.CONVERSION_FILE}
_SHOWN_PARTS = 12


def convert(
    source: Path, dest: Path, *, model: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Converts a weight file and writes `dest`.

    Args:
      source: The weight file.
      dest: The folder; an earlier conversion is replaced.
      model: One of `models.build.NAMES`, or None for the one network that the weights fit.
      force: Replace a run, or a conversion that has been evaluated.

    Returns:
      The content of `dest/conversion.json`.

    Raises:
      ValueError: Unusable source, weights that fit no or several networks, or an occupied `dest`.
    """
    dest = dest.resolve()
    if dest in source.resolve().parents:
        raise ValueError(f"{dest} holds the source; choose another DEST")
    _check_dest(dest, force)
    checkpoint = read_checkpoint(source)
    try:
        name = model or sources.choose_model(checkpoint.state_dict, checkpoint.config)
        sources.check_options(name, checkpoint.config)
        variables, report = sources.merge_state_dict(
            name, checkpoint.state_dict, init_variables(build(name), 0)
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    summary = {
        "source": source.name,
        "sha256": checkpoint.sha256,
        "model": name,
        **report._asdict(),
    }
    _write(dest, name, variables, summary)
    return summary


def describe(summary: dict[str, Any]) -> str:
    """Returns the lines to print: what was done with every tensor, names shortened."""
    lines = [
        f"source   {summary['source']} ({summary['kind']})",
        f"sha256   {summary['sha256']}",
        f"model    {summary['model']}",
    ]
    for outcome in ("placed", "ignored", "missing"):
        names = summary[outcome]
        shown = f": {_shortened(names)}" if names and outcome != "placed" else ""
        lines.append(f"{outcome:8} {len(names)} tensors{shown}")
    if summary["counters"]:
        counters = f"{len(summary['counters'])} batch counters (num_batches_tracked)"
        lines.insert(-1, f"         and {counters}, which nothing reads")
    if summary["missing"]:
        lines.append("         the missing ones start from random values: train before use")
    return "\n".join(lines)


def _shortened(names: list[str]) -> str:
    """Returns the parts of a network that tensors belong to, with their number."""
    parts = collections.Counter(
        name.removeprefix("feature_extractor.").split(".")[0] for name in names
    )
    shown = [f"{part}.* ({count})" for part, count in list(parts.items())[:_SHOWN_PARTS]]
    return ", ".join(shown) + (", …" if len(parts) > _SHOWN_PARTS else "")


def _check_dest(dest: Path, force: bool) -> None:
    """Refuses to replace what is no conversion, and a run or a report without --force."""
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return
    is_conversion = (dest / workdir.CONVERSION_FILE).is_file()
    is_run = (dest / workdir.CONFIG_FILE).is_file() and (dest / "checkpoints").is_dir()
    if not is_conversion and not is_run:
        raise ValueError(f"{dest} exists and holds no weights; choose another DEST")
    is_plain = is_conversion and {path.name for path in dest.iterdir()} <= _OWN_FILES
    if not is_plain and not force:
        raise ValueError(
            f"{dest} holds a run or reports; choose another DEST, or replace it with --force"
        )


def _write(dest: Path, name: str, variables: dict[str, Any], summary: dict[str, Any]) -> None:
    """Writes beside `dest` first, so that an interrupted conversion leaves nothing half."""
    partial = dest.with_name(f"{dest.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    checkpoints.save_weights(partial, variables)
    for file, content in (
        (workdir.CONFIG_FILE, schema.to_dict(schema.published(name))),
        (workdir.CONVERSION_FILE, summary),
    ):
        atomic.write_text(partial / file, json.dumps(content, indent=1))
    if dest.exists():
        shutil.rmtree(dest)
    partial.rename(dest)
