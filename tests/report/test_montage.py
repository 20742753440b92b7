import numpy as np
import pytest
from matplotlib.image import imread

from ecc_jax.report.montage import draw_montage, zoom_box
from tests.reports import example as _example


def test_a_montage_needs_a_mask(tmp_path):
    with pytest.raises(ValueError, match="at least one example"):
        draw_montage(tmp_path / "m.png", [])


def test_zoom_holds_lesion_and_disks_with_room():
    example = _example(3)
    y0, x0, y1, x1 = zoom_box(example)
    assert y1 - y0 == x1 - x0 >= 2 * 21
    assert y0 <= 30 and y1 >= 51 and x0 <= 40 and x1 >= 61
    assert 0 <= y0 and y1 <= 96 and 0 <= x0 and x1 <= 96


def test_zoom_of_tiny_border_empty_and_large_lesions():
    base = _example(3)._replace(clicks_exist=np.zeros(3, bool))
    corner = np.zeros((96, 96), bool)
    corner[-1, -1] = True
    assert zoom_box(base._replace(target=corner)) == (64, 64, 96, 96)
    assert zoom_box(base._replace(target=np.zeros((96, 96), bool))) == (0, 0, 96, 96)
    assert zoom_box(base._replace(target=np.ones((96, 96), bool))) == (0, 0, 96, 96)
    wide = np.ones((40, 100), bool)
    y0, x0, y1, x1 = zoom_box(base._replace(target=wide))
    assert (x0, x1) == (0, 100) and y1 - y0 == 100 and y0 <= 0 and y1 >= 40


def test_montage_draws_contours_and_disks_where_they_belong(tmp_path):
    with_clicks = imread(draw_montage(tmp_path / "a.png", [_example(2)]))
    without = _example(2)._replace(clicks_exist=np.zeros(2, bool))
    blank = imread(draw_montage(tmp_path / "b.png", [without]))

    def pixels(picture, colour):
        return int(np.sum(np.abs(picture[..., :3] - np.array(colour)).sum(-1) < 0.15))

    green, red, cyan = (0x2B / 255, 0xE8 / 255, 0x6B / 255), (1, 0.294, 0.294), (0, 0.847, 1)
    for colour in (green, red):
        assert pixels(with_clicks, colour) > pixels(blank, colour) + 100
    assert pixels(blank, cyan) > 500
    missing = draw_montage(tmp_path / "c.png", [_example(2), _example(2)._replace(masks={})])
    assert imread(missing).shape[0] > with_clicks.shape[0]
