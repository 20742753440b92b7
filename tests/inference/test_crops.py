"""Crops against plain NumPy and SciPy: where they lie, what they hold, how they are put back."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ecc_jax.clicks.encoding import disk_maps
from ecc_jax.inference import crops
from ecc_jax.inference.crops import Zoom
from ecc_jax.types import Clicks

find = jax.jit(crops.find_region, static_argnames=("zoom", "keeps_aspect"))
read = jax.jit(crops.crop, static_argnums=2)
write = jax.jit(crops.paste, static_argnums=2)


def clicks_at(rows, capacity=4):
    """rows: one list of (y, x, is_positive) per batch row."""
    batch = len(rows)
    yx, positive = np.zeros((batch, capacity, 2), np.float32), np.zeros((batch, capacity), bool)
    yx[:] = 1000.0  # empty slots hold anything
    positive[:] = True
    for i, row in enumerate(rows):
        for j, (y, x, is_positive) in enumerate(row):
            yx[i, j], positive[i, j] = (y, x), is_positive
    count = jnp.array([len(row) for row in rows], jnp.int32)
    radius = jnp.full((batch, capacity), 5.0)
    return Clicks(jnp.asarray(yx), radius, jnp.asarray(positive), count)


class RememberingBox:
    """The rule in inclusive coordinates and float64, with a memory, for one image."""

    def __init__(self, zoom):
        self.zoom, self.roi = zoom, None

    def __call__(self, prob, clicks):
        mask = prob > self.zoom.threshold
        if len(clicks) <= self.zoom.skip_clicks or not mask.any():
            return None
        marked = mask.copy()
        positive = [(y, x) for y, x, is_positive in clicks if is_positive]
        for y, x in positive:
            marked[int(y), int(x)] = True
        roi = []
        for axis in (0, 1):
            hit = np.flatnonzero(marked.any(axis=1 - axis))
            side = max(self.zoom.expansion * (hit[-1] - hit[0] + 1), self.zoom.min_crop)
            ends = [round((hit[0] + hit[-1]) / 2 + s * side / 2) for s in (-1, 1)]
            roi += [max(ends[0], 0), min(ends[1], mask.shape[axis] - 1)]
        if self.roi is None or not self._still_fits(roi, positive):
            self.roi = roi
        return self.roi

    def _still_fits(self, roi, positive):
        a0, a1, b0, b1 = self.roi
        if any(not (a0 <= y < a1 and b0 <= x < b1) for y, x in positive):
            return False
        overlap = 1.0
        for p0, p1, q0, q1 in ((a0, a1, roi[0], roi[1]), (b0, b1, roi[2], roi[3])):
            overlap *= max(0, min(p1, q1) - max(p0, q0) + 1) / (max(p1, q1) - min(p0, q0) + 1)
        return overlap >= 0.5


def soft_answer(rng, roi, shape):
    """A blob above the threshold, little probability elsewhere in the box, nothing outside."""
    prob = np.zeros(shape, np.float32)
    y0, y1, x0, x1 = roi or (0, shape[0] - 1, 0, shape[1] - 1)
    inside = rng.uniform(0.01, 0.4, (y1 - y0 + 1, x1 - x0 + 1))
    y, x = rng.integers(0, inside.shape[0]), rng.integers(0, inside.shape[1])
    inside[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = 0.9
    prob[y0 : y1 + 1, x0 : x1 + 1] = inside
    return prob


@pytest.mark.parametrize("shape", [(48, 48), (40, 64)])
def test_box_is_that_of_a_predictor_with_a_memory(shape):
    zoom = Zoom(min_crop=10, expansion=1.5)
    rng = np.random.default_rng(1)
    batch, turns = 24, 7
    memories = [RememberingBox(zoom) for _ in range(batch)]
    clicks = [[] for _ in range(batch)]
    probs = np.zeros((batch, *shape), np.float32)
    kept = moved = 0
    for _ in range(turns):
        for row in clicks:
            y, x = rng.uniform(0, shape[0] - 1), rng.uniform(0, shape[1] - 1)
            row.append((y, x, bool(len(row) == 0 or rng.random() < 0.3)))
        region = find(
            jnp.asarray(probs[..., None]), clicks_at(clicks, turns), zoom=zoom, keeps_aspect=False
        )
        for i, memory in enumerate(memories):
            before = memory.roi
            roi = memory(probs[i], clicks[i])
            y0, y1, x0, x1 = roi or (0, shape[0] - 1, 0, shape[1] - 1)
            np.testing.assert_array_equal(region.box[i], [y0, x0, y1 + 1, x1 + 1])
            assert bool(region.is_zoomed[i]) == (roi is not None)
            kept += before is not None and roi == before
            moved += before is not None and roi != before
            probs[i] = soft_answer(rng, roi, shape)
    assert kept > 10 and moved > 10


def test_ends_are_rounded_as_in_double_precision_but_for_exact_halves():
    # Every interval of a 64 pixel axis is one row of the batch.
    pairs = [(a, b) for a in range(64) for b in range(a, 64)]
    masks = np.zeros((len(pairs), 1, 64, 1), np.float32)
    for i, (a, b) in enumerate(pairs):
        masks[i, 0, a : b + 1] = 1.0
    clicks = clicks_at([[(0, a, True), (0, b, True)] for a, b in pairs])
    box = np.asarray(find(masks, clicks, zoom=Zoom(min_crop=1), keeps_aspect=False).box)
    for (a, b), (_, x0, _, x1) in zip(pairs, box, strict=True):
        half = 0.5 * 1.4 * (b - a + 1)
        for got, end, low, high in (
            (x0, (a + b) / 2 - half, 0, 63),
            (x1 - 1, (a + b) / 2 + half, 0, 63),
        ):
            allowed = {round(end)}
            if abs(abs(end - np.floor(end)) - 0.5) < 1e-6:
                allowed = {int(np.floor(end)), int(np.ceil(end))}
            assert got in {min(max(v, low), high) for v in allowed}, (a, b)


def test_empty_masks_first_clicks_and_single_pixels():
    empty, dot = np.zeros((20, 30)), np.zeros((20, 30))
    dot[7, 11] = 1.0
    prev = jnp.asarray(np.stack([empty, dot, dot, dot])[..., None], jnp.float32)
    two = [(7, 11, True), (3, 3, False)]
    clicks = clicks_at([two, two[:1], two, [(7, 11, True), (7, 12.6, True)]])
    region = find(prev, clicks, zoom=Zoom(min_crop=5), keeps_aspect=False)
    np.testing.assert_array_equal(region.is_zoomed, [False, False, True, True])
    # One pixel: 1.4 < 5, so 7 +- 2.5 rounds half to even (4, 10) and 11 +- 2.5 (8, 14).
    expected = [[0, 0, 20, 30], [0, 0, 20, 30], [4, 8, 11, 15], [4, 9, 11, 15]]
    np.testing.assert_array_equal(region.box, expected)


def test_box_is_cut_at_the_border():
    prev = np.zeros((1, 20, 30, 1), np.float32)
    prev[0, 0:2, 27:30] = 0.8
    clicks = clicks_at([[(0, 29, True), (19, 0, False)]])
    box = find(prev, clicks, zoom=Zoom(min_crop=8), keeps_aspect=False).box
    np.testing.assert_array_equal(box, [[0, 24, 5, 30]])
    everywhere = find(prev, clicks, zoom=Zoom(min_crop=200), keeps_aspect=False).box
    np.testing.assert_array_equal(everywhere, [[0, 0, 20, 30]])


def test_binary_mask_from_elsewhere_is_no_memory():
    prev = np.zeros((2, 40, 40, 1), np.float32)
    prev[:, 0:10, 0:10] = 1.0
    prev[1, 9, 0:10] = 0.3  # an answer of a network: it was shown these ten rows
    clicks = clicks_at([[(2, 2, True), (30, 30, False), (31, 30, False)]] * 2)
    box = find(prev, clicks, zoom=Zoom(min_crop=1), keeps_aspect=False).box
    # Both overlap the expanded box (4.5 +- 7, half to even) by more than half.
    np.testing.assert_array_equal(box, [[0, 0, 13, 13], [0, 0, 10, 10]])


@pytest.mark.parametrize("shape", [(32, 32), (24, 40), (50, 20)])
def test_box_of_the_image_aspect_is_the_smallest_around_the_tight_one(shape):
    rng = np.random.default_rng(2)
    prev = np.zeros((200, *shape, 1), np.float32)
    rows = []
    for i in range(200):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        prev[i, y : y + rng.integers(1, shape[0]), x : x + rng.integers(1, shape[1])] = 0.9
        rows.append([(y, x, True), (0, 0, False)])
    clicks, zoom = clicks_at(rows), Zoom(min_crop=4)
    tight = np.asarray(find(prev, clicks, zoom=zoom, keeps_aspect=False).box)
    box = np.asarray(find(prev, clicks, zoom=zoom, keeps_aspect=True).box)
    assert (box[:, :2] <= tight[:, :2]).all() and (box[:, 2:] >= tight[:, 2:]).all()
    assert (box[:, :2] >= 0).all() and (box[:, 2:] <= shape).all()
    length, least = box[:, 2:] - box[:, :2], tight[:, 2:] - tight[:, :2]
    share = np.max(least / np.array(shape), axis=1)
    np.testing.assert_array_equal(length, np.ceil(share[:, None] * shape - 1e-9))
    # Centred where the border allows it.
    free = (box[:, :2] > 0).all(axis=1) & (box[:, 2:] < shape).all(axis=1)
    off_centre = box[free, :2] + box[free, 2:] - tight[free, :2] - tight[free, 2:]
    assert free.any() and (np.abs(off_centre) <= 1).all()


@pytest.mark.parametrize(
    ("shape", "target", "rule", "expected"),
    [
        ((82, 160), 200, "longest", (102, 200)),  # 102.5, half to even
        ((300, 400), 200, "longest", (150, 200)),
        ((82, 160), 200, "shortest", (200, 390)),
        ((300, 400), 200, "shortest", (300, 400)),
        ((512, 512), 400, "longest", (400, 400)),
        ((512, 512), 400, "shortest", (512, 512)),
        ((1, 500), 100, "longest", (1, 100)),
    ],
)
def test_grid_shape(shape, target, rule, expected):
    assert crops.grid_shape(shape, Zoom(target=target, rule=rule)) == expected


def test_unknown_rule_lists_the_valid_ones():
    with pytest.raises(ValueError, match="longest, shortest; got 'widest'"):
        crops.grid_shape((4, 4), Zoom(rule="widest"))


BOXES = np.array([[0, 0, 20, 30], [3, 5, 17, 12], [19, 29, 20, 30], [0, 10, 1, 30]], np.int32)


def corner_aligned(image, shape):
    """SciPy's linear interpolation with corner pixels on corner pixels."""
    axes = [np.linspace(0, n - 1, m) if m > 1 else np.zeros(1) for n, m in zip(image.shape, shape)]
    return ndimage.map_coordinates(image, np.meshgrid(*axes, indexing="ij"), order=1)


@pytest.mark.parametrize("shape", [(25, 40), (20, 30), (7, 5), (1, 1)])
def test_crop_and_paste_interpolate_linearly_from_corner_to_corner(shape):
    image = np.random.default_rng(3).uniform(0.1, 1, (len(BOXES), 20, 30, 2)).astype(np.float32)
    patch = read(image, BOXES, shape)
    back = write(patch[..., :1], BOXES, (20, 30))
    for i, (y0, x0, y1, x1) in enumerate(BOXES):
        for channel in (0, 1):
            expected = corner_aligned(image[i, y0:y1, x0:x1, channel].astype(np.float64), shape)
            np.testing.assert_allclose(patch[i, ..., channel], expected, atol=2e-6)
        whole = np.zeros((20, 30))
        inside = np.asarray(patch[i, ..., 0], np.float64)
        whole[y0:y1, x0:x1] = corner_aligned(inside, (y1 - y0, x1 - x0))
        np.testing.assert_allclose(back[i, ..., 0], whole, atol=2e-6)


def test_crop_without_a_change_of_size_is_a_slice_and_comes_back_whole():
    image = jax.random.uniform(jax.random.key(0), (1, 20, 30, 1), minval=0.01)
    for y0, x0, y1, x1 in BOXES.tolist():
        box = jnp.array([[y0, x0, y1, x1]])
        patch = read(image, box, (y1 - y0, x1 - x0))
        np.testing.assert_array_equal(patch, image[:, y0:y1, x0:x1])
        back = write(patch, box, (20, 30))
        np.testing.assert_array_equal(back[:, y0:y1, x0:x1], patch)
        assert jnp.count_nonzero(back) == patch.size


def test_paste_leaves_the_box_readable_even_where_the_network_is_certain():
    patch = jnp.zeros((1, 16, 16, 1)).at[0, 4:8, 4:8].set(1.0)
    box = jnp.array([[5, 6, 15, 18]])
    prob = crops.paste(patch, box, (20, 30))
    assert float(prob.max()) <= 1.0 and float(prob[0, 5, 6, 0]) > 0
    clicks = clicks_at([[(7, 9, True), (0, 0, False), (1, 1, False)]])
    zoom = Zoom(min_crop=8)
    tight = find(prob, clicks._replace(count=jnp.array([2])), zoom=zoom, keeps_aspect=False)
    assert not np.array_equal(tight.box, box)
    kept = find(prob, clicks, zoom=zoom, keeps_aspect=False)
    np.testing.assert_array_equal(kept.box, box)


@pytest.mark.parametrize("scales_radius", [True, False])
def test_clicks_move_into_the_crop_and_back(scales_radius):
    rng = np.random.default_rng(4)
    boxes = BOXES[:3]
    clicks = Clicks(
        jnp.asarray(rng.uniform(-5, 35, (3, 4, 2)), jnp.float32),
        jnp.asarray(rng.uniform(1, 9, (3, 4)), jnp.float32),
        jnp.asarray(rng.random((3, 4)) < 0.5),
        jnp.array([4, 2, 0], jnp.int32),
    )
    shape = (40, 90)
    moved = crops.move_clicks(clicks, jnp.asarray(boxes), shape, scales_radius=scales_radius)
    for i, (y0, x0, y1, x1) in enumerate(boxes):
        scale = np.array([40 / (y1 - y0), 90 / (x1 - x0)])
        back = np.asarray(moved.yx[i]) / scale + [y0, x0]
        np.testing.assert_allclose(back, clicks.yx[i], atol=1e-4)
        factor = scale.mean() if scales_radius else 1.0
        np.testing.assert_allclose(moved.radius[i], clicks.radius[i] * factor, rtol=1e-6)
    np.testing.assert_array_equal(moved.is_positive, clicks.is_positive)
    np.testing.assert_array_equal(moved.count, clicks.count)


def test_static_disk_keeps_its_pixels_and_dynamic_disk_its_place():
    clicks = clicks_at([[(12, 16, True)]])
    box, shape = jnp.array([[4, 8, 20, 24]]), (64, 64)
    for scales_radius, radius in ((False, 5.0), (True, 20.0)):
        moved = crops.move_clicks(clicks, box, shape, scales_radius=scales_radius)
        drawn = np.asarray(disk_maps(moved, shape)[0, ..., 0])
        y, x = np.mgrid[:64, :64]
        np.testing.assert_array_equal(drawn, np.hypot(y - 32, x - 32) <= radius)
    grown = corner_aligned(np.asarray(disk_maps(clicks, (20, 30))[0, 4:20, 8:24, 0]), shape) > 0.5
    assert (grown & (drawn > 0)).sum() / (grown | (drawn > 0)).sum() > 0.8


def test_rows_do_not_see_each_other():
    rng = np.random.default_rng(5)
    prev = rng.uniform(0, 0.52, (6, 24, 24, 1)).astype(np.float32)
    clicks = clicks_at([[(4 * i, 3 * i, i % 2 == 0)] * (1 + i % 3) for i in range(6)])
    for keeps_aspect in (False, True):
        options = {"zoom": Zoom(min_crop=6), "keeps_aspect": keeps_aspect}
        together = find(prev, clicks, **options)
        eager = crops.find_region(jnp.asarray(prev), clicks, **options)
        jax.tree.map(np.testing.assert_array_equal, together, eager)
        for i in range(6):
            row = jax.tree.map(lambda x, i=i: x[i : i + 1], (prev, clicks, together))
            alone = find(*row[:2], **options)
            jax.tree.map(np.testing.assert_array_equal, alone, row[2])


def test_half_overlap_counts_both_axes():
    """A former box stays if it overlaps the one of the lesion alone by half, as a product."""
    lesion = np.zeros((24, 24), bool)
    lesion[9:14, 10:13] = True
    ends = [range(0, 9, 2), range(1, 11, 3), range(15, 25, 3), range(13, 25, 3)]
    former = np.array(list(itertools.product(*ends)))
    rows, columns = (np.arange(24)[None, :] >= former[:, [axis]] for axis in (0, 1))
    rows &= np.arange(24)[None, :] < former[:, [2]]
    columns &= np.arange(24)[None, :] < former[:, [3]]
    soft = np.where(rows[:, :, None] & columns[:, None, :], 0.2, 0.0)
    prev = np.where(lesion, 0.9, soft).astype(np.float32)[..., None]
    clicks = clicks_at([[(11, 11, True)] * 3] * len(former))
    zoom = Zoom(min_crop=10)
    nothing_soft = np.broadcast_to(lesion[None, ..., None], prev.shape).astype(np.float32)
    fresh = np.asarray(find(nothing_soft, clicks, zoom=zoom, keeps_aspect=False).box)
    got = np.asarray(find(prev, clicks, zoom=zoom, keeps_aspect=False).box)
    kept = []
    for one, two, box in zip(former, fresh, got, strict=True):
        iou = 1.0
        for axis in (0, 1):
            a = set(range(one[axis], one[axis + 2]))
            b = set(range(two[axis], two[axis + 2]))
            iou *= len(a & b) / (max(a | b) - min(a | b) + 1)
        kept.append(iou >= 0.5 - 1e-9)
        np.testing.assert_array_equal(box, one if kept[-1] else two)
    assert 20 < sum(kept) < len(kept) - 20
