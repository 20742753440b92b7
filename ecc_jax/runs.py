"""A run from configuration to report: workdir, data, training, evaluation, resume.

What `main` does once the flags are parsed; also the functions to call from a notebook.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from ecc_jax import admission, checks, parallel, places
from ecc_jax import config as schema
from ecc_jax.evaluation import loop as evaluation
from ecc_jax.evaluation import replay as replaying
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.predictor import InteractivePredictor
from ecc_jax.protocols import with_protocol
from ecc_jax.report import pooling
from ecc_jax.report.methods import PAINTERS, SUBJECTS
from ecc_jax.settings import inference_options, segmenter_of
from ecc_jax.training import checkpoints
from ecc_jax.training import loop as training
from ecc_jax.workdir import (
    CONFIG_FILE,
    alone_in,
    as_recorded,
    check_complete,
    check_pretrained,
    check_report_folder,
    check_same_report,
    check_same_run,
    check_writable,
    default_workdir,
    is_run,
    load_config,
    report_name,
    write_config,
)

_ELSEWHERE = "pass --out=DIR, a folder of yours for the report"
Prepare = Callable[[ml_collections.ConfigDict], Path]


def train(
    config: ml_collections.ConfigDict,
    prepare: Prepare,
    workdir: str | Path = "",
    *,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """Trains, or resumes, and evaluates the best checkpoint on `data.split`.

    Args:
      config: A resolved configuration.
      prepare: Returns the prepared dataset of a configuration, building it if need be.
      workdir: Folder of the run; empty derives it from the configuration.
      overrides: Single keys given on the command line, which a protocol must not contradict.

    Returns:
      The path of `report/summary.json`.

    Raises:
      ValueError: Invalid configuration, missing or bad data, or a workdir of another run.
    """
    config = as_recorded(config)
    final = with_protocol(config, overrides)
    for tree in (config, final):
        checks.validate(tree)
    folder = places.expanded(workdir) if workdir else default_workdir(config)
    check_same_run(config, folder)
    check_pretrained(config)
    summary = folder / "report" / "summary.json"
    if summary.is_file():
        training.say(f"{folder} is finished; its report:")
        return summary
    parallel.start_multi_host()
    check_writable(folder, elsewhere="choose another --workdir")
    mesh = parallel.make_mesh()
    training.check(config, mesh)
    evaluation.check(final)
    directory = prepare(config)
    evaluation.check_dataset(final, directory)
    training.say(f"workdir {folder}")
    with alone_in(folder):
        seen, admitted = admission.for_training(config, directory, folder)
        write_config(config, folder)
        admission.write_record(seen, folder)
        trained = training.train(config, directory, folder, mesh)
    best = checkpoints.best_step(folder / "checkpoints")
    variables = checkpoints.restore_variables(folder / "checkpoints", best)
    network = evaluation.Trained(
        trained.segmenter, parallel.replicate(variables, mesh), best, trained.compiled
    )
    with places.writing(folder, elsewhere="then the same command writes the report"):
        return evaluation.evaluate(
            final, directory, network, folder / "report", mesh=mesh, admission=admitted
        )


def evaluate(
    config: ml_collections.ConfigDict | None,
    overrides: Mapping[str, Any],
    prepare: Prepare,
    workdir: str | Path = "",
    out: str | Path = "",
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
      workdir: Folder of the run; empty derives it from `config`. Nothing is written there if
        `out` is given.
      out: Folder of the report; empty means in the workdir, under `report/<dataset>-<split>` (and
        the protocol, the initial mask and a short hash of what else differs from the run).

    Returns:
      The path of `summary.json`.

    Raises:
      ValueError: No such run, a key that evaluation cannot change, converted weights of which a
        part is missing, or a folder that takes no report.
    """
    if not workdir and config is None:
        raise ValueError(
            "--mode=evaluate needs --workdir=DIR, the folder of a trained run, or "
            "--config.eval.external=package.module:factory"
        )
    if config is not None and config.eval.external and not is_run(places.run_folder(workdir)):
        alone = with_protocol(as_recorded(config), overrides)
        return _evaluate_external(alone, prepare, workdir, out)
    folder = places.run_folder(workdir) if workdir else default_workdir(as_recorded(config))
    saved = load_config(folder)
    check_complete(folder)
    given = config if workdir else None
    merged = merge_for_evaluation(saved, given, overrides)
    resolved = with_protocol(as_recorded(merged), overrides)
    checks.validate(resolved)
    parallel.start_multi_host()
    _check_out(places.expanded(out) if out else folder / "report", is_given=bool(out))
    directory = prepare(resolved)
    resolved, admitted = admission.for_evaluation(
        resolved, directory, folder, saved=saved, overrides=overrides
    )
    mesh = parallel.make_mesh()
    segmenter, variables, best = load_network(folder, resolved)
    training.say(f"evaluating step {best} of {folder} on {resolved.data.name}")
    network = evaluation.Trained(segmenter, parallel.replicate(variables, mesh), best)
    out_dir = places.expanded(out or folder / "report" / report_name(saved, resolved))
    with _report_in(out_dir, resolved):
        return evaluation.evaluate(
            resolved, directory, network, out_dir, mesh=mesh, admission=admitted
        )


def _check_out(folder: Path, *, is_given: bool) -> None:
    """Refuses a folder that can take no report before anything is computed for it."""
    if is_given:
        check_report_folder(folder)
    elif folder.parent.resolve() == places.SHIPPED_FOLDER.resolve():
        raise ValueError(
            f"{folder.parent} is part of the package and takes no report; {_ELSEWHERE}"
        )
    check_writable(folder, elsewhere=_ELSEWHERE)


@contextlib.contextmanager
def _report_in(folder: Path, config: ml_collections.ConfigDict) -> Iterator[None]:
    """Opens the folder of a report; what it refuses later is one line too."""
    check_same_report(config, folder)
    with places.writing(folder, elsewhere=_ELSEWHERE, again="free space and evaluate again"):
        write_config(config, folder)
        yield


def _evaluate_external(
    config: ml_collections.ConfigDict, prepare: Prepare, workdir: str | Path, out: str | Path
) -> Path:
    """Evaluates `eval.external` without any network of this package."""
    checks.validate(config)
    folder = Path(workdir or f"runs/external-{schema.resolved_hash(config)}") / "report"
    folder = places.expanded(out or folder)
    _check_out(folder, is_given=bool(out))
    directory = prepare(config)
    where = f"{workdir} holds no run: " if workdir else ""
    training.say(f"{where}evaluating {config.eval.external} alone on {config.data.name}")
    with _report_in(folder, config):
        return evaluation.evaluate(config, directory, None, folder, mesh=parallel.make_mesh(1))


def replay(
    report: str | Path,
    prepare: Prepare,
    *,
    workdir: str | Path | None = None,
    method: str = "model",
    on_batch: Callable[[int], Any] | None = None,
) -> replaying.Replayed:
    """Answers the logged clicks of a report again, by the best weights of its run.

    Args:
      report: Folder with per_click.csv, or a run's workdir.
      prepare: Returns the prepared dataset of a configuration, building it if need be.
      workdir: The run, where it is not above the report.
      method: Which method of the report: the network, it with its image blanked, or a painter.
      on_batch: Called with the number of slices after each batch.

    Raises:
      ValueError: Whatever is missing or does not belong together.
    """
    log = pooling.load_run(places.expanded(report))
    folder = Path(log.sources[0])
    logged = log.results.get(method)
    if logged is None or method not in replaying.REPLAYABLE:
        valid = [name for name in replaying.REPLAYABLE if name in log.results]
        raise ValueError(f"method (--row) must be one of {', '.join(valid)}, got {method!r}")
    stated = pooling.read_summary(folder / "summary.json").methods[method].means["iou"]
    replaying.check_log(method, logged, stated, folder)
    above = (parent for parent in folder.resolve().parents if (parent / "checkpoints").is_dir())
    run = places.expanded(workdir) if workdir else next(above, folder.resolve().parent)
    saved = load_config(folder if (folder / CONFIG_FILE).is_file() else run)
    config = with_protocol(saved)
    options = evaluation.rollout_options(config)
    segmenter, variables = None, ()
    if method not in PAINTERS:
        segmenter, variables, step = load_network(run, config)
        if step != log.facts["steps"]:
            raise ValueError(
                f"the report is of step {log.facts['steps']}, the best checkpoint of {run} is of "
                f"step {step}; evaluate again"
            )
    data = evaluation.open_split(config, prepare(config), config.data.split, max_slices=0)
    data = data._replace(
        positions=replaying.places_of(log.slices, data.slices.index),
        first_masks=evaluation.first_masks(config),
    )
    mesh = parallel.make_mesh()
    return replaying.replay_method(
        segmenter,
        parallel.replicate(variables, mesh),
        data,
        logged,
        options._replace(user=replaying.user_of(method, options.user, logged.facts)),
        is_blank=method not in SUBJECTS and method not in PAINTERS,
        batch_size=int(log.facts["batch_size"]),
        mesh=mesh,
        on_batch=on_batch,
    )


def load_network(folder: Path, config: ml_collections.ConfigDict) -> tuple[Segmenter, Any, int]:
    """Returns the network of a run, its best variables (on the host) and their step.

    Raises:
      ValueError: The folder holds no checkpoint of this network.
    """
    segmenter = segmenter_of(config)
    fresh = segmenter.init_variables(config.seed)
    best, variables = checkpoints.best_variables(folder, fresh)
    return segmenter, variables, best


def load_predictor(
    workdir: str | Path, overrides: Mapping[str, Any] | None = None
) -> InteractivePredictor:
    """Returns the best network of a run, ready for clicks on single slices.

    Args:
      workdir: Folder of the run; "shipped" is the one that comes with the package.
      overrides: Keys that evaluation may change, such as {"inference.pipeline": "zoom_in"}.

    Raises:
      ValueError: No such run, no checkpoint in it, or a bad key or value.
    """
    folder = places.run_folder(workdir)
    config = merge_for_evaluation(load_config(folder), None, overrides or {})
    checks.validate(config)
    segmenter, variables, _ = load_network(folder, config)
    return InteractivePredictor(
        segmenter,
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
        if not is_free and schema.differences(*map(as_recorded, (before, merged))):
            raise ValueError(
                f"evaluation cannot change {key}; it may change "
                f"{', '.join(f'{g}.*' for g in schema.EVALUATION_GROUPS)}"
            )
    admission.keep_patients_apart(saved, merged, overrides)
    return merged
