"""Loads the golden data, which lives beside the numbers it explains."""

import importlib.util
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="session")
def golden_dir():
    return GOLDEN


@pytest.fixture(scope="session")
def golden():
    """The module golden/golden_weights.py."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "golden_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
