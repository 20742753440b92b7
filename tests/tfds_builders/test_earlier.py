"""What was prepared before: older versions are not used again, changes of a folder are told."""

import json
import shutil
import warnings

import pytest

from tests.folders import save, scan, write_scans
from tests.nifti_sets import SETS, SIDE
from tests.preparing import prepare
from tfds_builders import preparation
from tfds_builders.combined_2d import combined_2d_dataset_builder
from tfds_builders.options import DataOptions, resolve


def make_older(directory, version):
    """Turns a prepared dataset into what an older version left: no identities, fewer options."""
    older = directory.rename(directory.with_name(version))
    index = preparation.read_index(older)
    for table in index["splits"].values():
        del table["volume_id"], table["slice_id"]
    for option in ("mixed_planes", "labels_by_default"):
        del index["options"][option]
    del index["remarks"]
    index["version"] = version
    (older / "index.json").write_text(json.dumps(index))
    return older


@pytest.mark.parametrize("name", sorted(SETS))
def test_an_older_version_without_its_raw_data_is_named(name, tmp_path):
    SETS[name][0](tmp_path / "raw")
    options = DataOptions(name, root=str(tmp_path / "root"), path=str(tmp_path / "raw"), size=SIDE)
    older = make_older(prepare(options), "2.1.0")
    (tmp_path / "raw").rename(tmp_path / "away")
    for path in ("", options.path):
        with pytest.raises(ValueError, match="by version 2.1.0 and cannot be used again") as caught:
            prepare(options._replace(path=path))
        assert str(older) in str(caught.value) and "data.path=DIR" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="is not prepared under"):
        prepare(options._replace(path="", size=32))  # never prepared so
    (tmp_path / "away").rename(tmp_path / "raw")
    with pytest.warns(UserWarning, match="prepares these data anew .Identities of slice") as caught:
        anew = prepare(options)
    assert anew != older and older.exists() and "\n" not in str(caught[0].message)
    shutil.rmtree(tmp_path / "raw")
    assert prepare(options._replace(path="")) == anew


def test_an_older_version_given_as_a_source_is_named(tmp_path):
    SETS["kits_2d"][0](tmp_path / "raw")
    options = DataOptions(
        "kits_2d", root=str(tmp_path / "root"), path=str(tmp_path / "raw"), size=SIDE
    )
    older = make_older(prepare(options), "2.1.0")
    shutil.copytree(older, tmp_path / "sources" / "kits_2d")
    joined = options._replace(
        name="combined_2d", path=str(tmp_path / "sources"), sources=("kits_2d", "ct_phantom_2d")
    )
    with pytest.raises(ValueError, match="was prepared by version 2.1.0, its records lack"):
        combined_2d_dataset_builder.prepared_sources(resolve(joined))


@pytest.fixture
def folder(tmp_path):
    return write_scans(tmp_path / "ct", count=6)


@pytest.fixture
def options(tmp_path, folder):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), path=str(folder), size=32)


def add(folder, *, names, seed=50):
    for number, name in enumerate(names):
        for part, array in zip(("images", "labels"), scan(seed + number), strict=True):
            save(folder / part / f"{name}.nii.gz", array)


def remove(folder, *, names):
    for name in names:
        for part in ("images", "labels"):
            (folder / part / f"{name}.nii.gz").unlink()


def rename(folder, old, new):
    for part in ("images", "labels"):
        (folder / part / f"{old}.nii.gz").rename(folder / part / f"{new}.nii.gz")


def relabel(folder, name):
    labels = scan(0)[1]
    labels[20:22, 20:22, 4] = 1
    save(folder / "labels" / f"{name}.nii.gz", labels)


CHANGES = {
    "one more": (lambda f: add(f, names=["new"]), ["1 added (new)"]),
    "many more": (
        lambda f: add(f, names=["a", "b", "c", "d", "e"]),
        ["5 added (a, b, c and 2 more)"],
    ),
    "fewer": (lambda f: remove(f, names=["case1", "case4"]), ["2 removed (case1, case4)"]),
    "another scan": (lambda f: add(f, names=["case2"]), ["1 changed (case2)"]),
    "another mask": (lambda f: relabel(f, "case0"), ["1 changed (case0)"]),
    "another name": (lambda f: rename(f, "case5", "x5"), ["1 added (x5)", "1 removed (case5)"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changed_is_told(folder, options, change):
    act, says = CHANGES[change]
    prepare(options)
    act(folder)
    with pytest.warns(UserWarning, match="was prepared before in another state") as caught:
        prepare(options)
    (message,) = {str(item.message) for item in caught if "prepared before" in str(item.message)}
    assert all(part in message for part in says) and "\n" not in message
    assert message.count("(") == len(says) and "split and folds are drawn anew" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(options)  # told when it was prepared


def test_the_latest_state_counts(folder, options):
    prepare(options)
    add(folder, names=["one"])
    with pytest.warns(UserWarning, match="1 added .one."):
        prepare(options)
    add(folder, names=["two"], seed=60)
    with pytest.warns(UserWarning, match="its volumes since: 1 added .two.; split"):
        prepare(options)


@pytest.mark.parametrize("what", ["first time", "touched", "other folder", "other options"])
def test_no_change_is_not_told(folder, options, tmp_path, what):
    if what != "first time":
        prepare(options)
    if what == "touched":
        (folder / "images" / "case0.nii.gz").touch()
    if what == "other folder":
        options = options._replace(path=str(write_scans(tmp_path / "other", count=7)))
    if what == "other options":
        options = options._replace(split_seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(options)
