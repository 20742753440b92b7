"""Whose workdir is it: what `runs.train` refuses before it trains."""

import fcntl
import json

import pytest

from ecc_jax import config as schema
from ecc_jax import runs


def _folder_of(tmp_path, config):
    """A workdir that `config` was started in, without checkpoints."""
    (tmp_path / runs.CONFIG_FILE).write_text(json.dumps(schema.to_dict(config)))
    return tmp_path


def _other():
    config = schema.default()
    config.seed = 5
    return config


def test_second_process_is_refused_and_leaves_the_first_ones_configuration(tmp_path):
    folder = _folder_of(tmp_path, schema.default())
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is training"):
            runs.train(_other(), lambda _: tmp_path, str(folder))
    assert runs.load_config(folder).seed == 0


def test_report_of_another_configuration_is_not_shown_though_its_checkpoints_are_gone(tmp_path):
    folder = _folder_of(tmp_path, schema.default())
    (folder / "report").mkdir()
    (folder / "report" / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="seed=0, now 5"):
        runs.train(_other(), lambda _: tmp_path, str(folder))
    assert runs.train(schema.default(), lambda _: tmp_path, str(folder)).is_file()


def test_file_in_the_place_of_the_workdir(tmp_path):
    file = tmp_path / "run"
    file.write_text("")
    with pytest.raises(ValueError, match="is not a folder; choose another --workdir"):
        runs.train(schema.default(), lambda _: tmp_path, str(file))


def test_evaluation_takes_the_command_that_trained_but_no_other_value():
    saved = schema.get_config("quick")
    given = {"data.split": "all", "train.batch_size": 8, "augment.crop": (112, 112)}
    merged = runs.merge_for_evaluation(saved, None, given)
    assert schema.differences(saved, merged) == {"data.split": ("test", "all")}
    with pytest.raises(ValueError, match="cannot change train.batch_size"):
        runs.merge_for_evaluation(saved, None, {"train.batch_size": 9})


def test_damaged_configuration_is_named(tmp_path):
    (tmp_path / runs.CONFIG_FILE).write_text('{"seed": 0,')
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        runs.load_config(tmp_path)


def test_data_folders_are_absolute_however_they_are_spelt(tmp_path, monkeypatch):
    (tmp_path / "ct").mkdir()
    monkeypatch.chdir(tmp_path)
    names = set()
    for spelling in ("ct", "ct/", "./ct", str(tmp_path / "ct")):
        config = schema.default()
        config.data.path = spelling
        absolute = runs.with_absolute_paths(config)
        assert absolute.data.path == str(tmp_path / "ct")
        assert absolute.data.root == ""
        names.add(runs.default_workdir(absolute))
    assert len(names) == 1
