"""The yardsticks of scripts/phantom_difficulty.py by hand, and (slow) that the phantom passes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ecc_jax.phantom import volumes as phantom

PATH = Path(__file__).parents[2] / "scripts" / "phantom_difficulty.py"
SPEC = importlib.util.spec_from_file_location("phantom_difficulty", PATH)
difficulty = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(difficulty)

WINDOW = (-150.0, 250.0)


def square_sample():
    """A bright 5 x 5 lesion on dark ground."""
    target = np.zeros((15, 15), bool)
    target[4:9, 6:11] = True
    click, radius = difficulty.first_click(target)
    image = np.where(target, 100, 0).astype(np.int16)
    return difficulty.Sample(image, target, click, radius, WINDOW)


def test_first_click_is_the_deepest_pixel_of_the_largest_component():
    target = square_sample().target.copy()
    target[0:3, 0:3] = True  # smaller, earlier
    click, radius = difficulty.first_click(target)
    assert click == (6, 8)
    assert radius == 3  # depth 3; the corner is only 2.83 away, enclosing is never below tight


def test_the_border_of_the_slice_counts_as_background():
    click, radius = difficulty.first_click(np.ones((3, 5), bool))
    assert click == (1, 1)  # depth 2 in columns 1 to 3, the first wins
    assert radius == pytest.approx((2 + np.hypot(1, 3)) / 2)


def test_disk_iou_by_hand():
    sample = square_sample()._replace(radius=2.0)  # 13 pixels, all inside the 25
    assert difficulty.disk_iou([sample]) == pytest.approx(13 / 25)


def test_flood_and_threshold_are_perfect_on_a_clean_lesion():
    sample = square_sample()
    assert difficulty.flood_iou([sample]) == 1
    assert difficulty.threshold_iou([sample]) == 1


def test_a_band_finds_what_no_single_side_does():
    sample = square_sample()
    image = sample.image_hu.copy()
    image[:, :4] = 200
    assert difficulty.threshold_iou([sample._replace(image_hu=image)]) == 1
    image[:, 12:] = 100  # ground of the same value is taken along
    expected = 25 / (25 + 15 * 3)
    assert difficulty.threshold_iou([sample._replace(image_hu=image)]) == pytest.approx(expected)


def test_outside_names_what_misses_its_range():
    good = {"disk": 0.7, "flood": 0.3, "flood_blurred": 0.4, "threshold": 0.1}
    assert difficulty.outside(good) == []
    assert difficulty.outside(good | {"disk": 0.9, "flood": 0.1}) == ["disk", "flood"]
    assert difficulty.outside(good | {"flood": 0.15}) == ["flood"]
    assert difficulty.outside(good | {"flood": 0.15}, "limb") == []


@pytest.mark.slow
@pytest.mark.parametrize(("size", "patients"), [(160, 24), (512, 8)])
@pytest.mark.parametrize("kind", phantom.KINDS)
def test_phantom_is_neither_trivial_nor_hopeless(kind, size, patients):
    figures = difficulty.measure(kind, size, patients, 0)
    assert difficulty.outside(figures, kind) == [], figures
