"""Evaluation of a network and of what it is read against on one split, ending in a report."""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
from jax.sharding import Mesh
from tqdm import tqdm

from ecc_jax import parallel
from ecc_jax.data import pipeline
from ecc_jax.data.seen import EVERYBODY, Admission
from ecc_jax.evaluation import facts, methods, readers, robustness, rollouts
from ecc_jax.evaluation.examples import NUM_EXAMPLES, choose_examples, choose_shared, make_examples
from ecc_jax.evaluation.host import load_external, run_on_host
from ecc_jax.evaluation.masks import MaskFile, read_masks, write_masks
from ecc_jax.evaluation.methods import Bench, Network
from ecc_jax.evaluation.rollouts import CompiledRollout, EvalSet, painter_options
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.protocols import PROTOCOLS
from ecc_jax.report.challenge import cvpr25_scores
from ecc_jax.report.example_file import EXAMPLES_FILE, write_examples
from ecc_jax.report.methods import subject_of
from ecc_jax.report.montage import Example
from ecc_jax.report.readers import CSV_FILE, ReaderScores, summarise, write_outlines
from ecc_jax.report.results import MethodResult
from ecc_jax.report.write import write_report
from ecc_jax.settings import (
    encoding_in_words,
    evaluation_user,
    folds_of,
    inference_options,
    override_window,
    sampler_in_words,
)

MONTAGE_CLICKS = (1, 2, 5, 20)


class Trained(NamedTuple):
    """A network to evaluate.

    Attributes:
      segmenter: The network and its encoding.
      variables: Its variables, replicated over the devices.
      steps: Training steps behind them, for the record.
      compiled: The rollout compiled for training's validation; None compiles one.
    """

    segmenter: Segmenter
    variables: Any
    steps: int
    compiled: CompiledRollout | None = None


def rollout_options(config: ml_collections.ConfigDict) -> RolloutOptions:
    """Returns the robot user of the configuration and what answers it."""
    last = config.eval.num_clicks
    return RolloutOptions(
        capacity=max(last, config.validation.clicks),
        keep=tuple(sorted({k for k in MONTAGE_CLICKS if k <= last} | {last})),
        user=evaluation_user(config),
        seed=config.seed,
        inference=inference_options(config),
        initial_mask=_initial_mask(config),
        damage=config.eval.damage,
        tolerance_mm=config.eval.nsd_tolerance_mm,
        tolerance_px=config.eval.nsd_tolerance_px,
    )


def compile_for(
    config: ml_collections.ConfigDict,
    segmenter: Segmenter | None,
    variables: Any,
    mesh: Mesh,
    *,
    options: RolloutOptions,
) -> CompiledRollout:
    """Compiles the rollout of a network, or of the painter where `segmenter` is None."""
    return rollouts.compile_rollout(
        make_rollout_step(segmenter, options),
        variables,
        options,
        size=config.data.size,
        batch_size=config.eval.batch_size,
        mesh=mesh,
    )


def check(config: ml_collections.ConfigDict) -> None:
    """Checks before a long training what its evaluation will need.

    Raises:
      ValueError: Initial masks or an external predictor that cannot be used.
    """
    first_masks(config)
    if config.eval.external:
        load_external(config.eval.external)


def check_dataset(config: ml_collections.ConfigDict, directory: Path) -> None:
    """Checks before a long training that the dataset holds what its evaluation will need.

    Raises:
      ValueError: The protocol needs readers, and the dataset has none.
    """
    if config.eval.protocol == "readers":
        readers.check_readers(open_split(config, directory, config.data.split, max_slices=1))


def open_split(
    config: ml_collections.ConfigDict,
    directory: Path,
    split: str,
    *,
    max_slices: int,
    left_out: Collection[str] = (),
) -> EvalSet:
    """Opens a split, cut to `max_slices` slices spread over its patients (0: all).

    Args:
      config: The resolved configuration.
      directory: The prepared dataset.
      split: train, validation, test or all.
      max_slices: Slices at most.
      left_out: Patients that are not to be opened.

    Raises:
      ValueError: No such dataset, an empty split, or too few patients for the folds.
    """
    slices = pipeline.open_split(directory, split, folds=folds_of(config))
    if left_out:
        patients = {entry["patient"] for entry in slices.index}
        slices = pipeline.only_patients(slices, patients - set(left_out))
    return EvalSet(
        slices=slices,
        positions=pipeline.spread_over_patients(slices.index, max_slices=max_slices),
        num_clicks=config.eval.num_clicks,
        window_hu=override_window(config),
    )


def first_masks(config: ml_collections.ConfigDict) -> MaskFile | None:
    """Returns the masks to refine, where the configuration names a file.

    Raises:
      ValueError: They cannot be read.
    """
    if _initial_mask(config) != "file":
        return None
    return read_masks(config.eval.initial_mask, size=config.data.size)


def evaluate(
    config: ml_collections.ConfigDict,
    directory: Path,
    trained: Trained | None,
    out_dir: Path,
    *,
    mesh: Mesh,
    admission: Admission = EVERYBODY,
) -> Path:
    """Evaluates a network, an external predictor, or both, beside their reference methods.

    Args:
      config: The resolved configuration, its protocol applied.
      directory: The prepared dataset.
      trained: The network; None evaluates `eval.external` alone.
      out_dir: Where the report goes.
      mesh: The devices.
      admission: Who may be tested, because the network has not seen them.

    Returns:
      The path of `summary.json`.

    Raises:
      ValueError: Nothing to evaluate, or data, masks or a predictor that cannot be used.
    """
    if trained is None:
        _check_without_network(config)
    bench, variants, outlines = _bench(config, directory, trained, mesh, admission.left_out)
    total = methods.num_passes(bench) + robustness.num_passes(bench, variants)
    with _progress_bar(total + readers.num_passes(bench, outlines)) as bar:
        bench = bench._replace(advance=bar.update)
        first = methods.run_first(bench)
        results = methods.run_all(bench, first)
        drawn = readers.run_readers(bench, outlines, first.tuned) if outlines else None
        summary = {
            **_facts(config, directory, bench, mesh),
            **_network_facts(config, trained),
            **admission.facts(),
            "surface": facts.surface_facts(first.painter.pixel_mm, bench.options),
            "nof_convention": config.eval.nof_convention,
            **_protocol_facts(config, bench, results, variants, drawn),
        }
    montage, shared = _examples(bench, results)
    if not parallel.is_first_host():
        return Path(out_dir) / "summary.json"
    path = write_report(out_dir, summary, results, bench.data.entries, montage)
    write_examples(path.with_name(EXAMPLES_FILE), shared)
    path.with_name("masks.npz").unlink(missing_ok=True)
    if first.network is not None and bench.keep:
        final = first.network.masks[bench.data.num_clicks]
        write_masks(path.with_name("masks.npz"), bench.data.entries, final)
    path.with_name(CSV_FILE).unlink(missing_ok=True)
    if drawn is not None:
        write_outlines(path.with_name(CSV_FILE), drawn, bench.data.entries)
    return path


def _bench(
    config: ml_collections.ConfigDict,
    directory: Path,
    trained: Trained | None,
    mesh: Mesh,
    left_out: Collection[str],
) -> tuple[Bench, list[robustness.Variant], readers.Outlines | None]:
    """Opens the data and compiles the rollouts; with other users and outlines that are tried."""
    chosen = config.eval
    data = open_split(
        config, directory, config.data.split, max_slices=chosen.max_slices, left_out=left_out
    )._replace(first_masks=first_masks(config))
    outlines = readers.find_outlines(data) if chosen.protocol == "readers" else None
    options = rollout_options(config)
    painter = tuner = compile_for(config, None, (), mesh, options=painter_options(options))
    if options.initial_mask == "file":
        empty = painter_options(options)._replace(initial_mask="empty")
        tuner = compile_for(config, None, (), mesh, options=empty)
    bench = Bench(
        data=data,
        train=open_split(config, directory, "train", max_slices=chosen.tuning_slices),
        options=options,
        network=None if trained is None else _network(config, trained, options, mesh),
        external=load_external(chosen.external) if chosen.external else None,
        painter=painter,
        tuner=tuner,
        baselines=tuple(chosen.baselines),
        flooding_tolerances=chosen.flooding_tolerances,
        latency_clicks=chosen.latency_clicks,
        keep=(chosen.num_clicks,) if chosen.save_masks else (),
        mesh=mesh,
        advance=lambda _: None,
    )
    variants = []
    if chosen.protocol == "robustness" and trained is not None:
        variants = robustness.variants_of(
            options.user,
            habit=config.clicks.radius,
            jitters=chosen.robustness_jitter,
            scales=chosen.robustness_scales,
        )
    return bench, variants, outlines


def _network(
    config: ml_collections.ConfigDict, trained: Trained, options: RolloutOptions, mesh: Mesh
) -> Network:
    """Returns the network with training's rollout if it fits this evaluation, else a new one."""
    compiled = trained.compiled
    if compiled is None or compiled.options != options:
        compiled = compile_for(config, trained.segmenter, trained.variables, mesh, options=options)
    return Network(trained.segmenter, trained.variables, compiled)


def _examples(
    bench: Bench, results: dict[str, MethodResult]
) -> tuple[list[Example], list[Example]]:
    """Returns the cases of the montage and those that runs share, of the report's method."""
    name, keep = subject_of(results), bench.options.keep
    network, external = bench.network, bench.external
    count = NUM_EXAMPLES if network is None else min(NUM_EXAMPLES, network.rollout.batch_size)
    ranked = choose_examples(results[name].scores["iou"], count=count)

    def run(part: EvalSet) -> rollouts.Results:
        if network is not None:
            return rollouts.run_rollouts(
                network.rollout, network.variables, part, mesh=bench.mesh, keep=keep
            )
        assert external is not None
        return run_on_host(external, part, bench.options, user=bench.options.user, keep=keep)

    found = make_examples(run, bench.data, [*ranked, *choose_shared(bench.data.entries)])
    return found[: len(ranked)], found[len(ranked) :]


def _facts(
    config: ml_collections.ConfigDict, directory: Path, bench: Bench, mesh: Mesh
) -> dict[str, Any]:
    """Returns what a reader must know to repeat the evaluation."""
    index = json.loads((directory / pipeline.INDEX_FILE).read_text(encoding="utf-8"))
    protocol = config.eval.protocol
    words = config.words.split(",") if config.words else []
    found = facts.facts_of_rollouts(bench.data, bench.options, mesh)
    if bench.network:
        segmenter = bench.network.segmenter
        found["inference"] = facts.describe_inference(bench.options.inference, segmenter)
    return {
        **found,
        "dataset": config.data.name,
        "split": config.data.split,
        "fold": facts.describe_fold(config.data.folds, config.data.fold),
        "split_seed": config.data.split_seed,
        "encoding": encoding_in_words(config),
        "protocol": f"{protocol}: {PROTOCOLS[protocol].description}",
        "start_from": facts.describe_initial_mask(config.eval.initial_mask, config.eval.damage),
        "batch_size": config.eval.batch_size,
        "config_name": facts.describe_config(config.name, words),
        "data": index.get("options", {}),
    }


def _network_facts(config: ml_collections.ConfigDict, trained: Trained | None) -> dict[str, Any]:
    if trained is None:
        return {"steps": None}
    words = sampler_in_words(config)
    return {"model": config.model.name, "steps": trained.steps, "sampler": words}


def _protocol_facts(
    config: ml_collections.ConfigDict,
    bench: Bench,
    results: dict[str, MethodResult],
    variants: list[robustness.Variant],
    drawn: ReaderScores | None,
) -> dict[str, Any]:
    """Returns what a protocol reports beside the tables of all."""
    found: dict[str, Any] = {}
    if config.eval.protocol == "cvpr25":
        found["cvpr25"] = cvpr25_scores(results[subject_of(results)])
    if variants:
        found["robustness"] = robustness.run_variants(bench, variants)
    if drawn is not None:
        found["readers"] = summarise(drawn, bench.data.entries).to_json()
    return found


def _initial_mask(config: ml_collections.ConfigDict) -> str:
    name = config.eval.initial_mask
    return "file" if name.endswith(".npz") else name or "empty"


def _check_without_network(config: ml_collections.ConfigDict) -> None:
    """Refuses what an external predictor alone cannot do."""
    protocol = config.eval.protocol
    for key, is_asked in (
        (f"eval.protocol={protocol}", protocol in ("robustness", "readers")),
        ("eval.save_masks=True", config.eval.save_masks),
    ):
        if is_asked:
            raise ValueError(
                f"{key} is for networks; an external predictor alone has none: give --workdir=RUN, "
                "or leave the key away"
            )


def _progress_bar(total: int) -> tqdm:
    hidden = not parallel.is_first_host()
    return tqdm(total=total, desc="evaluate", unit="image", file=sys.stderr, disable=hidden)
