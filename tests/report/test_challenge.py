"""The figures of the CVPR 2025 challenge by hand."""

import numpy as np
import pytest

from ecc_jax.report.challenge import cvpr25_scores
from ecc_jax.report.results import MethodResult


def test_cvpr25_figures_by_hand():
    # The first click stands for the box and does not count; Dice 0.2 or less misses the surface.
    dice = np.array([[0.9, 0.1, 0.5, 0.5, 0.5, 0.7]])
    nsd = np.array([[0.9, 0.8, 0.6, 0.6, 0.6, 0.8]])
    found = cvpr25_scores(MethodResult({"iou": dice, "dice": dice, "nsd": nsd}))
    assert found["dsc_auc"] == pytest.approx(0.3 + 0.5 + 0.5 + 0.6)
    assert found["nsd_auc"] == pytest.approx(0.3 + 0.6 + 0.6 + 0.7)
    assert found["dsc_final"] == pytest.approx(0.7)
    assert found["nsd_final"] == pytest.approx(0.8)
    perfect = np.ones((2, 6))
    best = cvpr25_scores(MethodResult({"iou": perfect, "dice": perfect, "nsd": perfect}))
    assert best == {"dsc_auc": 4.0, "nsd_auc": 4.0, "dsc_final": 1.0, "nsd_final": 1.0}


def test_cvpr25_leaves_out_slices_without_a_pixel_size():
    dice = np.full((2, 6), 0.5)
    nsd = np.stack([np.full(6, 0.25), np.full(6, np.nan)])
    found = cvpr25_scores(MethodResult({"iou": dice, "dice": dice, "nsd": nsd}))
    assert found["nsd_auc"] == pytest.approx(1.0)
    assert found["dsc_final"] == pytest.approx(0.5)
