"""A disk measured on one reader's outline, scored against the others: hand-made readers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.clicks.user import RobotUser, first_clicks
from ecc_jax.data.readers import readings_of
from ecc_jax.evaluation import readers
from ecc_jax.evaluation.methods import Network
from ecc_jax.evaluation.rollouts import EvalSet, compile_rollout
from ecc_jax.evaluation.step import make_rollout_step
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.report.readers import ROWS
from ecc_jax.types import Prediction
from tests.evaluation.benches import BATCH, NETWORK_USER, SIZE, bench_of, eval_set

TUNED = RobotUser(radius="weighted", first_weight=0.3, later_weight=0.0)


class Drawing:
    """A network that answers with the disks that it is shown."""

    def apply(self, variables, image, guidance, prev_mask, *, train=False):
        return Prediction(20.0 * guidance[..., :1] - 10.0, None, jnp.zeros(()))


class Reading:
    """A network that sees the image alone: bright is lesion."""

    def apply(self, variables, image, guidance, prev_mask, *, train=False):
        return Prediction(20.0 * image[..., :1] - 10.0, None, jnp.zeros(()))


def circle(y, x, radius):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def packed(*masks):
    return sum((mask.astype(np.uint8) << reader for reader, mask in enumerate(masks)), np.uint8(0))


def box(y0, x0, y1, x1):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@functools.cache
def compiled(model, user):
    bench = bench_of(user=user)
    segmenter = Segmenter(model())
    rollout = compile_rollout(
        make_rollout_step(segmenter, bench.options),
        (),
        bench.options,
        size=SIZE,
        batch_size=BATCH,
        mesh=bench.mesh,
    )
    return bench._replace(network=Network(segmenter, (), rollout))


def bench_with(
    bits, num_readers, *, model=Drawing, targets=None, user=NETWORK_USER, advance=lambda _: None
):
    bits = np.stack(bits)
    targets = bits > 0 if targets is None else targets
    images = np.where(targets, 250, -150).astype(np.int16)
    data = eval_set(targets, images=images, reader_masks=bits, num_readers=num_readers)
    return compiled(model, user)._replace(data=data, advance=advance)


def run(bench):
    outlines = readers.find_outlines(bench.data)
    return readers.run_readers(bench, outlines, TUNED)


def test_readers_who_agree_reach_one_and_the_painter_is_a_network_that_draws_its_disk():
    mask = circle(11, 12, 5.5) & (np.arange(SIZE) < 15)
    other = box(4, 3, 12, 19)
    found = run(bench_with([packed(mask, mask, mask), packed(other, *[other] * 3)], [3, 4]))
    assert found.place.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.reader.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert set(found.iou) == {row.name for row in ROWS}
    np.testing.assert_array_equal(found.iou["reader_outline"], 1)
    assert found.area.tolist() == [mask.sum()] * 3 + [other.sum()] * 4
    for name in ("network_blank", "reader_disk", "painter"):
        # No pixel lies on the rim of these disks, so open and closed ones are the same.
        np.testing.assert_array_equal(found.iou[name], found.iou["network"])
    assert 0 < found.iou["network"].min() < 1
    assert not np.array_equal(found.iou["painter_tuned"], found.iou["painter"])


def test_readers_who_share_no_pixel_reach_nothing():
    parts = [circle(5, 5, 2), circle(5, 16, 3), circle(17, 10, 3)]
    found = run(bench_with([packed(*parts)], [3]))
    # Of two others one is half of them.
    assert found.reader.tolist() == [0, 1, 2]
    for values in found.iou.values():
        np.testing.assert_array_equal(values, 0)


def test_the_disk_is_that_of_the_readers_outline():
    small, large = box(10, 8, 15, 17), box(6, 5, 19, 20)
    found = run(bench_with([packed(small, large, large)], [3]))
    # The first of the deepest pixels; tight ends at the first row outside, enclosing in a corner.
    places = [(12, 10, (3 + np.hypot(2, 6)) / 2), (12, 11, (7 + np.hypot(6, 8)) / 2)]
    np.testing.assert_allclose(found.radius, [places[0][2], places[1][2], places[1][2]], rtol=1e-6)
    # The others are large and large, then small and large, of whom one is half: large each time.
    disks = [circle(*place) for place in places]
    expected = [(disk & large).sum() / (disk | large).sum() for disk in disks]
    np.testing.assert_allclose(found.iou["reader_disk"][:2], expected, rtol=1e-6)
    np.testing.assert_allclose(found.iou["reader_outline"][0], small.sum() / large.sum())


def test_the_network_sees_the_image_and_the_blank_one_does_not():
    mask, others = circle(11, 12, 4.2), circle(12, 12, 5.4)
    bench = bench_with([packed(mask, others, others)], [3], model=Reading, targets=others[None])
    found = run(bench)
    np.testing.assert_array_equal(found.iou["network"][0], 1)
    assert (found.iou["network_blank"] < 0.5).all()


def test_too_few_readers_and_others_who_do_not_agree_are_left_out_and_counted():
    mask, apart = circle(11, 12, 5.5), circle(4, 4, 2)
    bits = [packed(mask, mask), packed(mask, mask, apart), packed(mask), packed(mask, mask)]
    bench = bench_with(bits, [2, 4, 3, 3])
    outlines = readers.find_outlines(bench.data)
    # Slice 1: of three others two must agree, so readers 0 and 1 have nobody. Slice 2: alone.
    assert outlines.place.tolist() == [1, 3, 3] and outlines.reader.tolist() == [2, 0, 1]
    assert outlines.left_out == {
        "slices_of_too_few_readers": 1,
        "outlines_without_consensus_of_the_others": 3,
    }
    record = outlines.slices.records[0]
    np.testing.assert_array_equal(record["mask"], apart)
    np.testing.assert_array_equal(record["others"], mask)
    assert outlines.slices.index[0]["volume"] == "v1" and len(outlines.slices.records) == 3


def test_many_outlines_go_in_parts_and_the_bar_ends_where_it_was_said_to_end(monkeypatch):
    rng = np.random.default_rng(0)
    bits = []
    for _ in range(5):
        y, x = rng.uniform(8, 15, 2)
        bits.append(packed(*(circle(y, x, radius) for radius in rng.uniform(3, 6, 4))))
    done = []
    bench = bench_with(bits, [4] * 5, advance=done.append)
    outlines = readers.find_outlines(bench.data)
    whole = readers.run_readers(bench, outlines, TUNED)
    assert sum(done) == readers.num_passes(bench, outlines) == 4 * 20 + 2 * 5
    assert readers.num_passes(bench, None) == 0
    monkeypatch.setattr(readers, "_HELD", 2 * BATCH)
    parts = readers.run_readers(bench, readers.find_outlines(bench.data), TUNED)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    for number, (place, reader) in enumerate(zip(whole.place, whole.reader)):
        reading = readings_of(bits[place], 4)[reader]
        expected = (reading.own & reading.others).sum() / (reading.own | reading.others).sum()
        assert whole.iou["reader_outline"][number] == pytest.approx(expected)


@pytest.mark.parametrize("extra", [{}, {"reader_masks": np.zeros((1, SIZE, SIZE), np.uint8)}])
def test_a_dataset_without_readers_is_refused_with_the_remedy(extra):
    data = eval_set(circle(9, 9, 4)[None], **extra)
    with pytest.raises(ValueError, match="has no reader_masks: evaluate on lidc_2d, or on a ct_"):
        readers.find_outlines(data)
    bits = packed(circle(9, 9, 4), circle(9, 9, 4))[None]
    data = eval_set(bits > 0, reader_masks=bits, num_readers=[2])
    with pytest.raises(ValueError, match="of 1 slices 1 have fewer than 3 readers"):
        readers.find_outlines(data)


def dice(left, right):
    return 2 * (left & right).sum() / (left.sum() + right.sum())


def test_consistency_is_the_dice_between_the_disks_of_three_places():
    masks = np.stack([circle(12, 12, 7) & (np.arange(SIZE) < 14), circle(9, 9, 3.5)])
    tiny = np.zeros_like(masks[:1])
    tiny[0, 4, 4:6] = True
    masks = np.concatenate([masks, tiny])
    bits = packed(masks, masks, masks)
    bench = bench_with(bits, [3] * 3)
    found = run(bench).consistency
    assert set(found) == {"network", "painter"}
    assert np.isnan(found["network"][2]) and np.isnan(found["painter"][2])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(3))
    clicks = first_clicks(keys, jnp.asarray(masks), count=3, user=bench.options.user)
    for row in range(2):
        disks = [
            circle(*map(float, clicks.yx[place, row]), float(clicks.radius[place, row]) + 1e-4)
            for place in range(3)
        ]
        expected = np.mean([dice(disks[i], disks[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
        np.testing.assert_allclose(found["network"][row], expected, rtol=1e-6)
        assert found["network"][row] < 1


def test_a_network_that_ignores_clicks_is_consistent():
    mask = circle(12, 12, 6)
    found = run(bench_with([packed(mask, mask, mask)], [3], model=Reading)).consistency
    assert found["network"].tolist() == [1] and found["painter"][0] < 1


def test_static_disks_leave_the_painter_its_dynamic_ones():
    mask = circle(12, 12, 6)
    static = dataclasses.replace(bench_of().options.user, radius="fixed", fixed_radius=2.0)
    found = run(bench_with([packed(mask, mask, mask)], [3], user=static))
    assert found.iou["network"][0] == pytest.approx(circle(12, 12, 2).sum() / mask.sum())
    assert found.iou["painter"][0] > 0.9 and found.iou["reader_disk"][0] > 0.9


def test_only_the_slices_of_the_evaluation_are_used():
    mask = circle(12, 12, 6)
    bench = bench_with([packed(mask, mask, mask)] * 3, [3] * 3)
    data = EvalSet(bench.data.slices, np.array([2]), 1)
    outlines = readers.find_outlines(data)
    assert outlines.place.tolist() == [0, 0, 0]
    assert {entry["volume"] for entry in outlines.slices.index} == {"v2"}
