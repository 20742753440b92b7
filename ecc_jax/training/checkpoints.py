"""Checkpoints: the latest two and the best, each with a sha256 manifest that is checked on read.

Orbax restores a file with a flipped byte without complaint, so the manifest is what makes a
restored run trustworthy. A checkpoint whose manifest is missing was interrupted and does not count.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ecc_jax import atomic, parallel, places
from ecc_jax.training.plateau import Plateau
from ecc_jax.training.threads import without_tracebacks

MANIFEST = "manifest.json"
SCORE = "iterative_iou_error"
# Imported weights have had no update and no validation; the first checkpoint of a run has.
IMPORTED_STEP = 0


class CheckpointError(ValueError):
    """A checkpoint is missing or damaged."""


class MismatchError(ValueError):
    """An intact checkpoint belongs to another network."""


class Weights(NamedTuple):
    """What a checkpoint of imported weights holds, in place of a whole `TrainState`."""

    params: Any
    batch_stats: Any


class Checkpoints:
    """The checkpoints of one run.

    Saves are synchronous: when `save` returns, the files and their manifest are complete.
    """

    def __init__(
        self, directory: str | Path, *, keep_latest: int = 2, warn: Callable[[str], None] = print
    ) -> None:
        self._warn = warn
        self._keep_latest = keep_latest
        self._is_checked = False
        self.directory = Path(directory).resolve()
        if parallel.is_first_host():
            self.directory.mkdir(parents=True, exist_ok=True)
            _remove_interrupted(self.directory, warn)
        parallel.wait_for_all("checkpoints opened")
        keep = [
            policies.LatestN(keep_latest),
            policies.BestN(
                get_metric_fn=_score,
                n=1,
                reverse=True,  # the lowest score is kept
                keep_checkpoints_without_metrics=False,
            ),
        ]
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(keep),
                best_fn=_score,
                best_mode="min",
                enable_async_checkpointing=False,
            ),
        )

    def save(self, step: int, state: Any, progress: dict[str, Any], score: float | None) -> None:
        """Writes one checkpoint.

        Args:
          step: Number of finished updates.
          state: The `TrainState`.
          progress: JSON values of the host: plateau, epoch, versions, cores.
          score: Validation score at this step, None where none was taken.

        Raises:
          PlaceError: The disk is full, or the folder takes no files. What was saved before stays,
            and what was begun is removed.
        """
        workdir = self.directory.parent
        with places.writing(workdir, elsewhere="choose another --workdir"):
            try:
                self._check_space(state)
                with without_tracebacks():
                    self._write(step, state, {**progress, "score": score})
            except Exception as error:
                if parallel.is_first_host() and places.error_number(error) is not None:
                    _remove_incomplete(self.directory)
                raise
        parallel.wait_for_all(f"checkpoint {step} written")

    def _write(self, step: int, state: Any, progress: dict[str, Any]) -> None:
        score = progress["score"]
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_parts(state)),
                progress=ocp.args.JsonSave(progress),
            ),
            metrics=None if score is None else {SCORE: score, "step": step},
        )
        self._manager.wait_until_finished()
        if parallel.is_first_host():
            write_manifest(self.directory / str(step))

    def _check_space(self, state: Any) -> None:
        """Refuses a checkpoint larger than what is free; says once if the disk will get full.

        Raises:
          OSError: The disk is full.
        """
        if not parallel.is_first_host():
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state._asdict()))
        free = shutil.disk_usage(self.directory).free
        if free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # The best one is kept beside the latest, and the newest is written before one is removed.
        missing = self._keep_latest + 2 - len(self.steps())
        if not self._is_checked and free < missing * size:
            self._warn(
                f"WARNING: {free / parallel.MEBIBYTE:.0f} MiB are left in {self.directory.parent}, "
                f"but {missing} more checkpoints of {size / parallel.MEBIBYTE:.0f} MiB each will "
                "be there at a time; free space"
            )
        self._is_checked = True

    def close(self) -> None:
        """Waits for pending work."""
        self._manager.close()

    def steps(self) -> list[int]:
        """Returns the steps of complete checkpoints, ascending."""
        return complete_steps(self.directory)

    def restore_latest(self, state: Any) -> tuple[Any, dict[str, Any]] | None:
        """Restores the newest intact checkpoint, or returns None where there is none.

        Damaged checkpoints newer than it are reported and set aside.

        Raises:
          CheckpointError: Checkpoints exist, and all are damaged.
          MismatchError: The newest intact one belongs to another network.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return restore(self.directory, step, state)
            except CheckpointError as error:
                self._warn(f"{error}; falling back to the checkpoint before it")
                if parallel.is_first_host():
                    _set_aside(self.directory, step)
                parallel.wait_for_all(f"checkpoint {step} set aside")
                self._manager.reload()
        if steps:
            raise CheckpointError(
                f"every checkpoint in {self.directory} is damaged; delete the folder to start anew"
            )
        return None


def _score(metrics: dict[str, Any]) -> tuple[float, int]:
    """Orders checkpoints, the lowest score first, of equal scores the earliest."""
    return metrics[SCORE], int(metrics["step"])


def complete_steps(directory: str | Path) -> list[int]:
    """Returns the steps under `directory` that have a manifest, ascending."""
    found = Path(directory).glob(f"*/{MANIFEST}")
    return sorted(int(path.parent.name) for path in found if path.parent.name.isdigit())


def best_step(directory: str | Path) -> int:
    """Returns the step with the lowest validation score, the earliest of equals.

    A folder that `save_weights` wrote has one checkpoint and no score.

    Raises:
      CheckpointError: No complete checkpoint with a score.
    """
    steps = complete_steps(directory)
    if steps == [IMPORTED_STEP]:
        return IMPORTED_STEP
    scores = {}
    for step in steps:
        score = read_progress(directory, step)["score"]
        if score is not None:
            scores[step] = score
    if not scores:
        raise CheckpointError(
            f"{directory} holds no validated checkpoint; let the run reach its first validation"
        )
    return min(scores, key=lambda step: (scores[step], step))


def read_progress(directory: str | Path, step: int) -> dict[str, Any]:
    """Returns the host values stored with a checkpoint."""
    path = Path(directory) / str(step) / "progress" / "metadata"
    return json.loads(path.read_text(encoding="utf-8"))


def restore(directory: str | Path, step: int, state: Any) -> tuple[Any, dict[str, Any]]:
    """Restores one checkpoint onto the shapes and shardings of `state`.

    Raises:
      CheckpointError: A file differs from the manifest.
      MismatchError: The shapes differ from those of `state`.
    """
    folder = Path(directory).resolve() / str(step)
    verify_manifest(folder)
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _parts(state))
    try:
        with ocp.StandardCheckpointer() as reader:
            values = reader.restore(folder / "state", abstract)
    except (ValueError, KeyError) as error:
        raise MismatchError(
            f"{folder} does not fit this network: {str(error).splitlines()[0]}; use the version "
            "that wrote it, or another workdir"
        ) from error
    return type(state)(**values), read_progress(directory, step)


def _parts(state: Any) -> dict[str, Any]:
    """Returns the parts of a state by name; without a pool if it has none, as earlier versions."""
    return {k: v for k, v in state._asdict().items() if k != "pool" or v is not None}


def restore_variables(directory: str | Path, step: int) -> dict[str, Any]:
    """Returns the network variables of a checkpoint as NumPy arrays, without the optimiser.

    Where the run kept a running average of its variables, that is what was validated and what
    comes back.

    Raises:
      CheckpointError: A file differs from the manifest.
    """
    folder = Path(directory).resolve() / str(step)
    verify_manifest(folder)
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(folder / "state").item_metadata.tree
        has_average = isinstance(tree.get("average"), dict)
        variables = tree["average"] if has_average else tree
        wanted = {name: variables[name] for name in ("params", "batch_stats")}
        item = {"average": wanted} if has_average else wanted
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        item = jax.tree.map(lambda leaf: 0, item)
        values = reader.restore(
            folder / "state",
            args=ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True),
        )
    return values["average"] if has_average else values


def save_weights(
    workdir: Path,
    variables: dict[str, Any],
    *,
    step: int = IMPORTED_STEP,
    score: float | None = None,
) -> None:
    """Writes weights alone in the form of a run, for `best_variables`.

    Args:
      workdir: Receives the folder `checkpoints`, which it must not have yet.
      variables: {"params": …, "batch_stats": …} of a network.
      step: Updates that it has had; imported ones count as none.
      score: Its validation score, if it has one; without, `step` must be `IMPORTED_STEP`.
    """
    store = Checkpoints(workdir / "checkpoints", warn=lambda text: None)  # no others will follow
    store.save(step, Weights(**variables), progress_values(Plateau(), 0), score)
    store.close()


def best_variables(workdir: Path, like: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Returns the best step of a run and its weights, checked against the shapes of `like`.

    Raises:
      CheckpointError: No usable checkpoint there.
      MismatchError: It is of another network.
    """
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise CheckpointError(
            f"{workdir} has no checkpoints folder; expected a trained run's workdir"
        )
    best = best_step(folder)
    loaded = restore_variables(folder, best)
    want = {jax.tree_util.keystr(k): np.shape(v) for k, v in jax.tree.leaves_with_path(like)}
    got = {jax.tree_util.keystr(k): np.shape(v) for k, v in jax.tree.leaves_with_path(loaded)}
    if want != got:
        name = sorted(key for key in {*want, *got} if want.get(key) != got.get(key))[0]
        raise MismatchError(
            f"{workdir} holds another network: {name} expected {want.get(name)}, got "
            f"{got.get(name)}; set the keys of model to that run's, or use the version that made it"
        )
    return best, loaded


def write_manifest(folder: Path) -> None:
    """Writes `manifest.json`: the sha256 of every file below `folder`."""
    digests = {str(path.relative_to(folder)): _sha256(path) for path in _files(folder)}
    atomic.write_text(folder / MANIFEST, json.dumps(digests, indent=1, sort_keys=True))


def verify_manifest(folder: Path) -> None:
    """Compares every file below `folder` with its manifest.

    Raises:
      CheckpointError: Names the first missing or changed file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {MANIFEST}: the checkpoint is incomplete")
    try:
        digests = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not readable: it is damaged") from error
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing: the checkpoint is damaged")
        if _sha256(folder / name) != digest:
            raise CheckpointError(f"{folder / name} differs from its sha256: it is damaged")


def progress_values(plateau: Plateau, epoch: int, **facts: Any) -> dict[str, Any]:
    """Returns what the host stores with a checkpoint, as JSON values."""
    values = plateau._asdict()
    if values["best"] == float("inf"):
        values["best"] = None  # JSON has no infinity
    return {"plateau": values, "epoch": epoch, **facts}


def plateau_of(progress: dict[str, Any]) -> Plateau:
    """Returns the schedule's state from stored progress."""
    values = dict(progress["plateau"])
    if values["best"] is None:
        values["best"] = float("inf")
    return Plateau(**values)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_interrupted(directory: Path, warn: Callable[[str], None]) -> None:
    """Deletes what a killed save left behind, so that the step can be saved again."""
    for path in _incomplete(directory):
        warn(f"removing the interrupted checkpoint {path}")
        shutil.rmtree(path)


def _remove_incomplete(directory: Path) -> None:
    """Deletes what a failed save wrote; what threads of it still write, the next start deletes."""
    for path in _incomplete(directory):
        shutil.rmtree(path, ignore_errors=True)


def _incomplete(directory: Path) -> list[Path]:
    return [p for p in directory.iterdir() if p.is_dir() and not (p / MANIFEST).is_file()]


def _set_aside(directory: Path, step: int) -> None:
    damaged = directory.parent / "damaged-checkpoints"
    damaged.mkdir(exist_ok=True)
    target = damaged / str(step)
    if target.exists():
        shutil.rmtree(target)
    shutil.move(directory / str(step), target)
