"""quickstart.sh and test.sh where Python is too old, or an environment was left half made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD_PYTHON = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.9.2" && exit 0
exit 1
"""


def _install_old_python(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OLD_PYTHON)
    path.chmod(0o755)


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
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
