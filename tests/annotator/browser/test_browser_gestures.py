"""Every gesture on the slice: mouse, pen, fingers and keys alone."""

import numpy as np
import pytest

from tests.annotator.browser.scene import CENTRE, painted

pytestmark = pytest.mark.slow
SLICE, Y, X = CENTRE


def near(ring, y, x, radius, viewer):
    """Checks a disk to within the CSS pixel that a mouse can tell."""
    found = [ring["y"], ring["x"], ring["radius"]]
    np.testing.assert_allclose(found, [y, x, radius], atol=1.5 / viewer.pixel())


def check_mask(viewer):
    rings = viewer.rings(1, SLICE)
    mask = viewer.mask(1, SLICE)
    np.testing.assert_array_equal(mask, painted(rings, viewer.inside[SLICE]))
    return mask


@pytest.mark.parametrize("angle", [0.8, 2.4, 4.0, 5.5])
def test_a_drag_in_any_direction_is_the_radius(viewer, angle):
    viewer.press(Y - 7, X + 5, 14, angle=angle)
    near(viewer.rings(1, SLICE)[0], Y - 7, X + 5, 14, viewer)
    check_mask(viewer)


def test_right_button_and_toggle_mark_background(viewer):
    shown = "() => { window.menus = []; addEventListener('contextmenu', e => menus.push(e)); }"
    viewer.page.evaluate(shown)
    viewer.press(Y, X, 20)
    before = check_mask(viewer).sum()
    viewer.press(Y, X + 12, 7, button="right")
    assert check_mask(viewer).sum() < before
    assert viewer.page.evaluate("menus.every(event => event.defaultPrevented)")
    toggles = (lambda: viewer.key("t"), viewer.page.locator("#positive").click)
    for toggle, row in zip(toggles, (Y - 9, Y + 9), strict=True):
        viewer.until("#positive", "aria-pressed", "true")
        toggle()
        viewer.until("#positive", "aria-pressed", "false")
        viewer.press(row, X - 12, 5)
        viewer.key("t")
    assert [ring["positive"] for ring in viewer.rings(1, SLICE)] == [True, False, False, False]
    check_mask(viewer)


def test_a_short_press_has_the_last_radius(viewer):
    viewer.press(Y, X, 17)
    radius = viewer.rings(1, SLICE)[0]["radius"]
    left, top = viewer.at(Y - 20, X - 8)
    with viewer.changing():
        viewer.drag((left, top), (left + 2, top), steps=1)
    near(viewer.rings(1, SLICE)[1], Y - 20, X - 8, radius, viewer)
    assert viewer.rings(1, SLICE)[1]["radius"] == radius


def test_escape_cancels_a_drag(viewer):
    viewer.press(Y, X, 15)
    version, mouse = viewer.state("version"), viewer.page.mouse
    mouse.move(*viewer.at(Y - 20, X))
    mouse.down()
    mouse.move(*viewer.at(Y - 20, X + 10), steps=3)
    viewer.key("Escape")
    mouse.up()
    viewer.page.wait_for_timeout(300)
    assert viewer.state("version") == version and len(viewer.rings(1, SLICE)) == 1
    assert viewer.state("busy") == "no"


def test_a_line_becomes_the_disk_around_its_middle(viewer):
    keyboard = viewer.page.keyboard
    with viewer.changing():
        keyboard.down("Shift")
        viewer.drag(viewer.at(Y - 12, X - 16), viewer.at(Y + 12, X + 16))
        keyboard.up("Shift")
    near(viewer.rings(1, SLICE)[0], Y, X, 20, viewer)
    check_mask(viewer)


@pytest.mark.parametrize(("angle", "radius"), [(0, 30), (np.pi / 2, 8), (np.pi, 25), (4.712, 12)])
def test_each_handle_resizes_the_newest_disk(viewer, angle, radius):
    viewer.press(Y, X, 18)
    before = check_mask(viewer)
    ring = viewer.rings(1, SLICE)[0]
    with viewer.changing():
        viewer.drag(
            viewer.rim(ring["y"], ring["x"], ring["radius"], angle=angle),
            viewer.rim(ring["y"], ring["x"], radius, angle=angle),
        )
    (resized,) = viewer.rings(1, SLICE)
    assert resized["id"] == ring["id"]
    near(resized, ring["y"], ring["x"], radius, viewer)
    assert (check_mask(viewer).sum() > before.sum()) == (radius > 18)


def test_the_dot_moves_selects_and_delete_removes(viewer):
    viewer.press(Y - 20, X, 12)
    viewer.press(Y + 20, X, 12)
    older, newer = viewer.rings(1, SLICE)
    with viewer.changing():
        viewer.drag(viewer.at(newer["y"], newer["x"]), viewer.at(Y + 10, X + 12))
    moved = viewer.rings(1, SLICE)[1]
    assert moved["id"] == newer["id"] and moved["radius"] == newer["radius"]
    near(moved, Y + 10, X + 12, newer["radius"], viewer)
    check_mask(viewer)
    version = viewer.state("version")
    viewer.page.mouse.click(*viewer.at(older["y"], older["x"]))
    viewer.page.wait_for_timeout(200)
    assert viewer.state("version") == version, "choosing a disk changes nothing"
    with viewer.changing():
        viewer.key("Delete")
    assert [ring["id"] for ring in viewer.rings(1, SLICE)] == [newer["id"]]
    check_mask(viewer)
    with viewer.changing():
        viewer.page.locator("#delete").click()
    assert viewer.rings(1, SLICE) == []


def test_a_small_disk_leaves_room_for_another(viewer):
    viewer.press(Y, X, 3)
    # Between its centre and its handles, none of which is meant.
    viewer.press(Y + 1.3, X + 1.3, 9, angle=0.7, button="left")
    first, second = viewer.rings(1, SLICE)
    near(first, Y, X, 3, viewer)
    near(second, Y + 1.3, X + 1.3, 9, viewer)


def test_undo_and_redo_by_keys_and_buttons_are_equal_bytes(viewer):
    masks = []
    for number, (radius, button) in enumerate([(20, "left"), (8, "right"), (11, "left")]):
        viewer.press(Y + 8 * number, X, radius, button=button)
        masks.append(viewer.mask(1, SLICE))
    page, back, again = viewer.page, ("Control+z", "#undo"), ("Control+y", "#redo")
    for key, button in (back, again, back, again):
        order = masks[-2::-1] if key == back[0] else masks[1:]
        for number, wanted in enumerate(order):
            with viewer.changing():
                page.locator(button).click() if number else viewer.key(key)
            np.testing.assert_array_equal(viewer.mask(1, SLICE), wanted)
    with viewer.changing():
        viewer.key("Control+z")
    with viewer.changing():
        viewer.key("Control+Shift+z")
    np.testing.assert_array_equal(viewer.mask(1, SLICE), masks[-1])


def test_of_quick_presses_none_is_lost(viewer):
    wanted = [(Y - 24 + 8 * n, X + 3 * n, 5 + n) for n in range(7)]
    places = [(viewer.at(y, x), viewer.rim(y, x, r)) for y, x, r in wanted]
    with viewer.changing():
        for start, end in places:
            viewer.drag(start, end, steps=1)
    viewer.until("#view", "data-version", 7)  # the first disk begins the lesion
    viewer.settled()
    for ring, (y, x, radius) in zip(viewer.rings(1, SLICE), wanted, strict=True):
        near(ring, y, x, radius, viewer)
    check_mask(viewer)


def test_a_pen_draws(viewer):
    with viewer.changing():
        viewer.pen(viewer.at(Y, X), viewer.rim(Y, X, 16))
    near(viewer.rings(1, SLICE)[0], Y, X, 16, viewer)


def test_one_finger_is_a_disk_and_two_zoom_and_pan(show, viewer):
    touched = show(viewer.url, has_touch=True)
    touched.go_to(SLICE)
    end = touched.rim(Y, X, 15)
    with touched.changing():
        touched.touch([touched.at(Y, X)], [touched.rim(Y, X, 8)], [end])
    near(touched.rings(1, SLICE)[0], Y, X, 15, touched)
    version, scale = touched.state("version"), touched.pixel()
    left, top = touched.at(Y, X)
    apart = [[(left - d, top), (left + d, top)] for d in (40, 60, 80)]
    touched.touch(*apart)
    touched.page.wait_for_timeout(200)
    assert touched.pixel() == pytest.approx(2 * scale, rel=0.05)
    np.testing.assert_allclose(touched.voxel_at(left, top), (Y, X), atol=1)
    moved = [[(left - 60, top + d), (left + 60, top + d)] for d in (0, 15, 30)]
    touched.touch(*moved)
    touched.page.wait_for_timeout(200)
    np.testing.assert_allclose(touched.at(Y, X), (left, top + 30), atol=3)
    assert touched.state("version") == version, "two fingers place no disk"


def test_a_disk_without_a_mouse(viewer):
    viewer.key("k")  # of whatever has the focus
    viewer.key(*["Shift+ArrowUp"] * 2, *["ArrowLeft"] * 3, *["+"] * 4, "-")
    with viewer.changing():
        viewer.key("Space")
    (first,) = viewer.rings(1, SLICE)
    viewer.key(*["ArrowRight"] * 5, "ArrowDown", "+")
    with viewer.changing():
        viewer.key("Space")
    second = viewer.rings(1, SLICE)[1]
    assert (second["y"] - first["y"], second["x"] - first["x"]) == pytest.approx((1, 5))
    assert second["radius"] > first["radius"]
    assert viewer.number("slice") == SLICE, "arrows move the cursor, not the slice"
    check_mask(viewer)
