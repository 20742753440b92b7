"""Controls: tuned painter, flooding, readers."""

import numpy as np
import pytest

from ecc_jax import parallel
from ecc_jax.clicks.user import RobotUser, Style
from ecc_jax.evaluation import controls, rollouts
from ecc_jax.evaluation.rollouts import Work
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step
from tests.evaluation.slice_sets import blobs, slice_set

SIZE, CLICKS = 24, 3
OPTIONS = RolloutOptions(capacity=CLICKS, user=RobotUser(radius="weighted"))


@pytest.fixture(scope="module")
def painter():
    return rollouts.compile_rollout(
        make_rollout_step(None, OPTIONS),
        (),
        OPTIONS,
        size=SIZE,
        batch_size=6,
        mesh=parallel.make_mesh(1),
    )


def _work(masks, **options):
    return Work(slice_set(masks, **options), np.arange(len(masks)), CLICKS)


def _iou_score(work):
    def score(place, mask):
        target = work.slices.records[place]["mask"] > 0
        return {"iou": float((mask & target).sum() / max((mask | target).sum(), 1))}

    return score


def test_tuned_painter_is_the_best_of_its_grid(painter):
    work = _work(blobs(6, SIZE))
    mesh = parallel.make_mesh(1)
    done = []
    tuned = controls.tune_painter(painter, work, mesh=mesh, on_batch=done.append)
    assert sum(done) == controls.tuning_passes() * 6

    def mean(style, clicks):
        part = work._replace(num_clicks=clicks)
        found = rollouts.run_rollouts(painter, (), part, mesh=mesh, style=style)
        return float(found.row.scores["iou"].mean())

    first = tuned.style.first_weight
    assert mean(Style(first), 1) == pytest.approx(tuned.first_iou.max())
    assert mean(Style(0.0), 1) == pytest.approx(tuned.first_iou[0])
    assert mean(tuned.style, CLICKS) == pytest.approx(tuned.later_iou.max())
    assert mean(Style(first, 1.0), CLICKS) == pytest.approx(tuned.later_iou[-1])
    # With the weights of both fixed painters in the grid it is no worse than either at click 1.
    assert tuned.first_iou.max() >= max(mean(Style(0.0), 1), mean(Style(0.5), 1))


def test_flooding_is_tuned_on_the_training_slices():
    masks = blobs(4, SIZE)
    masks[-1, 3:6, 3:6] = True
    images = np.where(masks, 100, 0).astype(np.int16)
    work = _work(masks, images=images)
    seeds = np.array([np.argwhere(mask)[0] for mask in masks], np.float32)
    row, tolerance = controls.flood_rows(
        work, seeds, work, seeds, num_tolerances=24, score=_iou_score(work)
    )
    assert 0 < tolerance < 100
    assert row.scores["iou"].shape == (4, 1)
    # A flood fills the component of its seed exactly, no other.
    assert row.scores["iou"][-1, 0] == 1 and row.clicks is None


def test_best_reader_is_the_one_nearest_to_the_consensus():
    masks = blobs(3, SIZE)
    masks[-1, :5] = True
    worse = masks & (np.arange(SIZE) < SIZE // 2)
    bits = (worse.astype(np.uint8) << 1) | (masks.astype(np.uint8) << 3)
    bits[2] = worse[2].astype(np.uint8) << 2
    work = _work(masks, reader_masks=bits)
    row = controls.best_reader_row(work, score=_iou_score(work))
    half = worse[2].sum() / masks[2].sum()
    np.testing.assert_allclose(row.scores["iou"][:, 0], [1, 1, half], rtol=1e-6)


def test_datasets_without_readers_have_no_reader_row():
    work = _work(blobs(3, SIZE))
    assert controls.best_reader_row(work, score=_iou_score(work)) is None
