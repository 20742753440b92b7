"""Learning rate and early stopping."""

import pytest

from ecc_jax.training import plateau
from ecc_jax.training.plateau import Plateau


def _run(scores, **kwargs):
    options = {"epochs": 1, "factor": 0.1, "patience": 2, **kwargs}
    states = [Plateau()]
    for score in scores:
        states.append(plateau.update(states[-1], score, **options))
    return states[1:]


def test_gain_resets_both_counters():
    last = _run([0.5, 0.6, 0.4])[-1]
    assert last == Plateau(best=0.4, since_best=0, since_drop=0, rate_factor=1.0)


def test_rate_drops_after_patience_and_again():
    factors = [s.rate_factor for s in _run([0.5, 0.5, 0.5, 0.5, 0.5])]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_equal_score_is_no_gain():
    assert _run([0.5, 0.5])[-1].since_best == 1


def test_stops_after_the_last_gain_not_after_a_drop():
    states = _run([0.5] + [0.6] * 5)
    assert [plateau.should_stop(s, stop_after=5) for s in states] == [False] * 5 + [True]


def test_epochs_between_validations_count():
    state = _run([0.5, 0.6], epochs=3)[-1]
    assert state.since_best == 3
    assert state.rate_factor == pytest.approx(0.1)


def test_warmup_is_linear_and_reaches_the_base():
    rates = [plateau.learning_rate(1.0, Plateau(), step, warmup_steps=4) for step in range(6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert plateau.learning_rate(2.0, Plateau(rate_factor=0.1), 0, warmup_steps=0) == 0.2


def test_cosine_falls_from_the_base_to_nearly_zero():
    rates = [
        plateau.learning_rate(2.0, Plateau(), s, warmup_steps=0, decay="cosine", total_steps=8)
        for s in range(8)
    ]
    assert rates[0] == 2.0
    assert rates[4] == pytest.approx(1.0)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.1
