"""Who was seen in training is found again, whatever files and patients are called."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.data import seen
from ecc_jax.data.seen import Source

FOLDER = Source("ct_folder_2d", "/ct", by_slice=False)
ELSEWHERE = FOLDER._replace(place="/other")
KITS = Source("kits_2d", "", by_slice=False)


def rows(*patients, slices=2):
    """Rows of patients given as name or name=content; each has one volume of the same name."""
    table = []
    for patient in patients:
        name, _, content = patient.partition("=")
        content = content or name
        for i in range(slices):
            table.append(
                {
                    "patient": name,
                    "volume": f"volume of {name}",
                    "volume_id": f"v-{content}",
                    "slice_id": f"s-{content}-{i}",
                    "slice_index": i,
                }
            )
    return table


def run(train=("a", "b"), validation=("c",), source=FOLDER, name="runs/x"):
    return seen.seen_by(name, source, {"train": rows(*train), "validation": rows(*validation)})


def admit(history, table, split="test", source=FOLDER):
    return seen.admit(history, table, source, split=split)


def test_unseen_patients_pass():
    admission = admit([run()], rows("d", "e"))
    assert admission.left_out == () and "none of these patients" in admission.note


@pytest.mark.parametrize("source", [FOLDER, ELSEWHERE, KITS])
def test_same_scan_under_another_name_is_refused_in_every_source(source):
    with pytest.raises(ValueError, match=r"seen 1 of the 2 patients .* x \(there a\)"):
        admit([run()], rows("d", "x=a"), source=source)


def test_one_common_slice_is_enough():
    table = rows("d", "e")
    table[0]["slice_id"] = "s-b-1"
    with pytest.raises(ValueError, match=r"d \(there b\).*data.split=all"):
        admit([run()], table, source=ELSEWHERE)


def test_same_name_counts_within_one_source_only():
    table = rows("a=other content", "d")
    with pytest.raises(ValueError, match="seen 1 of the 2 patients"):
        admit([run()], table)
    assert admit([run()], table, source=ELSEWHERE).left_out == ()


def test_patients_that_selected_the_checkpoint_are_no_test_patients():
    with pytest.raises(ValueError, match=": c;"):
        admit([run()], rows("c", "d"))


def test_all_leaves_out_whom_the_run_has_seen():
    admission = admit([run()], rows("a", "c", "d", "e"), split="all")
    assert admission.left_out == ("a", "c")
    assert admission.note == "2 of 4 patients, left out: a, c"
    with pytest.raises(ValueError, match="has seen all 2 patients"):
        admit([run()], rows("a", "c"), split="all")


def test_a_look_at_the_runs_own_splits_is_allowed_and_said():
    assert "was trained on this split" in admit([run()], rows("a", "b"), split="train").note
    note = admit([run()], rows("c"), split="validation").note
    assert "checkpoint was selected" in note
    with pytest.raises(ValueError, match="seen 1 of the 2"):
        admit([run()], rows("a", "d"), split="train")
    with pytest.raises(ValueError, match="seen 1 of the 2"):
        admit([run()], rows("a", "c"), split="validation")


def test_weights_carry_what_they_have_seen():
    older = run(train=("p", "q"), validation=("r",), source=KITS, name="runs/older")
    history = [run(), older]
    for known in ("p", "r"):
        with pytest.raises(ValueError, match="seen 1 of the 2"):
            admit(history, rows(known, "d"), source=ELSEWHERE)


def test_split_by_slice_compares_slices_and_only_against_itself():
    thesis = FOLDER._replace(by_slice=True)
    train, test = rows("a", "b", slices=4), rows("a", "b", slices=4)
    halves = {"train": train[::2], "validation": rows("c")}
    record = seen.seen_by("runs/x", thesis, halves)
    seen.check_apart({**halves, "test": test[1::2]}, thesis)
    assert "split by slice" in admit([record], test[1::2], source=thesis).note
    with pytest.raises(ValueError, match="seen 1 of the 2"):
        admit([record], [*test[1:2], *test[4:5]], source=thesis)
    with pytest.raises(ValueError, match="seen 2 of the 2"):  # split by patient, anywhere
        admit([record], test[1::2])


def test_slices_drawn_in_another_size_tell_nothing_so_patients_are_compared():
    thesis = Source("ct_phantom_2d", "mixed", by_slice=True, drawn_px=32)
    record = seen.seen_by("runs/x", thesis, {"train": rows("a"), "validation": rows("b")})
    drawn_anew = [{**row, "slice_id": f"{row['slice_id']} at 40 px"} for row in rows("a", "d")]
    other = thesis._replace(place="lung", drawn_px=40)
    with pytest.raises(ValueError, match="seen 1 of the 2 patients .*: a;"):
        admit([record], drawn_anew, source=other)
    assert admit([record], drawn_anew, split="all", source=other).left_out == ("a",)
    assert "split by slice" in admit([record], rows("d"), source=thesis).note
    unknown = seen.seen_by("x", thesis._replace(drawn_px=0), {"train": rows("a"), "validation": ()})
    assert "split by slice" in admit([unknown], drawn_anew, source=other).note


def test_the_same_scan_twice_in_one_set():
    table = {"train": rows("a", "b"), "validation": rows("c"), "test": rows("d", "x=b")}
    with pytest.raises(ValueError, match=r"b \(train\) is x \(test\); remove one"):
        seen.check_apart(table, FOLDER)
    table = {"train": rows("a"), "validation": rows("b", "c=a"), "test": rows("d=b")}
    with pytest.raises(ValueError, match=r"a \(train\) is c \(validation\), b \(validation\) is d"):
        seen.check_apart(table, FOLDER)
    table = {"train": rows("a", "b=a"), "validation": rows("c"), "test": rows("d")}
    seen.check_apart(table, FOLDER)  # twice in training does no harm


def test_what_changed_since_a_run_began():
    before = run(train=("a", "b"), validation=("c",))
    assert seen.changes(before, run(train=("b", "a"), validation=("c",))) == []
    assert seen.changes(before, run(train=("a", "renamed=b"), validation=("c",))) == []
    assert seen.changes(before, run(train=("a", "c"), validation=("b",))) == [
        "train lost volume of b",
        "train gained volume of c",
        "validation lost volume of c",
        "validation gained volume of b",
    ]


def with_other_identities(record):
    """The record as another version writes it: volumes have other identities, slices not."""
    values = seen.to_json([record])
    for patients in values[0]["patients"].values():
        for scans in patients.values():
            scans["volumes"] = {name: f"older {i}" for name, i in scans["volumes"].items()}
    return seen.from_json(values)[0]


def test_other_identities_of_the_same_slices_are_no_change():
    now = run(train=("a", "b"), validation=("c",))
    older = with_other_identities(now)
    assert older != now and seen.changes(older, now) == []
    assert seen.changes(older, run(train=("b",), validation=("c",))) == ["train lost volume of a"]
    assert seen.changes(older, run(train=("a", "b", "d"), validation=("c",))) == [
        "train gained volume of d"
    ]


def test_a_record_gets_the_identities_of_this_version_where_all_slices_agree():
    now = run(train=("a", "b"), validation=("c",))
    older = with_other_identities(now)
    assert seen.with_identities([older, older], rows("a", "b", "c", "d")) == (now, now)
    assert seen.with_identities([older], rows("e")) == (older,)
    (partly,) = seen.with_identities([older], [*rows("a"), *rows("b", slices=1)])
    assert partly.patients["train"] == {
        "a": now.patients["train"]["a"],
        "b": older.patients["train"]["b"],
    }


def test_records_of_the_version_before_are_read():
    values = seen.to_json([run()])
    del values[0]["source"]["drawn_px"]
    assert seen.from_json(values) == (run(),)


def test_records_survive_json_and_damage_is_an_error():
    history = (run(), run(train=("z",), source=KITS))
    assert seen.from_json(json.loads(json.dumps(seen.to_json(history)))) == history
    nobody = seen.to_json((seen.unknown("run"),))
    for damaged in (nobody, [], {}, "", [{}], [1], [{"run": "x", "source": {}, "patients": {}}], 3):
        with pytest.raises(ValueError, match="expected records of patients"):
            seen.from_json(damaged)


def test_weights_of_unknown_origin_are_said_to_be():
    history = (run(train=("a",), validation=("b",)), seen.unknown("elsewhere"))
    assert seen.from_json(json.loads(json.dumps(seen.to_json(history)))) == history
    admitted = seen.admit(history, rows("a", "c"), FOLDER, split="all")
    assert admitted.left_out == ("a",)
    assert "(elsewhere) have no record" in admitted.note
    assert "no record" not in seen.admit(history[:1], rows("c"), FOLDER, split="test").note


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_seen_patient_is_ever_admitted(seed):
    """Random runs and random data: who is admitted shares no scan with training or selection."""
    rng = np.random.default_rng(seed)
    contents = [f"c{i}" for i in range(rng.integers(4, 12))]
    rng.shuffle(contents)
    cut = int(rng.integers(1, len(contents) - 1))
    record = run(train=contents[:cut], validation=contents[cut : cut + 1])
    chosen = [str(c) for c in rng.permutation(contents)[: rng.integers(1, len(contents) + 1)]]
    names = [c if rng.random() < 0.5 else f"n{i}={c}" for i, c in enumerate(chosen)]
    foreign = [f"f{i}" for i in range(rng.integers(0, 3))]
    table = rows(*names, *foreign)
    known = set(contents[: cut + 1])
    for split in ("test", "all"):
        try:
            admission = admit([record], table, split, ELSEWHERE)
        except ValueError:
            assert known & set(chosen)
            continue
        tested = [row for row in table if row["patient"] not in admission.left_out]
        assert tested and not {row["volume_id"][2:] for row in tested} & known
        assert {row["patient"] for row in tested} >= set(foreign)
