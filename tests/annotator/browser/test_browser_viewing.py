"""Looking: slices, window, zoom, what lies over the slice, screens, oblong voxels."""

import numpy as np
import pytest

from tests.annotator.browser.scene import CENTRE, SHAPE, write_ball
from tests.annotator.serving import Painter

pytestmark = pytest.mark.slow
SLICE, Y, X = CENTRE
# Width and level of the keys 1 to 5. Source: OHIF.
PRESETS = {"1": (400, 40), "2": (1500, -600), "3": (150, 90), "4": (2500, 480), "5": (80, 40)}


def wheel(viewer, amount):
    viewer.page.mouse.move(*viewer.at(Y, X))
    viewer.page.mouse.wheel(0, amount)


def test_slices_by_wheel_keys_and_slider(viewer):
    wheel(viewer, 100)
    viewer.page.wait_for_function(f"() => document.querySelector('#view').dataset.slice != {SLICE}")
    step = int(viewer.number("slice")) - SLICE
    assert abs(step) == 1
    wheel(viewer, -100)
    viewer.until("#view", "data-slice", SLICE)
    viewer.key("ArrowUp")
    viewer.page.wait_for_function(f"() => document.querySelector('#view').dataset.slice != {SLICE}")
    up = int(viewer.number("slice")) - SLICE
    assert abs(up) == 1
    for key, wanted in (
        ("ArrowDown", SLICE),
        ("ArrowDown", SLICE - up),
        ("Home", 0),
        ("End", SHAPE[0] - 1),
    ):
        viewer.key(key)
        viewer.until("#view", "data-slice", wanted)
    viewer.go_to(SLICE)
    viewer.key("PageUp")
    viewer.until("#view", "data-slice", SLICE + 10 * up)
    viewer.key("PageDown")
    viewer.until("#view", "data-slice", SLICE)
    viewer.go_to(3)
    assert viewer.page.locator("#slice").input_value() == "3"
    viewer.settled()
    assert "4/24" in viewer.text("#facts").replace(" ", "")


def test_the_facts_under_the_cursor(viewer):
    for place, value in (((Y, X), "200"), ((2, 2), "[-−]100")):
        viewer.page.mouse.move(*viewer.at(*place))
        viewer.page.wait_for_function(
            "hu => RegExp(hu + '\\\\s*HU').test(document.querySelector('#facts').innerText)",
            arg=value,
        )
    facts = viewer.text("#facts")
    assert "mm" in facts and "3" in facts and "0.7" in facts
    assert "research use only" in viewer.page.locator("body").inner_text().lower()


def test_presets_by_keys_and_the_automatic_window(viewer):
    automatic = viewer.state("window")
    for key, (width, level) in PRESETS.items():
        viewer.key(key)
        viewer.until("#view", "data-window", f"{level - width // 2},{level + width // 2}")
    viewer.key("0")
    viewer.until("#view", "data-window", automatic)
    viewer.page.locator("#window-lung").click()
    viewer.until("#view", "data-window", "-1350,150")
    viewer.page.locator("#window-auto").click()
    viewer.until("#view", "data-window", automatic)


def test_w_and_a_drag_change_the_window_and_place_no_disk(viewer):
    viewer.key("1")
    version, keyboard = viewer.state("version"), viewer.page.keyboard
    left, top = viewer.at(Y, X)
    windows = []
    for end in ((left + 60, top), (left, top + 60)):
        low, high = viewer.window()
        keyboard.down("w")
        viewer.drag((left, top), end)
        keyboard.up("w")
        after = viewer.window()
        windows.append((after[1] - after[0] - (high - low), (after[0] + after[1] - low - high) / 2))
    (width, level), (other_width, other_level) = windows
    assert width > 0 and level == pytest.approx(0, abs=1), "right: wider"
    assert other_level != 0 and other_width == pytest.approx(0, abs=1), "down: the level alone"
    assert viewer.state("version") == version


def test_zoom_keeps_the_point_under_the_cursor(viewer):
    # A mouse is on whole pixels.
    left, top = map(round, viewer.at(Y - 30, X + 20))
    place = viewer.voxel_at(left, top)
    keyboard, whole = viewer.page.keyboard, viewer.pixel()
    viewer.page.mouse.move(left, top)
    keyboard.down("Control")
    viewer.page.mouse.wheel(0, -300)
    keyboard.up("Control")
    viewer.page.wait_for_function(
        "s => Number(document.querySelector('#view').dataset.scaleY) > 1.1 * s", arg=whole
    )
    np.testing.assert_allclose(viewer.voxel_at(left, top), place, atol=0.02)
    assert viewer.number("slice") == SLICE, "Ctrl and the wheel leave the slice"
    viewer.press(Y - 30, X + 8, 6)
    near_by = viewer.rings(1, SLICE)[0]
    assert (near_by["y"], near_by["x"]) == pytest.approx((Y - 30, X + 8), abs=0.5)
    viewer.key("f")
    assert viewer.pixel() == pytest.approx(whole)
    viewer.key("+")
    assert viewer.pixel() > whole
    viewer.key("-")
    assert viewer.pixel() == pytest.approx(whole)


def test_middle_button_and_space_pan(viewer):
    version = viewer.state("version")
    for button in ("middle", "left"):
        left, top = viewer.at(Y, X)
        if button == "left":
            viewer.page.keyboard.down("Space")
        viewer.drag((left, top), (left + 31, top - 17), button=button)
        viewer.page.keyboard.up("Space")
        np.testing.assert_allclose(viewer.at(Y, X), (left + 31, top - 17), atol=1)
    assert viewer.state("version") == version


def test_hide_outline_and_opacity(viewer):
    viewer.press(Y, X, 25)
    place = (Y - 11, X - 7)
    full = viewer.colour(*place)
    assert full > 10
    viewer.key("v")
    assert viewer.colour(*place) == 0
    viewer.key("v")
    assert viewer.colour(*place) == full
    viewer.key("o")
    assert viewer.colour(*place) == 0
    viewer.page.locator("#outline").click()
    assert viewer.colour(*place) == full
    viewer.key(".", ".")
    more = viewer.colour(*place)
    viewer.key(",", ",", ",")
    assert viewer.colour(*place) < full < more
    viewer.page.locator("#hide").click()
    assert viewer.colour(*place) == 0


def test_measures_are_drawn_and_left_out(viewer):
    viewer.press(Y, X, 25)
    viewer.page.wait_for_function(
        "() => /long/.test(document.querySelector('#measures').innerText)"
    )
    viewer.page.mouse.move(5, 5)
    with_axes = viewer.picture()
    viewer.key("m")
    without = viewer.picture()
    assert (with_axes != without).any()
    viewer.key("m")
    np.testing.assert_array_equal(viewer.picture(), with_axes)


def test_a_mask_that_is_answered_anew_is_grey_meanwhile(show, serve, tmp_path):
    write_ball(tmp_path / "data" / "ct.nii.gz")
    viewer = show(serve(tmp_path / "data", painter=Painter(seconds=0.8)))
    viewer.go_to(SLICE)
    viewer.press(Y, X, 25)
    place = (Y - 11, X - 7)
    fresh = viewer.colour(*place)
    with viewer.changing():
        viewer.drag(viewer.at(Y, X + 20), viewer.rim(Y, X + 20, 6), button="right")
        viewer.until("#view", "data-busy", "yes")
        assert viewer.colour(*place) < fresh / 2
    assert viewer.colour(*place) == fresh
    assert viewer.number("ms") > 800


def test_thumbnails_lead_to_slices_with_a_mask(viewer):
    for index in (SLICE, SLICE + 3):
        viewer.go_to(index)
        viewer.press(Y, X, 15)
    thumbnails = viewer.page.locator("#thumbnails [data-slice]")
    found = [item.get_attribute("data-slice") for item in thumbnails.all()]
    assert sorted(map(int, found)) == [SLICE, SLICE + 3]
    viewer.go_to(0)
    thumbnails.first.click()
    viewer.until("#view", "data-slice", int(found[0]))


def test_several_lesions(viewer):
    viewer.press(Y - 15, X, 10)
    viewer.key("n")
    viewer.press(Y + 15, X, 14)
    items = viewer.page.locator("#lesions [data-lesion]")
    assert [item.get_attribute("data-lesion") for item in items.all()] == ["1", "2"]
    assert viewer.state("lesion") == "2"
    current = "#lesions [data-lesion][aria-current]:not([aria-current=false])"
    for key, wanted in (("[", "1"), ("]", "2"), ("[", "1")):
        viewer.key(key)
        viewer.until("#view", "data-lesion", wanted)
        assert viewer.page.locator(current).get_attribute("data-lesion") == wanted
    for number, lesion in enumerate((1, 2)):
        items.nth(number).locator(".area", has_text="mm²").wait_for()
        area = items.nth(number).locator(".area").inner_text()
        wanted = viewer.mask(lesion, SLICE).sum() * 0.7**2
        assert float(area.split()[0]) == pytest.approx(wanted, abs=0.051)
    assert len(viewer.rings(1, SLICE)) == len(viewer.rings(2, SLICE)) == 1
    viewer.go_to(SLICE)
    version = viewer.state("version")
    viewer.key("Enter")
    viewer.page.wait_for_function(
        "v => document.querySelector('#view').dataset.version !== v", arg=version
    )
    assert any(lesion["finished"] for lesion in viewer.session()["lesions"])


@pytest.mark.parametrize(
    ("size", "ratio"), [((1280, 720), 1), ((3840, 2160), 1), ((1280, 800), 2), ((1920, 1080), 1.5)]
)
def test_screens(show, viewer, size, ratio):
    width, height = size
    other = show(viewer.url, viewport={"width": width, "height": height}, device_scale_factor=ratio)
    other.go_to(SLICE)
    wide = "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert other.page.evaluate(wide) == [width, height]
    # What is drawn is as sharp as the screen.
    canvas, box = other.page.locator("#view"), other.page.locator("#view").bounding_box()
    assert canvas.evaluate("v => v.width") == pytest.approx(box["width"] * ratio, abs=1.5)
    assert box["height"] > 0.6 * height and box["width"] > 0.5 * width
    for button in other.page.get_by_role("button").all():
        place = button.bounding_box()
        assert 0 <= place["x"] <= place["x"] + place["width"] <= width, button
        assert 0 <= place["y"] <= place["y"] + place["height"] <= height, button
    other.press(Y, X, 20)
    ring = other.rings(1, SLICE)[0]
    assert (ring["y"], ring["x"], ring["radius"]) == pytest.approx((Y, X, 20), abs=0.5)


def test_a_window_that_changes_its_size(viewer):
    viewer.page.set_viewport_size({"width": 1500, "height": 900})
    viewer.page.wait_for_timeout(300)
    viewer.press(Y, X, 20)
    ring = viewer.rings(1, SLICE)[0]
    assert (ring["y"], ring["x"], ring["radius"]) == pytest.approx((Y, X, 20), abs=0.5)
    canvas, box = viewer.page.locator("#view"), viewer.page.locator("#view").bounding_box()
    assert canvas.evaluate("v => v.width") == pytest.approx(box["width"], abs=1)


def ends(changed, place):
    """Returns how far left of and above a place of a picture something has changed, pixels."""
    row, column = place
    across, down = np.flatnonzero(changed[row]), np.flatnonzero(changed[:, column])
    return column - across.min(), row - down.min()


@pytest.mark.parametrize("spacing", [(1.4, 0.7, 3.0), (0.6, 1.5, 3.0)])
def test_a_disk_is_round_on_oblong_voxels(show, serve, tmp_path, spacing):
    x_mm, y_mm, _ = spacing
    pixel_mm = min(x_mm, y_mm)
    # A ball of 25 mm, seen in full.
    radii = (7.0, 25 / y_mm, 25 / x_mm)
    inside = write_ball(tmp_path / "data" / "oblong.nii.gz", spacing=spacing, radii=radii)[SLICE]
    viewer = show(serve(tmp_path / "data"))
    viewer.go_to(SLICE)
    scale = viewer.number("scaleY"), viewer.number("scaleX")
    assert scale[0] / scale[1] == pytest.approx(y_mm / x_mm, rel=1e-3), "square on screen"
    y, x, radius = Y + 5, X - 3, 15 / pixel_mm
    before, mouse = viewer.picture(), viewer.page.mouse
    mouse.move(*viewer.at(y, x))
    mouse.down()
    mouse.move(*viewer.rim(y, x, radius, angle=1.1), steps=4)
    viewer.page.wait_for_timeout(200)
    box, (left, top) = viewer.page.locator("#view").bounding_box(), viewer.at(y, x)
    place = round(top - box["y"]), round(left - box["x"])
    for reach in ends((viewer.picture() != before).any(axis=2), place):
        assert reach == pytest.approx(radius * viewer.pixel(), abs=6)
    with viewer.changing():
        mouse.up()
    (ring,) = viewer.rings(1, SLICE)
    assert (ring["y"], ring["x"], ring["radius"]) == pytest.approx((y, x, radius), abs=1)
    yy, xx = np.indices(inside.shape)
    away = np.hypot((yy - ring["y"]) * y_mm, (xx - ring["x"]) * x_mm)
    mask = viewer.mask(1, SLICE)
    rim = np.abs(away - ring["radius"] * pixel_mm) <= max(spacing[:2])
    np.testing.assert_array_equal(mask[~rim], (inside & (away <= 15))[~rim])


def test_space_and_a_drag_pan_after_a_button_was_clicked(viewer):
    viewer.page.locator("#outline").click()
    version, (left, top) = viewer.state("version"), viewer.at(Y, X)
    viewer.page.mouse.move(left, top)
    viewer.page.keyboard.down("Space")
    viewer.drag((left, top), (left + 25, top + 10))
    viewer.page.keyboard.up("Space")
    viewer.page.wait_for_timeout(200)
    assert viewer.state("version") == version, "no disk was placed"
    np.testing.assert_allclose(viewer.at(Y, X), (left + 25, top + 10), atol=1)
    assert viewer.page.locator("#outline").get_attribute("aria-pressed") == "true"


def test_lesions_are_renamed_and_removed(viewer):
    viewer.press(Y, X, 10)
    name = "liver <b>S4</b> & 'ü'"
    viewer.page.get_by_role("button", name="Rename").click()
    viewer.page.locator("#lesions input").fill(name)
    with viewer.changing():
        viewer.key("Enter")
    item = viewer.page.locator("#lesions [data-lesion]")
    assert name in item.inner_text() and viewer.session()["lesions"][0]["name"] == name
    with viewer.changing():
        viewer.page.get_by_role("button", name="Remove liver").click()
    assert item.count() == 0
    with viewer.changing():
        viewer.key("Control+z")
    assert name in item.inner_text() and len(viewer.rings(1, SLICE)) == 1


def test_undo_shows_the_slice_that_it_changes(viewer):
    viewer.press(Y, X, 10)
    viewer.go_to(SLICE + 4)
    with viewer.changing():
        viewer.key("Control+z")
    viewer.until("#view", "data-slice", SLICE)
