"""Checkpoints: what is kept, what is checked, what a killed or damaged save leaves."""

import errno
import os
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import places
from ecc_jax.training import checkpoints
from ecc_jax.training.checkpoints import (
    CheckpointError,
    Checkpoints,
    MismatchError,
    progress_values,
)
from ecc_jax.training.plateau import Plateau
from tests.mounts import read_only, small_disk


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


FULL = r"^no space left in \S+: free space; the same command resumes$"


def test_a_checkpoint_larger_than_the_free_space_is_not_begun(store, monkeypatch):
    _save(store, 1, 0.5)
    usage = shutil.disk_usage(store.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=8))
    with pytest.raises(places.PlaceError, match=FULL) as caught:
        _save(store, 2, 0.4)
    assert str(store.directory.parent) in str(caught.value)
    monkeypatch.undo()
    assert store.steps() == [1] and len(list(store.directory.iterdir())) == 1
    _save(store, 2, 0.4)
    assert store.steps() == [1, 2]


def test_a_disk_that_will_be_full_is_said_once(store, monkeypatch):
    usage = shutil.disk_usage(store.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3 * 40))
    _save(store, 1, 0.5)  # 6 + 3 + 1 values of 4 bytes
    _save(store, 2, 0.5)
    assert len(store.messages) == 1
    assert "4 more checkpoints of 0 MiB each will be there at a time" in store.messages[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["orbax", "tensorstore", "manifest"])
def test_a_failed_save_leaves_the_ones_before_and_can_be_repeated(
    store, monkeypatch, number, where
):
    _save(store, 1, 0.5)
    text = os.strerror(number)
    error = OSError(number, text)
    if where == "tensorstore":
        error = ValueError(
            f"RESOURCE_EXHAUSTED: Failed to write: {text} [os_error_code='{number}']"
        )

    def fail(*args, **kwargs):
        (store.directory / "2.orbax-checkpoint-tmp" / "state").mkdir(parents=True, exist_ok=True)
        raise error

    if where == "manifest":
        monkeypatch.setattr(checkpoints, "write_manifest", fail)
    else:
        monkeypatch.setattr(store._manager, "save", fail)
    with pytest.raises(places.PlaceError, match=str(store.directory.parent)):
        _save(store, 2, 0.4)
    monkeypatch.undo()
    assert [path.name for path in store.directory.iterdir()] == ["1"]
    state, _ = store.restore_latest(_state(0))
    assert int(state.step) == 1
    again = Checkpoints(store.directory, warn=lambda text: None)
    _save(again, 2, 0.4)
    assert again.steps() == [1, 2]
    again.close()


def test_other_errors_of_a_save_stay_what_they_are(store, monkeypatch):
    def fail(*args, **kwargs):
        raise TypeError("no such leaf")

    monkeypatch.setattr(store._manager, "save", fail)
    with pytest.raises(TypeError, match="no such leaf"):
        _save(store, 1, 0.5)


SAVE_UNTIL_FULL = """
import os
import shutil
import sys
from pathlib import Path
from absl import logging
logging.set_verbosity(logging.ERROR)
import numpy as np
from ecc_jax.training.checkpoints import Checkpoints, Weights, progress_values
from ecc_jax.training.plateau import Plateau
rng = np.random.default_rng(0)
weights = {str(i): rng.normal(size=50).astype(np.float32) for i in range(int(sys.argv[2]))}
store = Checkpoints(Path(sys.argv[1]) / "checkpoints", warn=lambda text: None)
for step in (1, 2):
    try:
        store.save(step, Weights(weights, {}), progress_values(Plateau(), 0), 0.5)
        print(step)
        left = shutil.disk_usage(sys.argv[1]).free
        (Path(sys.argv[1]) / "other").write_bytes(os.urandom(max(0, left - int(sys.argv[3]))))
    except ValueError as error:
        print(error, file=sys.stderr)
        break
store.close()
"""


# Weights of 80 kB take 300 to 900 kB while they are written, as the writer's threads happen to run.
@pytest.mark.parametrize(
    ("size", "left", "possible"),
    [
        ("200k", "0", [[]]),
        ("600k", "60000", [[], ["1"]]),
        ("20m", "60000", [["1"]]),
        ("20m", "8000000", [["1", "2"]]),
    ],
)
def test_a_disk_that_fills_while_a_checkpoint_is_written_is_one_line(
    tmp_path, size, left, possible
):
    with small_disk(tmp_path / "disk", size) as disk:
        (disk / "run").mkdir()
        command = [sys.executable, "-c", SAVE_UNTIL_FULL, disk / "run", "400", left]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        folder = disk / "run" / "checkpoints"
        saved = [str(step) for step in checkpoints.complete_steps(folder)]
        for step in saved:
            checkpoints.verify_manifest(folder / step)
    assert done.stdout.split() == saved
    assert saved in possible
    line = f"no space left in {tmp_path / 'disk' / 'run'}: free space; the same command resumes\n"
    assert done.stderr == ("" if len(saved) == 2 else line)


def test_checkpoints_are_read_from_a_folder_where_nothing_can_be_written(tmp_path):
    variables = {"params": {"a": {"kernel": np.ones((2, 3))}}, "batch_stats": {"m": np.zeros(3)}}
    checkpoints.save_weights(tmp_path / "run", variables)
    with read_only(tmp_path / "run", tmp_path / "view") as view:
        step, loaded = checkpoints.best_variables(view, variables)
    assert step == checkpoints.IMPORTED_STEP
    np.testing.assert_array_equal(loaded["params"]["a"]["kernel"], np.ones((2, 3)))
