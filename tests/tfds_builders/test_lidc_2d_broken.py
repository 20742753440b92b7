"""lidc_2d: broken inputs are named and the other scans go on."""

import shutil
import warnings

import pytest

from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import UID_ROOT
from tests.raw_layouts.lidc_archive import SCANS, SPLITS, folder_of, index_of, prepare


def cut_slice(folder):
    path = sorted(folder.glob("*.dcm"))[2]
    path.write_bytes(path.read_bytes()[:-700])


def cut_header(folder):
    path = sorted(folder.glob("*.dcm"))[8]
    path.write_bytes(path.read_bytes()[:300])


def no_dicom(folder):
    for path in folder.glob("*.dcm"):
        path.unlink()


def no_xml(folder):
    (folder / "069.xml").unlink()


def cut_xml(folder):
    path = folder / "069.xml"
    path.write_text(path.read_text()[:-9])


def outside(folder):
    path = folder / "069.xml"
    path.write_text(path.read_text().replace("<xCoord>5", "<xCoord>7"))


def elsewhere(folder):
    path = folder / "069.xml"
    text = path.read_text().replace("<imageSOP_UID>1", "<imageSOP_UID>9")
    path.write_text(text.replace("<imageZposition>-", "<imageZposition>"))


def other_size(folder):
    lidc.edit(sorted(folder.glob("*.dcm"))[3], Rows=60, Columns=48)


def two_readings(folder):
    text = (folder / "069.xml").read_text()
    (folder / "070.xml").write_text(text.replace("<xCoord>5", "<xCoord>4"))


def two_copies(folder):
    shutil.copytree(folder, folder.with_name("copy"), ignore=shutil.ignore_patterns("*.xml"))


def no_series_in_xml(folder):
    path = folder / "069.xml"
    path.write_text(path.read_text().replace("SeriesInstanceUid", "Other"))


BROKEN = [
    (cut_slice, "1-003.dcm: the pixels cannot be read, truncated or corrupt"),
    (cut_header, "1-009.dcm: has no SeriesInstanceUID, perhaps truncated"),
    (no_dicom, f"069.xml: its DICOM series {UID_ROOT}4 is not there"),
    (no_xml, "no XML file for its series"),
    (cut_xml, "069.xml: not well-formed XML"),
    (outside, "lies outside the 48 x 60 pixels"),
    (elsewhere, "069.xml: outlines at z = 94 mm, the nearest slice of"),
    (other_size, "1-004.dcm: rows and columns differ"),
    (two_readings, f"series {UID_ROOT}4 has XML files that differ"),
    (two_copies, f"series {UID_ROOT}4 lies in several folders"),
    (no_series_in_xml, "069.xml: has no SeriesInstanceUid"),
]


@pytest.mark.parametrize(
    ("spoil", "says"), BROKEN, ids=lambda value: getattr(value, "__name__", "")
)
def test_broken_input_is_named_and_the_others_go_on(archive, options, spoil, says):
    spoil(folder_of(archive, 4))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = index_of(options)
    assert any(says in reason and "\n" not in reason for reason in index["skipped"].values())
    assert any("broken inputs left out" in str(w.message) for w in caught)
    patients = {p for split in SPLITS for p in index["splits"][split]["patient"]}
    assert patients == set(SCANS) - {"LIDC-IDRI-0004"}
    with pytest.raises(ValueError) as refused:
        prepare(options._replace(strict=True, root=options.root + "2"))
    assert "\n" not in str(refused.value)


def test_nothing_readable(archive, options):
    for number in (1, 2, 3, 4):
        no_dicom(folder_of(archive, number)) if number > 1 else cut_header(folder_of(archive, 1))
    with pytest.raises(ValueError, match="no scan with a nodule can be read; .*1-009.dcm"):
        prepare(options)


def test_folders_without_data(options, tmp_path, archive):
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, says in (
        (empty, "holds no DICOM file; get LIDC-IDRI"),
        (tmp_path / "x", "not a fol"),
    ):
        with pytest.raises(ValueError, match=says):
            prepare(options._replace(path=str(path)))
    for xml in archive.rglob("*.xml"):
        xml.unlink()
    with pytest.raises(ValueError, match="holds no XML file; get LIDC-IDRI"):
        prepare(options)
    with pytest.raises(ValueError, match="data.path is empty; get LIDC-IDRI"):
        prepare(options._replace(path=""))
