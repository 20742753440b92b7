"""What arrives late, or for something that is no longer shown, changes nothing on the page."""

import nibabel
import numpy as np
import pytest

from tests.annotator.browser.scene import CENTRE, write_ball

SLICE, Y, X = CENTRE
pytestmark = pytest.mark.slow


@pytest.fixture
def hold():
    """Returns a function that holds back requests to an address until it is told to let go."""

    def held(viewer, pattern):
        routes, is_over = [], []
        viewer.page.route(
            pattern, lambda route: route.continue_() if is_over else routes.append(route)
        )

        def let_go():
            is_over.append(True)
            for route in routes:
                route.continue_()

        return let_go

    return held


@pytest.fixture
def two(show, serve, tmp_path):
    """A tab with the first of two volumes, and a function that chooses one by its name."""
    write_ball(tmp_path / "data" / "first.nii.gz")
    write_ball(tmp_path / "data" / "second.nii.gz", radii=(7.0, 30.0, 30.0))
    viewer = show(serve(tmp_path / "data"), wait=False)
    choose_first = chooser(viewer)
    choose_first("first")
    viewer.page.locator("#facts", has_text="first").wait_for()
    viewer.go_to(SLICE)
    return viewer, choose_first


def chooser(viewer):
    def choose(name):
        option = viewer.page.locator("#documents option", has_text=name).get_attribute("value")
        viewer.page.locator("#documents").select_option(option)

    return choose


def test_disks_stay_with_the_volume_they_were_pressed_on(two, hold):
    viewer, choose = two
    let_go = hold(viewer, "**/press")
    for shift in (0, 8):
        viewer.drag(viewer.at(Y + shift, X), viewer.rim(Y + shift, X, 10))
    choose("second")
    viewer.frame()
    let_go()
    viewer.page.locator("#facts", has_text="second").wait_for()
    viewer.settled()
    assert viewer.page.locator("#lesions [data-lesion]").count() == 0
    first, second = viewer.documents()
    (lesion,) = viewer.session(document=first)["lesions"]
    assert len(lesion["slices"][0]["rings"]) == 2
    assert viewer.session(document=second)["lesions"] == []


def test_the_list_says_what_is_open_and_not_what_could_not_be_opened(two, tmp_path, serve, show):
    write_ball(tmp_path / "bad" / "good.nii.gz")
    whole = (tmp_path / "bad" / "good.nii.gz").read_bytes()
    (tmp_path / "bad" / "torn.nii.gz").write_bytes(whole[: len(whole) // 2])
    viewer = show(serve(tmp_path / "bad", name="other"), wait=False, allowed=["422"])
    choose = chooser(viewer)
    choose("good")
    viewer.page.locator("#facts", has_text="good").wait_for()
    viewer.settled()
    shown = viewer.page.locator("#documents").input_value()
    for _ in range(2):  # a second try is one
        with viewer.page.expect_response("**/open"):
            choose("torn")
        viewer.told("torn")
        viewer.frame()
        viewer.frame()
        assert viewer.page.locator("#documents").input_value() == shown


def test_measures_of_other_disks_are_not_shown(viewer, hold):
    viewer.press(Y, X, 10)
    area = viewer.page.locator("#measures", has_text="mm²")
    area.wait_for()
    before = viewer.text("#lesions .area")
    let_go = hold(viewer, "**/measures/**")
    viewer.press(Y, X + 12, 20)
    assert before not in viewer.text("#side")
    let_go()
    area.wait_for()
    assert before != viewer.text("#lesions .area")


def test_a_name_is_written_in_peace(viewer, hold):
    let_go = hold(viewer, "**/measures/**")
    viewer.press(Y, X, 10)
    viewer.page.get_by_role("button", name="Rename").click()
    keyboard = viewer.page.keyboard
    keyboard.type("no")
    with viewer.page.expect_response("**/measures/**"):
        let_go()
    viewer.frame()
    keyboard.type("dule n")
    with viewer.changing():
        keyboard.press("Enter")
    assert [lesion["name"] for lesion in viewer.session()["lesions"]] == ["nodule n"]


def test_a_key_that_is_held_acts_once(viewer):
    with viewer.changing():
        for _ in range(4):
            viewer.page.keyboard.down("n")
        viewer.page.keyboard.up("n")
    viewer.settled()
    assert len(viewer.session()["lesions"]) == 1


def test_disks_for_a_session_that_has_gone_on_are_dropped(show, viewer, hold):
    viewer.press(Y, X, 10)
    viewer.allowed.append("409")
    let_go = hold(viewer, "**/press")
    for shift in (20, 34):
        viewer.drag(viewer.at(Y, X + shift), viewer.rim(Y, X + shift, 6))
    other = show(viewer.url)
    other.go_to(SLICE)
    other.press(Y - 20, X, 5)
    let_go()
    viewer.told("changed elsewhere", "without your last 2 changes")
    viewer.settled()
    assert len(viewer.rings(1, SLICE)) == 2
    assert viewer.state("version") == other.state("version")


def test_saving_waits_for_what_was_pressed(viewer, hold, tmp_path):
    let_go = hold(viewer, "**/press")
    viewer.drag(viewer.at(Y, X), viewer.rim(Y, X, 10))
    viewer.key("Control+s")
    viewer.page.locator("#save-now").click()
    viewer.frame()
    assert "saved in" not in viewer.text("#saved")
    let_go()
    viewer.page.locator("#saved", has_text="saved in").wait_for()
    (path,) = (tmp_path / "work").glob("*/lesions.nii.gz")
    assert np.count_nonzero(nibabel.load(path).dataobj)


def test_an_answer_that_was_lost_is_found(viewer):
    viewer.allowed.append("net::")
    lost = []

    def lose(route):
        if not lost:  # it arrives, and nobody hears of it
            lost.append(route.fetch())
            route.abort()
        else:
            route.continue_()

    viewer.allowed.append("409")
    viewer.page.route("**/press", lose)
    viewer.press(Y, X, 10)
    assert lost and len(viewer.rings(1, SLICE)) == 1
    assert viewer.state("lesion") == "1"
    viewer.press(Y + 25, X, 6)
    assert len(viewer.rings(1, SLICE)) == 2


def test_a_press_goes_to_the_lesion_that_was_begun_before(viewer, hold):
    viewer.press(Y, X, 10)
    let_go = hold(viewer, "**/add")
    viewer.key("n")
    viewer.drag(viewer.at(Y + 25, X), viewer.rim(Y + 25, X, 6))
    with viewer.changing():
        let_go()
    viewer.until("#view", "data-version", 3)
    viewer.settled()
    assert [len(viewer.rings(number, SLICE)) for number in (1, 2)] == [1, 1]


def test_a_screen_of_another_density(viewer):
    width = viewer.page.locator("#view").bounding_box()["width"]
    session = viewer.page.context.new_cdp_session(viewer.page)
    size = {"width": 1280, "height": 720, "mobile": False}
    session.send("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 2})
    viewer.page.mouse.move(*viewer.at(Y, X))  # a frame
    viewer.until("#view", "width", round(2 * width))
    viewer.press(Y, X, 12)
    assert viewer.colour(Y, X) > 20 and viewer.colour(Y, X + 25) < 20


def test_what_failed_is_asked_for_again(viewer):
    viewer.allowed += ["503", "net::"]
    failures = []

    def fail(route):
        failures.append(route.request.url)
        if len(failures) < 3:
            route.fulfill(status=503, content_type="application/json", body='{"error": "closing"}')
        else:
            route.continue_()

    viewer.page.route("**/slices/3", fail)
    viewer.go_to(3)
    assert len(failures) == 3
