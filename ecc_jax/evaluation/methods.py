"""How each method of a report is run: one entry of `RUNNERS` beside one of `report.METHODS`."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int

from ecc_jax.classical import methods as classical
from ecc_jax.classical import painter, random_walker, search
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data.window import clip_to_window
from ecc_jax.evaluation.host import HostPredictor, run_on_host
from ecc_jax.evaluation.latency import latency_of, measure_latency
from ecc_jax.evaluation.rollouts import (
    Advance,
    CompiledRollout,
    EvalSet,
    Results,
    painter_options,
    run_rollouts,
)
from ecc_jax.evaluation.step import RolloutOptions, scores_of
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.report.dataset import drawn_masks
from ecc_jax.report.measures import physical
from ecc_jax.report.results import MethodFacts, MethodResult


class Network(NamedTuple):
    """A network to evaluate.

    Attributes:
      segmenter: The network and its encoding.
      variables: Its variables, replicated over the devices.
      rollout: Its compiled rollout.
    """

    segmenter: Segmenter
    variables: Any
    rollout: CompiledRollout


class Bench(NamedTuple):
    """What all methods of one evaluation share.

    Attributes:
      data: The slices to evaluate.
      train: Training slices, for what is tuned.
      options: The configured rollout: who clicks, initial masks, tolerances.
      network: The network; None where a predictor from outside stands alone.
      external: The predictor from outside, if any.
      painter: The painter's rollout.
      tuner: The same for training slices, of which a file of initial masks knows nothing.
      baselines: Names of the methods that may be left out and are wanted.
      flooding_tolerances: Tolerances of floods tried on training slices.
      latency_clicks: Single clicks timed; 0 times none.
      keep: Clicks of the network whose masks are wanted of every slice.
      mesh: The devices.
      advance: Tells the progress bar of slices done.
    """

    data: EvalSet
    train: EvalSet
    options: RolloutOptions
    network: Network | None
    external: HostPredictor | None
    painter: CompiledRollout
    tuner: CompiledRollout
    baselines: tuple[str, ...]
    flooding_tolerances: int
    latency_clicks: int
    keep: tuple[int, ...]
    mesh: Mesh
    advance: Advance

    def run_network(self, *, user: RobotUser | None = None, **changes: Any) -> Results:
        """Clicks through the slices with the network."""
        if self.network is None:
            raise ValueError("this evaluation has no network")
        rollout, variables = self.network.rollout, self.network.variables
        return run_rollouts(
            rollout,
            variables,
            self.data,
            mesh=self.mesh,
            user=user or self.options.user,
            on_batch=self.advance,
            **changes,
        )

    def run_painter(self, user: RobotUser, *, keep: tuple[int, ...] = ()) -> Results:
        """Clicks through the slices with the painter."""
        return run_rollouts(
            self.painter, (), self.data, mesh=self.mesh, user=user, keep=keep, on_batch=self.advance
        )

    def run_host(self, predictor: HostPredictor, user: RobotUser) -> Results:
        """Clicks through the slices with a predictor on the host."""
        return run_on_host(predictor, self.data, self.options, user=user, on_slice=self.advance)


class First(NamedTuple):
    """What other methods build on.

    Attributes:
      network: The network's rollout.
      painter: That of the painter with average radii.
      tuned: The user whose radii serve the painter best, see `tune_painter`.
    """

    network: Results | None
    painter: Results
    tuned: RobotUser


class Runner(NamedTuple):
    """How a method is run.

    Attributes:
      passes: (bench) -> slices that it clicks through, for the progress bar.
      run: (bench, first rollouts) -> its result; None where it does not apply.
    """

    passes: Callable[[Bench], int]
    run: Callable[[Bench, First], MethodResult | None]


def run_first(bench: Bench) -> First:
    """Runs what other methods build on."""
    network = bench.run_network(keep=bench.keep) if bench.network else None
    painter = bench.run_painter(bench.painter.options.user.with_habit("average"))
    tuned = tune_painter(bench.tuner, bench.train, mesh=bench.mesh, on_batch=bench.advance)
    return First(network, painter, tuned)


def run_all(bench: Bench, first: First) -> dict[str, MethodResult]:
    """Returns the results of every method that applies, by name."""
    found = {name: runner.run(bench, first) for name, runner in RUNNERS.items()}
    return {name: result for name, result in found.items() if result is not None}


def num_passes(bench: Bench) -> int:
    """Returns how many slices all methods together click through."""
    return sum(runner.passes(bench) for runner in RUNNERS.values())


def _model(bench: Bench, first: First) -> MethodResult | None:
    results, network = first.network, bench.network
    if results is None or network is None:
        return None
    latency = None
    if bench.latency_clicks and results.method.clicks is not None:
        latency = measure_latency(
            network.segmenter,
            network.variables,
            bench.data,
            results.method.clicks,
            options=bench.options.inference,
            threshold=float(bench.options.user.threshold),
            count=bench.latency_clicks,
        )
    facts = MethodFacts(seconds_per_click=results.seconds_per_click, latency=latency)
    return results.method._replace(facts=facts)


def _external(bench: Bench, first: First) -> MethodResult | None:
    if bench.external is None:
        return None
    results = bench.run_host(bench.external, bench.options.user)
    return _timed(results, label=bench.external.name)


def _random_walker(bench: Bench, first: First) -> MethodResult | None:
    if "random_walker" not in bench.baselines:
        return None
    # It takes a disk for the lesion's size, which static disks do not tell.
    user = painter_options(bench.options).user
    return _timed(bench.run_host(HostPredictor("random walker", random_walker.predict), user))


def _timed(results: Results, *, label: str | None = None) -> MethodResult:
    # The first call of all compiles, or reads what the others find in memory.
    facts = MethodFacts(label=label, latency=latency_of(results.call_seconds[1:]))
    return results.method._replace(facts=facts)


def _blank_image(bench: Bench, first: First) -> MethodResult | None:
    if bench.network is None or "blank_image" not in bench.baselines:
        return None
    return bench.run_network(is_blank=True).method


def _painter_tight(bench: Bench, first: First) -> MethodResult | None:
    return bench.run_painter(bench.painter.options.user.with_habit("tight")).method


def _painter_tuned(bench: Bench, first: First) -> MethodResult | None:
    return bench.run_painter(first.tuned).method._replace(facts=_weights_of(first.tuned))


def _same_disks(bench: Bench, first: First) -> MethodResult | None:
    if not _with_tuned_user(bench):
        return None
    return bench.run_network(user=first.tuned).method._replace(facts=_weights_of(first.tuned))


def _weights_of(user: RobotUser) -> MethodFacts:
    return MethodFacts(first_weight=user.first_weight, later_weight=user.later_weight)


def tune_painter(
    rollout: CompiledRollout, data: EvalSet, *, mesh: Mesh, on_batch: Advance
) -> RobotUser:
    """Returns the user whose disk radii serve the painter best, see `painter.best_weights`.

    Args:
      rollout: A rollout compiled without a network.
      data: Training slices.
      mesh: The devices.
      on_batch: Called with the number of slices after each batch.
    """
    user = rollout.options.user

    def weighted(first: float, later: float = user.later_weight) -> RobotUser:
        return dataclasses.replace(user, first_weight=first, later_weight=later)

    def mean_iou(user: RobotUser, clicks: int) -> float:
        part = data._replace(num_clicks=clicks)
        found = run_rollouts(rollout, (), part, mesh=mesh, user=user, on_batch=on_batch)
        return float(found.method.scores["iou"].mean())

    weights = painter.best_weights(
        lambda first: mean_iou(weighted(first), 1),
        lambda first, later: mean_iou(weighted(first, later), data.num_clicks),
    )
    return weighted(*weights)


def _disk_as_mask(bench: Bench, first: First) -> MethodResult | None:
    return first.painter.disk if bench.options.initial_mask == "empty" else None


def _start_mask(bench: Bench, first: First) -> MethodResult | None:
    return None if bench.options.initial_mask == "empty" else first.painter.initial


def _tuned(row: str, name: str) -> Runner:
    """Returns how a classical method is run: tuned on training slices, then from first clicks."""
    method = classical.METHODS[name]

    def applies(bench: Bench) -> bool:
        return row in bench.baselines and bench.options.initial_mask == "empty"

    def tuned_on(bench: Bench) -> Int[np.ndarray, " m"]:
        return method.tuning_slices(len(bench.train.positions))

    def run(bench: Bench, first: First) -> MethodResult | None:
        if not applies(bench):
            return None
        train = bench.train.only(tuned_on(bench))._replace(num_clicks=1)
        user = bench.painter.options.user.with_habit("average")
        clicks = run_rollouts(bench.tuner, (), train, mesh=bench.mesh, user=user)
        windows = [train.read(place).window_hu.tolist() for place in range(len(train.positions))]
        low, high = max(windows, key=lambda window: window[1] - window[0])
        values = method.tuning_values((low, high), bench.flooding_tolerances)
        iou = search.score_all(method.segment, _cases(bench, train, clicks), values)
        best = search.best_value(iou, values)
        measure, scores = _scorer(bench), []
        for place, (case, _) in enumerate(_cases(bench, bench.data, first.painter)):
            scores.append(measure(place, method.segment(case, np.array([best]))[0]))
        in_hu = method.unit == "HU"
        told = MethodFacts(tolerance_hu=best) if in_hu else MethodFacts(tuned=method.told(best))
        return _one_column(scores, first)._replace(facts=told)

    def passes(bench: Bench) -> int:
        return _all(bench) + len(tuned_on(bench)) if applies(bench) else 0

    return Runner(passes, run)


def _cases(bench: Bench, data: EvalSet, results: Results) -> Iterator[tuple[search.Case, Any]]:
    """Yields each slice with its first click, and its lesion; tells the progress bar."""
    clicks: Any = results.method.clicks
    for place in range(len(data.positions)):
        row, yx = data.read(place), clicks.yx[place, 0].tolist()
        image = clip_to_window(row.image_hu, row.window_hu)
        yield search.Case(image, (yx[0], yx[1]), float(clicks.radius[place, 0])), row.target
        bench.advance(1)


def _best_reader(bench: Bench, first: First) -> MethodResult | None:
    """Each slice's best reader against the ground truth; none without readers' masks.

    The ground truth is the consensus of the same readers, which favours every one of them.
    """
    score, scores = _scorer(bench), []
    for place, position in enumerate(bench.data.positions):
        record = bench.data.slices.records[int(position)]
        if "reader_masks" not in record:
            return None
        answers = [score(place, mask) for mask in drawn_masks(record["reader_masks"])]
        if not answers:
            return None
        scores.append(max(answers, key=lambda values: values["iou"]))
    return _one_column(scores, first)


def _scorer(bench: Bench) -> Callable[[int, Bool[np.ndarray, "h w"]], dict[str, float]]:
    """Returns (place, mask) -> scores of masks made on the host, surface measures in pixels."""
    measure = scores_of(bench.options)

    def score(place: int, mask: Bool[np.ndarray, "h w"]) -> dict[str, float]:
        row = bench.data.read(place)
        values = measure(mask[None], (row.target > 0)[None], row.pixel_mm[None])
        return {name: float(value[0]) for name, value in values.items()}

    return score


def _one_column(scores: Sequence[dict[str, float]], first: First) -> MethodResult:
    """Returns the result of a method that answers once, in the units of the others."""
    values = {name: np.array([[entry[name]] for entry in scores], np.float32) for name in scores[0]}
    return MethodResult(physical(values, first.painter.pixel_mm))


def _none(bench: Bench) -> int:
    return 0


def _all(bench: Bench) -> int:
    return len(bench.data.positions)


def _with_network(bench: Bench) -> int:
    return _all(bench) if bench.network else 0


def _wanted(name: str, passes: Callable[[Bench], int]) -> Callable[[Bench], int]:
    return lambda bench: passes(bench) if name in bench.baselines else 0


def _with_tuned_user(bench: Bench) -> int:
    # Static disks tell no size.
    is_run = "same_disks" in bench.baselines and bench.options.user.radius != "fixed"
    return _with_network(bench) if is_run else 0


# In the order in which they run; a report has its own.
RUNNERS = {
    "model": Runner(_with_network, _model),
    "external": Runner(lambda bench: _all(bench) if bench.external else 0, _external),
    "random_walker": Runner(_wanted("random_walker", _all), _random_walker),
    "disk_as_mask": Runner(_none, _disk_as_mask),
    "disk_painter_average": Runner(_all, lambda bench, first: first.painter.method),
    "disk_painter_tight": Runner(_all, _painter_tight),
    "disk_painter_tuned": Runner(
        lambda bench: _all(bench) + painter.NUM_TRIES * len(bench.train.positions), _painter_tuned
    ),
    "same_disks": Runner(_with_tuned_user, _same_disks),
    "blank_image": Runner(_wanted("blank_image", _with_network), _blank_image),
    "start_mask": Runner(_none, _start_mask),
    **{row: _tuned(row, name) for row, name in classical.ROWS.items()},
    "best_reader": Runner(_none, _best_reader),
}
