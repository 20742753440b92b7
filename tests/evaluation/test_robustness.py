"""Protocols: which users there are, and the figures of the CVPR 2025 challenge by hand."""

import numpy as np
import pytest

from ecc_jax import config, config_checks
from ecc_jax.clicks.user import Style
from ecc_jax.evaluation import options, protocols, start
from ecc_jax.report.methods import Row


def test_lists_agree_with_the_checks_of_the_configuration():
    assert tuple(protocols.PROTOCOLS) == config_checks.PROTOCOLS
    assert start.KINDS == config_checks.START_MASKS
    assert set(protocols.STYLES) | {"fixed"} == set(config_checks.EVAL_RADII)


@pytest.mark.parametrize(
    ("protocol", "rule", "clicks"),
    [
        ("thesis", "largest_component", 20),
        ("ritm", "deepest", 20),
        ("cvpr25", "largest_component", 6),
        ("robustness", "largest_component", 20),
    ],
)
def test_a_protocol_decides_over_user_and_clicks(protocol, rule, clicks):
    tree = config.default()
    tree.eval.protocol = protocol
    chosen = options.rollout_options(tree)
    assert (chosen.user.rule, options.num_clicks(tree)) == (rule, clicks)
    assert chosen.capacity == clicks
    assert chosen.threshold == (0.49 if protocol == "ritm" else 0.5)
    assert clicks in chosen.keep


def test_what_a_protocol_does_not_name_stays_as_configured():
    tree = config.default()
    tree.clicks.next_click, tree.clicks.radius_eval = "deepest", "average_then_tight"
    tree.clicks.enclosing, tree.eval.num_clicks = "min_circle", 7
    for protocol in ("thesis", "robustness"):
        tree.eval.protocol = protocol
        chosen = options.rollout_options(tree)
        assert chosen.user.rule == "deepest" and chosen.user.enclosing == "min_circle"
        assert chosen.user.radius == "weighted" and chosen.capacity == 7
        assert options.style_of(tree) == Style(0.5, 0.0)
    tree.clicks.radius_eval = "fixed"
    assert options.rollout_options(tree).user.radius == "fixed"
    assert options.rollout_options(tree, radius="weighted").user.radius == "weighted"


def test_robust_users_start_with_the_configured_one_and_differ():
    found = protocols.robustness_variants("average", jitters=(2.0, 5.0), scales=(0.5, 2.0))
    assert found[0].name == "nominal" and found[0].style == Style()
    assert [variant.style.jitter for variant in found[1:3]] == [2.0, 5.0]
    assert [variant.style.radius_scale for variant in found[3:5]] == [0.5, 2.0]
    assert {variant.name for variant in found[5:]} == {"tight", "enclosing", "average_then_tight"}
    assert len({variant.style for variant in found}) == len(found)
    # A static radius has no size to err in.
    fixed = protocols.robustness_variants("fixed", jitters=(2.0,), scales=(0.5,))
    assert [variant.name for variant in fixed] == ["nominal", "jitter_2"]


def test_cvpr25_figures_by_hand():
    # The first click stands for the box and does not count; Dice 0.2 or less misses the surface.
    dice = np.array([[0.9, 0.1, 0.5, 0.5, 0.5, 0.7]])
    nsd = np.array([[0.9, 0.8, 0.6, 0.6, 0.6, 0.8]])
    found = protocols.cvpr25_scores(Row({"iou": dice, "dice": dice, "nsd": nsd}))
    assert found["dsc_auc"] == pytest.approx(0.3 + 0.5 + 0.5 + 0.6)
    assert found["nsd_auc"] == pytest.approx(0.3 + 0.6 + 0.6 + 0.7)
    assert found["dsc_final"] == pytest.approx(0.7)
    assert found["nsd_final"] == pytest.approx(0.8)
    perfect = np.ones((2, 6))
    best = protocols.cvpr25_scores(Row({"iou": perfect, "dice": perfect, "nsd": perfect}))
    assert best == {"dsc_auc": 4.0, "nsd_auc": 4.0, "dsc_final": 1.0, "nsd_final": 1.0}


def test_cvpr25_leaves_out_slices_without_a_pixel_size():
    dice = np.full((2, 6), 0.5)
    nsd = np.stack([np.full(6, 0.25), np.full(6, np.nan)])
    found = protocols.cvpr25_scores(Row({"iou": dice, "dice": dice, "nsd": nsd}))
    assert found["nsd_auc"] == pytest.approx(1.0)
    assert found["dsc_final"] == pytest.approx(0.5)


def test_what_needs_a_network_is_refused_without_one():
    tree = config.default()
    options.check_without_network(tree)
    tree.eval.save_masks = True
    with pytest.raises(ValueError, match="eval.save_masks=True is for networks"):
        options.check_without_network(tree)
    tree.eval.save_masks, tree.eval.protocol = False, "robustness"
    with pytest.raises(ValueError, match="eval.protocol=robustness is for networks.*--workdir"):
        options.check_without_network(tree)
