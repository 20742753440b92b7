"""The API over HTTP: what a page or plug-in does, kills and restarts."""

import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from ecc_jax.annotator.client import ApiError
from ecc_jax.annotator.desk import OTHER_NETWORK
from tests.annotator.serving import PRESS, Painter, serving, shown


def test_slices_in_every_form(running, scan):
    client, volume, _ = running
    np.testing.assert_array_equal(client.slice(volume, 3), scan[1][3])
    grey = client.slice(volume, 3, format="uint8", low=-100, high=200)
    assert grey.dtype == np.uint8 and set(np.unique(grey)) == {0, 255}
    path = f"/api/documents/{volume}/slices/3"
    code, headers, raw = client.request("GET", f"{path}?format=png&low=-100&high=200")
    assert code == 200 and headers["content-type"] == "image/png" and raw[:4] == b"\x89PNG"
    windows = (
        "",
        "&low=5",
        "&low=5&high=5",
        "&low=nan&high=9",
        "&low=-inf&high=9",
        "&low=x&high=9",
    )
    for query in ("format=jpeg", *(f"format=uint8{window}" for window in windows)):
        assert client.request("GET", f"{path}?{query}")[0] == 422
    assert client.request("GET", f"/api/documents/{volume}/slices/6")[0] == 404


def test_a_picture_of_16_bits_is_sent_as_it_is(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (24, 20)).astype(np.uint16)
    values[0, :2] = 0, 2**16 - 1
    Image.fromarray(values).save(tmp_path / "a.png")
    with serving(tmp_path / "a.png", tmp_path / "work") as (client, _):
        volume = client.documents()[0]["id"]
        assert client.open(volume)["value_range"] == [0, 65535]
        _, headers, raw = client.request("GET", f"/api/documents/{volume}/slices/0")
        assert headers["x-dtype"] == "uint16" and raw == values.astype("<u2").tobytes()
        assert client.slice(volume, 0).dtype == np.uint16
        np.testing.assert_array_equal(client.slice(volume, 0), values)


def test_press_move_undo_redo_by_equal_bytes(running, scan):
    client, volume, _ = running
    first = client.event(volume, "press", **PRESS)
    yy, xx = np.indices((24, 20))
    wanted = (np.hypot(yy - 11, xx - 9) <= 4) & (scan[1][3] > 50)
    np.testing.assert_array_equal(shown(first["mask"]), wanted)
    np.testing.assert_array_equal(client.mask(volume, 1, 3), wanted)
    assert first["mask"]["pixels"] == wanted.sum() and first["changed"] == [[1, 3]]
    cut = client.event(volume, "press", **{**PRESS, "positive": False, "radius": 2})
    moved = client.event(volume, "move", lesion=1, slice=3, ring=1, y=12, x=10)
    small = client.event(volume, "resize", lesion=1, slice=3, ring=1, radius=3)
    masks = [answer["mask"]["bits"] for answer in (first, cut, moved, small)]
    assert len(set(masks)) == 4
    for wanted_bits in masks[-2::-1]:
        assert client.event(volume, "undo")["mask"]["bits"] == wanted_bits
    gone = client.event(volume, "undo")
    assert gone["mask"] is None and gone["lesions"][0]["slices"] == []
    for wanted_bits in masks:
        assert client.event(volume, "redo")["mask"]["bits"] == wanted_bits
    with pytest.raises(ApiError, match="nothing to redo"):
        client.event(volume, "redo")
    deleted = client.event(volume, "delete", lesion=1, slice=3, ring=2)
    assert [ring["id"] for ring in deleted["lesions"][0]["slices"][0]["rings"]] == [1]


def test_a_press_begins_a_lesion_as_one_event(running, scan, tmp_path):
    client, volume, _ = running
    disk = {key: value for key, value in PRESS.items() if key != "lesion"}
    before = client.open(volume)["session"]
    answer = client.event(volume, "press", begin=True, **disk, version=before["version"])
    assert answer["version"] == before["version"] + 1 and answer["changed"] == [[2, 3]]
    assert [each["name"] for each in answer["lesions"]] == ["liver ✓", "lesion 2"]
    assert answer["mask"]["lesion"] == 2
    np.testing.assert_array_equal(shown(answer["mask"]), client.mask(volume, 2, 3))
    (log,) = (tmp_path / "work").rglob("events.log")
    events = [line for line in log.read_bytes().splitlines() if b'"event"' in line]
    assert len(events) == answer["version"] and b'"begin":true' in events[-1]
    with serving(scan[0], copy_of(tmp_path / "work", tmp_path, "killed")) as (again, _):
        assert again.open(volume)["session"] == client.open(volume)["session"]
    assert client.event(volume, "undo")["lesions"] == before["lesions"]
    assert client.event(volume, "redo")["mask"] == answer["mask"] | {"version": 4}
    with pytest.raises(ApiError, match="begin must be true"):
        client.event(volume, "press", begin=False, **disk)


def test_a_finished_lesion_is_protected_until_it_is_opened_again(running):
    client, volume, desk = running
    client.event(volume, "press", **PRESS)
    client.event(volume, "finish", lesion=1, finished=True)
    asked = []
    desk.propagate = lambda *args, **_: asked.append(args)
    for kind, values in (("press", PRESS), ("propagate", {"lesion": 1, "slice": 3})):
        with pytest.raises(ApiError, match="'liver ✓' is finished; open it again") as error:
            client.event(volume, kind, **values)
        assert error.value.status == 422
    assert not asked  # nobody waits for what is refused anyway
    client.event(volume, "finish", lesion=1, finished=False)
    client.event(volume, "press", **PRESS)


def test_propagated_slices_are_one_event_and_can_be_corrected(running, scan):
    client, volume, _ = running
    client.event(volume, "press", **{**PRESS, "radius": 6})
    answer = client.event(volume, "propagate", lesion=1, slice=3)
    assert np.flatnonzero(scan[2].any((1, 2))).tolist() == [1, 2, 3, 4, 5]
    assert [entry["slice"] for entry in answer["lesions"][0]["slices"]] == [1, 2, 3, 4, 5]
    assert answer["changed"] == [[1, 1], [1, 2], [1, 4], [1, 5]]
    before = client.mask(volume, 1, 2)
    fixed = client.event(volume, "press", **{**PRESS, "slice": 2, "radius": 2, "positive": False})
    yy, xx = np.indices((24, 20))
    erased = before & ~(np.hypot(yy - 11, xx - 9) <= 2)
    np.testing.assert_array_equal(shown(fixed["mask"]), erased)
    client.event(volume, "undo")
    assert len(client.event(volume, "undo")["lesions"][0]["slices"]) == 1


CORRECTIONS = [
    ("resize", {"ring": 2, "radius": 2.5}),
    ("move", {"ring": 2, "y": 9, "x": 8}),
    ("press", {**PRESS, "radius": 2, "positive": False}),
]


@pytest.mark.parametrize(("kind", "values"), CORRECTIONS)
def test_a_corrected_slice_outlives_the_next_propagation(running, kind, values):
    client, volume, _ = running
    client.event(volume, "press", **{**PRESS, "radius": 6})
    carried = client.event(volume, "propagate", lesion=1, slice=3)["lesions"][0]["slices"]
    assert [entry["is_propagated"] for entry in carried] == [True, True, False, True, True]
    assert carried[3]["rings"][0]["id"] == 2
    client.event(volume, kind, **{**values, "lesion": 1, "slice": 4})
    mask = client.mask(volume, 1, 4)
    told = client.open(volume)["session"]["lesions"][0]["slices"][3]
    assert not told["is_propagated"]
    again = client.event(volume, "propagate", lesion=1, slice=3)
    # Nor is slice 5 beyond it touched.
    assert again["lesions"][0]["slices"][3] == told and again["changed"] == [[1, 1], [1, 2]]
    np.testing.assert_array_equal(client.mask(volume, 1, 4), mask)


def test_a_cleared_slice_may_be_filled_again(running):
    client, volume, _ = running
    client.event(volume, "press", **{**PRESS, "radius": 6})
    client.event(volume, "propagate", lesion=1, slice=3)
    client.event(volume, "clear", lesion=1, slice=4)
    answer = client.event(volume, "propagate", lesion=1, slice=3)
    assert [entry["slice"] for entry in answer["lesions"][0]["slices"]] == [1, 2, 3, 4, 5]


def test_slices_that_a_smaller_lesion_no_longer_reaches_are_gone(running, scan, tmp_path):
    client, volume, desk = running
    client.event(volume, "press", **{**PRESS, "radius": 6})
    client.event(volume, "propagate", lesion=1, slice=3)
    before = [client.mask(volume, 1, index) for index in (1, 2, 4, 5)]
    # In the air beside the ball the painter answers an empty mask, which is carried nowhere.
    client.event(volume, "move", lesion=1, slice=3, ring=1, y=1, x=18)
    client.event(volume, "resize", lesion=1, slice=3, ring=1, radius=1)
    up = client.event(volume, "propagate", lesion=1, slice=3, direction=1)
    assert up["changed"] == [[1, 4], [1, 5]]
    assert [entry["slice"] for entry in up["lesions"][0]["slices"]] == [1, 2, 3]
    both = client.event(volume, "propagate", lesion=1, slice=3)
    assert [entry["slice"] for entry in both["lesions"][0]["slices"]] == [3]
    handed = []
    desk.savers["text"] = lambda job: handed.append(job) or []
    client.event(volume, "save", format="text")
    assert list(handed[0].lesions[0][1]) == [3]
    session = client.open(volume)["session"]
    with serving(scan[0], copy_of(tmp_path / "work", tmp_path, "killed")) as (again, _):
        assert again.open(volume)["session"] == session
    for _ in range(2):
        client.event(volume, "undo")
    for index, mask in zip((1, 2, 4, 5), before, strict=True):
        np.testing.assert_array_equal(client.mask(volume, 1, index), mask)


def test_events_without_a_mask_are_kept_and_never_wait_for_the_network(running, scan, tmp_path):
    client, volume, desk = running
    gate = threading.Event()
    desk.worker.submit("busy", lambda: gate.wait(30))
    events = [
        ("press", PRESS),
        ("press", {**PRESS, "radius": 2, "positive": False}),
        ("move", {"lesion": 1, "slice": 3, "ring": 1, "y": 12, "x": 10}),
        ("resize", {"lesion": 1, "slice": 3, "ring": 1, "radius": 5}),
        ("delete", {"lesion": 1, "slice": 3, "ring": 2}),
        ("undo", {}),
        ("redo", {}),
        ("rename", {"lesion": 1, "colour": "#000000"}),
        ("clear", {"lesion": 1, "slice": 3}),
        ("undo", {}),
    ]
    try:
        for number, (kind, values) in enumerate(events, 2):
            answer = client.event(volume, kind, **values, mask=False, version=number - 1)
            assert answer["version"] == number
            assert answer["mask"] is None and answer["superseded"] is False
    finally:
        gate.set()
    (ring,) = answer["lesions"][0]["slices"][0]["rings"]
    assert (ring["y"], ring["x"], ring["radius"]) == (12, 10, 5)
    yy, xx = np.indices((24, 20))
    wanted = (np.hypot(yy - 12, xx - 10) <= 5) & (scan[1][3] > 50)
    np.testing.assert_array_equal(client.mask(volume, 1, 3), wanted)
    assert client.event(volume, "propagate", lesion=1, slice=3, mask=False)["mask"] is None
    assert client.event(volume, "undo", mask=True)["version"] == len(events) + 3
    with pytest.raises(ApiError, match="mask must be true or false") as error:
        client.event(volume, "redo", mask="no")
    assert error.value.status == 422
    session = client.open(volume)["session"]
    with serving(scan[0], copy_of(tmp_path / "work", tmp_path, "killed")) as (again, _):
        assert again.open(volume)["session"] == session


def copy_of(work, tmp_path, name):
    """Returns the folder of sessions as a kill at this moment leaves it."""
    shutil.copytree(work, tmp_path / name)
    return tmp_path / name


def test_a_killed_server_restores_disks_and_masks_bit_for_bit(running, scan, tmp_path):
    client, volume, _ = running
    for number in range(5):
        client.event(volume, "press", **{**PRESS, "slice": 2 + number % 3, "radius": 2 + number})
    client.event(volume, "undo")
    told = client.open(volume)["session"]
    masks = [client.mask(volume, 1, index) for index in (2, 3, 4)]
    killed = copy_of(tmp_path / "work", tmp_path, "killed")
    painter = Painter()
    with serving(scan[0], killed, painter=painter) as (again, _):
        assert again.open(volume)["session"] == told
        calls = painter.calls  # of the warm-up
        for index, mask in zip((2, 3, 4), masks, strict=True):
            np.testing.assert_array_equal(again.mask(volume, 1, index), mask)
        assert painter.calls == calls  # what was answered before is not answered anew
        assert again.event(volume, "redo")["lesions"][0]["slices"][1]["rings"][-1]["radius"] == 6
    # Without the answers the disks alone give the same masks.
    bare = copy_of(tmp_path / "work", tmp_path, "bare")
    (log,) = bare.glob("*/events.log")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(line for line in lines if b'"answer"' not in line) + b"0123 torn")
    with serving(scan[0], bare) as (again, _):
        session = again.open(volume)["session"]
        assert session["lesions"] == told["lesions"]
        assert "half written" in session["remarks"][0]
        for index, mask in zip((2, 3, 4), masks, strict=True):
            np.testing.assert_array_equal(again.mask(volume, 1, index), mask)


def test_a_refusal_tells_no_folder_of_the_sessions(running, scan, tmp_path):
    killed = copy_of(tmp_path / "work", tmp_path, "killed")
    (log,) = killed.rglob("events.log")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b"{}}\n", *lines[1:]]))
    (tmp_path / "link").symlink_to(killed)
    for workdir in (killed, tmp_path / "link"):
        with serving(scan[0], workdir) as (client, _), pytest.raises(ApiError) as error:
            client.open(client.documents()[0]["id"])
        assert "is damaged" in str(error.value) and "the sessions' folder" in str(error.value)
        assert str(tmp_path) not in str(error.value)


def test_carried_masks_are_shown_again_without_the_network(running, scan, tmp_path):
    client, volume, _ = running
    client.event(volume, "press", **{**PRESS, "radius": 6})
    client.event(volume, "propagate", lesion=1, slice=3)
    masks = [client.mask(volume, 1, index) for index in (2, 3, 4)]
    killed, painter = copy_of(tmp_path / "work", tmp_path, "killed"), Painter()
    with serving(scan[0], killed, painter=painter) as (again, _):
        again.open(volume)
        calls = painter.calls  # of the warm-up
        for index, mask in zip((2, 3, 4), masks, strict=True):
            np.testing.assert_array_equal(again.mask(volume, 1, index), mask)
        assert painter.calls == calls


def test_other_weights_say_so_and_keep_old_masks(running, scan, tmp_path):
    client, volume, _ = running
    client.event(volume, "press", **PRESS)
    killed = copy_of(tmp_path / "work", tmp_path, "killed")
    with serving(scan[0], killed, network="other") as (again, _):
        assert again.open(volume)["session"]["remarks"] == [OTHER_NETWORK]


def test_saving_hands_over_masks_and_never_the_source(running, scan, tmp_path):
    client, volume, desk = running
    with pytest.raises(ApiError, match="none is installed") as error:
        client.event(volume, "save", format="nifti")
    assert error.value.status == 404
    handed = []

    def saver(job):
        handed.append(job)
        return [job.folder / "out.txt"]

    desk.savers["text"] = saver
    client.event(volume, "press", **PRESS)
    assert client.event(volume, "save", format="text")["files"] == ["out.txt"]
    ((lesion, masks),) = handed[0].lesions
    assert lesion.name == "liver ✓" and list(masks) == [3]
    np.testing.assert_array_equal(masks[3], client.mask(volume, 1, 3))
