"""Evaluation of a network and of its reference rows on one split, ending in a report."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from ecc_jax import parallel
from ecc_jax.classical import random_walker
from ecc_jax.clicks.user import Style
from ecc_jax.data.seen import EVERYBODY, Admission
from ecc_jax.evaluation import controls, options, protocols, report, rollouts
from ecc_jax.evaluation.examples import external_examples, network_examples
from ecc_jax.evaluation.host import External, load_external, run_external
from ecc_jax.evaluation.latency import latency_of, measure_latency
from ecc_jax.report.montage import Example
from ecc_jax.evaluation.rollouts import CompiledRollout, Results, Work
from ecc_jax.report.methods import Row, method_of
from ecc_jax.evaluation.masks import write_masks
from ecc_jax.evaluation.step import make_rollout_step, scores_of
from ecc_jax.types import InteractiveModel


class Network(NamedTuple):
    """A network to evaluate.

    Attributes:
      model: The network.
      variables: Its variables, replicated over the devices.
      steps: Training steps behind them, for the record.
      compiled: The rollout compiled for training's validation; None compiles one.
    """

    model: InteractiveModel
    variables: Any
    steps: int
    compiled: CompiledRollout | None = None


class _Bench(NamedTuple):
    """What all rows of one evaluation share.

    Attributes:
      config: The configuration.
      work: The slices to evaluate.
      train: Training slices, for what is tuned.
      painter: The painter's rollout.
      tuner: The same for training slices, of which a file of initial masks knows nothing.
      mesh: The devices.
      advance: Tells the progress bar of slices done.
    """

    config: ml_collections.ConfigDict
    work: Work
    train: Work
    painter: CompiledRollout
    tuner: CompiledRollout
    mesh: Mesh
    advance: Callable[[int], Any]


class _Table(NamedTuple):
    """The rows so far, and facts beside their scores."""

    rows: dict[str, Row]
    extra: dict[str, dict[str, Any]]

    def add(self, name: str, row: Row, **extra: Any) -> None:
        self.rows[name] = row
        self.extra[name] = extra


def compile_for(
    config: ml_collections.ConfigDict,
    model: InteractiveModel | None,
    variables: Any,
    mesh: Mesh,
    *,
    start: str | None = None,
) -> CompiledRollout:
    """Compiles the configured rollout of a network, or of the painter where `model` is None.

    Args:
      config: The resolved configuration.
      model: The network.
      variables: Its variables.
      mesh: The devices.
      start: What is there before the first click, in place of the configured.
    """
    chosen = options.rollout_options(config, radius=None if model else "weighted")
    if start is not None:
        chosen = chosen._replace(start=start)
    return rollouts.compile_rollout(
        make_rollout_step(model, chosen),
        variables,
        chosen,
        size=config.data.size,
        batch_size=config.eval.batch_size,
        mesh=mesh,
    )


def check(config: ml_collections.ConfigDict) -> None:
    """Checks before a long training what its evaluation will need.

    Raises:
      ValueError: Initial masks or an external predictor that cannot be used.
    """
    options.first_masks(config)
    if config.eval.external:
        load_external(config.eval.external)


def evaluate(
    config: ml_collections.ConfigDict,
    directory: Path,
    network: Network | None,
    out_dir: Path,
    *,
    mesh: Mesh,
    admission: Admission = EVERYBODY,
) -> Path:
    """Evaluates a network, an external predictor, or both, beside their reference rows.

    Args:
      config: The resolved configuration.
      directory: The prepared dataset.
      network: The network; None evaluates `eval.external` alone.
      out_dir: Where the report goes.
      mesh: The devices.
      admission: Who may be tested, because the network has not seen them.

    Returns:
      The path of `summary.json`.

    Raises:
      ValueError: Nothing to evaluate, or data, masks or a predictor that cannot be used.
    """
    work = _work(config, directory, admission)
    train = options.open_split(config, directory, "train", max_slices=config.eval.tuning_slices)
    external = load_external(config.eval.external) if config.eval.external else None
    if network is None:
        options.check_without_network(config)
    else:
        network = network._replace(compiled=_compiled(config, network, mesh))
    with _progress_bar(_num_slices(config, network, work, train)) as bar:
        bench = _bench(config, work, train, mesh, bar.update)
        table = _Table({}, {})
        results = None if network is None else _add_network(table, bench, network)
        outside = _add_outside(table, bench, external)
        first = _add_painters(table, bench)
        _add_blank(table, bench, network)
        _add_one_shot(table, bench, first)
        summary = {
            **options.facts(config, directory, work, mesh),
            **_network_facts(config, network),
            **admission.facts(),
            "surface": options.surface_facts(config, first.pixel_mm),
            "rows": table.extra,
            **_protocol_facts(bench, table, network),
        }
    examples = outside
    if network is not None:
        examples = _examples(bench, network, table.rows["model"].scores["iou"])
    if not parallel.is_first_host():
        return Path(out_dir) / "summary.json"
    rows_of = [work.slices.rows[int(p)] for p in work.positions]
    path = report.write_report(out_dir, summary, table.rows, rows_of, examples)
    path.with_name("masks.npz").unlink(missing_ok=True)
    if results is not None and results.final_mask is not None:
        write_masks(path.with_name("masks.npz"), rows_of, results.final_mask)
    return path


def _work(config: ml_collections.ConfigDict, directory: Path, admission: Admission) -> Work:
    """Opens the split to evaluate, with the masks to begin with."""
    return options.open_split(
        config,
        directory,
        config.data.split,
        max_slices=config.eval.max_slices,
        left_out=admission.left_out,
    )._replace(first_masks=options.first_masks(config))


def _examples(bench: _Bench, network: Network, iou: np.ndarray) -> list[Example]:
    assert network.compiled is not None
    style = options.style_of(bench.config)
    return network_examples(
        network.compiled, network.variables, bench.work, iou, style=style, mesh=bench.mesh
    )


def _bench(
    config: ml_collections.ConfigDict, work: Work, train: Work, mesh: Mesh, advance: Any
) -> _Bench:
    """Compiles the painter."""
    painter = tuner = compile_for(config, None, (), mesh)
    if painter.options.start == "file":
        tuner = compile_for(config, None, (), mesh, start="empty")
    return _Bench(config, work, train, painter, tuner, mesh, advance)


def _compiled(config: ml_collections.ConfigDict, network: Network, mesh: Mesh) -> CompiledRollout:
    """Returns training's rollout if it fits this evaluation, else a new one."""
    given = network.compiled
    if given is not None and given.options == options.rollout_options(config):
        return given
    return compile_for(config, network.model, network.variables, mesh)


def _run(
    bench: _Bench, compiled: CompiledRollout, variables: Any, *, style: Style, **changes: Any
) -> Results:
    return rollouts.run_rollouts(
        compiled,
        variables,
        bench.work,
        mesh=bench.mesh,
        style=style,
        on_batch=bench.advance,
        **changes,
    )


def _run_network(bench: _Bench, network: Network, *, style: Style, **changes: Any) -> Results:
    assert network.compiled is not None
    return _run(bench, network.compiled, network.variables, style=style, **changes)


def _add_network(table: _Table, bench: _Bench, network: Network) -> Results:
    """Adds the network's row, with its speed."""
    config = bench.config
    results = _run_network(
        bench, network, style=options.style_of(config), with_masks=config.eval.save_masks
    )
    extra: dict[str, Any] = {"seconds_per_click": results.seconds / results.clicks_computed}
    if config.eval.latency_clicks:
        assert results.row.clicks is not None
        extra["latency"] = measure_latency(
            network.model,
            network.variables,
            bench.work,
            results.row.clicks,
            options=options.inference_options(config),
            threshold=options.threshold_of(config),
            count=config.eval.latency_clicks,
        )
    table.add("model", results.row, **{k: v for k, v in extra.items() if v is not None})
    return results


def _add_outside(table: _Table, bench: _Bench, external: External | None) -> list[Example]:
    """Adds the predictors that run slice by slice; returns examples of `eval.external`."""
    chosen = {} if external is None else {"external": external}
    if "random_walker" in bench.config.eval.baselines:
        chosen["random_walker"] = External("random walker", random_walker.predict)
    rollout, style = options.rollout_options(bench.config), options.style_of(bench.config)
    dynamic = options.rollout_options(bench.config, radius="weighted")
    for name, predictor in chosen.items():
        # The random walker takes a disk for the lesion's size, which static disks do not tell.
        user = dynamic if name == "random_walker" else rollout
        found = run_external(predictor, bench.work, user, style=style, on_slice=bench.advance)
        extra = {"label": predictor.name} if name == "external" else {}
        table.add(name, found.row, latency=latency_of(found.seconds[1:]), **extra)
    if external is None or "model" in table.rows:
        return []
    iou = table.rows["external"].scores["iou"]
    return external_examples(external, bench.work, rollout, iou, style=style)


def _add_painters(table: _Table, bench: _Bench) -> Results:
    """Adds the rows that draw disks, blind to the image; returns that of the average radius."""
    tuned = controls.tune_painter(bench.tuner, bench.train, mesh=bench.mesh, on_batch=bench.advance)
    painted = {
        name: _run(bench, bench.painter, (), style=style)
        for name, style in {**protocols.PAINTERS, "disk_painter_tuned": tuned.style}.items()
    }
    first = painted["disk_painter_average"]
    if bench.painter.options.start == "empty":
        table.add("disk_as_mask", first.disk)
    for name, results in painted.items():
        table.add(name, results.row)
    table.extra["disk_painter_tuned"] |= {
        "first_weight": tuned.style.first_weight,
        "later_weight": tuned.style.later_weight,
    }
    return first


def _add_blank(table: _Table, bench: _Bench, network: Network | None) -> None:
    """Adds the network without an image to look at."""
    if network is None or "blank_image" not in bench.config.eval.baselines:
        return
    results = _run_network(bench, network, style=options.style_of(bench.config), is_blank=True)
    table.add("blank_image", results.row)


def _add_one_shot(table: _Table, bench: _Bench, first: Results) -> None:
    """Adds the rows that answer once: the initial mask, flooding, the best reader."""
    config = bench.config
    score = controls.scores_on_host(bench.work, scores_of(bench.painter.options))
    if bench.painter.options.start != "empty":
        table.add("start_mask", first.start)
    elif "flooding" in config.eval.baselines:
        row, tolerance = controls.flood_rows(
            bench.train,
            _first_yx(bench.tuner, bench.train, bench.mesh),
            bench.work,
            _of_first_click(first),
            num_tolerances=config.eval.flooding_tolerances,
            score=score,
        )
        table.add("flooding", _physical(row, first), tolerance_hu=tolerance)
    reader = controls.best_reader_row(bench.work, score=score)
    if reader is not None:
        table.add("best_reader", _physical(reader, first))


def _first_yx(painter: CompiledRollout, work: Work, mesh: Mesh) -> np.ndarray:
    return _of_first_click(
        rollouts.run_rollouts(painter, (), work._replace(num_clicks=1), mesh=mesh)
    )


def _of_first_click(results: Results) -> np.ndarray:
    assert results.row.clicks is not None
    return results.row.clicks.yx[:, 0]


def _physical(row: Row, like: Results) -> Row:
    return row._replace(scores=rollouts.physical(row.scores, like.pixel_mm))


def _protocol_facts(bench: _Bench, table: _Table, network: Network | None) -> dict[str, Any]:
    """Returns what a protocol reports beside the tables of all."""
    name, protocol = bench.config.eval.protocol, options.protocol_of(bench.config)
    found: dict[str, Any] = {"nof_convention": protocol.nof_convention}
    if name == "cvpr25":
        found["cvpr25"] = protocols.cvpr25_scores(table.rows[method_of(table.rows)])
    if name == "robustness" and network is not None:
        found["robustness"] = _robustness(bench, network)
    return found


def _network_facts(config: ml_collections.ConfigDict, network: Network | None) -> dict[str, Any]:
    if network is None:
        return {"steps": None}
    return {
        "model": config.model.name,
        "steps": network.steps,
        "inference": options.describe_inference(config),
    }


def _robustness(bench: _Bench, network: Network) -> list[dict[str, Any]]:
    """Returns network and painter under every user of the robustness protocol."""
    entries = []
    for variant in _variants(bench.config):
        rows = {"model": _run_network(bench, network, style=variant.style)}
        if bench.config.clicks.radius_eval != "fixed":  # the painter needs a radius
            rows["disk_painter"] = _run(bench, bench.painter, (), style=variant.style)
        curves = {name: r.row.scores["iou"].mean(axis=0).tolist() for name, r in rows.items()}
        entries.append({"variant": variant.name, "label": variant.label, "rows": curves})
    return entries


def _variants(config: ml_collections.ConfigDict) -> list[protocols.Variant]:
    return protocols.robustness_variants(
        config.clicks.radius_eval,
        jitters=config.eval.robustness_jitter,
        scales=config.eval.robustness_scales,
    )


def _num_slices(
    config: ml_collections.ConfigDict, network: Network | None, work: Work, train: Work
) -> int:
    """Returns how many slices will be clicked through in all, for the progress bar."""
    chosen = config.eval
    passes = len(protocols.PAINTERS) + 1 + ("random_walker" in chosen.baselines)
    passes += bool(chosen.external)
    if network is not None:
        passes += 1 + ("blank_image" in chosen.baselines)
        if chosen.protocol == "robustness":
            passes += (2 - (config.clicks.radius_eval == "fixed")) * len(_variants(config))
    return passes * len(work.positions) + controls.tuning_passes() * len(train.positions)


def _progress_bar(total: int) -> tqdm:
    hidden = not parallel.is_first_host()
    return tqdm(total=total, desc="evaluate", unit="image", file=sys.stderr, disable=hidden)
