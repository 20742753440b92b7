"""lidc_2d from raw files: what a build holds, and what the rule leaves out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecc_jax.data import pipeline, slices
from tests.raw_layouts import lidc, lidc_oracle
from tests.raw_layouts.lidc import UID_ROOT, Ball, Scan
from tests.raw_layouts.lidc_archive import (
    BALLS,
    SCANS,
    SHAPE,
    SPLITS,
    flat,
    folder_of,
    index_of,
    prepare,
    records,
)
from tfds_builders import prepared_index


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


def test_prone_patient_is_turned_upright_with_the_readers(archive, options):
    scan = Scan(UID_ROOT + "6", "LIDC-IDRI-0006", orientation=(-1, 0, 0, 0, -1, 0))
    balls = BALLS["LIDC-IDRI-0001"]
    lidc.write_patient(archive, balls, SHAPE, scan)
    hu, agreed = lidc.thorax(SHAPE, balls, seed=6), lidc.agreed(balls, SHAPE)
    found = {k: row for (p, k), row in records(options).items() if p == "LIDC-IDRI-0006"}
    assert sorted(found) == np.flatnonzero(agreed.any(axis=(1, 2))).tolist()
    drawn = np.any([ball.masks(SHAPE) for ball in balls], axis=0)
    for k, row in found.items():
        upright = np.clip(hu[k][::-1, ::-1], -900, 600)
        np.testing.assert_array_equal(row["image"][6:54], upright)
        np.testing.assert_array_equal(unpadded(row["mask"]), agreed[k][::-1, ::-1])
        for reader in range(4):
            bits = (unpadded(row["reader_masks"]) >> reader) & 1
            np.testing.assert_array_equal(bits, drawn[reader, k][::-1, ::-1])


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


def test_listed_scan_with_a_gap_is_broken(archive, options):
    """What the list wants and the rule would drop has lost slices on the way."""
    uids = [scan.series_uid for scan in SCANS.values()]
    (archive / "seriesuids.csv").write_text("\n".join(uids))
    (folder_of(archive, 4) / "1-005.dcm").unlink()
    with pytest.warns(UserWarning, match="1 broken inputs left out .* 1 slices missing"):
        index = index_of(options)
    assert list(index["skipped"]) == [UID_ROOT + "4"] and index["excluded"] == {}
    assert "excluded" not in prepared_index.summary(index)


def test_second_scan_of_a_patient_is_excluded(archive, options):
    again = SCANS["LIDC-IDRI-0003"]._replace(series_uid=UID_ROOT + "33")
    lidc.write_patient(archive, flat(again), SHAPE, again)
    index = index_of(options._replace(strict=True))
    reason = f"LIDC-IDRI-0003: a second scan; {UID_ROOT}3 is kept"
    assert index["excluded"] == {UID_ROOT + "33": reason}
    assert "1 excluded by the dataset's rule" in prepared_index.summary(index)
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
    where = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=where)
    table = [line.split() for line in done.stdout.splitlines()]
    for row, chosen in ((table[1], files), (table[2], files[:1])):
        counts = [sum(lidc_oracle.count_slices(p, least=n) for p in chosen) for n in (1, 2, 3)]
        assert [int(cell) for cell in row[1:]] == [len(chosen), *counts]
    assert "skipped: " in done.stderr and "bad.xml" in done.stderr and "ray" not in done.stderr
