"""The bounds of Optimal Crop in a run: measured once, recorded, and taken up again."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import config as schema
from ecc_jax.data import crop_bounds
from ecc_jax.data.augment import Augmentation
from ecc_jax.data.pipeline import open_split
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import options
from ecc_jax.training import state as states
from tests.preparing import prepare
from tests.training import test_step
from tests.training.test_families import make_batch
from tfds_builders.options import DataOptions


@pytest.fixture(scope="module")
def directory(small_folder, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("root"))
    return prepare(DataOptions("ct_folder_2d", root=root, path=str(small_folder), size=40))


def _config(**values):
    tree = schema.default()
    tree.augment.name = "optimal_crop"
    for name, value in values.items():
        tree.augment[name] = value
    return tree


def test_bounds_are_those_of_the_validation_masks(directory, tmp_path, capsys):
    config = _config()
    measured = options.with_measured_bounds(config, directory, tmp_path)
    assert config.augment.bounds == ()  # what the run's config.json holds
    sides = []
    for record in open_split(directory, "validation").records:
        rows, columns = np.nonzero(np.asarray(record["mask"]))
        sides.append((np.ptp(rows) + 1 + np.ptp(columns) + 1) / 40)
    low, high = measured.augment.bounds
    np.testing.assert_allclose([low, high], [np.mean(sides), 3 * np.mean(sides)], rtol=1e-6)
    recorded = json.loads((tmp_path / options.BOUNDS_FILE).read_text())
    assert recorded["crop_bounds"] == [low, high]
    assert f"{low:.4f} to {high:.4f}" in capsys.readouterr().err


def test_named_bounds_and_other_strategies_measure_nothing(tmp_path):
    nowhere = tmp_path / "nowhere"
    for config in (_config(bounds=(0.1, 0.2)), _config(name="focalclick"), _config(name="ritm")):
        assert options.with_measured_bounds(config, nowhere, tmp_path) is config
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_takes_what_it_recorded_and_a_new_one_measures(
    directory, tmp_path, monkeypatch
):
    other = crop_bounds.CropBounds(0.01, 0.02, 7)
    path = tmp_path / options.BOUNDS_FILE
    path.write_text(json.dumps(crop_bounds.to_json(other)))
    fresh = options.with_measured_bounds(_config(), directory, tmp_path)
    assert fresh.augment.bounds != other.bounds
    path.write_text(json.dumps(crop_bounds.to_json(other)))
    monkeypatch.setattr(options.checkpoints, "complete_steps", lambda folder: [1])
    resumed = options.with_measured_bounds(_config(), tmp_path / "moved", tmp_path)
    assert resumed.augment.bounds == other.bounds
    path.write_text("{}")
    with pytest.raises(ValueError, match="is damaged") as caught:
        options.with_measured_bounds(_config(), directory, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_validation_slice_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="not a prepared dataset") as caught:
        options.with_measured_bounds(_config(), tmp_path, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("colour_prob", [0.0, 0.75])
def test_the_train_step_takes_stretched_crops_in_one_or_three_channels(colour_prob):
    model = build("ritm_tiny")
    start = states.create(
        init_variables(model, 0), states.make_optimizer(b1=0.9, b2=0.999), with_average=True
    )
    stretched = Augmentation((48, 32), bounds=(0.2, 0.6), crop_prob=0.8, colour_prob=colour_prob)
    step = test_step.step_of(
        model,
        states.rate_multipliers(start.params, trunk=1.0),
        test_step.OPTIONS._replace(augmentation=stretched),
    )
    state, metrics = jax.eval_shape(step, start, make_batch(), jnp.float32(1e-3))
    assert jax.tree.map(lambda x: x.shape, state) == jax.tree.map(jnp.shape, start)
    assert metrics["loss"].shape == ()
