"""The folder of a run: its configuration, who may write there, and what belongs to it."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ml_collections

from ecc_jax import atomic, parallel, places
from ecc_jax import config as schema
from ecc_jax.protocols import PROTOCOLS
from ecc_jax.settings import prev_mask_of, with_own_augmentation
from ecc_jax.training import checkpoints

CONFIG_FILE = "config.json"
# Keys of a network that another's weights must share with it, those of a square view among them.
_SQUARE_KEYS = ("grid", "view_factor")
_UNDRAGGED_KEYS = ("click_radius",)
_SURROUNDING_KEYS = ("view", *_SQUARE_KEYS, "prior", "intensity", "edits")
_PARAMETER_KEYS = ("name", "deep_supervision", "prev_mask")
_NETWORK_KEYS = (*_PARAMETER_KEYS, "encoding", *_UNDRAGGED_KEYS, *_SURROUNDING_KEYS)
CONVERSION_FILE = "conversion.json"  # written by scripts/convert_weights.py
# Keys that change no number of a report.
_NO_RESULT_KEYS = ("eval.save_masks", "eval.latency_clicks", "data.read_threads")


def as_recorded(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy as a run records it.

    Folders and files are spelt in one way, from the root of the file system, and what the
    augmentation leaves open is its strategy's own.
    """
    copy = with_own_augmentation(config)
    for group, key in (("data", "path"), ("data", "root"), ("model", "pretrained")):
        # The name of the package's own run stays: installed elsewhere it is the same run.
        is_shipped = key == "pretrained" and places.is_shipped(copy[group][key])
        if copy[group][key] and not is_shipped:
            copy[group][key] = places.absolute(copy[group][key])
    if copy.eval.initial_mask.endswith(".npz"):
        copy.eval.initial_mask = places.absolute(copy.eval.initial_mask)
    file, _, factory = copy.eval.external.rpartition(":")
    if file.endswith(".py"):
        copy.eval.external = f"{places.absolute(file)}:{factory}"
    return copy


def default_workdir(config: ml_collections.ConfigDict) -> Path:
    """Returns runs/<leaf>-<words>-<8 hex of the resolved configuration>."""
    words = config.words.replace(",", "-")
    name = "-".join(part for part in (config.name, words, schema.resolved_hash(config)) if part)
    return Path("runs") / name


def load_config(folder: Path) -> ml_collections.ConfigDict:
    """Returns the configuration that a run was started with.

    Raises:
      ValueError: The folder is no run's, or its configuration is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is not the workdir of a run: {CONFIG_FILE} is missing")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or start anew") from error
    return with_own_augmentation(schema.from_dict(values))


def write_config(config: ml_collections.ConfigDict, folder: Path) -> None:
    """Writes the configuration into a folder, made if missing."""
    if parallel.is_first_host():
        atomic.write_text(folder / CONFIG_FILE, json.dumps(schema.to_dict(config), indent=1))


def is_run(workdir: str | os.PathLike[str]) -> bool:
    """Returns whether a folder is the workdir of a run."""
    return bool(workdir) and (places.expanded(workdir) / CONFIG_FILE).is_file()


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Makes and holds the workdir, so that no second process trains into it at the same time.

    Raises:
      ValueError: Another process is training there, or the folder takes no files, now or while
        the block runs.
    """
    folder = places.expanded(folder)

    def refuse() -> None:
        raise ValueError(
            f"another process is training in {folder}; wait for it or choose another --workdir"
        )

    with contextlib.ExitStack() as stack:
        stack.enter_context(places.writing(folder, elsewhere="choose another --workdir"))
        if parallel.is_first_host():
            stack.enter_context(atomic.locked(folder / ".lock", on_busy=refuse))
        yield


def check_writable(folder: Path, *, elsewhere: str) -> None:
    """Refuses a folder that takes no files, before hours of work whose result would go there.

    Args:
      folder: The folder, which need not be there yet.
      elsewhere: What to do instead, for the message.

    Raises:
      PlaceError: It is read-only, or closed to the user.
    """
    if not parallel.is_first_host():
        return
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    with places.writing(folder, elsewhere=elsewhere):
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:  # which names the file that was tried
            raise OSError(error.errno, error.strerror, str(there)) from error


def check_report_folder(folder: Path) -> None:
    """Refuses to write the report of an evaluation over a run.

    Raises:
      ValueError: Names the folder and what it holds.
    """
    if (folder / "checkpoints").exists():
        raise ValueError(f"{folder} is the workdir of a run; choose another --out")
    if (folder / "summary.json").is_file() and not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder} holds the report of a training; choose another --out")


def check_same_report(config: ml_collections.ConfigDict, folder: Path) -> None:
    """Refuses to replace the report of another evaluation.

    Raises:
      ValueError: Names the first key that differs.
    """
    if not (folder / "summary.json").is_file():
        return
    changed = schema.differences(load_config(folder), config)
    for key, (old, new) in changed.items():
        if key not in _NO_RESULT_KEYS:
            raise ValueError(
                f"{folder} holds the report of another evaluation, with {key}={old!r}, now "
                f"{new!r}; choose another --out"
            )


def report_name(saved: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> str:
    """Returns the folder of an evaluation, so that different ones do not replace each other.

    What the name does not tell, but sets it apart from the run, becomes a short hash.
    """
    parts = [config.data.name, config.data.split]
    protocol, mask = config.eval.protocol, config.eval.initial_mask
    told = {"data.name", "data.split", "eval.protocol", *_NO_RESULT_KEYS}
    told |= set(PROTOCOLS[protocol].values)
    if protocol != "thesis":
        parts.append(protocol)
    if mask:
        parts.append(f"from_{Path(mask).stem}")
        if not mask.endswith(".npz"):
            told.add("eval.initial_mask")
    untold = {
        key: new for key, (_, new) in schema.differences(saved, config).items() if key not in told
    }
    if untold:
        text = json.dumps(untold, sort_keys=True)
        parts.append(hashlib.sha256(text.encode()).hexdigest()[:6])
    return "-".join(parts)


def check_same_run(config: ml_collections.ConfigDict, folder: Path) -> None:
    """Refuses to train into the package's own run, or that of another configuration."""
    if folder.resolve() == places.SHIPPED_FOLDER.resolve():
        raise ValueError(f"{folder} belongs to the package; choose another --workdir")
    if (folder / CONVERSION_FILE).is_file():
        raise ValueError(
            f"{folder} holds converted weights; choose another --workdir, and start from them "
            f"with --config.model.pretrained={folder}"
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; choose another --workdir")
    if not (folder / CONFIG_FILE).is_file():
        return
    is_finished = (folder / "report" / "summary.json").is_file()
    if not is_finished and not checkpoints.complete_steps(folder / "checkpoints"):
        return
    # Runs of earlier versions kept some paths as they were typed.
    changed = schema.differences(as_recorded(load_config(folder)), config)
    changed.pop("words", None)  # how the other values were asked for
    for key, (old, new) in changed.items():
        raise ValueError(
            f"{folder} belongs to a run with {key}={old!r}, now {new!r}; choose another --workdir"
        )


def check_complete(folder: Path) -> None:
    """Refuses converted weights that lack a part, which random values stand for."""
    path = folder / CONVERSION_FILE
    missing = json.loads(path.read_text(encoding="utf-8"))["missing"] if path.is_file() else []
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} tensors, among them {missing[0]}; train from it first, "
            f"with --config.model.pretrained={folder}"
        )


def check_pretrained(config: ml_collections.ConfigDict) -> None:
    """Refuses to start from a weight file, or from another network's weights."""
    folder = places.run_folder(config.model.pretrained)
    if not config.model.pretrained:
        return
    if folder.is_file():
        raise ValueError(
            f"model.pretrained: {folder} is a file; convert it first with python "
            f"scripts/convert_weights.py {folder} DEST, and give DEST"
        )
    if not (folder / CONFIG_FILE).is_file():
        return
    saved = load_config(folder).model
    # A whole slice has no square, and disks have radii of their own.
    unread: tuple[str, ...] = _SQUARE_KEYS if config.model.view == "slice" else ()
    unread += _UNDRAGGED_KEYS if config.model.encoding == "disk" else ()
    modes = prev_mask_of(saved), prev_mask_of(config.model)
    is_foreign = (folder / CONVERSION_FILE).is_file()
    # Keys may say the same in two ways; a mask that is hidden needs no other weights.
    if modes[0] == modes[1] or (is_foreign and modes[1] == "hidden"):
        unread += ("prev_mask",)
    # Foreign weights know nothing of the rest.
    for key in _PARAMETER_KEYS if is_foreign else _NETWORK_KEYS:
        if key in unread:
            continue
        if saved[key] != config.model[key]:
            raise ValueError(
                f"model.pretrained: {folder} holds weights of model.{key}={saved[key]}, but "
                f"model.{key} is {config.model[key]}; set --config.model.{key}={saved[key]}, or "
                "start from others"
            )
