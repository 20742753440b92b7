"""Versions outside the ranges of the package's metadata are named, with the remedy."""

import importlib.metadata
import sys
import types

import pytest

from ecc_jax import versions

REQUIREMENTS = ["jax<0.12,>=0.10", "flax<0.13,>=0.12", 'pytest>=8.3; extra == "test"']


def test_this_environment_fits():
    """The suite itself runs where the ranges hold, or nobody could trust it."""
    assert versions.drift() == []
    assert versions.in_words().startswith(f"Python {sys.version_info[0]}.")


@pytest.mark.parametrize(
    ("installed", "lines"),
    [
        ({"jax": "0.10.0", "flax": "0.12.9"}, []),
        ({"jax": "0.11.0rc1", "flax": "0.12.9"}, []),
        (
            {"jax": "0.12.0", "flax": "0.12.9"},
            ["jax 0.12.0: tested with <0.12,>=0.10; pip install 'jax<0.12,>=0.10'"],
        ),
        (
            {"jax": "0.9.2", "flax": None},
            [
                "jax 0.9.2: tested with <0.12,>=0.10; pip install 'jax<0.12,>=0.10'",
                "flax is missing; pip install 'flax<0.13,>=0.12'",
            ],
        ),
    ],
)
def test_drift_is_named_and_extras_do_not_count(installed, lines):
    assert versions.outside(REQUIREMENTS, installed) == lines


def test_a_module_of_another_version_in_memory(monkeypatch):
    module = types.ModuleType("flax")
    module.__version__ = "0.1"
    monkeypatch.setitem(sys.modules, "flax", module)
    (line,) = versions.drift()
    assert line.startswith("flax 0.1 is in memory, 0.12") and "restart the session" in line


def test_too_old_python(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.10.4")
    (line,) = versions.drift()
    assert line == "Python 3.10.4: ecc_jax needs >=3.11; use another"


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    (line,) = versions.drift()
    assert "not installed" in line
