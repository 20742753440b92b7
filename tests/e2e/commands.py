"""The command line, on a tiny network."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = [
    "--config=configs/ritm_dynamic.py:ct_folder_2d,quick",
    "--config.model.name=ritm_tiny",
    "--config.data.size=40",
    "--config.augment.crop=(32, 32)",
    "--config.train.batch_size=4",
    "--config.train.steps_per_epoch=6",
    "--config.train.epochs=3",
    "--config.train.log_every=4",
    "--config.eval.num_clicks=3",
    "--config.validation.clicks=2",
    "--config.eval.batch_size=4",
    "--config.eval.max_slices=6",
]


def command_of(tmp, *args):
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "TFDS_DATA_DIR": str(tmp / "prepared"),
        "JAX_PLATFORMS": "cpu",
    }
    return {
        "args": [sys.executable, "-m", "ecc_jax.main", *args],
        "cwd": ROOT,
        "env": environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def run_main(tmp, *args):
    return subprocess.run(**command_of(tmp, *args), timeout=500)
