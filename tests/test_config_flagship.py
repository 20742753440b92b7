"""What may stand together with the parts of the flagship, and what may not."""

import pytest

from ecc_jax import checks, config, settings


def test_flagship_is_valid_and_the_thesis_keeps_its_way():
    for arg in ("", "quick", "ct_folder_2d,quick", "shipped", "lidc_2d"):
        checks.validate(config.flagship(arg))
    thesis = settings.segmenter_of(config.default())
    assert (thesis.view, thesis.prior, thesis.intensity) == (None, "none", "window")
    assert thesis.edits == "everywhere" and config.default().train.source == "iterative"
    assert settings.segmenter_of(config.flagship()).num_guidance == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inference.pipeline": "zoom_in"}, "leave the pipeline at full_frame"),
        ({"model.view": "slice", "inference.pipeline": "zoom_in"}, "model.edits=local"),
        ({"train.radius": "fixed"}, "has none"),
        ({"clicks.radius": "fixed"}, "has none"),
        ({"inference.threshold": 0.8}, "0.25 to 0.75"),
        ({"train.threshold": 0.1}, "0.25 to 0.75"),
        ({"train.batch_size": 30}, "multiples of that, got 30"),
        ({"train.microbatch": 2}, "multiples of that, got 32 and 2"),
        ({"train.click_gamma": 0.3}, "0.5 <= gamma"),
        ({"train.click_counts": "rows"}, "own count already"),
        ({"loss.dice": "batch"}, "no rows to leave out"),
        ({"model.grid": 8}, "at least 16"),
        ({"model.view_factor": 0.5}, "at least 1 radius"),
        ({"augment.view_zoom": 1.0}, "0 to 0.5"),
        ({"augment.view_turn": 1.5}, "a probability"),
        ({"augment.view_turn": 0.5, "model.view": "slice"}, "set augment.view_turn=0.0"),
        ({"train.habit_share": -0.1}, "a share"),
        ({"train.radius": "average"}, "set train.habit_share=1.0"),
        ({"train.jitter": 0.6}, "0 to 0.5"),
        ({"train.radius_spread": 0.6}, "0 to 0.5"),
        ({"model.view": "slice", "inference.orientations": 8}, "leave it at 1"),
        ({"inference.orientations": 8, "inference.flip": True}, "holds the mirror image"),
        ({"inference.orientations": 4}, "1, 8"),
        ({"model.view": "circle"}, "slice, disk"),
        ({"model.prev_mask": "no"}, "on which model.prior=painter builds"),
        ({"model.prev_mask": "no", "model.prior": "none"}, "on which model.edits=local builds"),
        ({"model.prev_mask": "maybe"}, "network, yes, no"),
        ({"model.deep_supervision": True}, "of U-Net.., and disk_unet has none"),
        ({"model.prior": "atlas"}, "none, painter"),
        ({"train.source": "nowhere"}, "iterative, sessions"),
        ({"train.source": "random"}, "set train.source=sessions or iterative"),
    ],
)
def test_contradictions_name_the_key_and_the_remedy(values, message):
    tree = config.flagship()
    for key, value in values.items():
        config.set_key(tree, key, value)
    with pytest.raises(ValueError, match=message) as error:
        checks.validate(tree)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arg", ["shipped,quick", "ct_folder_2d,shipped"])
def test_the_recipe_of_the_shipped_weights_takes_no_other_word(arg):
    with pytest.raises(ValueError, match="configs/ecc.py:shipped"):
        config.flagship(arg)


def test_the_recipe_of_the_shipped_weights_is_the_flagships():
    with pytest.raises(ValueError, match="configs/ecc.py:shipped"):
        config.get_config("shipped")
