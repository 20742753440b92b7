"""The command prepares a public dataset from its raw files, or says where to get them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import TINY
from tests.nifti_sets import SIDE, write_kits

ROOT = Path(__file__).parents[2]


def _main(tmp, config, *args):
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "TFDS_DATA_DIR": str(tmp / "prepared"),
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "ecc_jax.main", f"--config=configs/ritm_dynamic.py:{config}"]
    return subprocess.run(
        [*command, *args], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
    )


@pytest.mark.slow
def test_trains_from_raw_kits(tmp_path):
    write_kits(tmp_path / "raw")
    args = [*TINY[1:], f"--config.data.size={SIDE}", f"--workdir={tmp_path / 'run'}"]
    done = _main(tmp_path, "kits_2d,quick", *args, f"--config.data.path={tmp_path / 'raw'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report" / "summary.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("kits_2d", "kits23, run its download script, then pass --config.data.path=DIR"),
        ("lits_2d", "LiTS17 from https://competitions.codalab.org"),
        ("md_panc_2d", "Task07_Pancreas.tar from http://medicaldecathlon.com"),
        ("combined_2d", "in DIR/lidc_2d, DIR/kits_2d, DIR/lits_2d and DIR/md_panc_2d"),
    ],
)
def test_says_what_to_download(tmp_path, name, says):
    done = _main(tmp_path, name)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and says in done.stderr
