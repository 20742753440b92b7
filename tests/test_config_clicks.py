"""Which samplers, encodings, radii and surroundings go together, and what is said of the others."""

import json
from pathlib import Path

import pytest

from ecc_jax import checks, config, settings, workdir
from ecc_jax.clicks.encoding import FIRST_DRAGGED, NAMES, WITHOUT_RADIUS
from tests.loading import load

STATIC = {"train.radius": "fixed", "clicks.radius": "fixed"}


def tree_of(values):
    tree = config.default()
    for key, value in values.items():
        config.set_key(tree, key, value)
    return tree


@pytest.mark.parametrize("source", config.CLICK_SOURCES)
@pytest.mark.parametrize("encoding", NAMES)
def test_every_sampler_goes_with_every_encoding(source, encoding):
    values = {"train.source": source, "model.encoding": encoding, "train.click_gamma": 0.75}
    checks.validate(tree_of({**values, **(STATIC if encoding in WITHOUT_RADIUS else {})}))
    if encoding == "disk":
        checks.validate(tree_of({**values, **STATIC}))


@pytest.mark.parametrize("encoding", NAMES)
@pytest.mark.parametrize("key", STATIC)
def test_one_radius_of_the_wrong_kind_is_refused(encoding, key):
    """Hybrid and box need a drag, in training and in evaluation; others show none."""
    if encoding in FIRST_DRAGGED:
        values, remedy = {key: "fixed"}, f"{key}=fixed drags nothing; choose another rule there"
    elif encoding in WITHOUT_RADIUS:
        values, remedy = {**STATIC, key: "average"}, f"{key}=average drags one.*set train.radius=fi"
    else:
        return checks.validate(tree_of({key: "fixed"}))
    with pytest.raises(ValueError, match=remedy) as error:
        checks.validate(tree_of({**values, "model.encoding": encoding}))
    assert "\n" not in str(error.value) and f"model.encoding={encoding}" in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model.encoding": "hybrid", "model.view": "disk"},
            "model.view=disk is measured on dragged disks.*set model.view=slice",
        ),
        (
            {"model.encoding": "box", "model.prior": "painter"},
            "model.prior=painter is measured.*set model.prior=none",
        ),
        (
            {"model.encoding": "gaussian", "model.intensity": "core", **STATIC},
            "model.intensity=core is measured.*set model.intensity=window",
        ),
        (
            {"model.encoding": "distance", "model.edits": "local", **STATIC},
            "model.edits=local is measured.*set model.edits=everywhere",
        ),
        (
            {"train.source": "random", "model.view": "disk"},
            "model.view=disk goes by single clicks.*train.source=random places many",
        ),
        (
            {"train.source": "random_then_iterative", "model.prior": "painter"},
            "set train.source=sessions or iterative, or model.prior=none",
        ),
        (
            {"train.source": "random", "train.click_counts": "rows"},
            "own count already: leave it away",
        ),
    ],
)
def test_what_does_not_go_together_names_keys_and_remedy(values, message):
    with pytest.raises(ValueError, match=message) as error:
        checks.validate(tree_of(values))
    assert "\n" not in str(error.value)


def test_grey_values_of_the_first_disk_go_with_disks_alone():
    """The first disk of a lesion need not be the first click, which alone hybrid and box drag."""
    for encoding in FIRST_DRAGGED:
        with pytest.raises(ValueError, match="model.intensity=core is measured on dragged"):
            checks.validate(tree_of({"model.encoding": encoding, "model.intensity": "core"}))
    checks.validate(tree_of({"train.source": "random", "model.intensity": "core"}))


def test_the_segmenter_has_encoding_and_radius_of_the_configuration():
    segmenter = settings.segmenter_of(
        tree_of({"model.name": "ritm_tiny", "model.encoding": "box", "model.click_radius": 3.0})
    )
    assert (segmenter.encoding, segmenter.click_radius) == ("box", 3.0)


def test_weights_start_no_run_with_another_encoding_than_their_own(tmp_path):
    saved = tree_of({"model.encoding": "hybrid", "model.click_radius": 3.0})
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict(saved)))

    def check(**values):
        tree = config.default()
        tree.model.update({"pretrained": str(tmp_path), **values})
        workdir.check_pretrained(tree)

    check(encoding="hybrid", click_radius=3.0)
    with pytest.raises(ValueError, match="model.encoding=hybrid, but model.encoding is disk; set"):
        check()
    with pytest.raises(ValueError, match="model.click_radius=3.0, but model.click_radius is 5.0"):
        check(encoding="hybrid")


def test_reports_say_how_clicks_look_and_apart_from_it_how_they_were_placed():
    words = settings.encoding_in_words
    assert words(tree_of({})) == "average radius"
    hybrid = words(tree_of({"model.encoding": "hybrid"}))
    assert hybrid == "average radius of the first click, later ones static (hybrid)"
    # Reports know static clicks by their first word.
    assert words(tree_of({"model.encoding": "gaussian", **STATIC})) == "fixed radius (gaussian)"
    # Lengths that are not the usual ones tell two runs apart.
    small = {"model.click_radius": 3.0}
    assert words(tree_of({"model.encoding": "gaussian", **STATIC, **small})).endswith(", 3 pixels")
    assert words(tree_of({"model.encoding": "hybrid", **small})) == f"{hybrid}, 3 pixels"
    assert words(tree_of({**STATIC, "clicks.fixed_radius": 8.0})) == "fixed radius, 8 pixels"
    assert words(tree_of({**small, "clicks.fixed_radius": 8.0})) == "average radius"
    placed = {
        settings.sampler_in_words(tree_of(values))
        for source in config.CLICK_SOURCES
        for values in (
            {"train.source": source},
            {"train.source": source, "model.encoding": "hybrid"},
            {"train.source": source, **STATIC},
        )
    }
    assert len(placed) == len(config.CLICK_SOURCES)


def test_the_hybrid_leaf_differs_from_the_dynamic_one_in_its_encoding_alone():
    path = Path(__file__).parents[1] / "configs" / "ritm_hybrid.py"
    leaf = load(path)
    differing = config.differences(leaf.get_config("quick"), config.get_config("quick"))
    assert set(differing) == {"name", "model.encoding"}


@pytest.mark.parametrize(
    ("name", "saved", "wanted", "fits"),
    [
        ("ritm_tiny", "network", "yes", True),
        ("ritm_tiny", "network", "no", False),
        ("unetpp_tiny", "network", "no", True),
        ("unetpp_tiny", "network", "yes", False),
    ],
)
def test_weights_fit_by_what_the_network_is_told_of_the_previous_mask(
    tmp_path, name, saved, wanted, fits
):
    run = tree_of({"model.name": name, "model.prev_mask": saved})
    workdir.write_config(run, tmp_path)
    tree = tree_of({"model.name": name, "model.prev_mask": wanted})
    tree.model.pretrained = str(tmp_path)
    if fits:
        workdir.check_pretrained(tree)
    else:
        with pytest.raises(ValueError, match="model.prev_mask=network, but"):
            workdir.check_pretrained(tree)
