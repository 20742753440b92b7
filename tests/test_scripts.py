"""The shell scripts where Python is too old, an environment half made, or a browser to open."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD_PYTHON = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.9.2" && exit 0
exit 1
"""
# In place of the annotator: says where it is and what it was given, and ends with a code.
ANNOTATOR = """#!/bin/sh
case "$*" in *ecc_jax.annotator*) ;; *) exit 0 ;; esac
echo "in $PWD: $*"
echo "http://127.0.0.1:1/#token=secret"
exit 3
"""
BROWSER = """#!/bin/sh
echo "$1" >"$0.opened"
"""
FAILS = """#!/bin/sh
exit 1
"""


def _install(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _install_old_python(path):
    _install(path, OLD_PYTHON)


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh", "annotate.sh"])
@pytest.mark.parametrize("has_environment", [False, True])
def test_old_python_is_one_readable_line(tmp_path, script, has_environment):
    programs, environment = tmp_path / "bin", tmp_path / "environment"
    _install_old_python(programs / "python3")
    for name in ("bash", "dirname", "cat", "cksum"):
        (programs / name).symlink_to(shutil.which(name))
    if has_environment:
        _install_old_python(environment / "bin" / "python")
    variables = {"PATH": str(programs), "ECC_JAX_VENV": str(environment)}
    result = subprocess.run(
        ["bash", str(ROOT / "scripts" / script)],
        env={**variables, "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "needs Python 3.11 or newer" in result.stderr and "3.9.2" in result.stderr


@pytest.mark.slow
def test_environment_without_pip_is_completed(tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    # As if the package were installed: this is about what comes before.
    script = """
cd "$0" && . scripts/environment.sh
echo "$(cksum <setup.py) $PWD" >"$ECC_JAX_VENV/.ecc_jax"
ecc_environment "" && "$PY" -m pip --version
"""
    variables = {"ECC_JAX_VENV": str(environment), "ECC_JAX_PYTHON": sys.executable}
    result = subprocess.run(
        ["bash", "-c", script, str(ROOT)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("pip ")


def _annotate(tmp_path, browser):
    """Runs annotate.sh from a folder of its own, with something in place of the annotator."""
    environment, folder = tmp_path / "environment", tmp_path / "folder"
    folder.mkdir()
    _install(environment / "bin" / "python", ANNOTATOR)
    made_of = subprocess.run(["cksum"], stdin=(ROOT / "setup.py").open("rb"), capture_output=True)
    stamp = f"{made_of.stdout.decode().strip()} {ROOT}"
    (environment / ".ecc_jax[annotator]").write_text(stamp)
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "ECC_JAX_BROWSER")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    kept["SSH_CONNECTION"] = "from elsewhere"  # a Mac's screen is not here
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "annotate.sh"), "scan.nii.gz", "--read-only"],
        cwd=folder,
        env={**kept, "ECC_JAX_VENV": str(environment), "ECC_JAX_BROWSER": browser},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_annotate_opens_the_address_and_ends_as_the_annotator_does(tmp_path):
    browser = tmp_path / "browser"
    _install(browser, BROWSER)
    result = _annotate(tmp_path, str(browser))
    assert result.returncode == 3 and result.stderr == ""
    told, address = result.stdout.splitlines()
    assert told == f"in {tmp_path / 'folder'}: -m ecc_jax.annotator scan.nii.gz --read-only"
    opened = Path(f"{browser}.opened")
    for _ in range(100):
        if opened.exists() and opened.read_text():
            break
        time.sleep(0.1)
    assert opened.read_text().strip() == address == "http://127.0.0.1:1/#token=secret"


@pytest.mark.parametrize("browser", ["none", "", "/no/such/program"])
def test_annotate_without_a_browser_says_what_to_do(tmp_path, browser):
    result = _annotate(tmp_path, browser)
    assert result.returncode == 3 and "#token=secret" in result.stdout
    assert result.stderr == "open this address in a browser on this machine\n"


def test_continuous_integration_goes_on_without_chromium(tmp_path):
    programs = tmp_path / "bin"
    _install_old_python(programs / "python3")
    for name in ("apt-get", "sudo"):
        _install(programs / name, FAILS)
    for name in ("bash", "env", "dirname", "id", "cat", "cksum"):
        (programs / name).symlink_to(shutil.which(name))
    result = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run")],
        env={"PATH": str(programs), "ECC_JAX_VENV": str(tmp_path / "environment"), "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    # The old Python ends it here; the line before it is about Chromium.
    assert result.returncode == 1
    first, last = result.stderr.splitlines()[-2:]
    assert first.startswith("no Chromium") and "are skipped" in first and "3.9.2" in last
