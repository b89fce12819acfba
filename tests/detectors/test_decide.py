"""The rules that turn evidence into pages and tickets, on hand-made evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.decide import pages, tickets
from detectors.sequential import recovery
from detectors.sequential.recursion import Recursion
from detectors.types import Evidence, FloatArray, Questions

A = 1_000.0
USABLE = np.ones((2, 4), bool)


def _decide(values: FloatArray, state: pages.PageState | None = None) -> tuple[pages.PageState, pages.Alarm | None]:
    with np.errstate(divide="ignore"):
        log_e = np.log(values)
    return pages.decide(state or pages.start(4, 2), log_e, pages.weights(USABLE), np.log(A))


def test_weights_sum_to_one_and_half_goes_to_the_distribution() -> None:
    weight = pages.weights(USABLE)
    assert weight.sum() == pytest.approx(1)
    assert weight[0].sum() == pytest.approx(0.5)
    some = np.array([[True, False, False, False], [False, False, True, True]])
    np.testing.assert_allclose(pages.weights(some), [[0.5, 0, 0, 0], [0, 0, 0.25, 0.25]])
    np.testing.assert_allclose(pages.weights(some & [[False], [True]]).sum(), 1)
    np.testing.assert_allclose(pages.weights(some & [[True], [False]]).sum(), 1)


def test_alarm_when_the_weighted_mean_reaches_a_and_not_before() -> None:
    values = np.zeros((2, 4))
    values[0, 1] = 8 * A * 0.999
    assert _decide(values)[1] is None
    values[0, 1] = 8 * A * 1.001
    alarm = _decide(values)[1]
    assert alarm is not None
    assert alarm.culprits.sum() == 1
    assert alarm.culprits[0, 1]


def test_culprits_are_those_of_e_bh() -> None:
    values = np.zeros((2, 4))
    # F = 8 e-detectors of equal weight: rank k must reach F A / k
    values[0, 0], values[0, 2], values[1, 3] = 8 * A, 4.01 * A, 2.5 * A
    alarm = _decide(values)[1]
    assert alarm is not None
    np.testing.assert_array_equal(np.argwhere(alarm.culprits), [[0, 0], [0, 2]])
    values[1, 3] = 8 / 3 * A * 1.01
    alarm = _decide(values)[1]
    assert alarm is not None
    assert alarm.culprits.sum() == 3


def test_somebody_is_named_even_when_many_share_the_evidence() -> None:
    alarm = _decide(np.full((2, 4), 1.01 * A))[1]
    assert alarm is not None
    assert alarm.culprits.sum() >= 1


@given(st.lists(st.floats(-5, 30), min_size=8, max_size=8))
def test_alarm_uses_up_evidence_of_at_least_a(logs: list[float]) -> None:
    log_e = np.array(logs).reshape(2, 4)
    weight = pages.weights(USABLE)
    _, alarm = pages.decide(pages.start(4, 2), log_e, weight, np.log(A))
    mean = (weight * np.exp(log_e)).sum()
    if alarm is None:
        assert mean < A * (1 + 1e-9)
        return
    assert mean >= A * (1 - 1e-9)
    assert (weight * np.exp(log_e))[alarm.spent].sum() >= A * (1 - 1e-9)
    assert (alarm.spent | ~alarm.culprits).all()
    # and the units that it spends are the strongest ones
    if not alarm.spent.all():
        assert log_e[alarm.spent].min() >= log_e[~alarm.spent].max() - 1e-12


def test_latched_units_do_not_count_until_released() -> None:
    values = np.zeros((2, 4))
    values[0, 1] = 100 * A
    state, alarm = _decide(values)
    assert alarm is not None
    again, silent = _decide(values, state)
    assert silent is None
    weight = pages.weights(USABLE) * (values > 0)
    assert np.isneginf(pages.mean_log_e(again, np.log(np.maximum(values, 1e-300)), weight))
    free = pages.release(again, values > 0)
    assert _decide(values, free)[1] is not None


def test_units_with_nothing_to_say_are_no_evidence() -> None:
    log_e = np.full((2, 4), np.nan)
    state, alarm = pages.decide(pages.start(4, 2), log_e, pages.weights(USABLE), np.log(A))
    assert alarm is None
    assert np.isneginf(pages.mean_log_e(state, log_e, pages.weights(USABLE)))


def test_number_of_alarms_on_fair_bets_is_bounded_by_panes_over_a() -> None:
    """The worst case: all evidence is lottery tickets. T / A alarms are expected at most, over all streams together."""
    rng = np.random.default_rng(1)
    units, threshold, panes, streams = 6, 40.0, 400, 150
    weight = pages.weights(np.ones((1, units), bool))
    alarms = 0
    for _ in range(streams):
        state, r = pages.start(units, 1), np.zeros((1, units))
        for _ in range(panes):
            r = (1 + r) * np.where(rng.random((1, units)) < 0.5, 1.6, 0.4)
            state, alarm = pages.decide(state, np.log(r), weight, np.log(threshold))
            if alarm is not None:
                alarms += 1
                r = np.where(alarm.spent, 0.0, r)
                state = pages.start(units, 1)  # recovers at once: the most alarms there can be
    expected = streams * panes / threshold
    assert 0.2 * expected < alarms <= expected + 5 * np.sqrt(expected)


def _evidence(name: str, log_p: list[float], low: list[float]) -> Evidence:
    n = len(log_p)
    nan = np.full(n, np.nan)
    return Evidence(name, name, nan, nan, np.array(low), nan, np.array(log_p), nan, nan, np.zeros(n, np.int8))


def _ticket(
    log_p: list[float], low: list[float], state: tickets.TicketState | None = None, busy: list[bool] | None = None
) -> tuple[tickets.TicketState, tickets.Tickets]:
    evidence = {
        "anderson_darling": _evidence("anderson_darling", log_p, low),
        "g_test": _evidence("g_test", [np.nan] * len(log_p), low),
        "relevant_drift": _evidence("relevant_drift", log_p, low),
    }
    marked = np.array(busy or [False] * len(log_p))
    return tickets.decide(state or tickets.start(len(log_p)), evidence, tolerance=0.05, level=0.03, busy=marked)


def test_ticket_needs_significance_and_size_and_a_note_significance_alone() -> None:
    just, not_quite = float(np.log(0.0099)), float(np.log(0.0101))
    _, verdict = _ticket([just, just, not_quite], [0.06, 0.04, 0.06])
    np.testing.assert_array_equal(verdict.tickets, [True, False, False])
    np.testing.assert_array_equal(verdict.notes, [False, True, False])


def test_two_tests_of_a_unit_cost_a_factor_of_two() -> None:
    both = {
        name: _evidence(name, [float(np.log(p))], [0.1]) for name, p in (("anderson_darling", 0.3), ("g_test", 0.01))
    }
    assert tickets.combined(both, 1)[0] == pytest.approx(np.log(0.02))
    del both["g_test"]
    assert tickets.combined(both, 1)[0] == pytest.approx(np.log(0.3))


def test_open_ticket_is_not_opened_twice_and_a_note_may_become_one() -> None:
    state, _ = _ticket([-50.0, -50.0], [0.1, 0.01])
    state, verdict = _ticket([-50.0, -50.0], [0.1, 0.1], state)
    np.testing.assert_array_equal(verdict.tickets, [False, True])
    state, verdict = _ticket([-50.0, -50.0], [0.1, 0.01], state)
    assert not (verdict.tickets | verdict.notes).any()


def test_ticket_recovers_when_the_p_value_is_unremarkable() -> None:
    state, _ = _ticket([-50.0, -50.0, np.nan], [0.1, 0.1, 0.1])
    state, verdict = _ticket([float(np.log(0.2)), float(np.log(0.02)), np.nan], [0.0, 0.0, 0.0], state)
    np.testing.assert_array_equal(verdict.recovered, [True, False, False])
    np.testing.assert_array_equal(state.level > 0, [False, True, False])


def test_unit_with_an_open_page_gets_no_ticket() -> None:
    _, verdict = _ticket([-50.0, -50.0], [0.1, 0.1], busy=[True, False])
    np.testing.assert_array_equal(verdict.tickets, [False, True])


def _panes_to_recover(share: float, most: int = 400) -> int:
    asked = Questions(np.array([0, 0]), np.array([0.5, 0.25]), np.array([0.55, 0.3]), np.ones(2))
    bet = recovery.bets(asked)
    state: Recursion = recovery.start(bet)
    rng = np.random.default_rng(2)
    for pane in range(1, most + 1):
        yes = np.array([rng.binomial(200, share), rng.binomial(200, 0.25)], float)
        state, log_e = recovery.follow(bet, asked, state, (yes, np.full(2, 200.0)), np.array([True]))
        if log_e[0] >= recovery.RECOVERED:
            return pane
    return most + 1


def test_column_that_is_back_recovers_soon_and_one_that_is_not_does_not() -> None:
    assert _panes_to_recover(0.5) < 40
    assert _panes_to_recover(0.56) > 400
    assert _panes_to_recover(0.7) > 400


def test_closed_units_gather_no_evidence_of_recovery() -> None:
    asked = Questions(np.array([0]), np.array([0.5]), np.array([0.55]), np.ones(1))
    bet = recovery.bets(asked)
    state, log_e = recovery.follow(
        bet, asked, recovery.start(bet), (np.array([90.0]), np.array([200.0])), np.array([False])
    )
    assert not state.r.any()
    assert np.isnan(log_e[0])
