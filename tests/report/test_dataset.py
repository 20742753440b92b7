"""Figures of a dataset against a count by hand."""

import matplotlib.image
import numpy as np
import pytest

from ecc_jax.data.pipeline import SliceSet
from ecc_jax.report import dataset, dataset_figures

SIZE = 40


def make_split(seed, patients, *, readers=False):
    rng = np.random.default_rng(seed)
    records, rows = [], []
    for i, patient in enumerate(patients):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[5 : 6 + i, 8 : 10 + 2 * i] = 1
        record = {
            "image": rng.integers(-150, 251, (SIZE, SIZE)).astype(np.int16),
            "mask": mask,
            "window_hu": np.float32([-150, 250]),
            "spacing_mm": np.float32([3.0 + i, 0.7, 0.8]),
            "fit_original_shape": np.int32([SIZE, SIZE - i % 2]),
        }
        if readers:
            record["reader_masks"] = mask | np.roll(mask, 1, 1) << 2 | mask << 3
        records.append(record)
        area = int(mask.sum())
        rows.append({"patient": patient, "volume": patient, "slice_index": i, "lesion_area": area})
    return SliceSet(records, rows)


@pytest.fixture
def splits():
    return {
        "train": make_split(0, ["a", "b", "b", "c"]),
        "validation": make_split(1, ["c"]),
        "test": make_split(2, ["d", "e"]),
    }


def test_summary_by_hand(splits):
    summary, hu = dataset.summarize(splits)
    assert summary["counts"]["train"] == {"slices": 4, "volumes": 3, "patients": 3}
    assert summary["patient_overlap"] == {
        "train and validation": 1,
        "train and test": 0,
        "validation and test": 0,
    }
    areas = [2, 8, 18, 32]
    assert summary["lesion_area"]["train"]["median"] == 13
    assert summary["lesion_area"]["train"]["max"] == areas[-1]
    assert summary["spacing_mm"]["between slices"] == {"min": 3.0, "median": 4.0, "max": 6.0}
    assert summary["original_shapes"] == {"40 x 40": 4, "40 x 39": 3}
    assert summary["readers"] is None
    images = [record["image"] for part in splits.values() for record in part.records]
    pixels = np.concatenate([image.ravel() for image in images]).astype(int)
    for value in (-150, -149, 0, 249, 250):
        expected = 0 if value in (-150, 250) else np.count_nonzero(pixels == value)
        assert hu["all"][value + 32768] == expected
    assert summary["clipped_share"]["low"] == np.mean(pixels == -150)
    masks = [record["mask"] for part in splits.values() for record in part.records]
    lesion = np.concatenate([i[m > 0] for i, m in zip(images, masks, strict=True)])
    assert hu["lesion"].sum() == np.count_nonzero((lesion > -150) & (lesion < 250))


def test_area_histogram_counts_every_slice_once():
    areas = np.array([1, 1, 2, 899, 900, 1000, 512**2])
    summary = dataset.area_summary(areas)
    assert sum(summary["histogram"]) == len(areas) and summary["histogram"][0] == 2
    assert summary["histogram"][-1] == 1
    assert summary["share_below_900"] == 4 / 7
    assert len(summary["histogram"]) == len(dataset.AREA_EDGES)


def test_pairwise_iou_leaves_out_readers_who_drew_nothing():
    bits = np.zeros((4, 4), np.uint8)
    bits[:2] |= 1
    bits[1:3] |= 2
    bits |= 128
    assert dataset.pairwise_iou(bits) == pytest.approx([4 / 12, 8 / 16, 8 / 16])
    assert dataset.pairwise_iou(bits & 128) == dataset.pairwise_iou(bits & 0) == []


def test_reader_summary():
    summary, _ = dataset.summarize({"train": make_split(0, ["a", "b"], readers=True)})
    first = [1 / 3, 1.0, 1 / 3]  # 1 x 2 pixels moved by one
    second = [6 / 10, 1.0, 6 / 10]  # 2 x 4 pixels moved by one
    assert summary["readers"]["pairs"] == 6 and summary["readers"]["slices"] == 2
    assert summary["readers"]["mean_pairwise_iou"] == pytest.approx(np.mean(first + second))


def test_sheet_spans_the_areas_and_spares_no_patient():
    rows = [{"patient": f"p{i % 7}", "lesion_area": (i * 37) % 101} for i in range(70)]
    chosen = dataset.spread_over_areas(rows, count=14)
    areas = [rows[i]["lesion_area"] for i in chosen]
    assert len(set(chosen)) == 14 and areas == sorted(areas)
    counts = [[rows[i]["patient"] for i in chosen].count(f"p{p}") for p in range(7)]
    assert counts == [2] * 7
    assert areas[0] < 15 and areas[-1] > 85
    assert dataset.spread_over_areas(rows[:3], count=24) != []
    assert sorted(dataset.spread_over_areas(rows[:3], count=24)) == [0, 1, 2]


def test_hu_histogram_shares():
    counts = np.zeros(2**16, np.int64)
    counts[32768 - 100], counts[32768 + 60] = 3, 1
    edges, shares = dataset.hu_histogram(counts, -100, 60)
    assert shares.sum() == pytest.approx(1) and shares[0] == 0.75 and shares[-1] == 0.25
    assert edges[0] == -100 and edges[-1] > 60 and len(shares) <= 81


@pytest.mark.parametrize("at", [(0, 0), (0, 38), (20, 20), (38, 0), (38, 38)])
def test_close_up_holds_the_lesion(at):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[at[0] : at[0] + 2, at[1] : at[1] + 2] = True
    y0, x0, y1, x1 = dataset_figures.close_up(mask)
    assert mask[y0:y1, x0:x1].sum() == 4 and y1 - y0 == x1 - x0 == 5
    assert 0 <= y0 and y1 <= SIZE and 0 <= x0 and x1 <= SIZE


def test_close_up_on_an_oblong_image_reaches_its_far_end():
    mask = np.zeros((SIZE, 2 * SIZE), bool)
    mask[3:5, -3:-1] = True
    y0, x0, y1, x1 = dataset_figures.close_up(mask)
    assert mask[y0:y1, x0:x1].sum() == 4 and x1 <= 2 * SIZE


def test_large_lesions_and_empty_slices_need_no_close_up():
    assert dataset_figures.close_up(np.zeros((SIZE, SIZE), bool)) is None
    assert dataset_figures.close_up(np.ones((SIZE, SIZE), bool)) is None


def test_pictures_are_drawn(splits, tmp_path):
    summary, hu = dataset.summarize(splits)
    paths = [
        dataset_figures.draw_areas(tmp_path / "a.png", summary["lesion_area"], title="t"),
        dataset_figures.draw_hu(tmp_path / "h.png", hu, title="t"),
    ]
    record = splits["train"].records[0]
    panel = dataset_figures.Panel(np.full((SIZE, SIZE), 0.2), record["mask"] > 0, "one\ntwo")
    paths.append(dataset_figures.draw_sheet(tmp_path / "s.png", [panel] * 8, title="t"))
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.ndim == 3 and picture.std() > 0.01
    sheet = matplotlib.image.imread(paths[-1])[..., :3]
    yellow = np.abs(sheet - [1.0, 0.88, 0.0]).max(-1) < 0.1
    assert yellow.sum() > 8 * 10  # an outline in every panel
