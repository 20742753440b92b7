"""Checkpoints: what is kept, what is checked, what a killed or damaged save leaves."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax.training import checkpoints
from ecc_jax.training.checkpoints import (
    CheckpointError,
    Checkpoints,
    MismatchError,
    progress_values,
)
from ecc_jax.training.plateau import Plateau


class State(NamedTuple):
    step: Any
    params: Any
    batch_stats: Any
    average: Any = None


def _state(step):
    values = jnp.arange(6.0).reshape(2, 3) + step
    return State(jnp.asarray(step, jnp.int32), {"a": {"kernel": values}}, {"m": jnp.ones(3)})


def _save(store, step, score):
    store.save(step, _state(step), progress_values(Plateau(), step), score)


@pytest.fixture
def store(tmp_path):
    messages = []
    opened = Checkpoints(tmp_path / "checkpoints", warn=messages.append)
    opened.messages = messages
    yield opened
    opened.close()


def _flip_a_byte(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != checkpoints.MANIFEST]
    largest = max(files, key=lambda p: (p.stat().st_size, str(p)))
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(bytes(data))
    return largest


def test_keeps_the_latest_two_and_the_best(store):
    for step, score in [(1, 0.5), (2, 0.2), (3, 0.4), (4, 0.6), (5, 0.3)]:
        _save(store, step, score)
    assert store.steps() == [2, 4, 5]
    assert checkpoints.best_step(store.directory) == 2


def test_saves_without_a_score_do_not_evict_the_best(store):
    _save(store, 1, 0.5)
    for step in (2, 3, 4):
        _save(store, step, None)
    assert store.steps() == [1, 3, 4]
    assert checkpoints.best_step(store.directory) == 1


def test_restores_values_and_progress(store):
    plateau = Plateau(best=0.25, since_best=3, since_drop=1, rate_factor=0.1)
    store.save(7, _state(7), progress_values(plateau, 2, cores=2), 0.25)
    state, progress = store.restore_latest(_state(0))
    np.testing.assert_array_equal(state.params["a"]["kernel"], _state(7).params["a"]["kernel"])
    assert int(state.step) == 7
    assert checkpoints.plateau_of(progress) == plateau
    assert progress["cores"] == 2


def test_infinite_best_survives_json():
    assert checkpoints.plateau_of(progress_values(Plateau(), 0)) == Plateau()


def test_nothing_saved_restores_nothing(store):
    assert store.restore_latest(_state(0)) is None
    with pytest.raises(CheckpointError, match="no validated checkpoint"):
        checkpoints.best_step(store.directory)


def test_flipped_byte_is_noticed_and_the_checkpoint_before_is_used(store):
    _save(store, 1, 0.5)
    _save(store, 2, 0.4)
    damaged = _flip_a_byte(store.directory / "2")
    with pytest.raises(CheckpointError, match="differs from its sha256"):
        checkpoints.restore_variables(store.directory, 2)
    state, _ = store.restore_latest(_state(0))
    assert int(state.step) == 1
    assert damaged.name in store.messages[0]
    assert store.steps() == [1]
    _save(store, 2, 0.4)  # the step can be written again
    assert store.steps() == [1, 2]


def test_all_damaged_is_an_error(store):
    _save(store, 1, 0.5)
    _flip_a_byte(store.directory / "1")
    with pytest.raises(CheckpointError, match="every checkpoint .* is damaged"):
        store.restore_latest(_state(0))


def test_missing_file_is_named(store):
    _save(store, 1, 0.5)
    victim = store.directory / "1" / "state" / "_METADATA"
    victim.unlink()
    with pytest.raises(CheckpointError, match="_METADATA is missing"):
        checkpoints.restore_variables(store.directory, 1)


def test_unreadable_manifest_is_damage(store):
    _save(store, 1, 0.5)
    (store.directory / "1" / checkpoints.MANIFEST).write_bytes(b'{"state/\xff')
    with pytest.raises(CheckpointError, match="manifest.json is not readable"):
        checkpoints.restore_variables(store.directory, 1)


def test_interrupted_save_is_removed_on_start(tmp_path):
    folder = tmp_path / "checkpoints"
    first = Checkpoints(folder, warn=lambda _: None)
    _save(first, 1, 0.5)
    _save(first, 2, 0.5)
    first.close()
    (folder / "2" / checkpoints.MANIFEST).unlink()
    (folder / "3.orbax-checkpoint-tmp").mkdir()
    messages = []
    second = Checkpoints(folder, warn=messages.append)
    assert second.steps() == [1]
    assert len(messages) == 2
    _save(second, 2, 0.5)
    assert second.steps() == [1, 2]
    second.close()


def test_other_shapes_are_refused(store):
    _save(store, 1, 0.5)
    other = _state(0)._replace(params={"a": {"kernel": jnp.ones((4, 4))}})
    with pytest.raises(MismatchError, match="does not fit"):
        store.restore_latest(other)
    assert store.steps() == [1]  # it is not damaged, so it stays


def test_of_equal_scores_the_earliest_is_kept(store):
    for step in range(1, 6):
        _save(store, step, 0.5)
    assert store.steps() == [1, 4, 5]
    assert checkpoints.best_step(store.directory) == 1


def test_variables_alone(store):
    _save(store, 4, 0.5)
    values = checkpoints.restore_variables(store.directory, 4)
    assert set(values) == {"params", "batch_stats"}
    assert isinstance(values["params"]["a"]["kernel"], np.ndarray)
    np.testing.assert_array_equal(values["params"]["a"]["kernel"], np.arange(6.0).reshape(2, 3) + 4)


def test_the_average_comes_back_where_the_run_kept_one(store):
    average = {
        "params": {"a": {"kernel": jnp.full((2, 3), 7.0)}},
        "batch_stats": {"m": jnp.zeros(3)},
    }
    state = _state(3)._replace(average=average)
    store.save(3, state, progress_values(Plateau(), 3), 0.5)
    values = checkpoints.restore_variables(store.directory, 3)
    assert set(values) == {"params", "batch_stats"}
    np.testing.assert_array_equal(values["params"]["a"]["kernel"], np.full((2, 3), 7.0))
    np.testing.assert_array_equal(values["batch_stats"]["m"], np.zeros(3))
    back, _ = store.restore_latest(state)
    np.testing.assert_array_equal(back.params["a"]["kernel"], state.params["a"]["kernel"])
    np.testing.assert_array_equal(back.average["params"]["a"]["kernel"], np.full((2, 3), 7.0))


def test_imported_weights_have_the_form_of_a_run(tmp_path):
    variables = {"params": {"a": {"kernel": np.ones((2, 3))}}, "batch_stats": {"m": np.zeros(3)}}
    checkpoints.save_weights(tmp_path, variables)
    step, loaded = checkpoints.best_variables(tmp_path, variables)
    assert step == checkpoints.IMPORTED_STEP
    np.testing.assert_array_equal(loaded["params"]["a"]["kernel"], np.ones((2, 3)))
    np.testing.assert_array_equal(loaded["batch_stats"]["m"], np.zeros(3))
    other = {**variables, "params": {"a": {"kernel": np.ones((2, 4))}}}
    with pytest.raises(MismatchError, match="holds another network"):
        checkpoints.best_variables(tmp_path, other)
