"""Paths with ~, and what is said where a folder takes no files."""

import errno
import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax import places

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_home_folders_are_replaced(home):
    user = pwd.getpwuid(os.getuid())
    assert places.expanded("~") == home
    assert places.expanded("~/runs/x") == home / "runs" / "x"
    assert places.expanded(Path("~/runs/x")) == home / "runs" / "x"
    assert places.expanded(f"~{user.pw_name}/x") == Path(user.pw_dir) / "x"


@given(NAMES)
def test_nothing_else_is_replaced(name):
    for text in (f"a{name}", f"./~{name}", f"/tmp/{name}/~", f"x/~/{name}"):
        assert places.expanded(text) == Path(text)
    assert places.absolute(f"x/../y/{name}") == os.path.abspath(f"y/{name}")


@pytest.mark.parametrize("text", ["~nobody-of-that-name/run", "~nobody-of-that-name", "~~/x"])
def test_unknown_home_folders_are_no_folders_called_tilde(home, text):
    with pytest.raises(ValueError, match=r"home folder ~\S+ is not known; write the path in full"):
        places.expanded(text)
    assert list(Path().iterdir()) == []


def test_a_folder_that_is_called_so_is_taken(home):
    (Path() / "~nobody-of-that-name").mkdir()
    assert places.expanded("~nobody-of-that-name") == Path("~nobody-of-that-name")


def test_absolute_paths_have_one_spelling(home, tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "link").symlink_to("ct")
    home.mkdir()
    for text in ("ct", "ct/", "./ct", "link", "~/../ct", str(tmp_path / "ct")):
        assert places.absolute(text) == str(tmp_path / "ct")


REFUSALS = {
    errno.ENOSPC: "no space left in {}: free space; the same command resumes",
    errno.EDQUOT: "the disk quota is used up in {}: free space; the same command resumes",
    errno.EROFS: "cannot write to {}: Read-only file system; take another",
    errno.EACCES: "cannot write to {}: Permission denied; take another",
    errno.EPERM: "cannot write to {}: Operation not permitted; take another",
    errno.ENAMETOOLONG: "cannot write to {}: File name too long; take another",
    errno.ENOTDIR: "cannot write to {}: Not a directory; take another",
}


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", [None, "", "a/b.json", ".."])
def test_what_a_folder_refuses_is_one_line(tmp_path, number, name):
    folder = tmp_path / "run"
    file = None if name is None else str(folder / name)
    with (
        pytest.raises(places.PlaceError) as caught,
        places.writing(folder, elsewhere="take another"),
    ):
        raise OSError(number, os.strerror(number), file)
    assert str(caught.value) == REFUSALS[number].format(folder)


def test_numbers_inside_other_errors_count():
    text = "RESOURCE_EXHAUSTED: Failed to write: No space left on device [os_error_code='28']"
    with (
        pytest.raises(places.PlaceError, match="no space left in run: tidy up"),
        places.writing("run", elsewhere="", again="tidy up"),
    ):
        raise ValueError(text)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("seed must be positive"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "run/a"),
        PermissionError(errno.EACCES, "Permission denied", "/elsewhere/scan.nii.gz"),
        OSError(errno.ENOSPC, "No space left on device", "/tmp/other"),
        places.PlaceError("no space left in another"),
        RuntimeError("[os_error_code='2']"),
    ],
    ids=repr,
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, places.writing("run", elsewhere=""):
        raise error
    assert caught.value is error


def test_existing_files_are_told_from_existing_folders(tmp_path):
    (tmp_path / "file").write_text("")
    for there, expected in ((tmp_path, FileExistsError), (tmp_path / "file", places.PlaceError)):
        with pytest.raises(expected), places.writing(there, elsewhere="take another"):
            there.mkdir()


def test_errors_of_the_system_are_described_with_their_place():
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x/slice.npz")
    assert places.describe(full) == "no space left in /data/x: free space; the same command resumes"
    nameless = OSError(errno.ENOSPC, "No space left on device")
    assert "no space left in the folder of the results, of the data" in places.describe(nameless)
    closed = PermissionError(errno.EACCES, "Permission denied", "/data/x")
    assert places.describe(closed).startswith("/data/x: Permission denied; correct the path")
    other = FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/x")
    assert places.describe(other) == str(other)
