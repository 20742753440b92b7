"""Masks that are carried from slice to slice, against volumes whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from skimage import measure

from ecc_jax.annotator import documents
from ecc_jax.annotator.answers import Answers, Place
from ecc_jax.annotator.packing import pack, unpack
from ecc_jax.annotator.propagation import fitted_disk, followed, propagate, stale
from ecc_jax.annotator.sources import Source
from ecc_jax.annotator.state import Annotation, Lesion, Ring
from ecc_jax.volumes import Volume
from tests.annotator.serving import Painter, ball

WINDOW = (-150.0, 250.0)
DISK = (Ring(1, 11.0, 9.0, 4.0, True),)


def shown(image):
    volume = Volume(image, (3.0, 0.7, 0.7), np.diag([3.0, 0.7, 0.7, 1]), Path("x"), False)
    return documents.document_of(Source("id", "x", "dicom", None), volume)


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def disk(shape, y, x, radius):
    yy, xx = np.indices(shape)
    return np.hypot(yy - y, xx - x) <= radius


def drawn_from(truth, *, sd=0.0, hu=60, seed=0):
    """Returns int16 slices with lesions of some HU on a background of 0 and noise."""
    noise = np.random.default_rng(seed).normal(0, sd, truth.shape)
    return np.rint(np.where(truth, hu, 0) + noise).astype(np.int16)


def kept(image, start, mask, **options):
    """Returns carried masks by slice, from a network that keeps a mask as it is given it."""
    document = shown(image)
    lesion = Lesion(1, "a", "#000000", False, {start: Annotation(DISK, WINDOW, pack(mask))})

    def answer(_, annotation):
        return unpack(annotation.prior, document.shape)

    found = []
    for step in (1, -1):
        chosen = {"step": step, "most": 99, **options}
        found += propagate(answer, document, lesion, start=start, **chosen)
    return {entry["slice"]: unpack(entry["prior"], document.shape) for entry in found}


@pytest.mark.parametrize("sd", [0.0, 15.0])
@pytest.mark.parametrize("hu", [60, -300])
def test_a_ball_is_followed_as_it_shrinks_and_ends_within_a_slice(sd, hu):
    _, truth = ball(shape=(25, 60, 64), centre=(12, 30, 33), radii=(9, 15, 15))
    found = kept(drawn_from(truth, sd=sd, hu=hu), 12, truth[12])
    last = np.flatnonzero(truth.any((1, 2)))[[0, -1]]
    assert abs(min(found) - last[0]) <= 1 and abs(max(found) - last[1]) <= 1
    for index in range(12 - 6, 12 + 7):
        if index != 12:
            copied = iou(truth[12], truth[index])
            assert iou(found[index], truth[index]) > max(0.8, copied)
    # Six slices away the ball has 5/9 of its area: 81 − 36 of 81 parts.
    assert iou(truth[12], truth[18]) < 0.6


def test_a_slanted_cylinder_is_followed():
    truth = np.stack([disk((60, 80), 30 + 0.5 * k, 20 + 2 * k, 8) for k in range(15)])
    found = kept(drawn_from(truth, sd=10), 0, truth[0])
    assert sorted(found) == list(range(1, 15)) and iou(truth[0], truth[14]) == 0
    assert min(iou(found[index], truth[index]) for index in found) > 0.8


@pytest.mark.parametrize("turn", range(4))
def test_a_lesion_at_the_border_is_followed_along_it(turn):
    truth = np.stack([disk((40, 70), -1, 20 + 2 * k, 9) for k in range(10)])
    truth = np.rot90(truth, turn, axes=(1, 2))
    found = kept(drawn_from(truth, sd=10), 0, truth[0])
    assert sorted(found) == list(range(1, 10))
    assert min(iou(found[index], truth[index]) for index in found) > 0.75


def test_noise_alone_moves_a_mask_little():
    mask = disk((50, 50), 25, 24, 10)
    for seed in range(3):
        before, after = drawn_from(np.zeros((2, 50, 50), bool), sd=30, seed=seed)
        assert iou(followed(before, mask, after, window_hu=WINDOW), mask) > 0.8


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 3), (1, 40), (40, 2), (1, 5000), (13, 17), (64, 300)]
)
def test_the_same_slice_leaves_every_mask_as_it_is(shape):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 100, shape).astype(np.int16)
    one = np.zeros(shape, bool)
    one[-1, 0] = True
    for mask in (one, np.ones(shape, bool), rng.random(shape) < 0.5):
        if mask.any():
            np.testing.assert_array_equal(followed(image, mask, image, window_hu=WINDOW), mask)
            flat = np.full(shape, 7, np.uint8)
            np.testing.assert_array_equal(followed(flat, mask, flat, window_hu=WINDOW), mask)


def test_a_large_mask_is_followed_in_a_coarser_image():
    before, after = disk((300, 420), 140, 190, 90), disk((300, 420), 143, 196, 86)
    image = drawn_from(np.stack([before, after]), sd=10)
    moved = followed(image[0], before, image[1], window_hu=WINDOW)
    assert iou(moved, after) > 0.95 > iou(before, after)


def test_what_lies_beyond_the_window_does_not_move_a_mask():
    mask = disk((50, 50), 25, 24, 10)
    before, after = drawn_from(np.stack([mask, mask]), sd=5, hu=200)
    metal = after.copy()
    metal[after > 250] = 3000
    wanted = followed(before, mask, after.clip(-150, 250), window_hu=WINDOW)
    np.testing.assert_array_equal(followed(before, mask, metal, window_hu=WINDOW), wanted)


def test_a_network_that_answers_something_else_ends_it():
    truth = np.stack([disk((40, 40), 20, 20, 9)] * 8)
    document, masks = shown(drawn_from(truth)), list(truth)
    masks[5] = disk((40, 40), 5, 35, 3)
    for odd in (masks[5], np.zeros((40, 40), bool)):
        masks[5] = odd
        lesion = Lesion(1, "a", "#000000", False, {2: Annotation(DISK, WINDOW)})
        found = propagate(lambda index, _: masks[index], document, lesion, start=2, step=1, most=99)
        assert [entry["slice"] for entry in found] == [3, 4]


def test_what_a_network_adds_is_shown_but_not_carried_on():
    truth = np.stack([disk((60, 60), 30, 30, 10)] * 6)
    document = shown(drawn_from(truth))
    lesion = Lesion(1, "a", "#000000", False, {0: Annotation(DISK, WINDOW)})

    def answer(index, annotation):
        return disk((60, 60), 30, 30, 10 if index == 0 else 14)

    found = propagate(answer, document, lesion, start=0, step=1, most=99)
    for entry in found:
        np.testing.assert_array_equal(unpack(entry["prior"], (60, 60)), truth[0])
    assert len(found) == 5


@pytest.mark.parametrize("seed", range(8))
def test_fitted_disks_are_those_of_the_robot_user(seed):
    rng = np.random.default_rng(seed)
    document = shown(np.zeros((2, 40, 48), np.int16))
    mask = np.zeros((40, 48), bool)
    yy, xx = np.indices(mask.shape)
    for _ in range(3):
        y, x, r = rng.uniform(0, 40), rng.uniform(0, 48), rng.uniform(1, 12)
        mask |= np.hypot(yy - y, (xx - x) * rng.uniform(0.7, 1.5)) < r
    # By brute force: the robot user's disk, at the pixel that is farthest from any other.
    labels = measure.label(mask, connectivity=2)
    component = labels == 1 + np.argmax(np.bincount(labels.flat)[1:])
    inside = np.argwhere(component)
    outside = np.argwhere(np.pad(~component, 1, constant_values=True)) - 1
    depth = np.array([np.hypot(*(outside - pixel).T).min() for pixel in inside])
    centre = inside[np.argmax(depth)]
    reach = np.hypot(*(inside - centre).T).max()
    y, x, radius = fitted_disk(document, mask)
    assert (y, x) == tuple(centre)
    assert radius == pytest.approx((depth.max() + max(depth.max(), reach)) / 2)


def carried(image, start, **options):
    document, answers = shown(image), Answers(Painter())
    first = Annotation(options.pop("disks", DISK), WINDOW)
    lesion = Lesion(1, "a", "#000000", False, {start: first})
    lesion = lesion._replace(slices={**lesion.slices, **options.pop("drawn", {})})

    def answer(index, annotation):
        return answers.answer(document, Place("v", index), annotation)

    found = propagate(answer, document, lesion, start=start, **{"step": 1, "most": 99, **options})
    return [entry["slice"] for entry in found], found


def test_propagation_follows_a_lesion_to_its_end():
    image, inside = ball(shape=(12, 24, 20), centre=(5, 11, 9), radii=(3.6, 6, 6))
    up, found = carried(image, 5)
    down, _ = carried(image, 5, step=-1)
    truth = np.flatnonzero(inside.any((1, 2)))
    assert up == list(range(6, truth[-1] + 1)) and down == list(range(4, truth[0] - 1, -1))
    assert carried(image, 5, most=1)[0] == [6]
    drawn = {7: Annotation(DISK, WINDOW)}
    assert carried(image, 5, drawn=drawn)[0] == [6]
    propagated = Annotation(DISK, WINDOW, found[0]["prior"], is_propagated=True)
    assert carried(image, 5, drawn={7: propagated})[0] == up
    # One disk on a mask that was carried is no sign that nobody has changed it.
    assert carried(image, 5, drawn={7: propagated._replace(is_propagated=False)})[0] == [6]


def test_what_a_propagation_no_longer_reaches_is_gone():
    drawn = Annotation(DISK, WINDOW)
    old = drawn._replace(prior="x", is_propagated=True)
    # Two slices below and three above the start, then one that a person drew on.
    slices = {1: old, 2: old, 3: drawn, 4: old, 5: old, 6: old, 7: drawn, 8: old}
    lesion = Lesion(1, "a", "#000000", False, slices)

    def gone(found, **options):
        return stale(lesion, [{}] * found, start=3, **{"step": 1, "most": 99, **options})

    assert gone(0) == [4, 5, 6] and gone(1) == [5, 6] and gone(3) == []
    assert gone(0, most=2) == [4, 5] and gone(2, most=2) == []
    assert gone(0, step=-1) == [2, 1] and gone(2, step=-1) == []


def test_propagation_ends_in_air_and_at_the_volume_and_not_in_what_looks_alike():
    image = np.full((10, 24, 20), -100, np.int16)
    image[:7, 5:17, 4:15] = 200
    image[7:] = -100
    whole = (Ring(1, 11.0, 9.0, 9.0, True),)
    assert carried(image, 4, disks=whole)[0] == [5, 6]
    for values in (image[6], 200):
        image[7:] = values
        assert carried(image, 4, disks=whole)[0] == [5, 6, 7, 8, 9]


def test_a_lesion_that_shrinks_to_a_fifth_ends():
    # All that is left looks like the lesion.
    areas = [disk((60, 60), 30, 30, radius) for radius in (16, 14, 12, 10, 8, 6, 4)]
    found = kept(drawn_from(np.stack(areas), sd=10), 0, areas[0])
    assert max(found) in (4, 5)  # a quarter and a seventh of the area
