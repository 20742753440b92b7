"""What is open, what waits and what fails: volumes, saves and the disk."""

import errno
import os
import shutil
import threading
import time
from concurrent.futures import Future

import nibabel
import numpy as np
import pytest

from ecc_jax.annotator import autosave, work
from ecc_jax.annotator.client import ApiError
from tests.annotator.serving import PRESS, Painter, ball, open_with_lesion, serving


def test_volumes_of_any_shape_are_opened_and_each_shape_is_warmed_up(tmp_path):
    # The middles of these slices are the same pixel; the last two differ in display pixels alone.
    folder = tmp_path / "data"
    folder.mkdir()
    for name, shape, width_mm in (("a", (24, 20), 1), ("b", (25, 21), 1), ("c", (25, 21), 1.5)):
        image = ball(shape=(6, *shape))[0].transpose(2, 1, 0)
        affine = np.diag([-width_mm, -1.0, 3.0, 1])
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / f"{name}.nii.gz")
    painter = Painter()
    with serving(folder, tmp_path / "work", painter=painter) as (client, _):
        shapes = []
        for number, listed in enumerate(client.documents(), 1):
            shapes.append(client.open(listed["id"])["display_shape"])
            assert painter.calls == number
    assert shapes == [[24, 20], [25, 21], [25, 32]]


def test_saves_in_two_formats_at_once_are_both_done(running):
    client, volume, desk = running
    gate, names = threading.Event(), ("one", "two")
    for name in names:
        desk.savers[name] = lambda job, name=name: [job.folder / name]
    work = desk.work(volume)
    desk.worker.submit("busy", lambda: gate.wait(20))
    saves = [desk.save(work, name) for name in names]
    gate.set()
    files = [save.result(20).files for save in saves]
    assert [[path.name for path in each] for each in files] == [["one"], ["two"]]


def test_only_a_disk_that_takes_no_more_is_told_as_one(running):
    client, volume, desk = running
    for number, status in (
        (errno.ENOSPC, 507),
        (errno.EDQUOT, 507),
        (errno.EROFS, 507),
        (errno.EACCES, 500),
        (errno.EIO, 500),
    ):

        def fails(job, number=number):
            raise OSError(number, os.strerror(number), str(job.folder))

        desk.savers["text"] = fails
        with pytest.raises(ApiError, match="could not write or read") as error:
            client.event(volume, "save", format="text")
        assert error.value.status == status
        assert ("free space" in str(error.value)) == (status == 507)
        assert str(desk.work(volume).folder) not in str(error.value)


def test_a_disk_that_takes_the_event_but_not_its_mask(running, scan, tmp_path, monkeypatch):
    client, volume, _ = running
    append, is_full = autosave.Log.append, [True]

    def fails(log, entry):
        if "answer" in entry and is_full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(log, entry)

    monkeypatch.setattr(autosave.Log, "append", fails)
    first = client.event(volume, "press", **PRESS)
    warning = first["mask"]["warning"]
    assert "the disks are kept; masks that could not be written: 1 (No space left" in warning
    assert first["mask"]["pixels"] > 0 and first["version"] == 2

    def restored(name):
        shutil.copytree(tmp_path / "work", tmp_path / name)
        painter = Painter()
        with serving(scan[0], tmp_path / name, painter=painter) as (again, _):
            session, calls = again.open(volume)["session"], painter.calls
            masks = [again.mask(volume, 1, each["slice"]) for each in lesion_of(session)["slices"]]
            return session, masks, painter.calls - calls

    def lesion_of(session):
        return session["lesions"][0]

    session, (mask,), asked = restored("full")
    assert session == client.open(volume)["session"] and asked == 1
    np.testing.assert_array_equal(mask, client.mask(volume, 1, 3))
    is_full[0] = False
    second = client.event(volume, "press", **{**PRESS, "slice": 2})
    assert second["mask"]["warning"] == ""
    # The mask that was held back is in the log now, beside the new one.
    _, masks, asked = restored("freed")
    assert len(masks) == 2 and asked == 0


def test_a_network_that_fails_is_told_and_the_press_is_kept(running):
    client, volume, desk = running

    def fails(*_):
        raise MemoryError

    mask, desk.mask = desk.mask, fails
    with pytest.raises(ApiError, match="unexpected MemoryError.*the change itself is kept"):
        client.event(volume, "press", **PRESS)
    desk.mask = mask
    assert client.open(volume)["session"]["version"] == 2
    with pytest.raises(ApiError) as error:
        client.event(volume, "press", **{**PRESS, "radius": -1})
    assert "kept" not in str(error.value)


def test_a_file_that_cannot_be_read_closes_no_other(scan, tmp_path):
    for number, name in enumerate("bc", 1):
        image = nibabel.Nifti1Image(scan[1] + np.int16(number), np.eye(4))
        nibabel.save(image, scan[0].with_name(f"{name}.nii.gz"))
    scan[0].with_name("bad.nii.gz").write_bytes(b"no volume")
    with serving(scan[0].parent, tmp_path / "work") as (client, _):
        bad, *good = sorted(client.documents(), key=lambda listed: "bad" not in listed["name"])
        bad, first, second, other = (listed["id"] for listed in (bad, *good))
        for volume in (first, second):
            client.open(volume)
        with pytest.raises(ApiError):
            client.open(bad)
        for volume in (first, second):
            client.event(volume, "add")
        client.open(other)
        with pytest.raises(ApiError, match="not open"):
            client.event(first, "add")


def test_the_volume_in_use_is_never_the_one_that_is_closed(scan, tmp_path):
    for number in range(4):
        image = nibabel.Nifti1Image(np.full((5, 5, 5), number, np.int16), np.eye(4))
        nibabel.save(image, scan[0].with_name(f"{number}.nii.gz"))
    with serving(scan[0].parent, tmp_path / "work") as (client, _):
        first, *others = (listed["id"] for listed in client.documents())
        client.open(first)
        for other in others:
            client.slice(first, 0)  # to look is to use
            client.open(other)
        assert client.event(first, "add")["version"] == 1
        with pytest.raises(ApiError, match="not open"):
            client.event(others[-2], "add")
        client.event(others[-1], "add")


def test_a_session_has_an_end_that_loading_it_again_does_not_mend(running, monkeypatch):
    client, volume, _ = running
    monkeypatch.setattr(work, "MAX_EVENTS", 2)
    client.event(volume, "add")
    with pytest.raises(ApiError, match="at most 2 events") as error:
        client.event(volume, "add")
    assert error.value.status == 422


def test_a_copy_of_an_open_volume_takes_its_session_over(scan, tmp_path):
    shutil.copy(scan[0], scan[0].with_name("copy.nii.gz"))
    with serving(scan[0].parent, tmp_path / "work") as (client, _):
        first, second = (listed["id"] for listed in client.documents())
        client.open(first)
        client.event(first, "add", name="old")
        client.open(second)
        with pytest.raises(ApiError, match="not open"):
            client.event(first, "add")
        client.open(first)


def test_stopping_during_a_propagation_is_quick_and_quiet(tmp_path, capfd):
    image = np.full((60, 24, 20), -100, np.int16)
    image[:, 5:17, 4:15] = 200
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), np.diag([-1.0, -1, 3, 1])), path)
    told = []
    painter = Painter()
    with serving(path, tmp_path / "work", painter=painter) as (client, _):
        volume = open_with_lesion(client)
        client.event(volume, "press", **PRESS)
        painter.seconds, calls = 0.15, painter.calls

        def carry():
            with pytest.raises(ApiError, match="closing") as error:
                client.event(volume, "propagate", lesion=1, slice=3)
            told.append(error.value.status)

        thread = threading.Thread(target=carry)
        thread.start()
        while painter.calls == calls:
            time.sleep(0.01)
        start = time.perf_counter()
    # All 59 slices would take 9 seconds; the server waits up to 5 of them.
    assert time.perf_counter() - start < 3
    thread.join()
    assert told == [503] and "Traceback" not in capfd.readouterr().err


def test_a_request_that_the_end_cuts_off_is_told_so(running, capfd):
    client, volume, desk = running
    client.event(volume, "press", **PRESS)
    cut_off = Future()
    cut_off.cancel()
    desk.mask = lambda *_: cut_off
    with pytest.raises(ApiError, match="closing") as error:
        client.mask(volume, 1, 3)
    assert error.value.status == 503 and "Traceback" not in capfd.readouterr().err
