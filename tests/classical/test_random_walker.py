"""The random walker on images whose answer is known, and on degenerate seeds."""

import warnings

import numpy as np
import pytest
from skimage import segmentation

from ecc_jax.classical.random_walker import factory, random_walk
from ecc_jax.types import PlainClick

SIZE = 48


def _disk(y, x, radius, size=SIZE):
    yy, xx = np.mgrid[:size, :size]
    return np.hypot(yy - y, xx - x) <= radius


def _walk(image, *clicks, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning in a table of thousands helps nobody
        return random_walk(image.astype(np.float32), clicks, **options)


def test_a_sharp_edge_is_found_wherever_the_disk_ends():
    lesion = _disk(22, 25, 9)
    for radius in (8.0, 9.0, 11.0):
        prob = _walk(0.3 + 0.4 * lesion, PlainClick(22, 25, radius, True))
        np.testing.assert_array_equal(prob > 0.5, lesion)


def _noisy(lesion, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(0.3 + 0.3 * lesion + rng.normal(0, 0.05, lesion.shape), 0, 1)


def test_the_answer_is_scikit_images_on_the_whole_slice():
    """Cropping to the box of what can be lesion changes nothing."""
    image = _noisy(_disk(20, 20, 8)).astype(np.float32)
    seeds = np.where(_disk(20, 20, 1.5 * 9), 0, 2)
    seeds[_disk(20, 20, 0.5 * 9)] = 1
    whole = segmentation.random_walker(
        image.astype(np.float64),
        seeds,
        beta=1000.0 * 10 * image.astype(np.float64).std(),  # scikit-image divides by that
        mode="bf",
        return_full_prob=True,
    )[0]
    prob = _walk(image, PlainClick(20, 20, 9.0, True), seed_share=0.5, reach=1.5, beta=1000.0)
    np.testing.assert_allclose(prob, whole, atol=1e-6)


def test_a_click_elsewhere_changes_nothing_here():
    image = _noisy(_disk(14, 14, 6))
    image[30:, 30:] = 1  # another brightness, which moves mean and deviation of a larger box
    here, there = PlainClick(14, 14, 7, True), PlainClick(39, 39, 5, True)
    alone, both = _walk(image, here), _walk(image, here, there)
    np.testing.assert_allclose(both[:24, :24], alone[:24, :24], atol=1e-6)
    assert both[39, 39] == 1


def test_a_disk_that_reaches_across_the_slice_still_looks_at_it():
    lesion = _disk(24, 24, 18)
    prob = _walk(0.3 + 0.4 * lesion, PlainClick(24, 24, 29.0, True))  # corners: 34 pixels away
    np.testing.assert_array_equal(prob > 0.5, lesion)


def test_the_same_question_has_the_same_answer():
    image = _noisy(_disk(20, 20, 8))
    clicks = (PlainClick(20, 20, 9.0, True), PlainClick(30, 22, 3.0, False))
    np.testing.assert_array_equal(_walk(image, *clicks), _walk(image, *clicks))


def test_the_newest_click_wins_where_disks_overlap():
    flat = np.full((SIZE, SIZE), 0.5)
    lesion, background = PlainClick(20, 20, 8, True), PlainClick(20, 22, 4, False)
    assert _walk(flat, lesion, background)[20, 22] == 0
    assert _walk(flat, lesion, background)[20, 17] == 1
    assert _walk(flat, background, lesion)[20, 22] == 1


def test_a_flat_image_is_split_by_distance_alone():
    prob = _walk(np.full((SIZE, SIZE), 0.4), PlainClick(24, 24, 10, True), seed_share=0.5)
    assert prob[24, 24] == 1 and prob[24, 40] == 0
    assert (np.diff(prob[24, 24:40]) <= 1e-6).all()
    np.testing.assert_allclose(prob, prob.T, atol=1e-5)


@pytest.mark.parametrize(
    "clicks",
    [
        [PlainClick(0, 0, 5, True)],
        [PlainClick(47, 20, 0.0, True)],
        [PlainClick(10, 10, 0.4, True), PlainClick(10, 11, 0.4, False)],
        [PlainClick(24, 24, 200, True)],
        [PlainClick(24, 24, 200, True), PlainClick(24, 24, 200, False)],
    ],
    ids=["corner", "one pixel at the border", "two pixels", "all lesion", "all erased"],
)
def test_degenerate_clicks_give_probabilities(clicks):
    rng = np.random.default_rng(1)
    for image in (rng.random((SIZE, SIZE)), np.zeros((SIZE, SIZE))):
        prob = _walk(image, *clicks)
        assert prob.dtype == np.float32 and prob.shape == (SIZE, SIZE)
        assert np.isfinite(prob).all() and prob.min() >= 0 and prob.max() <= 1
        newest = clicks[-1]
        assert prob[int(newest.y), int(newest.x)] == newest.is_positive


def test_without_a_lesion_click_there_is_no_lesion():
    assert not _walk(np.ones((SIZE, SIZE)), PlainClick(5, 5, 3, False)).any()
    assert not _walk(np.ones((SIZE, SIZE))).any()


def test_the_factory_gives_the_predictor_of_the_interface():
    image = 0.3 + 0.4 * _disk(22, 25, 9)
    clicks = (PlainClick(22, 25, 9.0, True),)
    given = factory()(image, clicks, np.zeros_like(image))
    np.testing.assert_array_equal(given, random_walk(image, clicks))
