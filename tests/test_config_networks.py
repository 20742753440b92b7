"""What the leaves of each family of networks mean, and which of their keys go together."""

import pytest

from ecc_jax import catalog, checks, config, settings


@pytest.mark.parametrize(
    ("tree", "quick", "network", "smaller"),
    [
        (config.get_config(), config.get_config("quick"), "ritm_hrnet32", "ritm_hrnet18s"),
        (
            *(config.focalclick(), config.focalclick("quick")),
            *("focalclick_hrnet32", "focalclick_hrnet18s"),
        ),
        (config.unetpp(), config.unetpp("quick"), "unetpp_resnet50", "unetpp_resnet18"),
        (config.flagship(), config.flagship("quick"), "disk_unet", "disk_unet"),
    ],
)
def test_quick_shrinks_a_network_within_its_family(tree, quick, network, smaller):
    assert (tree.model.name, quick.model.name) == (network, smaller)
    for made in (tree, quick):
        checks.validate(made)


def test_focalclick_is_cropped_as_the_thesis_did_for_each_dataset():
    names = {name: config.focalclick(name).augment.name for name in catalog.DATASETS}
    assert {name for name, crop in names.items() if crop == "optimal_crop"} == {
        *("lidc_2d", "combined_2d")
    }
    assert set(names.values()) == {"optimal_crop", "ritm"}


def test_unetpp_sees_small_decaying_clicks_wherever_it_is_run():
    tree = config.unetpp("quick,lidc_2d")
    segmenter = settings.segmenter_of(tree)
    assert (segmenter.encoding, segmenter.click_radius, segmenter.prev_mask) == (
        *("gaussian", 5.0),
        "input",
    )
    dynamic = config.unetpp()
    for key, value in (
        ("model.encoding", "disk"),
        ("model.prev_mask", "yes"),
        ("train.radius", "normal"),
        ("clicks.radius", "average"),
    ):
        config.set_key(dynamic, key, value)
    checks.validate(dynamic)
    assert settings.segmenter_of(dynamic).num_guidance == 3


def test_a_refiner_that_nobody_trained_does_not_answer():
    tree = config.focalclick()
    tree.loss.refine_weight = 0.0
    with pytest.raises(ValueError, match="refine_weight=0.0 never trains it.*full_frame"):
        checks.validate(tree)
    tree.model.pretrained = "weights/focalclick"
    checks.validate(tree)
    earlier = config.to_dict(config.focalclick())
    for key in ("refine_weight", "boundary_weight"):
        del earlier["loss"][key]
    read = config.from_dict(earlier)
    assert (read.loss.refine_weight, read.loss.boundary_weight) == (0.0, 0.0)
    converted = config.from_dict(earlier | {"name": "converted"})
    assert converted.loss.refine_weight == 1.0
