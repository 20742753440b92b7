"""Golden data, which lives beside the numbers it explains, and the comparison with it."""

from pathlib import Path

import numpy as np
import pytest

from tests.loading import load

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="session")
def golden_dir():
    return GOLDEN


@pytest.fixture(scope="session")
def golden():
    """The module golden/golden_weights.py."""
    return load(GOLDEN / "golden_weights.py")


@pytest.fixture
def check_stages(record_property):
    """Compares stages in the order of the computation, so a failure names the first that differs.

    `expected` and `got` map the same stages to arrays; `got` gives the order. With
    `--junit-xml=FILE -o junit_family=xunit1` the differences are in the file.
    """

    def check(expected, got):
        assert expected.keys() == got.keys()
        for stage, value in got.items():
            largest = np.abs(expected[stage]).max()
            difference = np.abs(value - expected[stage]).max()
            record_property(stage, f"{difference:.1e}, {difference / largest:.1e} of maximum")
            assert difference <= min(1e-4, 1e-3 * largest), (stage, difference, largest)
            # The values vary over the image, so a constant would not pass.
            assert expected[stage].std() > 10 * difference, stage

    return check
