import pytest

from ecc_jax.report import facts
from ecc_jax.report.facts import FACTS
from tests.reports import FACTS as GIVEN


def test_pooled_facts_follow_their_scope():
    runs = [
        {
            **GIVEN,
            "num_images": 3,
            "steps": 100 + fold,
            "seen_in_training": "none of the patients",
            "left_out_patients": [f"p{fold}"],
            "surface": {"unit": "mm", "num_undefined": fold},
            "own_remark": "the same",
            "own_number": fold,
        }
        for fold in (0, 1)
    ]
    pooled = facts.pooled_facts(runs)
    assert pooled["dataset"] == "ct_phantom_2d" and pooled["steps"] == "various"
    assert pooled["seen_in_training"] == "none of the patients"
    # Unknown facts vary; what holds for one run, or is counted anew, is not there.
    assert pooled["own_remark"] == "the same" and pooled["own_number"] == "various"
    assert not {"num_images", "left_out_patients", "versions", "surface"} & set(pooled)


@pytest.mark.parametrize("key", [fact.key for fact in FACTS if fact.is_compared])
def test_differing_facts_are_told(key):
    assert facts.differing_facts({key: 1}, {key: 2}) == [(key, "1", "2")]
    assert facts.differing_facts({key: 1}, {}) == [(key, "1", "–")]
    assert facts.differing_facts({}, {key: {"part": 1}}) == [(f"{key}.part", "–", "1")]
    assert facts.differing_facts({key: 1}, {key: 1}) == []


def test_where_a_pooled_report_comes_from_is_no_difference():
    assert facts.differing_facts({"sources": ["a"]}, {"sources": ["b"]}) == []


def test_every_fact_is_listed_once_and_what_is_required_is_named():
    assert len(facts.BY_KEY) == len(FACTS)
    assert facts.missing_facts({}) == [fact.key for fact in FACTS if fact.is_required]
    assert facts.missing_facts({**GIVEN, "num_images": 1}) == ["num_patients"]
