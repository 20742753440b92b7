"""A run's best weights as a folder to share: weights, configuration, who was trained on."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ecc_jax import admission, atomic, workdir
from ecc_jax import config as schema
from ecc_jax.data import pipeline, seen
from ecc_jax.training import checkpoints

# Paths mean nothing on another machine, and tell of this one.
_PATHS = ("data.path", "data.root", "model.pretrained")


def export(run: Path, dest: Path, *, prepared: Sequence[Path] = ()) -> tuple[int, int]:
    """Writes the best weights of a run without optimiser, and without paths of this machine.

    Args:
      run: Workdir of a trained run.
      dest: Folder to make; it stands for the run wherever a run is only read.
      prepared: Datasets prepared by this version that hold patients of the run; the record gets
        the identities that they have there, see `seen.with_identities`.

    Returns:
      The step of the weights, and the bytes written.

    Raises:
      ValueError: No run, no validated checkpoint, nobody wrote down who was trained on, `dest`
        holds something, or a prepared dataset holds no patient of the run.
    """
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise ValueError(f"{dest} exists; choose another DEST, or remove it")
    config = workdir.load_config(run)
    folder = run / "checkpoints"
    history = admission.read_record(run)
    if history is None:
        raise ValueError(
            f"{run} holds no {admission.RECORD_FILE}: nobody could tell who must not be tested "
            "with these weights"
        )
    history = _renewed(history, prepared, run)
    best = checkpoints.best_step(folder)
    variables = checkpoints.restore_variables(folder, best)
    score = checkpoints.read_progress(folder, best)["score"]
    for key in _PATHS:
        schema.set_key(config, key, "")
    with config.unlocked():
        config.eval = schema.default().eval  # how the run was tested is no part of its weights
    dest.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}-"))
    partial.chmod(0o755)
    checkpoints.save_weights(partial, variables, step=best, score=score)
    _forget_paths(partial / "checkpoints")
    values = schema.to_dict(config)
    atomic.write_text(partial / workdir.CONFIG_FILE, json.dumps(values, indent=1))
    record = seen.to_json([_without_paths(entry, dest.name) for entry in history])
    atomic.write_text(partial / admission.RECORD_FILE, json.dumps(record))
    if dest.exists():
        dest.rmdir()
    partial.rename(dest)
    return best, sum(path.stat().st_size for path in dest.rglob("*") if path.is_file())


def _renewed(
    history: tuple[seen.Seen, ...], prepared: Sequence[Path], run: Path
) -> tuple[seen.Seen, ...]:
    """Returns records with the identities of prepared datasets, each of which has to know some.

    Raises:
      ValueError: One holds nobody of the run.
    """
    for directory in prepared:
        rows = pipeline.open_split(directory, "all").index
        history = seen.with_identities(history, rows)
        if not any(seen.find_seen(history, rows, None).values()):
            raise ValueError(
                f"{directory} holds no patient that {run} was trained on; pass the prepared "
                "directory of its own data, which scripts/build_dataset.py prints"
            )
    return history


def _forget_paths(folder: Path) -> None:
    """Empties Orbax's marks, which quote where a checkpoint was written; only their names count."""
    for mark in folder.rglob("commit_success.txt"):
        mark.write_text("committed\n", encoding="utf-8")
    for step in checkpoints.complete_steps(folder):
        checkpoints.write_manifest(folder / str(step))


def _without_paths(entry: seen.Seen, name: str) -> seen.Seen:
    """Returns a record that names neither the run's folder nor that of its data."""
    place = name if "/" in entry.source.place else entry.source.place
    return entry._replace(run=name, source=entry.source._replace(place=place))
