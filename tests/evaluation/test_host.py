"""Predictors from outside: the same loop as inside, and every mistake by name."""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.evaluation import examples, rollouts
from ecc_jax.evaluation.host import HostPredictor, check_answer, load_external, run_on_host
from ecc_jax.evaluation.rollouts import EvalSet
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step
from tests.evaluation.slice_sets import blobs, slice_set

SIZE, COUNT, CLICKS = 24, 4, 4
STEADY = RobotUser(radius="weighted")
USER = dataclasses.replace(STEADY, first_weight=0.5, later_weight=0.0, radius_scale=1.1, jitter=1.0)


def paint(image, clicks, previous):
    """The disk painter in plain NumPy: newest disk, distance below the radius."""
    newest = clicks[-1]
    yy, xx = np.indices(image.shape)
    squared = (yy - newest.y) ** 2 + (xx - newest.x) ** 2
    inside = squared < newest.radius**2 * (1 - 3e-7)
    return np.where(inside, float(newest.is_positive), previous)


def _data(count=COUNT, clicks=CLICKS):
    return EvalSet(slice_set(blobs(COUNT, SIZE)), np.arange(count), clicks)


def _options(**changes):
    return RolloutOptions(capacity=CLICKS, keep=(1, 2), user=STEADY)._replace(**changes)


@pytest.mark.parametrize("initial_mask", ["empty", "dilated"])
def test_a_painter_from_outside_equals_the_compiled_one(initial_mask):
    options = _options(initial_mask=initial_mask)
    compiled = rollouts.compile_rollout(
        make_rollout_step(None, options),
        (),
        options,
        size=SIZE,
        batch_size=COUNT,
        mesh=parallel.make_mesh(1),
    )
    inside = rollouts.run_rollouts(compiled, (), _data(), mesh=parallel.make_mesh(1), user=USER)
    done = []
    outside = run_on_host(
        HostPredictor("mine", paint),
        _data(),
        options,
        user=USER,
        keep=(CLICKS,),
        on_slice=done.append,
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        outside.method,
        inside.method,
    )
    assert done == [1] * COUNT
    # The empty last slice is never asked about; times are those of the calls.
    assert len(outside.call_seconds) == inside.method.clicks.clicked.sum() < COUNT * CLICKS
    target = blobs(COUNT, SIZE)[1]
    mask = outside.masks[CLICKS][1]
    iou = (mask & target).sum() / (mask | target).sum()
    assert outside.method.scores["iou"][1, -1] == pytest.approx(iou, abs=1e-6)


def test_a_predictor_sees_all_clicks_the_window_and_its_own_answer():
    seen = []

    def watch(image, clicks, previous):
        seen.append((image.copy(), clicks, previous.copy()))
        image[:] = previous[:] = np.nan  # harms nobody
        return np.full(image.shape, 0.25)

    run_on_host(HostPredictor("w", watch), _data(1, 3), _options(), user=STEADY)
    assert [len(clicks) for _, clicks, _ in seen] == [1, 2, 3]
    assert seen[2][1][:2] == seen[1][1]
    for image, clicks, _ in seen:
        np.testing.assert_allclose(image, 150 / 400)  # 0 HU in -150..250
        assert image.dtype == np.float32
        assert all(type(value) is float for value in clicks[0][:3])
        assert type(clicks[0].is_positive) is bool
    assert not seen[0][2].any()
    np.testing.assert_allclose(seen[1][2], 0.25)


def test_examples_come_from_best_to_worst():
    predictor, options = HostPredictor("mine", paint), _options()

    def run(part):
        return run_on_host(predictor, part, options, user=STEADY, keep=options.keep)

    chosen = examples.choose_examples(run(_data()).method.scores["iou"])
    found = examples.make_examples(run, _data(), chosen)
    assert len(found) == COUNT and found[0].title.startswith("best, rank 1 of 4: v")
    assert set(found[0].masks) == {1, 2}
    means = [np.mean([e.ious[1], e.ious[2]]) for e in found]
    assert means[0] >= means[-1]
    for example in found:
        for click, mask in example.masks.items():
            iou = (mask & example.target).sum() / max((mask | example.target).sum(), 1)
            assert not example.target.any() or example.ious[click] == pytest.approx(iou, abs=1e-6)
        np.testing.assert_allclose(example.image, 150 / 400)  # 0 HU in -150..250


class TensorWithGradient:
    """Refuses like torch."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((4, 5)), r"got shape \[4, 5\]"),
        (np.full((4, 6), np.nan), "not finite"),
        (np.full((4, 6), -3.0), "apply a sigmoid"),
        (np.full((4, 6), 255, np.uint8), "divide 8-bit masks by 255"),
        (None, "got NoneType"),
        (np.zeros((4, 6), complex), "complex"),
        (np.zeros((1, 4, 6)), r"got shape \[1, 4, 6\]; remove the axes of size 1"),
        (np.full((4, 6), 1.01), "got 1.01 to 1.01"),
        (np.full((4, 6), 1e300), "got 1e\\+300"),
        (TensorWithGradient(), r"NumPy cannot read: RuntimeError.*return .detach\(\).cpu\(\)"),
        ([[0.0, 1.0], [0.5]], "got list, which NumPy cannot read"),
    ],
)
def test_answers_that_are_none_are_named(answer, message):
    with pytest.raises(ValueError, match=message) as error:
        check_answer(answer, (4, 6), "mine: volume 'v1', slice 3, click 2")
    assert str(error.value).startswith("mine: volume 'v1', slice 3, click 2: expected a [4 6]")


def test_masks_and_every_float_are_answers():
    for dtype in (bool, np.uint8, np.int64, np.float16, np.float64, jnp.bfloat16):
        answer = check_answer(np.eye(4, dtype=dtype), (4, 4), "")
        assert answer.dtype == np.float32 and answer.sum() == 4


def test_rounding_beyond_the_range_is_cut_off():
    above, below = np.nextafter(np.float32(1), np.float32(2)), np.float32(-1e-8)
    answer = check_answer(np.array([[above, below, 0.25]], np.float32), (1, 3), "")
    assert answer.tolist() == [[1.0, 0.0, 0.25]]


def test_a_predictor_that_fails_is_named_with_slice_and_click():
    def fail(image, clicks, previous):
        if len(clicks) == 2:
            raise RuntimeError("CUDA\nout of memory")
        return previous

    with pytest.raises(ValueError, match=r"mine: volume 'v0', slice 0, click 2") as error:
        run_on_host(HostPredictor("mine", fail), _data(), _options(), user=STEADY)
    assert "RuntimeError: CUDA out of memory" in str(error.value)
    assert isinstance(error.value.__cause__, RuntimeError)


SOURCE = """
def factory():
    return lambda image, clicks, previous_mask: image > 0.5

def broken():
    raise OSError("no weights")

def nothing():
    return None

number = 3
"""


def test_factories_are_found_by_file_and_by_module(tmp_path, monkeypatch):
    (tmp_path / "my_predictor.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_predictor", raising=False)
    image = np.eye(3)
    for spec in ("my_predictor:factory", "my_predictor.py:factory"):
        external = load_external(spec)
        assert external.name == spec
        np.testing.assert_array_equal(external.predict(image, (), image), image > 0.5)
    monkeypatch.delitem(sys.modules, "my_predictor", raising=False)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_predictor", "expected package.module:factory, got 'my_predictor'"),
        ("no_such_module:factory", "cannot import 'no_such_module'.*current directory"),
        ("missing.py:factory", "there is no file missing.py"),
        ("mine.py:factroy", "mine.py has no 'factroy'; did you mean factory"),
        ("mine.py:number", "mine.py:number is int, not a function"),
        ("mine.py:broken", r"mine.py:broken\(\) failed: OSError: no weights"),
        ("mine.py:nothing", r"mine.py:nothing\(\) returned NoneType"),
        ("wrong.py:factory", "importing wrong.py failed: SyntaxError"),
        ("unset.py:factory", "importing unset.py failed: ValueError: no weights given"),
        ("unset:factory", "importing unset failed: ValueError: no weights given"),
        ("needs.py:factory", "importing needs.py failed: .*'no_such_dependency'$"),
        ("needs:factory", "importing needs failed: .*'no_such_dependency'$"),
    ],
)
def test_factories_that_cannot_be_used(tmp_path, monkeypatch, spec, message):
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "wrong.py").write_text("def factory(:\n")
    (tmp_path / "unset.py").write_text("raise ValueError('no weights given')\n")
    (tmp_path / "needs.py").write_text("import no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ValueError, match=message):
        load_external(spec)
