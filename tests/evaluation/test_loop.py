"""From the configuration to options: what a protocol decides, and what is refused at once."""

import dataclasses
from pathlib import Path

import pytest

from ecc_jax import config, parallel
from ecc_jax.clicks.user import HABITS
from ecc_jax.evaluation import loop
from ecc_jax.evaluation.rollouts import painter_options
from ecc_jax.protocols import with_protocol


@pytest.mark.parametrize(
    ("protocol", "rule", "clicks"),
    [
        ("thesis", "largest_component", 20),
        ("ritm", "deepest", 20),
        ("cvpr25", "largest_component", 6),
        ("robustness", "largest_component", 20),
        ("readers", "largest_component", 1),
    ],
)
def test_a_protocol_decides_over_user_and_clicks(protocol, rule, clicks):
    tree = config.default()
    tree.eval.protocol = protocol
    tree = with_protocol(tree)
    chosen = loop.rollout_options(tree)
    assert (chosen.user.rule, tree.eval.num_clicks) == (rule, clicks)
    assert chosen.capacity == max(clicks, tree.validation.clicks)
    assert chosen.user.threshold == (0.49 if protocol == "ritm" else 0.5)
    assert chosen.inference.zoom.threshold == chosen.user.threshold
    assert tree.eval.nof_convention == ("ritm" if protocol == "ritm" else "success")
    assert clicks in chosen.keep


def test_what_a_protocol_does_not_name_stays_as_configured():
    tree = config.default()
    tree.clicks.next_click, tree.clicks.radius = "deepest", "average_then_tight"
    tree.clicks.enclosing, tree.eval.num_clicks = "min_circle", 7
    for protocol in ("thesis", "robustness"):
        tree.eval.protocol = protocol
        chosen = loop.rollout_options(with_protocol(tree))
        assert chosen.user.rule == "deepest" and chosen.user.enclosing == "min_circle"
        assert chosen.user.radius == "weighted" and chosen.capacity == 7
        assert (chosen.user.first_weight, chosen.user.later_weight) == (0.5, 0.0)
    tree.clicks.radius = "fixed"
    options = loop.rollout_options(tree)
    assert options.user.radius == "fixed"
    assert painter_options(options).user.radius == "weighted"


@pytest.mark.parametrize("habit", HABITS)
def test_a_painter_has_the_radii_that_are_configured(habit):
    tree = config.default()
    tree.clicks.radius = habit
    options = loop.rollout_options(tree)
    assert painter_options(options) == options
    fixed = dataclasses.replace(options.user, radius="fixed")
    painter = painter_options(options._replace(user=fixed))
    assert painter.user == options.user


@pytest.mark.parametrize(
    ("given", "initial_mask"),
    [("", "empty"), ("dilated", "dilated"), ("masks/of others.npz", "file")],
)
def test_the_initial_mask_is_a_kind_or_a_file(given, initial_mask):
    tree = config.default()
    tree.eval.initial_mask = given
    assert loop.rollout_options(tree).initial_mask == initial_mask


def test_masks_that_cannot_be_read_are_refused_before_training():
    tree = config.default()
    loop.check(tree)
    tree.eval.initial_mask = "none.npz"
    with pytest.raises(ValueError, match=r"eval.initial_mask: cannot read none.npz"):
        loop.check(tree)
    tree.eval.initial_mask, tree.eval.external = "", "missing.py:factory"
    with pytest.raises(ValueError, match="there is no file missing.py"):
        loop.check(tree)


def test_what_needs_a_network_is_refused_without_one(tmp_path):
    tree = config.default()

    def evaluate():
        loop.evaluate(tree, tmp_path / "data", None, Path(tmp_path), mesh=parallel.make_mesh(1))

    tree.eval.save_masks = True
    with pytest.raises(ValueError, match="eval.save_masks=True is for networks"):
        evaluate()
    tree.eval.save_masks = False
    for protocol in ("robustness", "readers"):
        tree.eval.protocol = protocol
        with pytest.raises(ValueError, match=f"protocol={protocol} is for networks.*--workdir"):
            evaluate()
    # Neither is asked for: the next thing that is missing are the data.
    tree.eval.protocol = "thesis"
    with pytest.raises(ValueError, match="data"):
        evaluate()
