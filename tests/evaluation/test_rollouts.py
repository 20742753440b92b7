"""Compiled rollouts over a split: padding, order, clicks, against a plain NumPy painter."""

import numpy as np
import pytest
from scipy import ndimage

from ecc_jax import parallel
from ecc_jax.data.pipeline import SliceSet
from ecc_jax.evaluation import rollouts
from ecc_jax.evaluation.step import RolloutOptions, make_rollout_step

SIZE, COUNT = 24, 7
OPTIONS = RolloutOptions(
    capacity=4,
    keep=(1, 2),
    threshold=0.5,
    rule="largest_component",
    radius="tight",
    fixed_radius=5.0,
    seed=0,
)


def _masks():
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.standard_normal((COUNT, SIZE, SIZE)), (0, 2, 2))
    masks = noise > np.quantile(noise, 0.8, axis=(1, 2), keepdims=True)
    masks[-1] = False  # nothing to click at all
    return masks


def _slices(masks):
    records = [
        {
            "image": np.zeros((SIZE, SIZE), np.int16),
            "mask": mask.astype(np.uint8),
            "window_hu": np.array([-150, 250], np.float32),
        }
        for mask in masks
    ]
    rows = [
        {"patient": str(i), "volume": str(i), "slice_index": 0, "lesion_area": 1}
        for i in range(len(masks))
    ]
    return SliceSet(records, rows)


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
            size=SIZE,
            batch_size=batch_size,
            capacity=OPTIONS.capacity,
            mesh=parallel.make_mesh(1),
        )
        for batch_size in (2, 4)
    }


def _run(compiled, batch_size, positions, clicks=4):
    return rollouts.run_rollouts(
        compiled[batch_size],
        (),
        _slices(_masks()),
        np.asarray(positions),
        num_clicks=clicks,
        mesh=parallel.make_mesh(1),
    )


def test_painter_equals_plain_numpy(compiled):
    results = _run(compiled, 4, range(COUNT))
    expected = [_painter_ious(mask, 4) for mask in _masks()]
    np.testing.assert_allclose(results.iou, expected, atol=1e-6)
    assert results.iou[-1].tolist() == [1, 1, 1, 1]
    assert not results.clicked[-1].any()


def test_order_and_padding_follow_the_positions(compiled):
    whole = _run(compiled, 4, range(COUNT))
    picked = _run(compiled, 2, [5, 0, 3])
    np.testing.assert_array_equal(picked.iou, whole.iou[[5, 0, 3]])
    np.testing.assert_array_equal(picked.first_yx, whole.first_yx[[5, 0, 3]])
    assert picked.clicks_computed == 4 * 4
    assert picked.seconds > 0


def test_fewer_clicks_are_a_prefix(compiled):
    whole, short = _run(compiled, 4, range(COUNT)), _run(compiled, 4, range(COUNT), clicks=2)
    np.testing.assert_array_equal(short.iou, whole.iou[:, :2])
    assert short.clicked.shape == (COUNT, 2)


def test_kept_masks_belong_to_their_clicks(compiled):
    batch, outcome = rollouts.outcome_of(
        compiled[4],
        (),
        _slices(_masks()),
        np.arange(3),
        num_clicks=4,
        mesh=parallel.make_mesh(1),
    )
    for row in range(3):
        for slot, click in enumerate(OPTIONS.keep):
            mask, target = outcome.masks[row, slot], batch.target[row] > 0
            iou = (mask & target).sum() / (mask | target).sum()
            assert iou == pytest.approx(float(outcome.iou[row, click - 1]), abs=1e-6)


def test_batch_that_does_not_split_names_the_next_that_does():
    with pytest.raises(ValueError, match="eval.batch_size=6 .* use eval.batch_size=8"):
        rollouts.compile_rollout(
            make_rollout_step(None, OPTIONS),
            (),
            size=SIZE,
            batch_size=6,
            capacity=4,
            mesh=parallel.make_mesh(4),
        )
