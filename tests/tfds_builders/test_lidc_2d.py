"""lidc_2d from raw files: what a build holds, what the rule leaves out, what is broken."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecc_jax.data import pipeline, slices
from tests.raw_layouts import lidc, lidc_oracle
from tests.raw_layouts.lidc import UID_ROOT, Ball, Scan
from tfds_builders import preparation
from tfds_builders.preparation import DataOptions

SPLITS = ("train", "validation", "test")
SHAPE = (9, 48, 60)  # neither square nor the size of the records
# By patient: a nodule of four readers and one of three that share slices; readers who disagree;
# one that only two saw beside one that three saw.
BALLS = {
    "LIDC-IDRI-0001": (Ball((4, 20, 16), (5, 6, 4, 7)), Ball((6, 30, 40), (4, 0, 5, 4.5))),
    "LIDC-IDRI-0002": (Ball((5, 24, 30), (5, 6, 5, 6)),),
    "LIDC-IDRI-0003": (Ball((3, 24, 30), (0, 6, 6, 6)), Ball((6, 10, 12), (5, 5, 0, 0))),
    "LIDC-IDRI-0004": (Ball((2, 40, 50), (4, 4, 4, 1.5)),),
}
SCANS = {
    "LIDC-IDRI-0001": Scan(UID_ROOT + "1", "LIDC-IDRI-0001"),
    "LIDC-IDRI-0002": Scan(UID_ROOT + "2", "LIDC-IDRI-0002", reverse=True, step_mm=1.25),
    "LIDC-IDRI-0003": Scan(UID_ROOT + "3", "LIDC-IDRI-0003", z0_mm=-8.0, pixel_mm=(0.6, 0.8)),
    "LIDC-IDRI-0004": Scan(UID_ROOT + "4", "LIDC-IDRI-0004"),
}


def flat(scan):
    """Balls are round in pixels however far the slices are apart."""
    return [ball._replace(flat=scan.step_mm) for ball in BALLS[scan.patient]]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive") / "LIDC-IDRI"
    for scan in SCANS.values():
        lidc.write_patient(root, flat(scan), SHAPE, scan)
    return root


@pytest.fixture
def archive(written, tmp_path):
    return shutil.copytree(written, tmp_path / "LIDC-IDRI")


@pytest.fixture
def options(tmp_path, archive):
    return DataOptions("lidc_2d", root=str(tmp_path / "root"), path=str(archive), size=60)


def prepare(options):
    return preparation.prepare(options, progress=False)


def index_of(options):
    return preparation.read_index(prepare(options))


def records(options):
    builder = tfds.builder_from_directory(prepare(options))
    rows = [row for split in SPLITS for row in builder.as_data_source(split)]
    return {(row["patient"].decode(), int(row["slice_index"])): row for row in rows}


def folder_of(archive, number):
    (folder,) = (archive / f"LIDC-IDRI-000{number}" / "study-1").iterdir()
    return folder


def unpadded(array):
    assert not array[:6].any() and not array[54:].any()
    return array[6:54]


def test_records_hold_slices_and_readers(options):
    rows = records(options)
    expected = {patient: lidc.agreed(flat(scan), SHAPE) for patient, scan in SCANS.items()}
    assert sorted(rows) == [
        (patient, int(k))
        for patient, mask in expected.items()
        for k in np.flatnonzero(mask.any(axis=(1, 2)))
    ]
    for (patient, k), row in rows.items():
        scan, balls = SCANS[patient], flat(SCANS[patient])
        hu = lidc.thorax(SHAPE, balls, seed=int(scan.series_uid[-1]))
        np.testing.assert_array_equal(row["image"][6:54], np.clip(hu[k], -900, 600))
        np.testing.assert_array_equal(unpadded(row["mask"]), expected[patient][k])
        back = slices.unfit_mask(row["mask"], slices.stored_fit(row))
        np.testing.assert_array_equal(back, expected[patient][k])
        counted = [ball for ball in balls if np.count_nonzero(ball.radii) >= 3]
        drawn = np.any([ball.masks(SHAPE)[:, k] for ball in counted], axis=0)
        bits = unpadded(row["reader_masks"])
        for reader in range(8):
            own = drawn[reader] if reader < 4 else np.zeros(SHAPE[1:], bool)
            np.testing.assert_array_equal((bits >> reader) & 1, own)
        assert row["num_readers"] == 4 and row["lesion_area"] == expected[patient][k].sum()
        assert row["volume"].decode() == scan.series_uid
        assert row["source"].decode() == f"{patient}/study-1/series-{scan.series_uid[-8:]}"
        np.testing.assert_array_equal(row["window_hu"], (-900, 600))
        np.testing.assert_allclose(row["spacing_mm"], (scan.step_mm, *scan.pixel_mm), rtol=1e-6)


def test_counts_equal_brute_force(archive, options):
    index = index_of(options)
    counts = [lidc_oracle.count_slices(path) for path in sorted(archive.rglob("*.xml"))]
    assert sum(index["counts"][split]["slices"] for split in SPLITS) == sum(counts) > 12
    assert index["skipped"] == index["excluded"] == {} and index["without_lesion"] == []
    patients = [set(index["splits"][split]["patient"]) for split in SPLITS]
    assert sum(map(len, patients)) == 4 == len(set.union(*patients))


def test_small_is_the_largest_slice_of_each_patient(options):
    rows = records(options._replace(subset="small"))
    assert sorted(patient for patient, _ in rows) == sorted(SCANS)
    for (patient, k), row in rows.items():
        areas = lidc.agreed(flat(SCANS[patient]), SHAPE).sum(axis=(1, 2))
        assert row["lesion_area"] == areas.max() and k == areas.argmax()


def test_batches(options):
    chosen = pipeline.open_split(prepare(options), "all")
    batch = next(iter(pipeline.eval_batches(chosen, np.arange(len(chosen)), batch_size=4)))
    assert batch.image_hu.shape == (4, 60, 60) and batch.target.any(axis=(1, 2)).all()


def test_resized_readers_follow_the_mask(options):
    for row in records(options._replace(size=32)).values():
        bits = row["reader_masks"]
        votes = sum((bits >> reader) & 1 for reader in range(4))
        assert row["mask"].any() and (votes[row["mask"] == 1] >= 1).all()


def test_jobs_change_nothing(options):
    alone = records(options)
    together = records(options._replace(jobs=2, root=options.root + "2"))
    assert alone.keys() == together.keys()
    for key, row in alone.items():
        np.testing.assert_array_equal(row["image"], together[key]["image"])
        np.testing.assert_array_equal(row["reader_masks"], together[key]["reader_masks"])


def test_thesis_split_is_refused(options):
    with pytest.raises(ValueError, match="cannot be reproduced: 5097/830/1680.*split_rule=patient"):
        prepare(options._replace(split_rule="thesis"))


def test_flat_folders_and_xml_apart(archive, options, tmp_path):
    """As some download tools store them: series by uid in one folder, all XML in another."""
    other = tmp_path / "other"
    for number in (1, 2, 3, 4):
        folder = folder_of(archive, number)
        shutil.copytree(folder, other / "images" / f"{number}")
        (other / "xml" / f"{number}").mkdir(parents=True)
        (other / "images" / f"{number}" / "069.xml").rename(other / f"xml/{number}/069.XML")
    expected, rows = records(options), records(options._replace(path=str(other)))
    assert rows.keys() == expected.keys()


def test_two_series_in_one_folder(archive, options):
    first, second = folder_of(archive, 1), folder_of(archive, 4)
    for path in second.iterdir():
        path.rename(first / f"second-{path.name}")
    assert len({patient for patient, _ in records(options)}) == 4


def test_positions_match_where_uids_do_not(archive, options):
    expected = records(options)
    for path in archive.rglob("*.xml"):
        path.write_text(path.read_text().replace("<imageSOP_UID>1", "<imageSOP_UID>9"))
    assert records(options).keys() == expected.keys()


def excluded(options, number, says):
    """The scan of a patient is excluded by rule, even where broken inputs are refused."""
    index = index_of(options._replace(strict=True))
    (reason,) = index["excluded"].values()
    assert says in reason and f"000{number}" in reason and index["skipped"] == {}
    patients = {p for split in SPLITS for p in index["splits"][split]["patient"]}
    assert patients == set(SCANS) - {f"LIDC-IDRI-000{number}"}


def test_thick_slices_are_excluded(archive, options):
    for path in folder_of(archive, 4).glob("*.dcm"):
        lidc.edit(path, SliceThickness=3)
    excluded(options, 4, "slices 3 mm thick, more than 2.5")


def test_missing_and_duplicate_slices_are_excluded(archive, options):
    files = sorted(folder_of(archive, 3).glob("*.dcm"))
    moved = files[4].rename(archive.parent / "spare")
    excluded(options, 3, "about 1 slices missing")
    moved.rename(files[4])
    shutil.copy(files[2], files[2].with_name("copy.dcm"))
    excluded(options, 3, "1 duplicate slices, first 1-003.dcm and copy.dcm")


def test_list_of_luna16_decides(archive, options):
    for path in folder_of(archive, 4).glob("*.dcm"):
        lidc.edit(path, SliceThickness=3)
    uids = [SCANS[f"LIDC-IDRI-000{n}"].series_uid for n in (1, 2, 4)]
    (archive / "seriesuids.csv").write_text("\n".join(["seriesuid", *uids, ""]))
    excluded(options, 3, "not in seriesuids.csv")
    (archive / "seriesuids.csv").write_text("seriesuid\n")
    with pytest.raises(ValueError, match="seriesuids.csv: expected LUNA16's list"):
        prepare(options)


def test_second_scan_of_a_patient_is_excluded(archive, options):
    again = SCANS["LIDC-IDRI-0003"]._replace(series_uid=UID_ROOT + "33")
    lidc.write_patient(archive, flat(again), SHAPE, again)
    index = index_of(options._replace(strict=True))
    reason = f"LIDC-IDRI-0003: a second scan; {UID_ROOT}3 is kept"
    assert index["excluded"] == {UID_ROOT + "33": reason}
    rows = records(options)
    assert {row["volume"].decode() for row in rows.values()} == {UID_ROOT + n for n in "1234"}


def test_chest_x_rays_are_left_out(archive, options):
    ray = Scan(UID_ROOT + "70", "LIDC-IDRI-0002", tags={"Modality": "DX"})
    folder = lidc.write_series(archive / "LIDC-IDRI-0002/x-ray", np.zeros((1, 20, 20)), ray)
    text = lidc.message([""], root="IdriReadMessage", session="CXRreadingSession")
    (folder / "071.xml").write_text(text)
    index = index_of(options._replace(strict=True))
    reasons = sorted(index["excluded"].values())
    assert len(reasons) == 2 and "modality DX, not CT" in reasons[1]
    assert "071.xml: the reading of a chest X-ray" in reasons[0]


def test_scan_without_agreement_has_no_lesion(archive, options):
    scan = Scan(UID_ROOT + "5", "LIDC-IDRI-0005")
    lidc.write_patient(archive, [Ball((4, 20, 20), (5, 5, 0, 0))], SHAPE, scan)
    index = index_of(options)
    assert index["without_lesion"] == [scan.series_uid] and index["excluded"] == {}


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


def test_same_reading_twice_and_its_correction(archive, options):
    """The archive's XML collection holds copies, and one correction beside what it corrects."""
    expected = records(options).keys()
    folder = folder_of(archive, 4)
    shutil.copy(folder / "069.xml", folder / "copy.xml")
    assert records(options).keys() == expected
    text = (folder / "069.xml").read_text()
    (folder / "069.xml").write_text(text.replace("<xCoord>5", "<xCoord>4"))
    (folder / "copy.xml").unlink()
    (folder / "resubmitted-correction.xml").write_text(text)
    assert records(options._replace(strict=True)).keys() == expected


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


def test_prepared_again_when_a_file_changes(archive, options):
    first = prepare(options)
    assert prepare(options) == first == prepare(options._replace(path=""))
    path = folder_of(archive, 2) / "069.xml"
    path.write_text(path.read_text() + " ")
    assert prepare(options) != first
    stored = json.loads((first / "index.json").read_text())
    assert stored["name"] == "lidc_2d" and stored["window_hu"] == [-900.0, 600.0]


def test_script_counts_from_xml_alone(written, tmp_path):
    files = sorted(written.rglob("*.xml"))
    for number, path in enumerate(files):
        shutil.copy(path, tmp_path / f"{number}.xml")
    text = files[0].read_text()
    (tmp_path / "0-copy.xml").write_text(text)
    (tmp_path / "1-corrected.xml").write_text(files[1].read_text())
    (tmp_path / "1.xml").write_text(files[1].read_text().replace("<xCoord>3", "<xCoord>9"))
    (tmp_path / "ray.xml").write_text(lidc.message([], root="IdriReadMessage"))
    (tmp_path / "bad.xml").write_text(text[:-5])
    (tmp_path / "list.csv").write_text(f"seriesuid\n{SCANS['LIDC-IDRI-0001'].series_uid}\n")
    script = Path(__file__).parents[2] / "scripts" / "count_lidc.py"
    command = [sys.executable, str(script), str(tmp_path), "--list", str(tmp_path / "list.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    table = [line.split() for line in done.stdout.splitlines()]
    for row, chosen in ((table[1], files), (table[2], files[:1])):
        counts = [sum(lidc_oracle.count_slices(p, least=n) for p in chosen) for n in (1, 2, 3)]
        assert [int(cell) for cell in row[1:]] == [len(chosen), *counts]
    assert "skipped: " in done.stderr and "bad.xml" in done.stderr and "ray" not in done.stderr
