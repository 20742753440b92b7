"""U-Net++ as a user types it: trained with its small clicks, run with the same ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecc_jax import runs
from tests.e2e.commands import TINY, run_main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("flags", "shown"), [([], False), (["--config.model.prev_mask=yes"], True)]
)
def test_leaf_trains_evaluates_and_clicks(tmp_path, small_folder, flags, shown):
    workdir = tmp_path / "run"
    others = [flag for flag in TINY if not flag.startswith(("--config=", "--config.model"))]
    result = run_main(
        tmp_path,
        *("--config=configs/unetpp.py:ct_folder_2d,quick", "--config.model.name=unetpp_tiny"),
        *("--config.eval.baselines=()", *flags, *others),
        *(f"--config.data.path={small_folder}", f"--workdir={workdir}"),
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(Path(result.stdout.strip().splitlines()[-1]).read_text())
    assert summary["encoding"] == "fixed radius (gaussian)"
    assert ("previous mask drawn beside the clicks" in summary["inference"]) == shown
    predictor = runs.load_predictor(workdir)
    predictor.set_image(np.full((40, 40), 30), window_hu=(-150, 250))
    assert predictor.add_click(20, 18, 6.5).shape == (40, 40)
