"""Where a run reads and writes: ~ in every path, folders of others, disks that take nothing."""

import errno
import fcntl
import json
import os
import tempfile

import numpy as np
import pytest

from ecc_jax import config as schema
from ecc_jax import places, runs, settings, workdir
from ecc_jax.evaluation.host import load_external
from ecc_jax.evaluation.masks import read_masks, write_masks
from ecc_jax.report.pooling import load_run
from tests.mounts import read_only
from tfds_builders import options, preparation

MINE = "def factory():\n    return lambda image, clicks, mask: mask\n"


class Prepared(Exception):
    """The run got as far as the data."""


def _stop(config):
    raise Prepared


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, and another empty folder to be in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list((tmp_path / "here").glob("~*"))


def _run_in(folder, config=None):
    folder.mkdir(parents=True)
    workdir.write_config(config or schema.default(), folder)
    return folder


PATHS = {
    "data.path": "~/ct",
    "data.root": "~/prepared",
    "model.pretrained": "~/weights",
    "eval.initial_mask": "~/masks.npz",
    "eval.external": "~/mine.py:factory",
}


@pytest.mark.parametrize("key", PATHS)
def test_paths_of_a_configuration_are_the_same_from_everywhere(home, tmp_path, monkeypatch, key):
    spellings = [PATHS[key], PATHS[key].replace("~", "../home"), PATHS[key].replace("~", str(home))]
    found = set()
    for text in spellings:
        config = schema.default()
        schema.set_key(config, key, text)
        resolved = runs.as_recorded(config)
        assert schema.differences(runs.as_recorded(resolved), resolved) == {}
        found.add(json.dumps(schema.to_dict(resolved)))
    assert len(found) == 1
    assert json.dumps(PATHS[key].replace("~", str(home))) in found.pop()


def test_words_that_are_no_paths_stay_as_they_are(home):
    config = schema.default()
    config.eval.external = "package.module:factory"
    config.eval.initial_mask = "shifted"
    for changed in map(settings.with_own_augmentation, (schema.default(), config)):
        resolved = runs.as_recorded(changed)
        assert schema.differences(changed, resolved) == {}
        assert runs.default_workdir(resolved) == runs.default_workdir(changed)


def test_a_workdir_in_the_home_folder(home):
    with workdir.alone_in("~/runs/x"):
        assert (home / "runs" / "x").is_dir()
    _run_in(home / "runs" / "y")
    assert runs.is_run("~/runs/y") and not runs.is_run("~/runs/x")
    for call in (
        lambda: runs.load_predictor("~/runs/y"),
        lambda: runs.evaluate(None, {}, lambda _: home, "~/runs/y"),
    ):
        with pytest.raises(ValueError, match=f"{home}/runs/y has no checkpoints folder"):
            call()
    with pytest.raises(Prepared):
        runs.train(schema.get_config("quick"), _stop, "~/runs/z")


def test_weights_to_start_from_in_the_home_folder(home):
    config = schema.get_config("quick")
    config.model.pretrained = "~/weights"
    with pytest.raises(ValueError, match=f"model.pretrained: {home}/weights holds no checkpoint"):
        runs.train(config, _stop, "~/runs/x")


def test_predictors_masks_and_reports_in_the_home_folder(home):
    (home / "mine.py").write_text(MINE)
    assert load_external("~/mine.py:factory").name == "~/mine.py:factory"
    with pytest.raises(ValueError, match=f"there is no file {home}/yours.py"):
        load_external("~/yours.py:factory")
    rows = [{"volume": "a", "slice_index": 3}]
    write_masks(home / "masks.npz", rows, np.ones((1, 4, 4), bool))
    assert read_masks("~/masks.npz", size=4).of(rows[0]).all()
    with pytest.raises(ValueError, match=f"{home}/run holds no report"):
        load_run("~/run")


def test_prepared_data_in_the_home_folder(home, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "~/prepared")
    assert options.default_root() == home / "prepared"
    chosen = options.resolve(options.DataOptions("ct_folder_2d", root="~/p", path="~/ct"))
    assert (chosen.root, chosen.path) == (str(home / "p"), str(home / "ct"))


@pytest.mark.parametrize("key", PATHS)
def test_home_folders_of_nobody_are_refused(home, key):
    config = schema.default()
    schema.set_key(config, key, PATHS[key].replace("~", "~nobody-of-that-name"))
    with pytest.raises(ValueError, match="the home folder ~nobody-of-that-name is not known"):
        runs.as_recorded(config)


def test_a_run_with_relative_weights_of_an_earlier_version_goes_on(home):
    (home.parent / "here" / "weights").mkdir()
    saved = schema.get_config("quick")
    saved.model.pretrained = "weights"
    folder = _run_in(home / "run", saved)
    (folder / "report").mkdir()
    (folder / "report" / "summary.json").write_text("{}")
    assert runs.train(saved, _stop, folder).is_file()
    merged = runs.merge_for_evaluation(
        saved, None, {"model.pretrained": str(home / "../here/weights")}
    )
    assert merged.model.name == saved.model.name
    saved.model.pretrained = "others"
    with pytest.raises(ValueError, match="model.pretrained=.*here/weights', now '.*here/others'"):
        runs.train(saved, _stop, folder)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS])
def test_a_run_on_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="gives no locks"), workdir.alone_in(tmp_path / "run"):
        (tmp_path / "run" / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EROFS, "cannot write to {}: Read-only file system; choose another --workdir"),
        (errno.EACCES, "cannot write to {}: Permission denied; choose another --workdir"),
        (errno.ENOSPC, "no space left in {}: free space; the same command resumes"),
        (errno.EDQUOT, "the disk quota is used up in {}: free space; the same command resumes"),
    ],
)
def test_a_workdir_that_takes_no_files_is_named_before_and_during_the_work(
    tmp_path, monkeypatch, number, text
):
    folder = tmp_path / "run"
    with pytest.raises(places.PlaceError) as caught, workdir.alone_in(folder):
        raise OSError(number, os.strerror(number))  # as when metrics.jsonl is written
    assert str(caught.value) == text.format(folder)

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number), str(tmp_path / "tmpabc"))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(places.PlaceError) as caught:
        runs.train(schema.get_config("quick"), _stop, folder)
    assert str(caught.value) == text.format(folder)


def test_a_run_of_somebody_else_is_evaluated_into_a_folder_of_ones_own(tmp_path):
    _run_in(tmp_path / "run")
    with read_only(tmp_path / "run", tmp_path / "theirs") as theirs:
        with pytest.raises(ValueError, match=f"^cannot write to {theirs}/report: .*pass --out=DIR"):
            runs.evaluate(None, {}, _stop, theirs)
        with pytest.raises(ValueError, match=f"^cannot write to {theirs}/x: .*pass --out=DIR"):
            runs.evaluate(None, {}, _stop, theirs, theirs / "x")
        with pytest.raises(Prepared):
            runs.evaluate(None, {}, _stop, theirs, tmp_path / "mine")
        with pytest.raises(ValueError, match=f"^cannot write to {theirs}: .*another --workdir"):
            runs.train(schema.get_config("quick"), _stop, theirs)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json"]


def test_an_external_predictor_alone_needs_a_folder_too(tmp_path):
    config = schema.default()
    config.eval.external = "mine:factory"
    (tmp_path / "folder").mkdir()
    with read_only(tmp_path / "folder", tmp_path / "theirs") as theirs:
        with pytest.raises(ValueError, match=f"^cannot write to {theirs}/report: .*pass --out=DIR"):
            runs.evaluate(config, {}, _stop, theirs)
        with pytest.raises(Prepared):
            runs.evaluate(config, {}, _stop, theirs, tmp_path / "mine")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["checkpoints/6/manifest.json", "config.json"], "is the workdir of a run"),
        (["report.md", "summary.json"], "holds the report of a training"),
    ],
)
def test_out_never_replaces_a_run(tmp_path, files, message):
    run = _run_in(tmp_path / "run")
    for name in files:
        path = tmp_path / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    with pytest.raises(ValueError, match=f"{tmp_path}/other {message}; choose another --out"):
        runs.evaluate(None, {}, _stop, run, tmp_path / "other")


def test_a_report_is_replaced_by_one_of_the_same_evaluation_only(tmp_path):
    config = workdir.as_recorded(schema.default())
    workdir.check_same_report(config, tmp_path / "new")
    folder = _run_in(tmp_path / "report", config)
    (folder / "summary.json").write_text("{}")
    workdir.check_same_report(config, folder)
    config.eval.save_masks = True  # changes no number
    workdir.check_same_report(config, folder)
    config.data.split = "validation"
    with pytest.raises(ValueError, match="with data.split='test', now 'validation'; choose anoth"):
        workdir.check_same_report(config, folder)


def _options_of(folder, root):
    return options.DataOptions("ct_folder_2d", root=str(root), path=str(folder), size=40)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG])
def test_preparation_names_the_folder_that_takes_no_files(
    tmp_path, monkeypatch, small_folder, number
):
    chosen = options.DataOptions(
        "ct_folder_2d", root=str(tmp_path), path=str(small_folder), size=40
    )

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    with pytest.raises(ValueError, match=f"{tmp_path}/ct_folder_2d: [^\n]*$"):
        preparation.prepare(chosen, progress=False)


def test_preparation_without_locks_says_so_and_goes_on(tmp_path, monkeypatch, small_folder):
    chosen = options.DataOptions(
        "ct_folder_2d", root=str(tmp_path), path=str(small_folder), size=40
    )

    def fail(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="gives no locks"):
        directory = preparation.prepare(chosen, progress=False)
    assert preparation.is_complete(directory)
