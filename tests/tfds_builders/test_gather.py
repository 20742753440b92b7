"""Several folders as one: files, windows, clashes; joined with another dataset."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.catalog import SPLITS
from ecc_jax.data import pipeline
from tests.folders import save, scan, write_scans
from tests.loading import load
from tests.preparing import prepare
from tfds_builders import prepared_index
from tfds_builders.ct_folder_2d.files import find_pairs
from tfds_builders.ct_folder_2d.gather import Source, gather
from tfds_builders.ct_folder_2d.windows import find_file, read_windows
from tfds_builders.options import DataOptions

ROOT = Path(__file__).parents[2]
LUNG, SOFT, OWN = (-1000.0, 400.0), (-150.0, 250.0), (-45.0, 105.0)


@pytest.fixture
def lung(tmp_path):
    """Six volumes of three patients, with the masks of readers for two of them."""
    folder = tmp_path / "lung"
    for seed in range(6):
        for part, array in zip(("images", "labels"), scan(seed), strict=True):
            save(folder / part / f"L{seed // 2}_n{seed % 2}.nii.gz", array)
    for name in ("L0_n0", "L2_n1"):
        save(folder / "readers" / f"{name}.nii.gz", scan(0)[1] * 3)
    return folder


@pytest.fixture
def soft(tmp_path):
    """Three volumes that are wanted and one that is not; pairs of files, and one own window."""
    folder = tmp_path / "soft"
    for seed, name in enumerate(("S1_0000", "S2", "S3", "other")):
        image, labels = scan(10 + seed)
        suffix = ".img" if name == "S2" else ".nii"
        save(folder / "imagesTr" / f"{name}{suffix}", image)
        save(folder / "labelsTr" / f"{name.removesuffix('_0000')}.nii.gz", labels)
    (folder / "windows.csv").write_text("volume;low;high\nS3;-45;105\n")
    return folder


def windows_of(folder):
    return read_windows(find_file(folder), list(find_pairs(folder)))


@pytest.mark.parametrize("copy", [False, True])
def test_gathered_volumes_are_those_of_the_sources(lung, soft, tmp_path, copy):
    out = tmp_path / "new" / "all"
    found = gather([Source(lung, window_hu=LUNG), Source(soft, only="^S")], out, copy=copy)
    assert [(len(part.volumes), part.num_readers) for part in found] == [(6, 2), (3, 0)]
    assert found[1].left_out == ["other"]
    assert found[0].windows_hu == [LUNG] and found[1].windows_hu == [SOFT, OWN]
    pairs, sources = find_pairs(out), {**find_pairs(lung), **find_pairs(soft)}
    assert set(pairs) == set(sources) - {"other"}
    for name, pair in pairs.items():
        assert (pair.readers is None) == (sources[name].readers is None)
        for file, source in zip(filter(None, pair), filter(None, sources[name]), strict=True):
            assert file.is_symlink() != copy
            np.testing.assert_array_equal(nib.load(file).dataobj, nib.load(source).dataobj)
    lungs = {name: LUNG for name in pairs if name[0] == "L"}
    assert windows_of(out) == lungs | {"S1": SOFT, "S2": SOFT, "S3": OWN}
    assert sorted(path.name for path in (out / "readers").iterdir()) == [
        "L0_n0.nii.gz",
        "L2_n1.nii.gz",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["all"]


def test_a_window_that_is_given_goes_before_that_of_the_source(soft, tmp_path):
    gather([Source(soft, "S[23]", LUNG)], tmp_path / "out")
    assert windows_of(tmp_path / "out") == {"S2": LUNG, "S3": LUNG}


def test_an_empty_folder_is_filled_and_another_is_refused(lung, tmp_path):
    (tmp_path / "out").mkdir()
    gather([Source(lung)], tmp_path / "out")
    with pytest.raises(ValueError, match="out: is there already; name a new folder"):
        gather([Source(lung)], tmp_path / "out")


@pytest.mark.parametrize("name", ["L1_n0", "l1_N0"])
def test_names_that_clash_are_refused(lung, tmp_path, name):
    write_scans(tmp_path / "twin", count=1, names=name)
    with pytest.raises(ValueError) as caught:
        gather([Source(lung), Source(tmp_path / "twin")], tmp_path / "out")
    message = f"{name} is in {lung} and in {tmp_path / 'twin'}; rename one, or leave it out"
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": Path("/nowhere")}, "/nowhere: is not a folder"),
        ({"only": "^X"}, r"'\^X' matches none of L0_n0, "),
        ({"only": "("}, "is not a regular expression"),
        ({"window_hu": (400.0, -1000.0)}, "must be two HU, low < high"),
    ],
)
def test_sources_that_make_no_sense(lung, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        gather([Source(lung)._replace(**change)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_label_values_are_not_lost_in_silence(lung, tmp_path):
    (lung / "dataset.json").write_text('{"labels": {"1": "lung", "2": "nodule"}}')
    with pytest.raises(ValueError, match=r"dataset.json gives names .* lesion value 1 everywhere"):
        gather([Source(lung)], tmp_path / "out")


def test_what_cannot_be_written_leaves_nothing(lung, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfds_builders.ct_folder_2d.gather.shutil.copy2", full)
    with pytest.raises(OSError, match="No space"):
        gather([Source(lung)], tmp_path / "new" / "out", copy=True)
    assert list((tmp_path / "new").iterdir()) == []


def load_script():
    return load(ROOT / "scripts/gather_folders.py")


def test_the_script_gives_options_to_the_folder_before_them(lung, soft, tmp_path, capsys):
    out = tmp_path / "out"
    command = f"--out {out} --from {lung} --window -1000 400 --from {soft} --only ^S[12]"
    assert load_script().main(command.split()) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err.splitlines() == [
        f"{lung}: 6 volumes, 2 with readers, window -1000..400 HU",
        f"{soft}: 2 volumes, 0 with readers, window -150..250 HU; left out: S3, other",
    ]
    assert load_script().main(command.split()) == 1
    assert capsys.readouterr().err.startswith(f"error: {out}: is there already")
    with pytest.raises(SystemExit):
        load_script().main(["--out", str(out), "--only", "x", "--from", str(lung)])
    assert "--only holds for the folder before it" in capsys.readouterr().err


@pytest.fixture
def joined(lung, soft, tmp_path):
    """Options of the gathered folder and the phantom as one set, all slices of both."""
    gather([Source(lung, "", LUNG), Source(soft, "^S")], tmp_path / "raw" / "ct_folder_2d")
    return DataOptions(
        "combined_2d",
        root=str(tmp_path / "root"),
        path=str(tmp_path / "raw"),
        size=48,
        sources=("ct_folder_2d", "ct_phantom_2d"),
        balanced=False,
        patient_regex=r"^(L\d+|S\d+)",
        num_patients=4,
    )


def test_folder_and_phantom_are_joined_with_all_their_slices(joined):
    directory = prepare(joined)
    builder = tfds.builder_from_directory(directory)
    rows = [row for split in SPLITS for row in builder.as_data_source(split)]
    folder = [row for row in rows if row["dataset"] == b"ct_folder_2d"]
    patients = {row["patient"].decode() for row in folder}
    assert patients == {f"ct_folder_2d/{name}" for name in ("L0", "L1", "L2", "S1", "S2", "S3")}
    # A scan has a lesion in three slices.
    assert len(folder) == 9 * 3
    for row in folder:
        name = row["volume"].decode().removeprefix("ct_folder_2d/")
        expected = {"L": LUNG, "S": OWN if name == "S3" else SOFT}[name[0]]
        np.testing.assert_array_equal(row["window_hu"], expected)
        low, high = expected
        assert low <= row["image"].min() and row["image"].max() <= high
    phantom = {row["patient"].decode() for row in rows} - patients
    assert phantom == {f"ct_phantom_2d/phantom_{i:05d}" for i in range(4)}
    own = prepare(joined._replace(name="ct_phantom_2d", path="", sources=()))
    counts = prepared_index.read_index(own)["counts"]
    assert len(rows) - len(folder) == sum(counts[split]["slices"] for split in SPLITS)
    # The thesis's counts are not those of other sources.
    assert "thesis" not in prepared_index.summary(prepared_index.read_index(directory))


def test_balanced_and_all_slices_are_two_datasets(joined):
    every, balanced = prepare(joined), prepare(joined._replace(balanced=True))
    assert every != balanced
    sizes = [len(pipeline.open_split(path, "all")) for path in (every, balanced)]
    assert sizes[0] > sizes[1]


def test_folds_of_the_joined_set_hold_whole_patients(joined):
    directory = prepare(joined)
    tested = []
    for fold in range(2):
        folds = pipeline.Folds(2, fold, 0)
        parts = [
            {row["patient"] for row in pipeline.open_split(directory, split, folds=folds).index}
            for split in SPLITS
        ]
        assert not parts[0] & parts[1] and not parts[2] & (parts[0] | parts[1])
        tested += sorted(parts[2])
    assert len(tested) == len(set(tested)) == 10
    assert all(re.match(r"ct_(folder|phantom)_2d/", name) for name in tested)
