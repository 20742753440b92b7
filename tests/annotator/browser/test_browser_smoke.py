"""The page in a real browser, in short: it opens, a press makes a mask, a reload restores it."""

import numpy as np

from tests.annotator.browser.scene import CENTRE, painted


def test_opens_and_presses(viewer):
    slice_, y, x = CENTRE
    assert viewer.number("slice") == slice_ and viewer.state("busy") == "no"
    drawn = viewer.number("drawn")
    viewer.press(y, x, 20)
    (ring,) = viewer.rings(1, slice_)
    tolerance = 1 / viewer.pixel()
    np.testing.assert_allclose([ring["y"], ring["x"], ring["radius"]], [y, x, 20], atol=tolerance)
    mask = viewer.mask(1, slice_)
    np.testing.assert_array_equal(mask, painted([ring], viewer.inside[slice_]))
    assert mask.sum() > 1000
    assert viewer.number("drawn") > drawn and viewer.number("ms") > 0
    assert viewer.state("lesion") == "1"


def test_a_reload_restores_disks_and_masks(viewer):
    slice_, y, x = CENTRE
    viewer.press(y, x, 20)
    viewer.press(y + 9, x, 6, button="right")
    before, mask, version = viewer.session(), viewer.mask(1, slice_), viewer.state("version")
    # The secret is no longer in the address: the cookie lets the page in.
    assert "token" not in viewer.page.url
    viewer.reload()
    assert viewer.session() == before and viewer.state("version") == version
    np.testing.assert_array_equal(viewer.mask(1, slice_), mask)
    viewer.go_to(slice_)
    assert viewer.colour(y - 9, x) > 10
