"""Compiled rollouts over a split: padding, order, clicks, against a plain NumPy painter."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.data import pipeline
from ecc_jax.evaluation import masks as files
from ecc_jax.evaluation import replay, rollouts
from ecc_jax.evaluation.step import RolloutOptions, Situation, make_rollout_step
from ecc_jax.report.measures import physical
from tests.evaluation.slice_sets import blobs, slice_set

SIZE, COUNT = 24, 7
OPTIONS = RolloutOptions(capacity=4, keep=(1, 2), user=RobotUser(radius="weighted"))
TIGHT = OPTIONS.user.with_habit("tight")
MASKS = blobs(COUNT, SIZE)  # the last has nothing to click at all


def _painter_ious(target, clicks):
    """Paints and erases tight disks on the largest error component, in plain NumPy."""
    mask = np.zeros_like(target)
    ious = []
    for _ in range(clicks):
        best = None
        for sign, errors in ((True, target & ~mask), (False, mask & ~target)):
            labels, count = ndimage.label(errors, np.ones((3, 3)))
            for label in range(1, count + 1):
                region = labels == label
                if best is None or region.sum() > best[0]:
                    best = (region.sum(), sign, region)
        if best is not None:
            _, sign, region = best
            depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            yy, xx = np.indices(target.shape)
            squared = (yy - y) ** 2 + (xx - x) ** 2
            mask = np.where(squared < round(depth[y, x] ** 2), sign, mask)
        union = (mask | target).sum()
        ious.append((mask & target).sum() / union if union else 1.0)
    return ious


@pytest.fixture(scope="module")
def compiled():
    return {
        batch_size: rollouts.compile_rollout(
            make_rollout_step(None, OPTIONS),
            (),
            OPTIONS,
            size=SIZE,
            batch_size=batch_size,
            mesh=parallel.make_mesh(1),
        )
        for batch_size in (2, 4)
    }


def _run(compiled, batch_size, positions, clicks=4, **options):
    return rollouts.run_rollouts(
        compiled[batch_size],
        (),
        rollouts.EvalSet(slice_set(MASKS), np.asarray(positions), clicks),
        mesh=parallel.make_mesh(1),
        user=TIGHT,
        **options,
    )


def test_painter_equals_plain_numpy(compiled):
    results = _run(compiled, 4, range(COUNT))
    expected = [_painter_ious(mask, 4) for mask in MASKS]
    np.testing.assert_allclose(results.method.scores["iou"], expected, atol=1e-6)
    assert results.method.scores["iou"][-1].tolist() == [1, 1, 1, 1]
    assert not results.method.clicks.clicked[-1].any()


def test_order_and_padding_follow_the_positions(compiled):
    whole = _run(compiled, 4, range(COUNT))
    picked = _run(compiled, 2, [5, 0, 3])
    jax.tree.map(
        lambda some, all_: np.testing.assert_array_equal(some, all_[[5, 0, 3]]),
        (picked.method, picked.disk, picked.initial),
        (whole.method, whole.disk, whole.initial),
    )
    assert picked.clicks_per_call * picked.call_seconds.size == 4 * 4
    assert picked.call_seconds.size == 2 and (picked.call_seconds > 0).all()
    assert picked.seconds_per_click == pytest.approx(picked.call_seconds.sum() / (4 * 4))


def test_fewer_clicks_are_a_prefix(compiled):
    whole, short = _run(compiled, 4, range(COUNT)), _run(compiled, 4, range(COUNT), clicks=2)
    for name, score in short.method.scores.items():
        np.testing.assert_array_equal(score, whole.method.scores[name][:, :2])
    assert short.method.clicks.clicked.shape == (COUNT, 2)


def test_kept_masks_belong_to_their_clicks(compiled):
    results = _run(compiled, 4, range(3), keep=OPTIONS.keep)
    assert set(results.masks) == set(OPTIONS.keep)
    for row in range(3):
        for click in OPTIONS.keep:
            mask, target = results.masks[click][row], MASKS[row]
            iou = (mask & target).sum() / (mask | target).sum()
            score = results.method.scores["iou"][row, click - 1]
            assert iou == pytest.approx(float(score), abs=1e-6)
    assert _run(compiled, 4, range(3)).masks == {}
    assert set(_run(compiled, 4, range(3), keep=(2,)).masks) == {2}


def test_users_that_differ_in_numbers_share_a_compilation():
    """What a user is told at run time, another that is compiled for it does as well."""
    batch = next(pipeline.eval_batches(slice_set(MASKS), np.arange(4), batch_size=4))
    step = make_rollout_step(None, OPTIONS)
    shared = jax.jit(step)
    users = [
        TIGHT,
        dataclasses.replace(OPTIONS.user, first_weight=1.0, later_weight=0.2, radius_scale=0.8),
        dataclasses.replace(OPTIONS.user, jitter=1.5, threshold=0.3, fixed_radius=2.0),
    ]
    scores = []
    for user in users:
        told = shared((), batch, np.int32(4), Situation(jax.tree.map(np.float32, user)))
        fixed = jax.jit(lambda rows, user=user: step((), rows, jnp.int32(4), Situation(user)))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), told, fixed(batch)
        )
        scores.append(np.asarray(told.scores["iou"]).tobytes())
    assert shared._cache_size() == 1 and len(set(scores)) == len(users)


def test_batch_that_does_not_split_names_the_next_that_does():
    with pytest.raises(ValueError, match="eval.batch_size=6 .* use eval.batch_size=8"):
        rollouts.compile_rollout(
            make_rollout_step(None, OPTIONS),
            (),
            OPTIONS,
            size=SIZE,
            batch_size=6,
            mesh=parallel.make_mesh(4),
        )


def test_surface_measures_are_in_millimetres_where_pixels_have_a_size(compiled):
    """Stored pixels of `slice_set` have 0.5 mm x 48 / 24 = 1 mm; half of them know nothing."""
    known = _run(compiled, 4, range(COUNT))
    assert known.pixel_mm.tolist() == [1.0] * COUNT
    slices = slice_set(MASKS)
    for record in slices.records[::2]:
        del record["spacing_mm"]
    for record in slices.records[1::2]:
        record["spacing_mm"] = record["spacing_mm"] * 3
    mixed = rollouts.run_rollouts(
        compiled[4],
        (),
        rollouts.EvalSet(slices, np.arange(COUNT), 4),
        mesh=parallel.make_mesh(1),
        user=TIGHT,
    )
    hd95, nsd = mixed.method.scores["hd95"], mixed.method.scores["nsd"]
    assert np.isnan(hd95[::2]).all() and np.isnan(nsd[::2]).all()
    np.testing.assert_allclose(hd95[1::2], 3 * known.method.scores["hd95"][1::2])
    # A pixel of 3 mm is beyond the tolerance of 2 mm: only what coincides counts.
    assert (nsd[1::2] <= known.method.scores["nsd"][1::2]).all() and (nsd[1::2] < 1).any()
    np.testing.assert_array_equal(mixed.method.scores["iou"], known.method.scores["iou"])
    nothing = {"hd95": np.ones((2, 1)), "iou": np.ones((2, 1))}
    assert physical(nothing, np.array([np.nan, np.nan])) is nothing


def test_initial_masks_come_from_the_file_and_are_corrected(tmp_path):
    options = OPTIONS._replace(initial_mask="file")
    compiled = rollouts.compile_rollout(
        make_rollout_step(None, options),
        (),
        options,
        size=SIZE,
        batch_size=4,
        mesh=parallel.make_mesh(1),
    )
    slices = slice_set(MASKS)
    given = np.roll(MASKS, 2, axis=2)
    files.write_masks(tmp_path / "masks.npz", slices.index, given)
    data = rollouts.EvalSet(slices, np.array([4, 1, 0, 2, 5]), 2)
    with pytest.raises(ValueError, match="first_masks"):
        rollouts.run_rollouts(compiled, (), data, mesh=parallel.make_mesh(1))
    data = data._replace(first_masks=files.read_masks(tmp_path / "masks.npz", size=SIZE))
    results = rollouts.run_rollouts(
        compiled, (), data, mesh=parallel.make_mesh(1), user=TIGHT, keep=(2,)
    )
    for place, position in enumerate(data.positions):
        mask, target = given[position], MASKS[position]
        iou = (mask & target).sum() / (mask | target).sum()
        assert results.initial.scores["iou"][place, 0] == pytest.approx(iou, abs=1e-6)
        final = results.masks[2][place]
        iou = (final & target).sum() / (final | target).sum()
        assert results.method.scores["iou"][place, -1] == pytest.approx(iou, abs=1e-6)
    # Tight disks only ever correct.
    assert (results.method.scores["iou"][:, 0] > results.initial.scores["iou"][:, 0]).all()


def test_a_log_replays_exactly_and_a_changed_one_does_not(compiled):
    results = _run(compiled, 4, range(COUNT))
    data = rollouts.EvalSet(slice_set(MASKS), np.arange(COUNT), 4)

    def replayed(logged):
        return replay.replay_method(
            None,
            (),
            data,
            logged,
            OPTIONS._replace(user=TIGHT),
            is_blank=False,
            batch_size=4,
            mesh=parallel.make_mesh(1),
        )

    found = replayed(results.method)
    assert found.agrees.all() and found.agrees.shape == (COUNT, 4)
    assert set(found.difference) == {"iou", "dice", "nsd", "hd95"}
    assert max(found.difference.values()) == 0
    radius = results.method.clicks.radius.copy()
    radius[2, 1] += 1
    other = replayed(results.method._replace(clicks=results.method.clicks._replace(radius=radius)))
    assert not other.agrees[2, 1] and other.agrees[[0, 1, 3, 4, 5]].all()
    assert other.difference["iou"] > 0

    # A measure that only one side has is a difference, whatever the others say.
    lost = {**results.method.scores, "nsd": np.full((COUNT, 4), np.nan)}
    assert replayed(results.method._replace(scores=lost)).difference["nsd"] == np.inf
