"""A run from configuration to report: workdir, data, training, evaluation, resume.

What `main` does once the flags are parsed; also the functions to call from a notebook.
"""

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from ecc_jax import config as schema
from ecc_jax import parallel
from ecc_jax.evaluation import loop as evaluation
from ecc_jax.evaluation.options import inference_options
from ecc_jax.models.build import build, init_variables
from ecc_jax.predictor import InteractivePredictor
from ecc_jax.training import checkpoints
from ecc_jax.training import loop as training
from ecc_jax.types import InteractiveModel

CONFIG_FILE = "config.json"
# Keys that change no number of a report.
_NO_RESULT_KEYS = ("eval.save_masks", "eval.latency_clicks", "data.read_threads")
CONVERSION_FILE = "conversion.json"  # written by scripts/convert_weights.py
Prepare = Callable[[ml_collections.ConfigDict], Path]


def train(config: ml_collections.ConfigDict, prepare: Prepare, workdir: str = "") -> Path:
    """Trains, or resumes, and evaluates the best checkpoint on `data.split`.

    Args:
      config: A resolved configuration.
      prepare: Returns the prepared dataset of a configuration, building it if need be.
      workdir: Folder of the run; empty derives it from the configuration.

    Returns:
      The path of `report/summary.json`.

    Raises:
      ValueError: Invalid configuration, missing or bad data, or a workdir of another run.
    """
    config = with_absolute_paths(config)
    schema.validate(config)
    folder = Path(workdir) if workdir else default_workdir(config)
    _check_same_run(config, folder)
    _check_pretrained(config)
    summary = folder / "report" / "summary.json"
    if summary.is_file():
        training.say(f"{folder} is finished; its report:")
        return summary
    parallel.start_multi_host()
    mesh = parallel.make_mesh()
    training.check(config, mesh)
    evaluation.check(config)
    directory = prepare(config)
    training.say(f"workdir {folder}")
    with _alone_in(folder):
        _write_config(config, folder)
        trained = training.train(config, directory, folder, mesh)
    best = checkpoints.best_step(folder / "checkpoints")
    variables = checkpoints.restore_variables(folder / "checkpoints", best)
    network = evaluation.Network(
        trained.model, parallel.replicate(variables, mesh), best, trained.compiled
    )
    return evaluation.evaluate(config, directory, network, folder / "report", mesh=mesh)


def evaluate(
    config: ml_collections.ConfigDict | None,
    overrides: Mapping[str, Any],
    prepare: Prepare,
    workdir: str = "",
) -> Path:
    """Evaluates a finished or running run's best checkpoint, perhaps on other data.

    With `eval.external` the external predictor stands beside the network; without a run it stands
    alone.

    Args:
      config: Configuration given beside the workdir, or None. Its groups data, clicks, inference
        and eval replace the run's; its model must be the run's.
      overrides: Single keys given on the command line; others than those of these groups must
        have the run's value.
      prepare: Returns the prepared dataset of a configuration, building it if need be.
      workdir: Folder of the run; empty derives it from `config`.

    Returns:
      The path of `summary.json`, in the workdir under `report/<dataset>-<split>` (and the protocol,
      the initial mask and a short hash of what else differs from the run).

    Raises:
      ValueError: No such run, a key that evaluation cannot change, or converted weights of
        which a part is missing.
    """
    if not workdir and config is None:
        raise ValueError(
            "--mode=evaluate needs --workdir=DIR, the folder of a trained run, or "
            "--config.eval.external=package.module:factory"
        )
    if config is not None and config.eval.external and not is_run(workdir):
        return _evaluate_external(with_absolute_paths(config), prepare, workdir)
    folder = Path(workdir) if workdir else default_workdir(with_absolute_paths(config))
    saved = load_config(folder)
    _check_complete(folder)
    given = config if workdir else None
    resolved = with_absolute_paths(merge_for_evaluation(saved, given, overrides))
    schema.validate(resolved)
    parallel.start_multi_host()
    directory = prepare(resolved)
    mesh = parallel.make_mesh()
    model, variables, best = load_network(folder, resolved)
    training.say(f"evaluating step {best} of {folder} on {resolved.data.name}")
    out_dir = folder / "report" / _report_name(saved, resolved)
    _write_config(resolved, out_dir)
    network = evaluation.Network(model, parallel.replicate(variables, mesh), best)
    return evaluation.evaluate(resolved, directory, network, out_dir, mesh=mesh)


def is_run(workdir: str) -> bool:
    """Returns whether a folder is the workdir of a run."""
    return bool(workdir) and (Path(workdir) / CONFIG_FILE).is_file()


def _evaluate_external(config: ml_collections.ConfigDict, prepare: Prepare, workdir: str) -> Path:
    """Evaluates `eval.external` without any network of this package."""
    schema.validate(config)
    directory = prepare(config)
    folder = Path(workdir or f"runs/external-{schema.resolved_hash(config)}")
    where = f"{workdir} holds no run: " if workdir else ""
    training.say(f"{where}evaluating {config.eval.external} alone on {config.data.name}")
    _write_config(config, folder / "report")
    return evaluation.evaluate(
        config, directory, None, folder / "report", mesh=parallel.make_mesh(1)
    )


def _report_name(saved: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> str:
    """Returns the folder of an evaluation, so that different ones do not replace each other.

    What the name does not tell, but sets it apart from the run, becomes a short hash.
    """
    parts = [config.data.name, config.data.split]
    told = {"data.name", "data.split", "eval.protocol", "eval.start_from", *_NO_RESULT_KEYS}
    if config.eval.protocol != "thesis":
        parts.append(config.eval.protocol)
    if config.eval.start_from != "empty":
        parts.append(f"from_{Path(config.eval.start_mask).stem}")
        if not config.eval.start_mask.endswith(".npz"):
            told.add("eval.start_mask")
    untold = {
        key: new for key, (_, new) in schema.differences(saved, config).items() if key not in told
    }
    if untold:
        text = json.dumps(untold, sort_keys=True)
        parts.append(hashlib.sha256(text.encode()).hexdigest()[:6])
    return "-".join(parts)


def load_network(
    folder: Path, config: ml_collections.ConfigDict
) -> tuple[InteractiveModel, Any, int]:
    """Returns the network of a run, its best variables (on the host) and their step.

    Raises:
      ValueError: The folder holds no checkpoint of this network.
    """
    model = build(config.model.name, dtype=config.model.dtype)
    best, variables = checkpoints.best_variables(folder, init_variables(model, config.seed))
    return model, variables, best


def load_predictor(
    workdir: str | Path, overrides: Mapping[str, Any] | None = None
) -> InteractivePredictor:
    """Returns the best network of a run, ready for clicks on single slices.

    Args:
      workdir: Folder of the run.
      overrides: Keys that evaluation may change, such as {"inference.pipeline": "zoom_in"}.

    Raises:
      ValueError: No such run, no checkpoint in it, or a bad key or value.
    """
    folder = Path(workdir)
    config = merge_for_evaluation(load_config(folder), None, overrides or {})
    schema.validate(config)
    model, variables, _ = load_network(folder, config)
    return InteractivePredictor(
        model,
        variables,
        options=inference_options(config),
        threshold=config.inference.threshold,
    )


def merge_for_evaluation(
    saved: ml_collections.ConfigDict,
    given: ml_collections.ConfigDict | None,
    overrides: Mapping[str, Any],
) -> ml_collections.ConfigDict:
    """Returns the run's configuration with what evaluation may change.

    Raises:
      ValueError: Another value of a key outside data, clicks, inference and eval, or another
        model.
    """
    merged = schema.from_dict(schema.to_dict(saved))
    if given is not None:
        if given.model.name != saved.model.name:
            raise ValueError(
                f"the run has model.name={saved.model.name}, the configuration "
                f"{given.model.name}; leave --config away to evaluate the run as it is"
            )
        values = schema.to_dict(given)
        for group in schema.EVALUATION_GROUPS:
            for key, value in values[group].items():
                schema.set_key(merged, f"{group}.{key}", value)
    for key, value in overrides.items():
        before = schema.from_dict(schema.to_dict(merged))
        schema.set_key(merged, key, value)
        is_free = key.split(".")[0] in schema.EVALUATION_GROUPS
        if not is_free and schema.differences(before, merged):
            raise ValueError(
                f"evaluation cannot change {key}; it may change "
                f"{', '.join(f'{g}.*' for g in schema.EVALUATION_GROUPS)}"
            )
    _keep_patients_apart(saved, merged, overrides)
    return merged


def _keep_patients_apart(
    saved: ml_collections.ConfigDict,
    merged: ml_collections.ConfigDict,
    overrides: Mapping[str, Any],
) -> None:
    """Lets no evaluation test on patients that the run was trained on without its saying so.

    On its own data a run keeps its split, whatever the configuration given beside it says; other
    data are not divided into the run's folds.

    Raises:
      ValueError: Another split of the run's own data was asked for by name.
    """
    paths = {Path(c.data.path).expanduser().resolve() for c in (saved, merged) if c.data.path}
    is_own = merged.data.name == saved.data.name and len(paths) <= 1
    for key in ("folds", "fold", "split_seed", "split_rule"):
        name = f"data.{key}"
        if not is_own:
            if key in ("folds", "fold") and name not in overrides:
                merged.data[key] = 0
            continue
        if name in overrides and merged.data.split != "all" and merged.data[key] != saved.data[key]:
            raise ValueError(
                f"{name}={merged.data[key]}: the run was trained with {saved.data[key]}, so its "
                "test patients would include some that it was trained on; leave the key away (or "
                "evaluate data.split=all, knowing that)"
            )
        if name not in overrides:
            merged.data[key] = saved.data[key]


def with_absolute_paths(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy with folders and files spelt in one way, from the root of the file system."""
    copy = schema.from_dict(schema.to_dict(config))
    for key in ("path", "root"):
        if copy.data[key]:
            copy.data[key] = str(Path(copy.data[key]).expanduser().resolve())
    if copy.eval.start_mask.endswith(".npz"):
        copy.eval.start_mask = str(Path(copy.eval.start_mask).expanduser().resolve())
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
    return schema.from_dict(values)


def _write_config(config: ml_collections.ConfigDict, folder: Path) -> None:
    if parallel.is_first_host():
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(schema.to_dict(config), indent=1)
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Makes and holds the workdir, so that no second process trains into it at the same time."""
    if not parallel.is_first_host():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is training in {folder}; wait for it or choose another --workdir"
            ) from error
        yield


def _check_same_run(config: ml_collections.ConfigDict, folder: Path) -> None:
    """Refuses to train into the workdir of another configuration that has trained there."""
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
    changed = schema.differences(load_config(folder), config)
    for key, (old, new) in changed.items():
        raise ValueError(
            f"{folder} belongs to a run with {key}={old!r}, now {new!r}; choose another --workdir"
        )


def _check_complete(folder: Path) -> None:
    """Refuses converted weights that lack a part, which random values stand for."""
    path = folder / CONVERSION_FILE
    missing = json.loads(path.read_text(encoding="utf-8"))["missing"] if path.is_file() else []
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} tensors, among them {missing[0]}; train from it first, "
            f"with --config.model.pretrained={folder}"
        )


def _check_pretrained(config: ml_collections.ConfigDict) -> None:
    """Refuses to start from a weight file, or from another network's weights."""
    folder = Path(config.model.pretrained)
    if not config.model.pretrained:
        return
    if folder.is_file():
        raise ValueError(
            f"model.pretrained: {folder} is a file; convert it first with python "
            f"scripts/convert_weights.py {folder} DEST, and give DEST"
        )
    if not (folder / CONFIG_FILE).is_file():
        return
    saved = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["model"]["name"]
    if saved != config.model.name:
        raise ValueError(
            f"model.pretrained: {folder} holds weights of {saved}, but model.name is "
            f"{config.model.name}; set --config.model.name={saved}, or start from others"
        )
