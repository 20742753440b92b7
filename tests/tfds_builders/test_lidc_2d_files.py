"""lidc_2d: too few readers are said, and odd DICOM files are read, excluded or named."""

import shutil
import warnings

import pytest

from tests.preparing import refusal
from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import UID_ROOT, Ball, Scan
from tests.raw_layouts.lidc_archive import (
    SCANS,
    SHAPE,
    SPLITS,
    folder_of,
    index_of,
    records,
)


def only(archive, *patients):
    """Replaces the archive by patients of these nodules."""
    shutil.rmtree(archive)
    for number, balls in enumerate(patients, 1):
        scan = Scan(f"{UID_ROOT}{number}", f"P{number}")
        lidc.write_patient(archive, balls, SHAPE, scan)


FAR = ((4, 12, 12), (4, 30, 40), (4, 12, 45))


@pytest.mark.parametrize(
    ("readers", "says"),
    [
        (
            [[(5, 5)], [(5, 5)], [(4, 4)]],
            "of 3 nodules in 3 scans 3 have those of two, the rule needs 3; the XML files hold up "
            "to 2 reading sessions, get XML files with all four",
        ),
        (
            [[(5, 5, 0, 0), (0, 5, 0, 0), (0, 0, 5, 5)], [(5, 0, 5, 0)]],
            "of 4 nodules in 2 scans 3 have those of two, 1 have those of one, the rule needs 3; "
            "the XML files hold up to 4 reading sessions, add other scans",
        ),
        (
            [[(5,)], [(5,), (4,)]],
            "of 3 nodules in 2 scans 3 have those of one, the rule needs 3; the XML files hold up "
            "to 1 reading sessions, get",
        ),
    ],
)
def test_too_few_readers_are_said(archive, options, readers, says):
    only(
        archive,
        *([Ball(at, r) for at, r in zip(FAR, one, strict=False)] for one in readers),
    )
    message = refusal(options)
    assert "no nodule has the outlines of three readers: " + says in message


def test_too_few_readers_are_said_beside_what_is_broken(archive, options):
    only(archive, [Ball(FAR[0], (5, 5))], [Ball(FAR[0], (5, 5))])
    (archive / "P1" / "study-1").rename(archive / "P1" / "other")
    broken = next((archive / "P1").rglob("*.dcm"))
    broken.write_bytes(broken.read_bytes()[:200])
    message = refusal(options)
    assert "of 1 nodules in 1 scans 1 have those of two" in message and str(broken) in message


def test_readers_without_nodules_or_agreement(archive, options):
    only(archive, [Ball((4, 20, 20), (0.1, 0.1))])
    for path in archive.rglob("*.xml"):
        path.write_text(lidc.message(["", ""], series_uid=UID_ROOT + "1"))
    assert "no reader outlined a nodule of 3 mm or more in 1 scans" in refusal(options)
    ring = [(y, x) for y in (10, 14) for x in (10, 12, 14)]
    apart = [
        lidc.nodule([lidc.roi(z, ring, sop_uid=f"{UID_ROOT}1.{k}")])
        for k, z in ((1, -100), (2, -98), (3, -96))
    ]
    for path in archive.rglob("*.xml"):
        path.write_text(lidc.message(apart, series_uid=UID_ROOT + "1"))
    assert "readers agree on no pixel of the 1 nodules in 1 scans" in refusal(options)


def test_scans_of_two_readings_beside_others_are_warned_of(archive, options):
    scan = Scan(UID_ROOT + "5", "LIDC-IDRI-0005")
    folder = lidc.write_patient(archive, [Ball((4, 20, 20), (5, 5))], SHAPE, scan)
    with pytest.warns(UserWarning, match="1 scans have XML of fewer than 3 reading") as caught:
        index = index_of(options)
    assert str(folder / "069.xml") in "".join(str(w.message) for w in caught)
    assert index["without_lesion"] == [scan.series_uid]


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_bare_files_are_read(archive, options, suffix):
    """Without the 128 bytes, the mark and the meta information; of one scan, only some files."""
    expected = records(options)
    paths = [*folder_of(archive, 2).glob("*.dcm"), *sorted(folder_of(archive, 3).glob("*.dcm"))[:4]]
    for path in paths:
        raw = path.read_bytes()
        path.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
        path.rename(path.with_suffix(suffix))
    rows = records(options._replace(strict=True, root=options.root + "2"))
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        assert (row["image"] == expected[key]["image"]).all()


def left_out(options):
    """Returns why the fourth patient is left out; the others are there."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        index = index_of(options)
    patients = {p for split in SPLITS for p in index["splits"][split]["patient"]}
    assert patients == set(SCANS) - {"LIDC-IDRI-0004"}
    (reason,) = index["skipped"].values()
    return reason


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"RescaleIntercept": None}, "RescaleIntercept missing in 1 of 9 files (1-005.dcm)"),
        ({"PatientID": "LIDC-IDRI-0099"}, "2 patients in one series"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "1-005.dcm: ImageType says LOCAL"),
        ({"PixelSpacing": [1, 1]}, "1-005.dcm: PixelSpacing differ from those of 1-001.dcm and 7"),
        ({"Modality": "SR"}, "1-005.dcm: modality 'SR', unlike the 8 other files"),
    ],
)
def test_odd_files_of_a_series_are_named(archive, options, tags, says):
    lidc.edit(folder_of(archive, 4) / "1-005.dcm", **tags)
    assert says in left_out(options)


def test_a_series_of_localizers_is_excluded_by_rule(archive, options):
    scouts = archive / "scouts"
    scouts.mkdir()
    shutil.copy(folder_of(archive, 4) / "1-001.dcm", scouts)
    lidc.edit(
        scouts / "1-001.dcm",
        SeriesInstanceUID=UID_ROOT + "44",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    index = index_of(options._replace(strict=True))
    assert "ImageType says LOCALIZER" in index["excluded"][UID_ROOT + "44"]
    assert "LIDC-IDRI-0004" in {p for s in SPLITS for p in index["splits"][s]["patient"]}


def test_remarks_of_scans_are_counted(archive, options):
    """One scan without rescale tags, so 1024 too high, one with positions in whole millimetres."""
    for path in folder_of(archive, 4).glob("*.dcm"):
        lidc.edit(path, RescaleSlope=None, RescaleIntercept=None)
    for k, path in enumerate(sorted(folder_of(archive, 3).glob("*.dcm"))):
        lidc.edit(path, ImagePositionPatient=[-50, -40, round(-8 + 2.25 * k)])
    for path in folder_of(archive, 3).glob("*.xml"):  # outlines follow their slices by name
        assert "imageSOP_UID" in path.read_text()
    with pytest.warns(UserWarning) as caught:
        index = index_of(options._replace(jobs=2))
    assert {kind: list(found) for kind, found in index["remarks"].items()} == {
        "no rescale tags": [UID_ROOT + "4"],
        "slice positions are rounded": [UID_ROOT + "3"],
        "values are not Hounsfield units": [UID_ROOT + "4"],
    }
    told = [str(w.message) for w in caught]
    assert any("no rescale tags in 1 of 4 volumes" in text for text in told)
