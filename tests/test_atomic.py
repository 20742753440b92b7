"""Whole files or none; locks, also where the file system has none."""

import errno
import fcntl
import multiprocessing
import os

import pytest

from ecc_jax import atomic


def test_files_are_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    for text in ("one", "zwei ü", ""):
        atomic.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_bytes_are_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "a.bin"
    for content in (b"one", b"\x00\xff\r\n", b""):
        atomic.write_bytes(path, content)
        assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("write", ["text", "bytes"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_failed_write_leaves_the_former_file_and_nothing_else(
    tmp_path, monkeypatch, number, step, write
):
    path = tmp_path / "a.json"
    path.write_text("before")

    def fail(self, *args, **kwargs):
        self.with_name("a.json.partial").touch()  # what open() had made
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"pathlib.Path.{'write_bytes' if step == 'write' else 'replace'}", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        atomic.write_text(path, "after") if write == "text" else atomic.write_bytes(path, b"after")
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def _refuse():
    raise ValueError("busy")


def test_a_lock_keeps_others_out_until_it_ends(tmp_path):
    path = tmp_path / "new" / ".lock"
    with atomic.locked(path, on_busy=_refuse):
        with pytest.raises(ValueError, match="busy"), atomic.locked(path, on_busy=_refuse):
            raise AssertionError("two hold it")
    with atomic.locked(path, on_busy=_refuse):
        pass


def _hold(path, is_held, may_end):
    with atomic.locked(path, on_busy=_refuse):
        is_held.set()
        may_end.wait(60)


def test_who_may_wait_gets_the_lock_when_the_other_process_ends(tmp_path):
    context = multiprocessing.get_context("spawn")
    is_held, may_end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / ".lock", is_held, may_end))
    other.start()
    assert is_held.wait(60)
    with atomic.locked(tmp_path / ".lock", on_busy=may_end.set):
        assert may_end.is_set()
    other.join(60)
    assert other.exitcode == 0


@pytest.mark.parametrize(
    "number",
    [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EBADF],
    ids=errno.errorcode.get,
)
def test_without_locks_the_work_goes_on_with_one_warning(tmp_path, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    done = []
    with pytest.warns(UserWarning, match=f"{tmp_path}: the file system gives no locks") as caught:
        with atomic.locked(tmp_path / ".lock", on_busy=_refuse):
            done.append(True)
    assert done and len(caught) == 1
    assert "start no second process" in str(caught[0].message)


def test_locks_of_other_users_are_held_by_reading(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    path.touch()
    real = os.open

    def closed(file, flags, *args):
        if flags & (os.O_RDWR | os.O_WRONLY) and file == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real(file, flags, *args)

    monkeypatch.setattr(os, "open", closed)
    with atomic.locked(path, on_busy=_refuse):
        with pytest.raises(ValueError, match="busy"), atomic.locked(path, on_busy=_refuse):
            pass
    path.unlink()
    with pytest.raises(PermissionError), atomic.locked(path, on_busy=_refuse):
        pass
