"""Scores of one slice for all values, and which value is best."""

import numpy as np
import pytest

from ecc_jax.classical import flooding, methods, search
from ecc_jax.classical.search import Case


def step_case(yx=(0, 0)):
    """A lesion of two values in a row of five: IoU 1 for tolerances in [10, 40)."""
    return Case(np.array([[0, 10, 50, 50, 50]], np.int16), yx, 1.0), np.array([[1, 1, 0, 0, 0]])


def test_scores_by_hand_and_ties_go_to_the_smallest():
    case, target = step_case()
    values = [60.0, 30.0, 20.0, 5.0]
    iou = search.score_all(flooding.flood_each, [(case, target)], values)
    np.testing.assert_allclose(iou, [[2 / 5, 1, 1, 1 / 2]])
    assert search.best_value(iou, values) == 20.0


def test_the_mean_over_slices_decides():
    first, target = step_case()
    second, _ = step_case(yx=(0, 4))
    slices = [(first, target), (second, 1 - target)]
    iou = search.score_all(flooding.flood_each, slices, [0.0, 45.0])
    np.testing.assert_allclose(iou, [[1 / 2, 1], [1, 3 / 4]])
    assert search.best_value(iou, [0.0, 45.0]) == 45.0


def test_empty_masks_and_targets():
    case, target = step_case()
    assert search.score(flooding.flood_each, case, 0 * target, [1.0]) == [0]
    nothing, all_of_it = np.zeros((1, 2, 2), bool), np.ones((1, 2, 2), bool)
    assert search.iou_of(nothing, nothing[0]) == [1]
    assert search.iou_of(nothing, all_of_it[0]) == [0]
    assert search.iou_of(all_of_it, all_of_it[0]) == [1]


def test_refuses_what_cannot_be_searched():
    with pytest.raises(ValueError, match="at least one slice, got none"):
        search.score_all(flooding.flood_each, [], [1.0])
    for table, values in ((np.zeros((2, 3)), [1.0]), (np.zeros((0, 1)), [1.0])):
        with pytest.raises(ValueError, match="one column of IoU for each value"):
            search.best_value(table, values)


@pytest.mark.parametrize("yx", [(-1, 0), (0, 5), (1, 0)])
def test_a_click_outside_is_refused(yx):
    with pytest.raises(ValueError, match="inside the slice of 1 x 5"):
        search.pixel_of(step_case(yx)[0])


@pytest.mark.parametrize("name", methods.METHODS)
def test_grids_rise_and_are_thinned_between_their_ends(name):
    whole = methods.values_of(name, (-1000.0, 400.0))
    few = methods.values_of(name, (-1000.0, 400.0), most=5)
    assert np.all(np.diff(whole) > 0) and np.all(np.diff(few) > 0) and few.size == 5
    np.testing.assert_allclose([few[0], few[-1]], [whole[0], whole[-1]])
    assert set(methods.values_of(name, (-1000.0, 400.0), most=999)) >= set(whole[:1])


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_marks_something_on_the_smallest_lesions(name):
    image = np.zeros((12, 12), np.float32)
    image[0, 11] = 80
    case = Case(image, (0, 11), 1.0)
    values = methods.values_of(name, (-150.0, 250.0), most=2)
    masks = methods.METHODS[name].segment(case, values)
    assert masks.shape == (2, 12, 12) and masks.dtype == bool
    assert masks.any(axis=(1, 2)).all()


def test_slow_methods_are_tuned_on_few_slices_and_values_spread_over_all():
    slow = methods.METHODS["active_contour"]
    assert slow.tuning_slices(100).tolist()[:2] == [0, 4]
    assert len(slow.tuning_slices(100)) == 24 and slow.tuning_slices(100)[-1] == 99
    assert slow.tuning_slices(3).tolist() == [0, 1, 2]
    assert len(slow.tuning_values((-150.0, 250.0), 50)) == 6
    quick = methods.METHODS["flooding_hu"]
    assert quick.tuning_slices(100).tolist() == list(range(100))
    assert len(quick.tuning_values((-150.0, 250.0), 50)) == 50
