"""Nothing in a raw folder vanishes: what is not used is named, with its nearest match."""

import os
import shutil
import unicodedata
import warnings

import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.catalog import SPLITS
from tests.folders import AFFINE, save, scan, write_scans
from tests.nifti_sets import SETS, SIDE
from tests.preparing import prepare, refusal
from tfds_builders import preparation, prepared_index
from tfds_builders.ct_folder_2d.files import find_pairs, read_folder
from tfds_builders.options import DataOptions


@pytest.fixture
def folder(tmp_path):
    return write_scans(tmp_path / "ct")


@pytest.fixture
def options(tmp_path, folder):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), path=str(folder), size=32)


def volumes(options):
    index = preparation.read_index(prepare(options))
    return {name for table in index["splits"].values() for name in table["volume"]}


def test_pairs_are_used_like_any_other_file(folder, options):
    for part, array in zip(("images", "labels"), scan(7), strict=True):
        save(folder / part / "pair.img", array)
    image, labels = scan(8)
    save(folder / "images" / "half.img", image)
    save(folder / "labels" / "half.nii.gz", labels)
    image, labels = scan(9)
    save(folder / "images" / "big_0000.img", image)
    for suffix in (".hdr", ".img"):
        (folder / "images" / f"big_0000{suffix}").rename(
            folder / f"images/big_0000{suffix.upper()}"
        )
    save(folder / "labels" / "big.nii", labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*ignored.*")
        assert volumes(options) >= {"pair", "half", "big"}
    builder = tfds.builder_from_directory(prepare(options._replace(variant="raw")))
    rows = [row for split in SPLITS for row in builder.as_data_source(split)]
    row = next(row for row in rows if row["volume"] == b"pair" and row["slice_index"] == 2)
    np.testing.assert_array_equal(row["image"], scan(7)[0][:, :, 2].T)


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_a_changed_half_of_a_pair_is_prepared_again(folder, options, suffix):
    for part, array in zip(("images", "labels"), scan(7), strict=True):
        save(folder / part / "pair.img", array)
    first = prepare(options)
    assert prepare(options) == first
    half = folder / "images" / f"pair{suffix}"
    half.write_bytes(half.read_bytes() + b"\0\0\0\0")
    assert prepare(options) != first


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_half_a_pair_is_refused(folder, options, suffix):
    for part, array in zip(("images", "labels"), scan(7), strict=True):
        save(folder / part / "pair.img", array)
    (folder / "images" / f"pair{suffix}").unlink()
    assert "pair." in refusal(options)


def test_one_volume_as_pair_and_as_single_file(folder, options):
    save(folder / "images" / "case1.img", scan(1)[0])
    assert "volume 'case1' is there twice, case1.hdr and case1.nii.gz" in refusal(options)


FOREIGN = [
    "c6.nrrd",
    "c6.nhdr",
    "c6.mha",
    "c6.mhd",
    "c6.dcm",
    "c6.nii.xz",
    "c6.nii.bz2",
    "c6.nii.zip",
    "c6.mgz",
    "c6.npy",
    "IM0001",
    "c6.nii.gz.part",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_named_whenever_the_data_are_used(folder, options, name):
    assert volumes(options) == {"case0", "case1", "case2", "case3"}
    (folder / "images" / name).write_bytes(b"something")
    for _ in range(2):  # also where nothing is built
        with pytest.warns(UserWarning, match=f"1 files or folders are ignored: images/{name} "):
            prepare(options)


def test_everything_ignored_is_in_the_index_and_its_table(folder, options):
    (folder / "images" / "c6.nrrd").write_text("NRRD0004\n")
    (folder / "labels" / "empty.seg").touch()
    (folder / "labels" / "away.mha").symlink_to(folder / "nowhere.mha")
    save(folder / "images" / "patient6" / "c5.nii.gz", scan(5)[0])
    (folder / "images" / "no files").mkdir()
    (folder / "imagesTr").mkdir()
    expected = {
        "images/c6.nrrd": "no NIfTI file",
        "images/patient6/": "a folder of 1 files",
        "labels/away.mha": "a link to nowhere",
        "labels/empty.seg": "an empty file",
        "imagesTr/": "images and labels are used",
    }
    with pytest.warns(UserWarning, match="5 files or folders are ignored: .*; used are .nii"):
        index = preparation.read_index(prepare(options))
    assert index["remarks"]["file ignored"] == expected
    assert "  file ignored: 5 (images/c6.nrrd, " in prepared_index.summary(index)


def test_harmless_files_are_not_worth_a_word(folder, options):
    for name in (
        "README",
        "readme.md",
        "LICENSE",
        "list.csv",
        "dataset.json",
        "SHA256SUMS",
        "a.md5",
    ):
        (folder / "images" / name).write_text("words")
        (folder / "labels" / f".{name}").write_text("words")
    (folder / "images" / "._case0.nrrd").write_text("words")
    (folder / "labels" / ".cache").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "file ignored" not in preparation.read_index(prepare(options))["remarks"]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (
            "Case2.nii.gz",
            "(nearest in labels: Case2.nii.gz, which differs in upper and lower case)",
        ),
        ("case_2.nii.gz", "(nearest in labels: case_2.nii.gz)"),
        ("case2_seg.nii.gz", "(nearest in labels: case2_seg.nii.gz)"),
        ("case2.nrrd", "(nearest in labels: case2.nrrd, ignored: no NIfTI file)"),
        ("quite another.nii.gz", "without a label: case2.nii.gz; add masks"),
    ],
)
def test_an_image_without_label_names_the_nearest(folder, options, label, says):
    (folder / "labels" / "case2.nii.gz").rename(folder / "labels" / label)
    assert says in refusal(options)


@pytest.mark.parametrize("image", ["case2.nrrd", "case_2.mha", "case2"])
def test_a_label_without_image_names_the_nearest(folder, options, image):
    path = folder / "images" / "case2.nii.gz"
    if image == "case2":  # as macOS unpacks: a folder of the file's name
        path.rename(folder / "kept")
        (folder / "images" / image).mkdir()
        (folder / "kept").rename(folder / "images" / image / "case2.nii.gz")
    else:
        path.rename(folder / "images" / image)
    message = refusal(options)
    assert "1 labels without an image: case2.nii.gz (nearest in images: " + image in message
    assert "ignored: " in message


@pytest.mark.parametrize("name", ["Müller", "Ångström 3", "ﬁeber é"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_spellings_are_one_name(folder, options, name, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    spelled = [unicodedata.normalize(f, name) for f in (form, other)]
    for part, own, array in zip(("images", "labels"), spelled, scan(7), strict=True):
        save(folder / part / f"{own}.nii.gz", array)
    composed = unicodedata.normalize("NFC", name)
    (folder / "windows.csv").write_text(f"volume;low;high\n{spelled[0]};0;100\n", encoding="utf-8")
    assert composed in volumes(options)
    save(folder / "images" / f"{spelled[1]}.nii", scan(7)[0])
    assert f"volume {composed!r} is there twice" in refusal(options)


def test_links_to_nowhere_are_refused_where_a_volume_should_be(folder, options):
    (folder / "images" / "case2.nii.gz").unlink()
    (folder / "images" / "case2.nii.gz").symlink_to("moved/case2.nii.gz")
    message = refusal(options)
    assert "images/case2.nii.gz: a link to moved/case2.nii.gz, which is not there" in message


def test_links_that_lead_somewhere_are_followed(folder, options, tmp_path):
    moved = shutil.move(folder / "images" / "case2.nii.gz", tmp_path / "elsewhere.nii.gz")
    (folder / "images" / "case2.nii.gz").symlink_to(moved)
    assert "case2" in volumes(options)


def test_an_empty_file_is_refused(folder, options):
    (folder / "labels" / "case2.nii.gz").write_bytes(b"")
    assert "case2.nii.gz" in refusal(options)


def test_folder_of_foreign_files_alone(tmp_path, options):
    for part in ("images", "labels"):
        (tmp_path / "odd" / part).mkdir(parents=True)
        (tmp_path / "odd" / part / "c.nrrd").write_text("NRRD0004\n")
    message = refusal(options._replace(path=str(tmp_path / "odd")))
    assert "holds no .nii or .nii.gz file, but images/c.nrrd, labels/c.nrrd; put" in message


def test_pairs_are_listed_once(folder):
    save(folder / "images" / "pair.img", scan(7)[0])
    save(folder / "labels" / "pair.img", scan(7)[1])
    assert read_folder(folder).ignored == {}
    assert list(find_pairs(folder)) == ["case0", "case1", "case2", "case3", "pair"]


@pytest.mark.parametrize("name", sorted(SETS))
def test_fixed_layouts_name_what_they_do_not_recognise(name, tmp_path):
    raw = tmp_path / "raw"
    written = SETS[name][0](raw)
    first = next(iter(written.values())).image_path
    own_extras = {
        "kits_2d": first.parent / "instances" / "kidney_instance-1_annotation-1.nii.gz",
        "lits_2d": first.parent / "test-volume-3.nii",
        "md_panc_2d": raw / "Task07_Pancreas" / "imagesTs" / "pancreas_900.nii.gz",
    }
    save(own_extras[name], scan(0)[0])
    options = DataOptions(name, root=str(tmp_path / "root"), path=str(raw), size=SIDE)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*ignored.*")
        first_build = prepare(options)
    deep = raw / "a" / "b" / "c" / "d" / "e"
    save(deep / "volume-1.nii", scan(0)[0])
    (deep.parent.parent / "scan.nrrd").write_text("NRRD0004\n")
    save(first.parent / "renamed.nii.gz", scan(0)[0])
    save(raw / "stray.img", scan(0)[0])
    with pytest.warns(UserWarning, match=f"{name}: 3 files or folders are ignored: ") as caught:
        assert prepare(options) == first_build  # they change nothing
    message = str(caught[0].message)
    assert "renamed.nii.gz (its name is not one of this dataset)" in message
    assert "stray.hdr (its name is not one of this dataset)" in message
    assert "a/b/c/scan.nrrd (in a format that is not read)" in message


@pytest.mark.parametrize("name", sorted(SETS))
def test_volumes_too_deep_to_be_found(name, tmp_path):
    SETS[name][0](tmp_path / "raw")
    save(tmp_path / "raw" / "a" / "b" / "c" / "d" / "volume-1.nii", scan(0)[0])
    options = DataOptions(name, root=str(tmp_path / "root"), path=str(tmp_path / "raw"), size=SIDE)
    with pytest.warns(UserWarning, match=r"a/b/c/d \(too deep: 4 levels of folders are"):
        index = preparation.read_index(prepare(options))
    assert list(index["remarks"]["file ignored"]) == ["a/b/c/d"]


@pytest.mark.parametrize("name", sorted(SETS))
def test_fixed_layouts_read_pairs_and_name_links_to_nowhere(name, tmp_path):
    written = SETS[name][0](tmp_path / "raw")
    names = sorted(written)
    raw = written[names[0]]
    stem = raw.image_path.name.split(".")[0]
    affine = nibabel.load(raw.image_path).affine
    raw.image_path.unlink()
    save(raw.image_path.with_name(f"{stem}.img"), raw.image, affine)
    lost = written[names[3]].label_path
    lost.unlink()
    lost.symlink_to("gone.nii.gz")
    options = DataOptions(name, root=str(tmp_path / "root"), path=str(tmp_path / "raw"), size=SIDE)
    with pytest.warns(UserWarning, match="1 of 7 volumes left out: .*a link to gone.nii.gz"):
        index = preparation.read_index(prepare(options))
    assert list(index["skipped"]) == [names[3]]
    assert names[0] in {name for table in index["splits"].values() for name in table["volume"]}


def test_nothing_recognised_says_what_is_there(tmp_path):
    save(tmp_path / "raw" / "case_7" / "image.nii.gz", scan(0)[0], AFFINE)
    options = DataOptions("kits_2d", root=str(tmp_path / "root"), path=str(tmp_path / "raw"))
    with pytest.raises(ValueError, match="segmentation.nii.gz, but case_7/image.nii.gz; get KiTS"):
        prepare(options)


@pytest.mark.parametrize("name", [b"case_\xfc.nii.gz", b"\xe9t\xe9.nii.gz", b"\xb1\xa1.nii"])
def test_names_that_are_no_text_are_refused_by_their_bytes(folder, options, name):
    for part in ("images", "labels"):
        suffix = b".nii.gz" if name.endswith(b".gz") else b".nii"
        source = folder / part / "new.nii"
        save(source.with_name(f"new{suffix.decode()}"), scan(9)[part == "labels"])
        os.rename(
            os.fsencode(source.with_name(f"new{suffix.decode()}")),
            os.path.join(os.fsencode(folder / part), name),
        )
    message = refusal(options)
    assert repr(name) in message and "rename it" in message
