"""The log: nothing that was answered is lost, and nothing damaged is believed."""

import os
import stat

import pytest

from ecc_jax.annotator import autosave

HEADER = {"image": "abc", "shape": [3, 4, 5]}
ENTRIES = [{"event": {"kind": "add", "name": "Läsion ✓"}}, {"answer": "k", "mask": "m" * 50}]


def written(folder, entries=ENTRIES):
    log = autosave.Log(folder, HEADER)
    for entry in entries:
        log.append(entry)
    log.close()
    return folder / autosave.NAME


def test_what_was_written_is_read(tmp_path):
    path = written(tmp_path)
    log = autosave.Log(tmp_path, HEADER)
    assert log.restored.entries == tuple(ENTRIES) and log.restored.remark == ""
    assert log.restored.header["image"] == "abc"
    log.append({"event": {"kind": "undo"}})
    log.close()
    assert autosave.read(tmp_path, HEADER).entries == (*ENTRIES, {"event": {"kind": "undo"}})
    assert path.read_bytes().count(b"\n") == 4


def test_every_append_is_on_the_disk_before_it_returns(tmp_path, monkeypatch):
    """What is left of a power failure right after an append: what was synced until then."""
    path, sync, synced = tmp_path / "s" / autosave.NAME, os.fsync, [b""]

    def spy(number):
        sync(number)
        if os.path.sameopenfile(number, file):
            synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", spy)
    path.parent.mkdir()
    file = os.open(path, os.O_RDONLY | os.O_CREAT)
    log = autosave.Log(path.parent, HEADER)
    for number, entry in enumerate(ENTRIES, 1):
        log.append(entry)
        folder = tmp_path / f"failed{number}"
        folder.mkdir()
        (folder / autosave.NAME).write_bytes(synced[-1])
        assert autosave.read(folder, HEADER).entries == tuple(ENTRIES[:number])
    log.close()
    os.close(file)


def test_a_line_torn_at_any_byte_is_dropped_with_a_word(tmp_path):
    path = written(tmp_path)
    raw = path.read_bytes()
    start = raw.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(raw)):
        path.write_bytes(raw[:end])
        log = autosave.Log(tmp_path, HEADER)
        assert log.restored.entries == tuple(ENTRIES[:1])
        assert f"the last {end - start} bytes" in log.restored.remark
        log.append(ENTRIES[1])  # goes on where the good lines end
        log.close()
        assert path.read_bytes() == raw


@pytest.mark.parametrize("tail", [b"\0" * 40, b"\0" * 40 + b"\n", b"garbage\n"])
def test_blocks_that_never_reached_the_disk(tmp_path, tail):
    path = written(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw + tail)
    restored = autosave.read(tmp_path, HEADER)
    assert restored.entries == tuple(ENTRIES) and restored.remark
    assert path.read_bytes() == raw + tail  # reading changes nothing


def test_a_bit_that_flips_before_the_end_is_refused(tmp_path):
    path = written(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"add")] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="line 2 is damaged; repair it, or move the file away"):
        autosave.Log(tmp_path, HEADER)


@pytest.mark.parametrize("other", [{"image": "xyz"}, {"shape": [3, 4, 6]}])
def test_a_log_of_another_volume_is_refused(tmp_path, other):
    written(tmp_path)
    with pytest.raises(ValueError, match="belongs to another volume"):
        autosave.Log(tmp_path, {**HEADER, **other})


def test_a_session_is_for_its_owners_eyes(tmp_path):
    before = os.umask(0)
    try:
        path = written(tmp_path / "annotations" / "s")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, *path.parents[:2])]
    assert modes == [0o600, 0o700, 0o700]


def test_two_annotators_cannot_write_one_session(tmp_path):
    log = autosave.Log(tmp_path, HEADER)
    with pytest.raises(ValueError, match="another annotator has this session open"):
        autosave.Log(tmp_path, HEADER)
    log.close()
    autosave.Log(tmp_path, HEADER).close()


def test_a_folder_that_takes_no_more_leaves_the_log_whole(tmp_path, monkeypatch):
    path = written(tmp_path)
    log = autosave.Log(tmp_path, HEADER)
    raw = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(autosave.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        log.append({"event": {"kind": "undo"}})
    log.close()
    assert path.read_bytes() == raw
