"""Balanced draws: shares of groups and patients, resume, hosts, groups that fit nobody."""

import collections

import numpy as np
import pytest

from ecc_jax.data import pipeline, sampling
from ecc_jax.data.pipeline import SliceSet

# Patients of very different size: what is drawn must not follow the number of slices.
COUNTS = {"A_1": 1, "A_2": 9, "A_3": 40, "B_1": 2, "B_2": 3, "C_1": 7}


def _rows(counts=COUNTS):
    return [
        {"patient": patient, "volume": patient, "slice_index": i, "lesion_area": 5}
        for patient, count in counts.items()
        for i in range(count)
    ]


def _slices():
    rows = _rows()
    record = {
        "image": np.zeros((8, 8), np.int16),
        "mask": np.eye(8, dtype=np.uint8),
        "window_hu": np.array([-150, 250], np.float32),
    }
    return SliceSet([record] * len(rows), rows)


def _groups(*texts):
    return sampling.find_groups(_rows(), np.arange(len(_rows())), texts)


def _shares(names):
    counts = collections.Counter(names)
    return {name: count / len(names) for name, count in counts.items()}


def _assert_shares(found, expected, number):
    """Six standard deviations: a fixed seed cannot fail by chance, a wrong share does."""
    assert set(found) == set(expected)
    for name, share in expected.items():
        assert abs(found[name] - share) < 6 * np.sqrt(share * (1 - share) / number), name


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_groups_by_weight_patients_of_a_group_and_slices_of_a_patient_alike(seed):
    number = 24000
    draws = sampling.Draws(_groups("^A=3", "^B=1", ".*=2"), seed)
    positions = [draws[i] for i in range(number)]
    rows = _rows()
    patients = [rows[i]["patient"] for i in positions]
    expected = {name: 3 / 6 / 3 for name in ("A_1", "A_2", "A_3")}
    expected |= {"B_1": 1 / 6 / 2, "B_2": 1 / 6 / 2, "C_1": 2 / 6}
    _assert_shares(_shares(patients), expected, number)
    slices = {i: expected[row["patient"]] / COUNTS[row["patient"]] for i, row in enumerate(rows)}
    _assert_shares(_shares(positions), slices, number)
    # Rows that follow each other are drawn apart from each other.
    pairs = list(zip(patients[::2], patients[1::2], strict=True))
    both = {(a, b): expected[a] * expected[b] for a in expected for b in expected}
    _assert_shares(_shares(pairs), both, len(pairs))


def test_without_groups_all_patients_count_alike():
    number = 12000
    draws = sampling.Draws(_groups(), 1)
    rows = _rows()
    found = _shares([rows[draws[i]]["patient"] for i in range(number)])
    _assert_shares(found, dict.fromkeys(COUNTS, 1 / len(COUNTS)), number)


def test_draws_depend_on_seed_and_number_alone():
    one, two = sampling.Draws(_groups("A=1", ".=1"), 3), sampling.Draws(_groups("A=1", ".=1"), 3)
    forwards = [one[i] for i in range(50)]
    assert [two[i] for i in reversed(range(50))] == forwards[::-1]
    assert [sampling.Draws(_groups("A=1", ".=1"), 4)[i] for i in range(50)] != forwards
    # Written down once: another version of NumPy or Python draws the same.
    assert forwards[:8] == [50, 42, 5, 56, 5, 57, 52, 34]


def test_draws_do_not_depend_on_the_order_of_records():
    rows = _rows()
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = [rows[i] for i in order]
    mixed = sampling.Draws(sampling.find_groups(shuffled, np.arange(len(rows)), ["A=1", ".=2"]), 0)
    plain = sampling.Draws(_groups("A=1", ".=2"), 0)
    assert [shuffled[mixed[i]] for i in range(60)] == [rows[plain[i]] for i in range(60)]


def test_only_the_chosen_positions_are_drawn():
    chosen = pipeline.limit_per_patient(_rows(), max_slices=2)
    draws = sampling.Draws(sampling.find_groups(_rows(), chosen, []), 0)
    assert {draws[i] for i in range(500)} == set(chosen.tolist())


def _order(first_step, steps, *, threads=0, seed=0, groups=("A=1", ".=1")):
    rows = _slices()
    batches = pipeline.train_batches(
        rows,
        np.arange(len(rows)),
        batch_size=4,
        seed=seed,
        first_step=first_step,
        threads=threads,
        groups=_groups(*groups),
    )
    return [next(batches).position.tolist() for _ in range(steps)]


@pytest.mark.parametrize("threads", [0, 3])
def test_training_resumes_where_it_stopped_whatever_the_threads(threads):
    whole = _order(0, 40)
    assert _order(0, 40, threads=threads) == whole
    assert _order(17, 23, threads=threads) == whole[17:]
    draws = sampling.Draws(_groups("A=1", ".=1"), 0)
    assert sum(whole, []) == [draws[i] for i in range(160)]
    # Long after every pass over so few slices would have ended.
    far = 10**9
    assert _order(far, 1, threads=threads) == [[draws[4 * far + i] for i in range(4)]]


@pytest.mark.parametrize("groups", [("A=1", ".=1"), ()])
def test_hosts_share_a_batch(monkeypatch, groups):
    whole = _order(0, 12, groups=groups)
    monkeypatch.setattr(pipeline.jax, "process_count", lambda: 2)
    parts = []
    for host in range(2):
        monkeypatch.setattr(pipeline.jax, "process_index", lambda host=host: host)
        parts.append(_order(0, 12, groups=groups))
    for batch, first, second in zip(whole, *parts, strict=True):
        assert first == batch[::2] and second == batch[1::2]


def test_the_default_order_is_what_it_was():
    rows = _slices()
    batches = pipeline.train_batches(rows, np.arange(len(rows)), batch_size=8, seed=5)
    found = [next(batches).position.tolist() for _ in range(8)]
    source = pipeline.grain.MapDataset.range(len(rows)).seed(5).shuffle().repeat().batch(8)
    assert found == [source[i].tolist() for i in range(8)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("^A=1",), r"train.groups: 3 of 6 patients match none of \^A=1: B_1, B_2, C_1; add"),
        (("^A_1=1",), r"5 of 6 patients .*: A_2, A_3, B_1, \.\.\.; add a group, such as '\.\*=1'"),
        ((".=1", "^B=2"), r"no patient for \^B=2 among 6, such as A_1, .*first group that matches"),
    ],
)
def test_groups_that_do_not_fit_the_patients(texts, message):
    with pytest.raises(ValueError, match=message) as caught:
        _groups(*texts)
    assert "\n" not in str(caught.value)


def test_the_first_group_that_matches_counts():
    one, other = _groups("A_1|B=2.5", ".=1")
    assert (one.name, one.weight, len(one.patients)) == ("A_1|B", 2.5, 3)
    assert [len(own) for own in other.patients] == [9, 40, 7]


def test_an_expression_may_hold_an_equals_sign():
    pattern, weight = sampling.parse_group("a=b(?=c)=0.25")
    assert (pattern.pattern, weight) == ("a=b(?=c)", 0.25)


@pytest.mark.parametrize("text", ["", "A", "=1", "A=", "A=0", "A=-1", "A=nan", "A=inf", "(=1"])
def test_groups_that_cannot_be_read(text):
    with pytest.raises(ValueError):
        sampling.parse_group(text)


def test_what_is_said():
    assert sampling.describe([], 62) == "rows: each of 62 slices once per pass"
    assert sampling.describe(_groups("^A=3", ".=1"), 62) == (
        "rows: a group by weight, a patient of it, a slice of the patient; ^A: weight 3 (75.0% of "
        "the rows), 3 patients, 50 slices; .: weight 1 (25.0% of the rows), 3 patients, 12 slices"
    )
    assert "all: weight 1 (100.0% of the rows), 6 patients" in sampling.describe(_groups(), 62)
