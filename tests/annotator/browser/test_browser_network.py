"""The whole of it: the process that a person starts, the shipped network, a lesion of a liver."""

import csv
import json
import re

import nibabel
import numpy as np
import pytest

from ecc_jax.annotator.client import Client
from tests.annotator.browser.driver import iou
from tests.annotator.browser.processes import annotator
from tests.annotator.browser.scene import built_in_lesion, middle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth():
    return built_in_lesion()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotator")
    with annotator(folder) as started:
        started.folder = folder
        yield started


@pytest.fixture
def viewer(running, show):
    """A tab with no lesion, whatever the test before has left."""
    client = Client(running.url)
    (document,) = client.documents()
    for lesion in client.open(document["id"])["session"]["lesions"]:
        client.event(document["id"], "remove", lesion=lesion["id"])
    return show(running.url)


def lesion_of(viewer):
    """Returns the number of the only lesion."""
    (lesion,) = viewer.session()["lesions"]
    return lesion["id"]


def press_lesion(viewer, truth):
    """Presses on the lesion as a person does; returns its number and slice."""
    index, y, x, radius = middle(truth)
    viewer.go_to(index)
    viewer.press(y, x, radius)
    return lesion_of(viewer), index


def test_a_press_on_a_lesion_finds_it_and_can_be_corrected(viewer, truth):
    lesion, index = press_lesion(viewer, truth)
    first = viewer.mask(lesion, index)
    assert iou(first, truth[index]) >= 0.7
    _, y, x, radius = middle(truth)
    # Background at the lesion's right edge: what was lesion there is none any longer.
    viewer.press(y, x + radius, 0.4 * radius, button="right")
    second = viewer.mask(lesion, index)
    assert (second & ~first).sum() < (first & ~second).sum()
    with viewer.changing():
        viewer.key("Control+z")
    np.testing.assert_array_equal(viewer.mask(lesion, index), first)
    with viewer.changing():
        viewer.key("Control+y")
    np.testing.assert_array_equal(viewer.mask(lesion, index), second)


def test_a_larger_ring_is_answered_anew(viewer, truth):
    lesion, index = press_lesion(viewer, truth)
    first, (ring,) = viewer.mask(lesion, index), viewer.rings(lesion, index)
    with viewer.changing():
        viewer.drag(
            viewer.rim(ring["y"], ring["x"], ring["radius"]),
            viewer.rim(ring["y"], ring["x"], 2.5 * ring["radius"]),
        )
    second = viewer.mask(lesion, index)
    assert second.sum() > first.sum()
    with viewer.changing():
        viewer.key("Control+z")
    np.testing.assert_array_equal(viewer.mask(lesion, index), first)


def propagated(viewer, lesion):
    """Propagates and returns the slices with a mask."""
    with viewer.changing():
        viewer.page.locator("#propagate").click()
    (found,) = [entry for entry in viewer.session()["lesions"] if entry["id"] == lesion]
    return [entry["slice"] for entry in found["slices"]]


def test_propagation_and_a_corrected_slice(viewer, truth):
    lesion, index = press_lesion(viewer, truth)
    slices = propagated(viewer, lesion)
    assert {index - 1, index, index + 1} <= set(slices)
    holds = set(np.flatnonzero(truth.any((1, 2))).tolist())
    assert set(slices) <= {k + d for k in holds for d in (-1, 0, 1)}
    shown = viewer.page.locator("#thumbnails [data-slice]").all()
    assert sorted(int(item.get_attribute("data-slice")) for item in shown) == slices
    above = index + 1
    before = viewer.mask(lesion, above)
    assert iou(before, truth[above]) >= 0.6
    viewer.go_to(above)
    rows, columns = np.nonzero(before)
    rightmost = columns.argmax()
    radius = 0.4 * middle(truth)[-1]
    viewer.press(rows[rightmost], columns[rightmost], radius, button="right")
    after = viewer.mask(lesion, above)
    assert not np.array_equal(before, after)
    with viewer.changing():
        viewer.key("Control+z")
    np.testing.assert_array_equal(viewer.mask(lesion, above), before)
    with viewer.changing():
        viewer.key("Control+z")
    assert len(viewer.page.locator("#thumbnails [data-slice]").all()) == 1


def is_shown(value, text):
    """Returns whether a text holds a value, rounded as it is there."""
    for sign, whole, decimals in re.findall(r"([-−]?)(\d+)(?:\.(\d+))?", text):
        number = float(f"{whole}.{decimals}") * (-1 if sign else 1)
        if abs(number - value) <= 0.501 * 10 ** -len(decimals):
            return True
    return False


def test_measures_are_those_of_the_server(viewer, truth):
    lesion, index = press_lesion(viewer, truth)
    propagated(viewer, lesion)
    told = viewer.get(f"/{viewer.documents()[0]}/measures/{lesion}?slice={index}")
    viewer.page.wait_for_function("() => /mm/.test(document.querySelector('#measures').innerText)")
    viewer.page.wait_for_timeout(500)
    text = viewer.text("#measures")
    for name in ("area_mm2", "long_axis_mm", "short_axis_mm", "mean_hu", "sd_hu"):
        assert is_shown(told["slice"][name], text), name
    for name in ("volume_ml", "long_axis_mm", "mean_hu", "sd_hu"):
        assert is_shown(told["lesion"][name], text), name


def saved(viewer, folder, form):
    """Saves in a format and returns the files that this has made."""
    before = set(folder.rglob("*"))
    page = viewer.page
    viewer.key("Control+s")
    page.locator(f"input[name=format][value={form}]").check()
    page.locator("#save-now").click()
    page.wait_for_function("() => /\\.\\w+/.test(document.querySelector('#saved').innerText)")
    files = sorted(path for path in set(folder.rglob("*")) - before if path.is_file())
    for path in files:
        assert path.name in viewer.text("#saved")
    viewer.key("Escape")
    return files


def test_saved_files_hold_the_masks(viewer, running, truth):
    lesion, index = press_lesion(viewer, truth)
    slices = propagated(viewer, lesion)
    labels, names = saved(viewer, running.folder, "nifti")
    if labels.suffix == ".json":
        labels, names = names, labels
    voxels = np.asarray(nibabel.load(labels).dataobj)
    assert voxels.shape == truth.shape
    wanted = np.zeros(truth.shape, bool)
    for number in slices:
        wanted[number] = viewer.mask(lesion, number)
    np.testing.assert_array_equal(voxels > 0, wanted)
    assert json.loads(names.read_text("utf-8"))
    tables = saved(viewer, running.folder, "measures")
    (table,) = [path for path in tables if path.suffix == ".csv"]
    with table.open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) >= 1


def test_a_killed_annotator_restores_every_bit(show, truth, tmp_path):
    with annotator(tmp_path) as first:
        viewer = show(first.url)
        lesion, index = press_lesion(viewer, truth)
        _, y, x, radius = middle(truth)
        viewer.press(y, x - radius, 0.4 * radius, button="right")
        before, mask = viewer.session(), viewer.mask(lesion, index)
        viewer.allowed.append("net::ERR_")
        first.kill()
        viewer.drag(viewer.at(y + 30, x), viewer.rim(y + 30, x, 5))
        viewer.told("answer", "terminal")
    with annotator(tmp_path) as second:
        again = show(second.url)
        again.go_to(index)
        assert again.session() == before
        np.testing.assert_array_equal(again.mask(lesion, index), mask)
        with again.changing():
            again.key("Control+z")
        assert len(again.rings(lesion, index)) == 1
