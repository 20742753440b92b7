"""Whose workdir is it: what `runs.train` refuses before it trains."""

import fcntl
import json

import pytest

from ecc_jax import config as schema
from ecc_jax import runs, workdir


def _folder_of(tmp_path, config):
    """A workdir that `config` was started in, without checkpoints."""
    (tmp_path / workdir.CONFIG_FILE).write_text(json.dumps(schema.to_dict(config)))
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


def test_a_dataset_named_by_key_or_word_is_the_same_run(tmp_path):
    config = schema.get_config("kits_2d")
    config.words = ""
    folder = _folder_of(tmp_path, config)
    (folder / "report").mkdir()
    (folder / "report" / "summary.json").write_text("{}")
    assert runs.train(schema.get_config("kits_2d"), lambda _: tmp_path, str(folder)).is_file()


def test_a_protocol_that_a_key_contradicts_is_refused_before_anything_is_trained(tmp_path):
    config = schema.default()
    config.eval.protocol = "cvpr25"
    with pytest.raises(ValueError, match=r"means eval.num_clicks=6, but 20 was given"):
        runs.train(config, lambda _: tmp_path, tmp_path / "run", overrides={"eval.num_clicks": 20})
    assert not (tmp_path / "run").exists()


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


def test_folds_of_a_run_do_not_divide_another_dataset():
    saved = schema.default()
    saved.data.folds, saved.data.fold = 3, 2
    same = runs.merge_for_evaluation(saved, None, {"data.name": saved.data.name})
    assert (same.data.folds, same.data.fold) == (3, 2)
    elsewhere = runs.merge_for_evaluation(saved, None, {"data.path": "/other"})
    assert (elsewhere.data.folds, elsewhere.data.fold) == (3, 2)  # the run has no path of its own
    saved.data.path = "/mine"
    # A copy, perhaps: it keeps the folds unless its scans turn out to be others.
    elsewhere = runs.merge_for_evaluation(saved, None, {"data.path": "/other"})
    assert (elsewhere.data.folds, elsewhere.data.fold) == (3, 2)
    other = runs.merge_for_evaluation(saved, None, {"data.name": "lidc_2d"})
    assert (other.data.folds, other.data.fold) == (0, 0)
    given = {"data.name": "lidc_2d", "data.folds": 5, "data.fold": 4}
    assert runs.merge_for_evaluation(saved, None, given).data.fold == 4


def test_no_evaluation_tests_on_patients_of_the_training_unless_it_says_so():
    saved = schema.default()
    saved.data.folds, saved.data.fold = 3, 1
    # The leaf given beside the workdir knows nothing of folds.
    given = runs.merge_for_evaluation(saved, schema.default(), {})
    assert (given.data.folds, given.data.fold) == (3, 1)
    for key, value in {"fold": 2, "folds": 0, "split_seed": 4}.items():
        with pytest.raises(ValueError, match=f"data.{key}={value}: the run was trained with"):
            runs.merge_for_evaluation(saved, None, {f"data.{key}": value})
    with pytest.raises(ValueError, match="data.folds=3: the run was trained with 0"):
        runs.merge_for_evaluation(schema.default(), None, {"data.folds": 3})
    on_purpose = {"data.split": "all", "data.split_seed": 4}
    assert runs.merge_for_evaluation(saved, None, on_purpose).data.split_seed == 4


def test_reports_of_different_evaluations_have_folders_of_their_own():
    saved, config = schema.default(), schema.default()
    assert workdir.report_name(saved, config) == "ct_phantom_2d-test"
    config.eval.save_masks = True
    assert workdir.report_name(saved, config) == "ct_phantom_2d-test"
    config.eval.protocol, config.eval.initial_mask = "ritm", "eroded"
    assert workdir.report_name(saved, config) == "ct_phantom_2d-test-ritm-from_eroded"
    names = set()
    for change in (
        {"eval.initial_mask": "/one/masks.npz"},
        {"eval.initial_mask": "/two/masks.npz"},
        {"eval.damage": 0.4},
        {"clicks.enclosing": "min_circle"},
        {"eval.external": "mine:factory"},
    ):
        other = runs.merge_for_evaluation(config, None, change)
        names.add(workdir.report_name(saved, other))
    assert len(names) == 5
    assert all(name.startswith("ct_phantom_2d-test-ritm-from_") for name in names)


def test_damaged_configuration_is_named(tmp_path):
    (tmp_path / workdir.CONFIG_FILE).write_text('{"seed": 0,')
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        runs.load_config(tmp_path)


def test_data_folders_are_absolute_however_they_are_spelt(tmp_path, monkeypatch):
    (tmp_path / "ct").mkdir()
    monkeypatch.chdir(tmp_path)
    names = set()
    for spelling in ("ct", "ct/", "./ct", str(tmp_path / "ct")):
        config = schema.default()
        config.data.path = spelling
        absolute = runs.as_recorded(config)
        assert absolute.data.path == str(tmp_path / "ct")
        assert absolute.data.root == ""
        names.add(runs.default_workdir(absolute))
    assert len(names) == 1
