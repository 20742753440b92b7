"""What propagation is worth, on lesions whose scores can be counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecc_jax.annotator import documents
from ecc_jax.annotator.answers import Answers
from ecc_jax.annotator.propagation_cases import case_of
from ecc_jax.annotator.propagation_report import markdown, per_lesion, summary
from ecc_jax.annotator.propagation_worth import Measured, Score, from_json, means, measure, score
from ecc_jax.annotator.sources import Source
from ecc_jax.volumes import Volume
from tests.annotator.serving import Painter, ball


class Given:
    """Answers one mask to a first disk, and keeps any mask that it is to correct."""

    def __init__(self, answer):
        self.answer = answer

    def set_image(self, image, *, window_hu=None, first_mask=None):
        self.mask = self.answer if first_mask is None else first_mask

    def add_click(self, y, x, radius, is_positive=True):
        return self.mask

    def undo(self):
        return self.mask


def box(depth, places):
    """Returns a volume [depth 30 30] with boxes: slice -> rows and columns that are lesion."""
    truth = np.zeros((depth, 30, 30), bool)
    for index, (rows, columns) in places.items():
        truth[index, 10 : 10 + rows, 8 : 8 + columns] = True
    return truth


def case(truth, *, image=None):
    """Returns a lesion of 200 HU in water, slices first and upright."""
    values = np.where(truth, 200, 0).astype(np.int16) if image is None else image
    volume = Volume(values, (3.0, 0.7, 0.7), np.diag([3.0, 0.7, 0.7, 1]), Path("x"), False)
    return case_of(documents.document_of(Source("id", "x", "dicom", None), volume), truth)


def measured(truth, answer):
    rows = measure(case(truth), Answers(Given(answer)), volume="v", patient="p")
    assert [row.start for row in rows] == ["truth", "network"]
    return rows


def test_of_a_prism_the_copy_is_perfect_but_for_its_ends():
    truth = box(10, dict.fromkeys(range(2, 8), (10, 10)))
    half = truth[2].copy()
    half[:, 13:] = False
    own, network = measured(truth, half)
    assert (own.others, own.beyond) == (5, 4)
    assert own.copy == Score((1.0, 1.0), missed=0, surplus=4)
    assert own.propagated == Score((1.0, 1.0), missed=0, surplus=0)
    # Half of the lesion, on every slice.
    assert network.copy == Score((0.5, 0.5), missed=0, surplus=4)
    assert network.propagated == Score((0.5, 0.5), missed=0, surplus=0)


def test_a_network_that_answers_nothing_reaches_nothing():
    truth = box(5, dict.fromkeys(range(1, 4), (10, 10)))
    _, network = measured(truth, np.zeros((30, 30), bool))
    assert network.copy == Score((0.0, 0.0), missed=0, surplus=2)
    assert network.propagated == Score((0.0, 0.0), missed=2, surplus=0)


def test_three_slices_counted_by_hand():
    lesion = case(box(4, {0: (4, 4), 1: (8, 8), 2: (8, 4)}))
    assert (lesion.start, lesion.others, lesion.beyond) == (1, [0, 2], [3])
    first = lesion.truth[1]
    # 16 and 32 of 64 pixels.
    assert score(lesion, dict.fromkeys(range(4), first)) == Score((0.375, 0.375), 0, 1)
    # One slice is right, the other is not reached.
    assert score(lesion, {2: lesion.truth[2]}) == Score((0.5, 0.5), 1, 0)
    assert score(lesion, {}) == Score((0.0, 0.0), 2, 0)


def test_reaches_count_slices_from_the_first_one():
    lesion = case(box(14, {0: (9, 8)} | dict.fromkeys(range(1, 13), (8, 8))))
    assert lesion.start == 0
    masks = {index: lesion.truth[index] for index in (1, 2, 3, 12)}
    # 3 of 3, 3 of 10; slice 12 is too far away to count, and is not missed.
    assert score(lesion, masks) == Score((1.0, 0.3), missed=8, surplus=0)


def test_parts_that_touch_at_a_corner_are_one_and_the_largest_is_the_lesion():
    marked = np.zeros((4, 12, 12), bool)
    marked[0, 1:3, 1:3] = True
    marked[1, 3:5, 3:5] = True  # touches at a corner of a voxel
    marked[3, 6:8, 6:9] = True  # larger than either, not than both
    found = case(marked).truth
    assert found.sum() == 8 and not found[3].any()
    assert case(np.zeros((4, 12, 12), bool)) is None


def test_a_painter_of_bright_pixels_follows_a_ball():
    image, truth = ball(shape=(7, 24, 20), centre=(3, 11, 9), radii=(2.5, 6, 6))
    own, network = measure(case(truth, image=image), Answers(Painter()), volume="v", patient="p")
    assert (own.others, own.beyond) == (4, 2)
    # The radius of the ball is 6, 5.5 and 3.6 on its slices: their areas, to the middle one's.
    areas = truth.sum((1, 2))
    copied = np.mean([areas[index] / areas[3] for index in (1, 2, 4, 5)])
    assert own.copy.within == pytest.approx((copied, copied))
    assert min(own.propagated.within[0], network.propagated.within[0]) > copied
    assert (own.propagated.missed, own.propagated.surplus) == (0, 0)


def test_one_slice_is_refused():
    with pytest.raises(ValueError, match="one slice only"):
        measured(box(3, {1: (8, 8)}), np.zeros((30, 30), bool))


def row(volume, patient, start, copied, own):
    return Measured(
        volume,
        patient,
        start,
        4,
        3,
        copy=Score((copied, copied / 2), 0, 3),
        propagated=Score((own, own / 2), 1, 2),
    )


ROWS = [
    row("a", "p", "truth", 0.4, 0.6),
    row("b", "p", "truth", 0.2, 0.4),
    row("c", "q", "truth", 0.6, 0.8),
    row("a", "p", "network", 0.2, 0.2),
    row("b", "p", "network", 0.2, 0.2),
    row("c", "q", "network", 0.8, 0.2),
]


def test_means_and_paired_intervals_by_hand():
    copied, own, network_copied, network = means(ROWS)
    assert (copied.start, copied.way, own.way) == ("truth", "copy", "propagated")
    np.testing.assert_allclose(copied.within, [0.4, 0.2])
    np.testing.assert_allclose(own.within, [0.6, 0.3])
    # Every lesion gains the same, so there is nothing to vary.
    np.testing.assert_allclose([own.gain, *own.gain_band], [[0.2, 0.1]] * 3)
    assert (own.missed, own.others, own.surplus, own.beyond) == (3, 12, 6, 9)
    # Patients are drawn: p alone loses 0, q alone 0.6, and both ends are drawn often enough.
    np.testing.assert_allclose(network.gain, [-0.2, -0.1])
    np.testing.assert_allclose([*network.gain_band], [[-0.6, -0.3], [0, 0]], atol=1e-12)
    assert not copied.gain.any() and not network_copied.gain.any()


def test_one_patient_has_no_interval():
    alone = [each for each in ROWS if each.patient == "p"]
    content = json.loads(json.dumps(summary(alone, {"a": 1}), allow_nan=False))
    assert (content["lesions"], content["patients"]) == (2, 1)
    assert all(line["interval"] is None for line in content["rows"])
    assert "| 2 lesions of 1 patient |" in markdown(alone, {})


def test_files_hold_the_numbers():
    text = markdown(ROWS, {"command": "x"})
    assert "| 3 lesions of 2 patients | within 3 | minus copy | within 10 |" in text
    assert "+0.200 (+0.200 to +0.200)" in text and "3 of 12 | 6 of 9 |" in text
    heading, first, *rest = per_lesion(ROWS).splitlines()
    assert heading.startswith("volume,patient,start,lesion_slices,slices_beyond,copy_iou_within_3,")
    assert first == "a,p,truth,5,3,0.4,0.2,0,3,0.6,0.3,1,2" and len(rest) == 5
    line = summary(ROWS, {})["rows"][1]
    assert (line["missed"], line["of_lesion"], line["of_beyond"]) == (3, 12, 9)


def test_rows_come_back_from_json():
    assert [from_json(json.loads(json.dumps(each))) for each in ROWS] == ROWS
    for damaged in (None, [], ["a"], ["v", "p", "truth", 1, 2, [0.5], 3]):
        with pytest.raises(ValueError, match="expected a lesion that was measured"):
            from_json(damaged)
