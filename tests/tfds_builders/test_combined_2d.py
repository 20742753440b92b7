"""combined_2d: equally many slices of each source, in their splits and windows."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax import catalog
from ecc_jax.catalog import SPLITS
from ecc_jax.data import pipeline
from tests.nifti_sets import SETS, SIDE
from tests.preparing import prepare
from tfds_builders import preparation
from tfds_builders.combined_2d import combined_2d_dataset_builder
from tfds_builders.options import DataOptions

NAMES = ("ct_phantom_2d", "kits_2d", "lits_2d", "md_panc_2d")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Raw data of three sources, each in the subfolder of its name."""
    folder = tmp_path_factory.mktemp("raw")
    for name, (write, *_) in SETS.items():
        write(folder / name)
    return folder


@pytest.fixture(scope="module")
def options(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    return DataOptions(
        "combined_2d",
        root=str(root),
        path=str(folder),
        size=SIDE,
        sources=NAMES,
        num_patients=6,
        kind="lung",
    )


def source_options(options, name):
    path = "" if name == "ct_phantom_2d" else f"{options.path}/{name}"
    return options._replace(name=name, path=path, sources=())


def records(directory):
    """Returns the records of each split."""
    builder = tfds.builder_from_directory(directory)
    return {split: list(builder.as_data_source(split)) for split in SPLITS}


def test_only_the_patients_of_lidc_are_split_under_the_thesis_rule(options):
    thesis = options._replace(split_rule="thesis", lesion_labels=(7,))
    rules = {
        name: combined_2d_dataset_builder.source_options(thesis, name).split_rule
        for name in combined_2d_dataset_builder.SOURCES
    }
    assert rules == {
        "lidc_2d": "patient",
        "kits_2d": "thesis",
        "lits_2d": "thesis",
        "md_panc_2d": "thesis",
    }
    assert combined_2d_dataset_builder.source_options(thesis, "kits_2d").lesion_labels == ()


@pytest.mark.parametrize(
    ("subset", "rule"),
    [
        ("full", "patient"),
        pytest.param("full", "thesis", marks=pytest.mark.slow),
        pytest.param("small", "patient", marks=pytest.mark.slow),
        pytest.param("small", "thesis", marks=pytest.mark.slow),
    ],
)
def test_equal_parts_of_the_sources_own_splits(options, subset, rule):
    options = options._replace(subset=subset, split_rule=rule)
    combined = records(prepare(options))
    sources = {name: records(prepare(source_options(options, name))) for name in NAMES}
    for split in SPLITS:
        smallest = min(len(rows[split]) for rows in sources.values())
        assert len(combined[split]) == 4 * smallest > 0
        for name in NAMES:
            own = {
                f"{name}/{row['volume'].decode()}/{row['slice_index']}": row
                for row in sources[name][split]
            }
            kept = [row for row in combined[split] if row["dataset"] == name.encode()]
            keys = [f"{row['volume'].decode()}/{row['slice_index']}" for row in kept]
            assert len(keys) == len(set(keys)) == smallest and set(keys) <= set(own)
            for key, row in zip(keys, kept, strict=True):
                for field in ("image", "mask", "window_hu", "spacing_mm", "fit_orientation"):
                    np.testing.assert_array_equal(row[field], own[key][field])
                assert row["organ"].decode() == catalog.DATASETS[name].organ
                assert row["patient"].decode() == f"{name}/{own[key]['patient'].decode()}"


def test_every_slice_keeps_its_window_and_knows_its_file(options, folder):
    windows = {"ct_phantom_2d": (-900, 600), **{name: SETS[name][2] for name in SETS}}
    for rows in records(prepare(options)).values():
        for row in rows:
            name = row["dataset"].decode()
            np.testing.assert_array_equal(row["window_hu"], windows[name])
            assert name == "ct_phantom_2d" or (folder / row["source"].decode()).is_file()
    assert preparation.read_index(prepare(options))["window_hu"] is None


def test_organs_of_the_phantom_are_joined_in_their_own_splits(options, tmp_path):
    kinds = ("lung", "liver")
    options = options._replace(root=str(tmp_path), path="", kind="mixed")
    joined = records(
        prepare(options._replace(sources=tuple(f"ct_phantom_2d:{kind}" for kind in kinds)))
    )
    for kind in kinds:
        alone = records(prepare(options._replace(name="ct_phantom_2d", kind=kind, sources=())))
        for split in SPLITS:
            images = {row["image"].tobytes() for row in alone[split]}
            own = [row for row in joined[split] if row["organ"].decode() == kind]
            assert 0 < len(own) == len(joined[split]) // 2
            assert {row["image"].tobytes() for row in own} <= images
            assert all(row["patient"].decode().startswith(f"ct_phantom_2d:{kind}/") for row in own)


def test_the_seed_decides(options, tmp_path):
    first = prepare(options)
    again = prepare(options._replace(root=str(tmp_path / "again")))
    other = prepare(options._replace(split_seed=1))
    names = [name for name in preparation.read_index(first)["files"] if "array_record" in name]
    assert len(names) == 3
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
    splits = [preparation.read_index(directory)["splits"] for directory in (first, again, other)]
    assert splits[0] == splits[1] != splits[2]


def test_prepared_sources_are_found_without_raw_data(options, folder, tmp_path):
    """Under the same root without any path, and as prepared directories in the path."""
    options = options._replace(sources=NAMES[1:])
    root = tmp_path / "root"
    for name in NAMES[1:]:
        prepare(source_options(options, name)._replace(root=str(root)))
    found = prepare(options._replace(root=str(root), path=""))
    given = tmp_path / "given"
    given.mkdir()
    for name in NAMES[1:]:
        (given / name).symlink_to(prepare(source_options(options, name)))
    linked = prepare(options._replace(root=str(tmp_path / "other"), path=str(given)))
    tables = [preparation.read_index(path)["splits"] for path in (found, linked, prepare(options))]
    assert tables[0] == tables[1] == tables[2]
    with pytest.raises(ValueError, match="kits_2d was prepared with subset 'full', wanted 'small'"):
        prepare(options._replace(root=str(root), path=str(given), subset="small"))


def test_combined_set_outlives_its_sources(options, tmp_path):
    directory = prepare(options)
    copied = tmp_path / "combined_2d" / directory.parent.name / directory.name
    copied.parent.mkdir(parents=True)
    copied.symlink_to(directory)
    options = options._replace(sources=NAMES, root=str(tmp_path), path="")
    assert prepare(options) == copied


def test_all_slices_are_not_found_in_a_set_of_a_version_that_knew_equal_parts_only(
    options, tmp_path
):
    directory = prepare(options)
    copied = tmp_path / "combined_2d" / directory.parent.name / directory.name
    copied.parent.mkdir(parents=True)
    shutil.copytree(directory, copied)
    index = json.loads((copied / "index.json").read_text())
    del index["options"]["balanced"]
    (copied / "index.json").write_text(json.dumps(index))
    options = options._replace(root=str(tmp_path), path="")
    assert prepare(options) == copied
    with pytest.raises(ValueError, match="lacks 3 of 4 sources"):
        prepare(options._replace(balanced=False))


def test_missing_sources_are_all_named(options, tmp_path):
    with pytest.raises(ValueError) as caught:
        prepare(options._replace(root=str(tmp_path), path="", sources=()))
    message = str(caught.value)
    for name in ("kits_2d", "lits_2d", "md_panc_2d", "lidc_2d"):
        assert f"{name}: " in message and f"DIR/{name}" in message
    assert "combined_2d lacks 4 of 4 sources" in message and "\n" not in message


@pytest.mark.parametrize("sources", [("kits_2d",), ("kits_2d",) * 2, ("kits_2d", "combined_2d")])
def test_sources_that_make_no_sense(options, sources):
    with pytest.raises(ValueError, match="must be two or more different datasets"):
        prepare(options._replace(sources=sources))
    with pytest.raises(ValueError, match="data.sources must be one of"):
        prepare(options._replace(sources=("kits", "lits_2d")))
    with pytest.raises(ValueError, match="data.sources must be one of.*'kits_2d:lung'"):
        prepare(options._replace(sources=("kits_2d:lung", "lits_2d")))
    with pytest.raises(ValueError, match="data.phantom_kind must be one of"):
        prepare(options._replace(sources=("ct_phantom_2d:knee", "lits_2d")))


@pytest.mark.slow
def test_broken_volumes_of_a_source_are_told(folder, options, tmp_path):
    path = tmp_path / "raw"
    for name, (write, *_) in SETS.items():
        volumes = write(path / name)
    broken = volumes["pancreas_003"].image_path
    broken.write_bytes(broken.read_bytes()[:-30])
    options = options._replace(path=str(path), sources=tuple(SETS), root=str(tmp_path / "root"))
    with pytest.warns(UserWarning, match="md_panc_2d: 1 of 7 volumes left out"):
        index = preparation.read_index(prepare(options))
    assert list(index["skipped"]) == ["md_panc_2d/pancreas_003"]
    assert len(index["without_lesion"]) == 3
    with pytest.raises(ValueError, match="strict: .*pancreas_003.*truncated"):
        prepare(options._replace(strict=True))


def test_batches_carry_the_windows(options):
    directory = prepare(options)
    slices = pipeline.open_split(directory, "train")
    batch = next(pipeline.eval_batches(slices, np.arange(len(slices)), batch_size=len(slices)))
    low = {tuple(window) for window in np.asarray(batch.window_hu).tolist()}
    assert low == {(-900.0, 600.0), (-150.0, 250.0), (-45.0, 105.0)}
    assert json.loads((directory / "index.json").read_text())["name"] == "combined_2d"
