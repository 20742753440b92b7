"""Compiled rollouts over a split: padding, order, clicks, against a plain NumPy painter."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser
from ecc_jax.evaluation import audit, rollouts, start
from ecc_jax.evaluation.protocols import STYLES
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step
from tests.evaluation.slice_sets import blobs, slice_set

SIZE, COUNT = 24, 7
OPTIONS = RolloutOptions(capacity=4, keep=(1, 2), user=RobotUser(radius="weighted"))
TIGHT = STYLES["tight"]
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
        rollouts.Work(slice_set(MASKS), np.asarray(positions), clicks),
        mesh=parallel.make_mesh(1),
        style=TIGHT,
        **options,
    )


def test_painter_equals_plain_numpy(compiled):
    results = _run(compiled, 4, range(COUNT))
    expected = [_painter_ious(mask, 4) for mask in MASKS]
    np.testing.assert_allclose(results.row.scores["iou"], expected, atol=1e-6)
    assert results.row.scores["iou"][-1].tolist() == [1, 1, 1, 1]
    assert not results.row.clicks.clicked[-1].any()


def test_order_and_padding_follow_the_positions(compiled):
    whole = _run(compiled, 4, range(COUNT))
    picked = _run(compiled, 2, [5, 0, 3])
    jax.tree.map(
        lambda some, all_: np.testing.assert_array_equal(some, all_[[5, 0, 3]]),
        (picked.row, picked.disk, picked.start),
        (whole.row, whole.disk, whole.start),
    )
    assert picked.clicks_computed == 4 * 4
    assert picked.seconds > 0


def test_fewer_clicks_are_a_prefix(compiled):
    whole, short = _run(compiled, 4, range(COUNT)), _run(compiled, 4, range(COUNT), clicks=2)
    for name, score in short.row.scores.items():
        np.testing.assert_array_equal(score, whole.row.scores[name][:, :2])
    assert short.row.clicks.clicked.shape == (COUNT, 2)


def test_kept_masks_belong_to_their_clicks(compiled):
    batch, outcome = rollouts.outcome_of(
        compiled[4],
        (),
        rollouts.Work(slice_set(MASKS), np.arange(3), 4),
        mesh=parallel.make_mesh(1),
        style=TIGHT,
    )
    for row in range(3):
        for slot, click in enumerate(OPTIONS.keep):
            mask, target = outcome.masks[row, slot], batch.target[row] > 0
            iou = (mask & target).sum() / (mask | target).sum()
            assert iou == pytest.approx(float(outcome.scores["iou"][row, click - 1]), abs=1e-6)


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
        rollouts.Work(slices, np.arange(COUNT), 4),
        mesh=parallel.make_mesh(1),
        style=TIGHT,
    )
    hd95, nsd = mixed.row.scores["hd95"], mixed.row.scores["nsd"]
    assert np.isnan(hd95[::2]).all() and np.isnan(nsd[::2]).all()
    np.testing.assert_allclose(hd95[1::2], 3 * known.row.scores["hd95"][1::2])
    # A pixel of 3 mm is beyond the tolerance of 2 mm: only what coincides counts.
    assert (nsd[1::2] <= known.row.scores["nsd"][1::2]).all() and (nsd[1::2] < 1).any()
    np.testing.assert_array_equal(mixed.row.scores["iou"], known.row.scores["iou"])
    nothing = {"hd95": np.ones((2, 1)), "iou": np.ones((2, 1))}
    assert rollouts.physical(nothing, np.array([np.nan, np.nan])) is nothing


def test_initial_masks_come_from_the_file_and_are_corrected(tmp_path):
    options = OPTIONS._replace(start="file")
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
    start.write_masks(tmp_path / "masks.npz", slices.rows, given)
    work = rollouts.Work(slices, np.array([4, 1, 0, 2, 5]), 2)
    with pytest.raises(ValueError, match="first_masks"):
        rollouts.run_rollouts(compiled, (), work, mesh=parallel.make_mesh(1))
    work = work._replace(first_masks=start.read_masks(tmp_path / "masks.npz", size=SIZE))
    results = rollouts.run_rollouts(
        compiled, (), work, mesh=parallel.make_mesh(1), style=TIGHT, with_masks=True
    )
    for place, position in enumerate(work.positions):
        mask, target = given[position], MASKS[position]
        iou = (mask & target).sum() / (mask | target).sum()
        assert results.start.scores["iou"][place, 0] == pytest.approx(iou, abs=1e-6)
        final = results.final_mask[place]
        iou = (final & target).sum() / (final | target).sum()
        assert results.row.scores["iou"][place, -1] == pytest.approx(iou, abs=1e-6)
    # Tight disks only ever correct.
    assert (results.row.scores["iou"][:, 0] > results.start.scores["iou"][:, 0]).all()


def test_a_log_replays_exactly_and_a_changed_one_does_not(compiled):
    results = _run(compiled, 4, range(COUNT))
    work = rollouts.Work(slice_set(MASKS), np.arange(COUNT), 4)

    def audit_of(row):
        return audit.audit_row(
            None,
            (),
            work,
            row,
            OPTIONS,
            style=TIGHT,
            is_blank=False,
            batch_size=4,
            mesh=parallel.make_mesh(1),
        )

    found = audit_of(results.row)
    assert found.agrees.all() and found.agrees.shape == (COUNT, 4)
    assert set(found.difference) == {"iou", "dice", "nsd", "hd95"}
    assert max(found.difference.values()) == 0
    radius = results.row.clicks.radius.copy()
    radius[2, 1] += 1
    other = audit_of(results.row._replace(clicks=results.row.clicks._replace(radius=radius)))
    assert not other.agrees[2, 1] and other.agrees[[0, 1, 3, 4, 5]].all()
    assert other.difference["iou"] > 0

    # A measure that only one side has is a difference, whatever the others say.
    lost = {**results.row.scores, "nsd": np.full((COUNT, 4), np.nan)}
    assert audit_of(results.row._replace(scores=lost)).difference["nsd"] == np.inf
