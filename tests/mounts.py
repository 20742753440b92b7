"""Small disks and read-only folders for tests, where the user may mount them."""

import contextlib
import subprocess

import pytest


def _mount(*arguments):
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder, size):
    """Makes `folder` a disk of `size` bytes."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def enlarge(folder, size):
    """Gives a small disk more space."""
    _mount("-o", f"remount,size={size}", str(folder))


@contextlib.contextmanager
def read_only(folder, view):
    """Makes `view` a folder with the content of `folder`, where nothing can be written."""
    view.mkdir()
    _mount("--bind", str(folder), str(view))
    try:
        _mount("-o", "remount,ro,bind", str(view))
        yield view
    finally:
        subprocess.run(["umount", "-l", str(view)], check=True)
