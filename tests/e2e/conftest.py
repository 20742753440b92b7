"""A finished run, made once per process."""

import pytest

from tests.e2e.commands import TINY, run_main


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_folder):
    """A finished tiny run: (folder of everything, workdir, what the command printed)."""
    tmp = tmp_path_factory.mktemp("e2e")
    result = run_main(tmp, *TINY, f"--config.data.path={small_folder}", f"--workdir={tmp / 'run'}")
    assert result.returncode == 0, result.stderr
    return tmp, tmp / "run", result
