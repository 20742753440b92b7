"""The page itself: what it loads, how it is read out, and what it says when something is wrong."""

import re
from pathlib import Path

import pytest

import ecc_jax.annotator
from tests.annotator.browser.scene import CENTRE, write_ball
from tests.annotator.serving import TOKEN, serving

SLICE, Y, X = CENTRE
STATIC = Path(ecc_jax.annotator.__file__).with_name("static")
# The name of SVG's language, which nobody loads.
NAMESPACE = "http://www.w3.org/2000/svg"
ELSEWHERE = re.compile(r"""\b(?:https?|wss?|ftp):|["'(=]\s*//|@import|\beval\(|data:""", re.I)
CONTROLS = ("button", "checkbox", "combobox", "listbox", "radio", "slider", "textbox")


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere(path):
    for number, line in enumerate(path.read_text("utf-8").replace(NAMESPACE, "").splitlines(), 1):
        assert not ELSEWHERE.search(line), f"{path.name}:{number}: {line.strip()}"


@pytest.mark.slow
def test_every_control_has_a_name(viewer):
    viewer.press(Y, X, 15)
    page = viewer.page
    session = page.context.new_cdp_session(page)
    for opener in (None, "#save", "?"):
        if opener == "?":
            viewer.key("Escape", "?")
        elif opener:
            page.locator(opener).click()
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        named = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in CONTROLS
        ]
        assert named
        assert [role for role, name in named if not name.strip()] == [], opener
    assert page.evaluate("document.documentElement.lang") == "en" and page.title()


@pytest.mark.slow
def test_every_control_is_reached_by_tab(viewer):
    viewer.press(Y, X, 15)  # buttons that could do nothing are left out
    reached = set()
    for _ in range(60):
        viewer.key("Tab")
        reached.add(viewer.page.evaluate("document.activeElement.id"))
    wanted = {"view", "add", "propagate", "finish", "save", "slice", "positive", "hide", "outline"}
    assert wanted <= reached, wanted - reached


# What the dialog says of each key and gesture, as a person would look for it.
KEYS = """wheel page ↑ ↓ home end ctrl space esc delete enter w v o , . t n [ ] p m k f 0 1 2 3 4 5
shift ctrl+z ctrl+y ctrl+s ? right middle finger""".split()


@pytest.mark.slow
def test_help_lists_the_keys(viewer):
    viewer.key("?")
    dialog = viewer.page.locator("#help")
    assert dialog.is_visible()
    words = set(dialog.inner_text().lower().split())
    assert [key for key in KEYS if key not in words] == []
    viewer.key("Escape")
    assert not dialog.is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("fragment", ["#token=of-another-start-of-it", ""])
def test_a_wrong_token_shows_the_remedy(show, serve, tmp_path, fragment):
    write_ball(tmp_path / "data" / "ct.nii.gz")
    address = serve(tmp_path / "data").partition("#")[0]
    # Chromium itself logs what is refused.
    viewer = show(address + fragment, wait=False, allowed=["401"])
    viewer.told("token", "address", "printed")


@pytest.mark.slow
def test_read_only_changes_nothing(show, serve, tmp_path):
    write_ball(tmp_path / "data" / "ct.nii.gz")
    viewer = show(serve(tmp_path / "data", read_only=True))
    viewer.allowed.append("403")
    viewer.go_to(SLICE)
    version = viewer.session()["version"]
    viewer.drag(viewer.at(Y, X), viewer.rim(Y, X, 15))
    viewer.told("read", "only")
    viewer.key("n", "Control+z", "p", "Delete")
    viewer.page.wait_for_timeout(300)
    assert viewer.session()["version"] == version and viewer.session()["lesions"] == []
    assert viewer.page.locator("#add").is_disabled()
    assert list(tmp_path.glob("work/**/*.log")) == []


@pytest.mark.slow
def test_the_older_of_two_tabs_is_told(show, viewer):
    viewer.press(Y, X, 15)
    newer = show(viewer.url)
    newer.go_to(SLICE)
    newer.press(Y + 10, X, 8)
    viewer.allowed.append("409")
    viewer.drag(viewer.at(Y - 10, X), viewer.rim(Y - 10, X, 5))
    viewer.told("another")
    assert len(newer.rings(1, SLICE)) == 2, "what the newer tab has drawn is as it was"
    # It goes on from what the other one has left.
    viewer.page.wait_for_function(
        "v => document.querySelector('#view').dataset.version === v", arg=newer.state("version")
    )
    viewer.settled()
    viewer.press(Y - 20, X, 5)
    assert len(viewer.rings(1, SLICE)) == 3


@pytest.mark.slow
def test_a_server_that_is_gone_is_told(show, tmp_path):
    write_ball(tmp_path / "data" / "ct.nii.gz")
    with serving(tmp_path / "data", tmp_path / "work") as (client, _):
        viewer = show(f"http://{client.netloc}/#token={TOKEN}")
        viewer.go_to(SLICE)
        viewer.press(Y, X, 15)
    viewer.allowed.append("net::ERR_")
    viewer.drag(viewer.at(Y, X + 10), viewer.rim(Y, X + 10, 5))
    viewer.told("answer", "terminal", "not saved yet: 1")


@pytest.mark.slow
def test_names_of_files_are_text(show, serve, tmp_path):
    name = "<img src=x onerror=alert(1)>&amp;.nii.gz"
    write_ball(tmp_path / "data" / name)
    viewer = show(serve(tmp_path / "data"))
    assert viewer.page.locator("img[src=x]").count() == 0
    assert name in viewer.page.locator("#documents").inner_text()


@pytest.mark.slow
def test_one_volume_of_several_is_chosen(show, serve, tmp_path):
    write_ball(tmp_path / "data" / "first.nii.gz")
    write_ball(tmp_path / "data" / "second.nii.gz", radii=(7.0, 30.0, 30.0))
    viewer = show(serve(tmp_path / "data"), wait=False)
    for name in ("second", "first"):
        option = viewer.page.locator("#documents option", has_text=name).get_attribute("value")
        viewer.page.locator("#documents").select_option(option)
        viewer.page.locator("#facts", has_text=name).wait_for()
        viewer.settled()
        viewer.go_to(SLICE)
        viewer.press(Y, X, 10)
    for document in viewer.documents():
        assert len(viewer.session(document=document)["lesions"]) == 1
