"""Choosing slices, training order, evaluation padding."""

import numpy as np
import pytest

from ecc_jax.data import pipeline
from ecc_jax.data.pipeline import SliceSet


def _rows(counts):
    return [
        {"patient": f"p{p}", "volume": f"p{p}", "slice_index": i, "lesion_area": 5}
        for p, count in enumerate(counts)
        for i in range(count)
    ]


def _slices(count, size=8):
    records = [
        {
            "image": np.full((size, size), i, np.int16),
            "mask": np.eye(size, dtype=np.uint8),
            "window_hu": np.array([-150, 250], np.float32),
        }
        for i in range(count)
    ]
    return SliceSet(records, _rows([count]))


def test_spread_takes_every_patient_before_a_second_slice():
    rows = _rows([10, 1, 3])
    chosen = pipeline.spread_over_patients(rows, max_slices=5)
    patients = [rows[i]["patient"] for i in chosen]
    assert sorted(set(patients)) == ["p0", "p1", "p2"]
    assert len(chosen) == 5
    assert patients.count("p1") == 1


def test_spread_does_not_depend_on_the_order_of_records():
    rows = _rows([7, 5, 4])
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = [rows[i] for i in order]

    def names(table):
        return {
            (table[i]["patient"], table[i]["slice_index"])
            for i in pipeline.spread_over_patients(table, max_slices=6)
        }

    assert names(rows) == names(shuffled)


@pytest.mark.parametrize("limit", [0, 16, 100])
def test_spread_with_room_for_all_keeps_all(limit):
    rows = _rows([7, 5, 4])
    np.testing.assert_array_equal(
        pipeline.spread_over_patients(rows, max_slices=limit), np.arange(16)
    )


def test_limit_per_patient_spreads_over_the_volume():
    rows = _rows([9, 2])
    chosen = pipeline.limit_per_patient(rows, max_slices=3)
    first = [rows[i]["slice_index"] for i in chosen if rows[i]["patient"] == "p0"]
    assert first == [2, 4, 6]
    assert len(chosen) == 5


@pytest.mark.parametrize("count", range(1, 20))
def test_spread_is_a_permutation(count):
    rows = _rows([count])
    for limit in range(1, count + 1):
        chosen = pipeline.limit_per_patient(rows, max_slices=limit)
        assert len(set(chosen.tolist())) == limit


def test_evaluation_pads_the_last_batch():
    batches = list(pipeline.eval_batches(_slices(5), np.array([4, 1, 0]), batch_size=2))
    assert len(batches) == 2
    assert [b.position.tolist() for b in batches] == [[4, 1], [0, -1]]
    assert [b.valid.tolist() for b in batches] == [[True, True], [True, False]]
    assert batches[0].image_hu[0, 0, 0] == 4
    assert batches[1].image_hu.dtype == np.int16
    assert batches[1].target.dtype == np.uint8


def test_window_override_reaches_every_row():
    batch = next(
        pipeline.eval_batches(_slices(2), np.arange(2), batch_size=2, window_hu=(-45.0, 105.0))
    )
    np.testing.assert_array_equal(batch.window_hu, [[-45, 105]] * 2)


def _order(first_step, steps, seed=0, threads=0):
    batches = pipeline.train_batches(
        _slices(10), np.arange(10), batch_size=4, seed=seed, first_step=first_step, threads=threads
    )
    return [next(batches).position.tolist() for _ in range(steps)]


@pytest.mark.parametrize("threads", [0, 2])
def test_training_order_resumes_where_it_stopped(threads):
    whole = _order(0, 9, threads=threads)
    assert _order(5, 4, threads=threads) == whole[5:]


def test_training_reshuffles_and_covers_every_pass():
    flat = sum(_order(0, 10), [])
    assert sorted(flat[:10]) == list(range(10))
    assert sorted(flat[10:20]) == list(range(10))
    assert flat[:10] != flat[10:20]
    assert _order(0, 3, seed=1) != _order(0, 3)


def test_batches_of_one_row_are_endless_too():
    batches = pipeline.train_batches(_slices(3), np.arange(3), batch_size=1, seed=0, threads=0)
    rows = [next(batches) for _ in range(7)]
    assert all(row.image_hu.shape[0] == 1 for row in rows)
    assert sorted(int(row.position[0]) for row in rows[:3]) == [0, 1, 2]


def test_missing_index_names_file_and_remedy(tmp_path):
    with pytest.raises(ValueError, match="index.json is missing.*build_dataset"):
        pipeline.open_split(tmp_path, "train")


def test_concatenated_sources():
    parts = [[{"n": 0}, {"n": 1}], [{"n": 2}], [{"n": 3}, {"n": 4}]]
    joined = pipeline._Concatenated(parts)
    assert [joined[i]["n"] for i in range(len(joined))] == [0, 1, 2, 3, 4]


def test_a_fold_keeps_records_and_rows_together():
    everything = SliceSet([{"n": i} for i in range(9)], _rows([2, 3, 4]))
    for i, row in enumerate(everything.index):
        row["lesion_area"] = i
    tested = []
    for fold in range(3):
        part = pipeline._fold(everything, "test", pipeline.Folds(3, fold, 0))
        assert [part.records[i]["n"] for i in range(len(part))] == [
            row["lesion_area"] for row in part.index
        ]
        tested += [row["lesion_area"] for row in part.index]
    assert sorted(tested) == list(range(9))
