"""Predictors that run on the host, one's own too, under the same simulated user.

  python -m ecc_jax.main --mode=evaluate --workdir=runs/... --config.eval.external=mine:factory

`mine.py`, in the current directory or installed (`path/to/mine.py:factory` works too):

  def factory():
      network = load_my_network()  # once

      def predict(image, clicks, previous_mask):
          # image          float32 [h w], the windowed slice in [0, 1]
          # clicks         all clicks so far, the newest last; click.y, click.x (pixels, pixel
          #                centres at integers), click.radius (pixels), click.is_positive
          # previous_mask  float32 [h w], what predict returned before; 0 at the start
          return network(image, clicks)  # [h w]: probability in [0, 1], or a bool mask

      return predict

What it returns may be anything that `numpy.asarray` takes. It is called once per click, slice by
slice (on several hosts, by each of them). `ecc_jax.classical.random_walker` is a complete example.
"""

import difflib
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from ecc_jax.clicks.user import RobotUser
from ecc_jax.data.window import apply_window
from ecc_jax.evaluation.rollouts import Advance, EvalSet, Results
from ecc_jax.evaluation.step import (
    RolloutOptions,
    Situation,
    first_mask_of,
    row_keys,
    scores_of,
)
from ecc_jax.interaction import Session, interact, mask_of, simulated_click, start
from ecc_jax.places import expanded
from ecc_jax.report.measures import physical
from ecc_jax.report.results import ClickRecord, MethodResult
from ecc_jax.types import Click, Clicks, PlainClick

# Resized or iteratively solved probabilities leave [0, 1] by this much; logits by far more.
_ROUNDING = 1e-3


class HostPredictor(NamedTuple):
    """A predictor that answers one click on one slice, in plain NumPy.

    Attributes:
      name: What messages and tables call it.
      predict: (image, clicks, previous mask) -> lesion probability, see above.
    """

    name: str
    predict: Callable[[np.ndarray, tuple[PlainClick, ...], np.ndarray], Any]


def load_external(spec: str) -> HostPredictor:
    """Returns the predictor that `package.module:factory` or `file.py:factory` makes.

    Raises:
      ValueError: No such module, file or factory, or what went wrong in it.
    """
    module_name, _, factory_name = spec.rpartition(":")
    if not module_name or not factory_name:
        raise ValueError(f"eval.external: expected package.module:factory, got {spec!r}")
    module = _import(spec, module_name)
    factory = getattr(module, factory_name, None)
    if factory is None:
        near = difflib.get_close_matches(factory_name, vars(module))
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"eval.external: {module_name} has no {factory_name!r}{hint}")
    if not callable(factory):
        raise ValueError(f"eval.external: {spec} is {type(factory).__name__}, not a function")
    try:
        predict = factory()
    except Exception as error:
        raise ValueError(f"eval.external: {spec}() failed: {_one_line(error)}") from error
    if not callable(predict):
        raise ValueError(
            f"eval.external: {spec}() returned {type(predict).__name__}, expected a function "
            "(image, clicks, previous_mask) -> probability"
        )
    return HostPredictor(spec, predict)


def _import(spec: str, name: str) -> Any:
    """Imports a module, by name or by file, the current directory included."""
    is_file = name.endswith(".py")
    file = expanded(name) if is_file else Path()
    if is_file and not file.is_file():
        raise ValueError(f"eval.external: there is no file {file}")
    try:
        return _run_file(file) if is_file else _import_by_name(name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        # A module that it needs may be missing just as well; then the advice would mislead.
        if missing and f"{name}.".startswith(f"{missing}."):
            raise ValueError(
                f"eval.external: cannot import {name!r} of {spec!r}: {error}; install it, put it "
                "into the current directory or on PYTHONPATH, or give path/to/file.py:factory"
            ) from error
        raise ValueError(f"eval.external: importing {name} failed: {_one_line(error)}") from error


def _import_by_name(name: str) -> Any:
    _make_importable(os.getcwd())
    return importlib.import_module(name)


def _run_file(path: Path) -> Any:
    _make_importable(str(path.resolve().parent))
    found = importlib.util.spec_from_file_location(f"external_{path.stem}", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module
    found.loader.exec_module(module)
    return module


def _make_importable(folder: str) -> None:
    """Lets modules of a folder be imported, after all others."""
    if folder not in sys.path:
        sys.path.append(folder)


def run_on_host(
    predictor: HostPredictor,
    data: EvalSet,
    options: RolloutOptions,
    *,
    user: RobotUser,
    keep: tuple[int, ...] = (),
    on_slice: Advance | None = None,
) -> Results:
    """Clicks through the slices of `data` with the simulated user of the compiled rollouts.

    Args:
      predictor: What answers the clicks.
      data: The slices.
      options: Initial masks, seed and tolerances.
      user: Who clicks.
      keep: Clicks whose masks to return.
      on_slice: Called with 1 after each slice.

    Raises:
      ValueError: The predictor failed or returned what it must not; names slice and click.
    """
    tools = _tools(options, user)
    records, seconds, sizes = [], [], []
    for place, entry in enumerate(data.entries):
        row = data.read(place)
        where = f"volume {entry['volume']!r}, slice {entry['slice_index']}"
        run = _SliceRun(predictor, where, [])
        given = data.first_masks.of(entry) if data.first_masks else None
        records.append(_click_through(run, tools, row, given, data.num_clicks, keep))
        sizes.append(float(row.pixel_mm))
        seconds += run.seconds
        if on_slice:
            on_slice(1)
    joined = jax.tree.map(lambda *slices: np.stack(slices), *records)
    pixel_mm = np.asarray(sizes, np.float32)
    return Results(
        method=MethodResult(physical(joined.scores, pixel_mm), joined.clicks),
        disk=None,
        initial=None,
        pixel_mm=pixel_mm,
        masks=joined.masks,
        call_seconds=np.asarray(seconds),
        clicks_per_call=1,
    )


class _Tools(NamedTuple):
    """Compiled parts, shared by all slices: who clicks, what is measured, where it starts."""

    user: RobotUser
    seed: int
    choose: Callable[[Any, Any, Session, Any], Click]
    measure: Callable[[Any, Any, Any], dict[str, Any]]
    first_mask: Callable[[Any, Any, Any], Any]
    window: Callable[[Any, Any], Any]


def _tools(options: RolloutOptions, user: RobotUser) -> _Tools:
    def choose(keys: Any, index: Any, session: Session, target: Any) -> Click:
        return simulated_click(keys, index, session, target, user=user)

    def first_mask(keys: Any, target: Any, given: Any) -> Any:
        return first_mask_of(keys, target, Situation(user, first_mask=given), options)

    return _Tools(
        user,
        options.seed,
        jax.jit(choose),
        scores_of(options),
        jax.jit(first_mask),
        jax.jit(apply_window),
    )


class _SliceRun(NamedTuple):
    """One slice under the predictor; a `Predict` for the click loop.

    Attributes:
      predictor: What answers.
      where: The slice, for messages.
      seconds: Of every call so far.
    """

    predictor: HostPredictor
    where: str
    seconds: list[float]

    def __call__(
        self,
        image: Float[Array, "1 h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "1 h w 1"],
    ) -> Float[Array, "1 h w 1"]:
        count = int(clicks.count[0])
        told = tuple(
            PlainClick(float(y), float(x), float(radius), bool(sign))
            for (y, x), radius, sign in zip(
                np.asarray(clicks.yx[0, :count]),
                np.asarray(clicks.radius[0, :count]),
                np.asarray(clicks.is_positive[0, :count]),
                strict=True,
            )
        )
        # Copies, so that a predictor that writes into its input harms nobody.
        picture, before = (np.array(x[0, ..., 0], np.float32) for x in (image, prev_mask))
        where = f"{self.predictor.name}: {self.where}, click {count}"
        begin = time.perf_counter()
        try:
            answer = self.predictor.predict(picture, told, before)
        except Exception as error:
            raise ValueError(f"{where}: the predictor failed: {_one_line(error)}") from error
        prob = check_answer(answer, (image.shape[1], image.shape[2]), where)
        self.seconds.append(time.perf_counter() - begin)
        return jnp.asarray(prob)[None, ..., None]


class _Record(NamedTuple):
    """What happened on one slice, k turns; masks by click number."""

    scores: dict[str, Float32[np.ndarray, " k"]]
    clicks: ClickRecord  # without the slice axis
    masks: dict[int, np.ndarray]


def _click_through(
    run: _SliceRun,
    tools: _Tools,
    row: Any,
    given: np.ndarray | None,
    num_clicks: int,
    keep: tuple[int, ...],
) -> _Record:
    """Clicks through one slice by the transition of the compiled loop."""
    batch = jax.tree.map(lambda x: np.asarray(x)[None], row)
    target = batch.target > 0
    image = tools.window(batch.image_hu, batch.window_hu)[..., None]
    keys = row_keys(batch, tools.seed)
    first = tools.first_mask(keys, target, None if given is None else given[None])
    session = start(image, capacity=num_clicks, first_mask=first)
    threshold = tools.user.threshold
    values = tools.measure(mask_of(session, threshold), target, batch.pixel_mm)
    scores: dict[str, list[float]] = {name: [] for name in values}
    clicked, masks = [], {}
    for turn in range(num_clicks):
        click = tools.choose(keys, np.int32(turn), session, target)
        clicked.append(bool(click.exists[0]))
        if clicked[-1]:
            session = interact(run, image, session, click)
            values = tools.measure(mask_of(session, threshold), target, batch.pixel_mm)
        for name, value in values.items():
            scores[name].append(float(value[0]))
        if turn + 1 in keep:
            masks[turn + 1] = np.asarray(mask_of(session, threshold)[0])
    clicks = session.clicks
    return _Record(
        scores={name: np.asarray(value, np.float32) for name, value in scores.items()},
        clicks=ClickRecord(
            np.asarray(clicks.yx[0]),
            np.asarray(clicks.radius[0]),
            np.asarray(clicks.is_positive[0]),
            np.asarray(clicked),
        ),
        masks=masks,
    )


def check_answer(answer: Any, shape: tuple[int, int], where: str) -> Float32[np.ndarray, "h w"]:
    """Returns a predictor's answer as float32, what rounding put outside [0, 1] cut off.

    Args:
      answer: What it returned.
      shape: Height and width of the slice.
      where: Predictor, slice and click, for messages.

    Raises:
      ValueError: No array of numbers, another shape, values that are not finite or outside [0, 1]
        by more than a thousandth.
    """
    expected = f"expected a [{shape[0]} {shape[1]}] array of probabilities in [0, 1]"
    try:
        values = np.asarray(answer)
    except Exception as error:
        # torch refuses tensors that are on a GPU or carry a gradient.
        raise ValueError(
            f"{where}: {expected}, got {type(answer).__name__}, which NumPy cannot read: "
            f"{_one_line(error)}; of a torch tensor return .detach().cpu()"
        ) from error
    # jnp knows bfloat16, which is no float to NumPy.
    if values.dtype.kind not in "biu" and not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(f"{where}: {expected}, got {type(answer).__name__} ({values.dtype})")
    if values.shape != shape:
        hint = "; remove the axes of size 1" if values.squeeze().shape == shape else ""
        raise ValueError(f"{where}: {expected}, got shape {list(values.shape)}{hint}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: {expected}, got values that are not finite")
    if values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING:
        raise ValueError(
            f"{where}: {expected}, got {values.min():g} to {values.max():g}; apply a sigmoid to "
            "logits, divide 8-bit masks by 255"
        )
    return np.clip(values, 0.0, 1.0).astype(np.float32)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
