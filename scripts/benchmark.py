"""Times the parts: python scripts/benchmark.py {clicks,train,evaluate,data,recipes} [--json FILE].

Every figure is the median over --repeats calls after a warm-up, with the device synchronised;
compile time stands apart. Compare only figures of one run: ratios hold, seconds depend on what
else the machine does. Input is synthetic: balls in noise, for `data` a prepared ct_phantom_2d.

    python scripts/benchmark.py recipes --recipes configs/ritm_dynamic.py:quick configs/ecc.py:quick

times whole configurations as they are: steps of training, and the answer to a single click. Keys
follow in the same word: "configs/ecc.py:quick model.name=ritm_hrnet18s model.grid=96".
"""

import argparse
import functools
import json
import math
import platform
import re
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from ecc_jax import checks, console, parallel
from ecc_jax import config as schema
from ecc_jax.clicks.encoding import append_click, disk_maps, empty_clicks
from ecc_jax.clicks.user import next_click
from ecc_jax.data import pipeline
from ecc_jax.data.augment import augment
from ecc_jax.data.window import apply_window
from ecc_jax.evaluation.step import RolloutOptions, Situation, make_rollout_step
from ecc_jax.inference.pipelines import make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.models.build import NAMES, build, init_variables
from ecc_jax.ops.components import label_components
from ecc_jax.ops.distance import distance_transform
from ecc_jax.settings import evaluation_user, inference_options, segmenter_of
from ecc_jax.training import state as states
from ecc_jax.training.options import (
    first_state,
    fresh_slices,
    optimizer_of,
    step_options,
    train_step_of,
)
from ecc_jax.training.step import first_step_with
from ecc_jax.types import Batch
from tfds_builders.preparation import DataOptions, prepare


def synthetic_batch(rows: int, height: int, width: int) -> Any:
    """Returns a `Batch` of slices with one ball each."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:height, :width]
    centre = rng.uniform(0.3, 0.7, (rows, 2, 1, 1)) * np.array([height, width])[:, None, None]
    radius = rng.uniform(0.03, 0.12, (rows, 1, 1)) * min(height, width)
    target = (np.hypot(yy - centre[:, 0], xx - centre[:, 1]) < radius).astype(np.uint8)
    fields: dict[str, Any] = {
        "image_hu": (target * 60 + rng.normal(0, 30, target.shape)).astype(np.int16),
        "window_hu": np.tile(np.array([-150, 250], np.float32), (rows, 1)),
        "target": target,
        "valid": np.ones(rows, bool),
        "position": np.arange(rows, dtype=np.int32),
        "pixel_mm": np.full(rows, 0.7, np.float32),
    }
    return jax.device_put(Batch(**fields))


def measure(function: Callable[..., Any], args: tuple[Any, ...], repeats: int) -> dict[str, float]:
    """Compiles and times a function; seconds."""
    compiled, costs = compile_timed(jax.jit(function), *args)
    return {**costs, **median_seconds(functools.partial(_wait, compiled, *args), repeats)}


def compile_timed(function: Any, *args: Any) -> tuple[Any, dict[str, float]]:
    """Compiles a jitted function; returns it with the seconds that took and the memory it needs."""
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    seconds = time.perf_counter() - start
    return compiled, {
        "compile_s": seconds,
        "memory_mib": parallel.memory_needed(compiled) / 2**20,
    }


def median_seconds(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Returns median and fastest of `repeats` calls after one warm-up call."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {"median_s": float(np.median(times)), "min_s": float(np.min(times))}


def bench_clicks(args: argparse.Namespace) -> dict[str, Any]:
    """Times the parts of the simulated user, beside SciPy on one core."""
    rows, (height, width) = args.batch, args.size
    batch = synthetic_batch(rows, height, width)
    target = batch.target > 0
    noise = jnp.asarray(np.random.default_rng(1).random((rows, height, width)) < 0.6)
    empty = jnp.zeros_like(target)
    keys = jax.random.split(jax.random.key(0), rows)
    image = jnp.zeros(target.shape, jnp.float32)
    clicks = empty_clicks(rows, 24)
    host, host_noise = np.asarray(target), np.asarray(noise)
    crop = (height // 4 * 3, width // 4 * 3)
    n = args.repeats
    return {
        "label_components, blobs": measure(label_components, (target,), n),
        "label_components, noise": measure(label_components, (noise,), n),
        "distance_transform, blobs": measure(distance_transform, (target,), n),
        "next_click": measure(
            lambda k, p, t: next_click(k, p, t, clicks), (keys, empty, target), n
        ),
        "disk_maps, 24 slots": measure(lambda c: disk_maps(c, (height, width)), (clicks,), n),
        "augment": measure(lambda k, i, t: augment(k, i, t, crop=crop), (keys, image, target), n),
        "scipy label, blobs": median_seconds(lambda: [_label(mask) for mask in host], n),
        "scipy label, noise": median_seconds(lambda: [_label(mask) for mask in host_noise], n),
        "scipy distance, blobs": median_seconds(
            lambda: [ndimage.distance_transform_edt(mask) for mask in host], n
        ),
    }


def _label(mask: np.ndarray) -> Any:
    return ndimage.label(mask, np.ones((3, 3)))


def bench_train(args: argparse.Namespace) -> dict[str, Any]:
    """Times the whole train step at 1, 3 and 8 clicks, augmentation included."""
    config = schema.default()
    config.model.name, config.model.dtype = args.model, args.dtype
    config.train.batch_size, config.augment.crop = args.batch, tuple(args.size)
    segmenter = segmenter_of(config)
    optimizer = states.make_optimizer(b1=0.9, b2=0.999)
    state = states.create(init_variables(segmenter.model, 0), optimizer)
    batch = synthetic_batch(args.batch, *args.size)
    multipliers = states.rate_multipliers(state.params, trunk=1.0)
    options = step_options(config)
    step = jax.jit(train_step_of(config, segmenter, optimizer, multipliers))
    rate = np.float32(1e-4)
    compiled, costs = compile_timed(step, state, batch, rate)
    results: dict[str, Any] = {"compilation": costs}
    for clicks in args.clicks:
        at = state._replace(step=jnp.asarray(first_step_with(options, clicks), jnp.int32))
        timing = median_seconds(functools.partial(_wait, compiled, at, batch, rate), args.repeats)
        timing["images_per_s"] = args.batch / timing["median_s"]
        results[f"{clicks} clicks"] = timing
    return results


def _wait(call: Callable[..., Any], *args: Any) -> Any:
    return jax.block_until_ready(call(*args))


def bench_evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Times a 20-click rollout of the network and of the image-blind painter."""
    options = RolloutOptions(capacity=20)
    batch = synthetic_batch(args.batch, *args.size)
    segmenter = Segmenter(build(args.model, dtype=args.dtype))
    variables = jax.device_put(init_variables(segmenter.model, 0))
    results = {}
    for name, network, weights in (("network", segmenter, variables), ("painter", None, ())):
        step = make_rollout_step(network, options)
        timing = measure(
            step, (weights, batch, np.int32(20), Situation(options.user)), args.repeats
        )
        timing["seconds_per_click"] = timing["median_s"] / (20 * args.batch)
        results[f"20 clicks, {name}"] = timing
    share = results["20 clicks, painter"]["median_s"] / results["20 clicks, network"]["median_s"]
    results["share of click simulation"] = {"ratio": share}
    return results


def bench_data(args: argparse.Namespace) -> dict[str, Any]:
    """Times reading prepared slices in this process: single records, then training batches."""
    if args.size[0] != args.size[1]:
        raise ValueError(f"prepared slices are square, got --size {args.size[0]} {args.size[1]}")
    options = DataOptions("ct_phantom_2d", size=args.size[0], num_patients=12)
    slices = pipeline.open_split(prepare(options), "all")
    order = np.random.default_rng(0).permutation(len(slices))
    results = {
        "random records": _rate(
            lambda: [slices.records[int(i)] for i in order], len(slices), args.repeats
        )
    }
    steps = -(-len(slices) // args.batch)
    for threads in (0, 4):
        batches = pipeline.train_batches(
            slices, np.arange(len(slices)), batch_size=args.batch, seed=0, threads=threads
        )
        call = functools.partial(_take, batches, steps)
        name = f"training batches, {threads} threads"
        results[name] = _rate(call, steps * args.batch, args.repeats)
    return results


def bench_recipes(args: argparse.Namespace) -> dict[str, Any]:
    """Times train steps and single clicks of whole configurations, in turn."""
    results = {}
    for recipe in args.recipes:
        config = load_recipe(recipe)  # checked before, see _check
        results[f"{recipe}, train step"] = _time_training(config, args.repeats)
        results[f"{recipe}, first click"] = _time_click(config, args.repeats, number=1)
        results[f"{recipe}, later click"] = _time_click(config, args.repeats, number=2)
    return results


def load_recipe(recipe: str) -> Any:
    """Returns the configuration of "FILE.py[:WORDS] [KEY=VALUE ...]", checked.

    Raises:
      ValueError: No such file, unknown words or keys, or values that do not fit together.
    """
    leaf, *changes = re.split(r"\s+(?=[\w.]+=)", recipe)
    file, _, words = leaf.partition(":")
    if not Path(file).is_file():
        raise ValueError(
            f"--recipes: {file} is no file; name configurations such as configs/ecc.py"
        )
    config = runpy.run_path(file)["get_config"](words)
    for change in changes:
        schema.set_from_text(config, change)
    checks.validate(config)
    return config


def _time_training(config: Any, repeats: int) -> dict[str, Any]:
    """Times consecutive steps: how long one takes depends on how many clicks it draws."""
    segmenter, optimizer = segmenter_of(config), optimizer_of(config)
    state = first_state(config, segmenter)
    fresh, size = fresh_slices(config), config.data.size
    batch = synthetic_batch(fresh, size, size)
    multipliers = states.rate_multipliers(state.params, trunk=1.0)
    rate = np.float32(1e-4)
    step = jax.jit(train_step_of(config, segmenter, optimizer, multipliers), donate_argnums=0)
    compiled, costs = compile_timed(step, state, batch, rate)
    times = []
    for _ in range(4 + 8 * repeats):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, batch, rate))
        times.append(time.perf_counter() - start)
    steady = np.array(times[4:])
    return {
        **costs,
        "mean_s": float(steady.mean()),
        "sd_of_mean_s": float(steady.std() / math.sqrt(len(steady))),
        "median_s": float(np.median(steady)),
        "rows_per_s": config.train.batch_size / float(steady.mean()),
    }


def _time_click(config: Any, repeats: int, *, number: int) -> dict[str, float]:
    """Times the answer to the click of a number on one slice."""
    segmenter, size = segmenter_of(config), config.data.size
    variables = jax.device_put(segmenter.init_variables(0))
    batch = synthetic_batch(1, size, size)
    image = apply_window(batch.image_hu, batch.window_hu)[..., None]
    user = evaluation_user(config)
    keys = jax.random.split(jax.random.key(0), 1)
    none = empty_clicks(1, config.eval.num_clicks)
    first = next_click(keys, jnp.zeros((1, size, size), bool), batch.target > 0, none, user=user)
    options = inference_options(config)

    def answer(weights: Any, image: Any, clicks: Any, prev_mask: Any) -> Any:
        return make_predict(segmenter, weights, options)(image, clicks, prev_mask)

    clicks = none
    for _ in range(number):  # where they lie costs nothing
        clicks = append_click(clicks, first)
    inputs = (variables, image, clicks, jnp.zeros_like(image))
    return measure(answer, inputs, 4 * repeats)


def _take(items: Iterator[Any], count: int) -> None:
    for _ in range(count):
        next(items)


def _rate(call: Callable[[], Any], count: int, repeats: int) -> dict[str, float]:
    """Times a call that reads `count` slices; the second rate does not suffer from neighbours."""
    start = time.process_time()
    timing = median_seconds(call, repeats)
    cpu = (time.process_time() - start) / (repeats + 1)
    return {**timing, "slices_per_s": count / timing["median_s"], "slices_per_cpu_s": count / cpu}


BENCHMARKS = {
    "clicks": bench_clicks,
    "train": bench_train,
    "evaluate": bench_evaluate,
    "data": bench_data,
    "recipes": bench_recipes,
}


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuses in one line, and before minutes of work, what would fail during or after them."""
    least = 2 if args.what == "train" else 1
    if args.batch < least:
        parser.error(f"--batch must be at least {least} for {args.what}, got {args.batch}")
    try:
        for recipe in args.recipes if args.what == "recipes" else ():
            load_recipe(recipe)
    except ValueError as error:
        parser.error(str(error))
    if min(*args.size, args.repeats, *args.clicks) < 1:
        parser.error("--size, --repeats and --clicks must be at least 1")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json: {args.json.absolute().parent} is not a folder")


def main() -> None:
    """Parses the arguments, runs one benchmark, prints a table, writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=sorted(BENCHMARKS))
    parser.add_argument("--model", choices=NAMES, default="ritm_hrnet18s")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=8, help="images per call")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(128, 128), metavar=("H", "W"), help="pixels"
    )
    parser.add_argument("--clicks", type=int, nargs="+", default=(1, 3, 8), help="for train")
    recipes = ("configs/ritm_dynamic.py:quick", "configs/ecc.py:quick")
    parser.add_argument(
        "--recipes",
        nargs="+",
        default=recipes,
        help="FILE.py[:WORDS], or in quotes with KEY=VALUE after it",
    )
    parser.add_argument("--repeats", type=int, default=5)
    path = console.path_argument
    parser.add_argument("--json", type=path, help="also write the figures to this file")
    args = parser.parse_args()
    _check(parser, args)
    device = parallel.describe_devices(parallel.make_mesh())
    setting = f"{args.model}, {args.dtype}, batch {args.batch}, {args.size[0]} x {args.size[1]}"
    if args.what == "recipes":
        setting = "as configured"
    print(f"{args.what}: {setting}; {device}, jax {jax.__version__}")
    results = BENCHMARKS[args.what](args)
    for name, values in results.items():
        print(f"  {name:28s} " + "  ".join(f"{key} {value:.4g}" for key, value in values.items()))
    if args.json:
        facts = {"device": device, "jax": jax.__version__, "machine": platform.machine()}
        command = " ".join(["python", *sys.argv])
        report = {"command": command, "setting": setting, **facts, "results": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(console.run(main))
