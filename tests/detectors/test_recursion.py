"""E-values: their expectation on the edge of the null is one, in closed form, and never more inside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.sequential import recovery, recursion
from detectors.sequential.rates import upper_bound
from detectors.types import FloatArray, Questions

PROBABILITIES = np.array([1e-6, 0.001, 0.01, 0.1, 0.5, 0.79, 0.9, 0.985])


def expectation(bet: recursion.Bets, p: FloatArray, rows: int) -> FloatArray:
    """E[e] of one pane of ``rows`` independent rows with P(yes) = p: (p e^yes + (1-p) e^no)^rows."""
    one: FloatArray = p[:, None] * np.exp(bet.yes) + (1 - p)[:, None] * np.exp(bet.no)
    return one**rows


def test_likelihood_ratio_has_expectation_one_on_the_edge() -> None:
    bet = recursion.bets(PROBABILITIES, np.ones(8))
    np.testing.assert_allclose(expectation(bet, PROBABILITIES, 200), 1.0, rtol=1e-10)


@given(inside=st.floats(0, 1), tau=st.floats(1, 1_000), rows=st.integers(1, 5_000))
def test_expectation_is_at_most_one_inside_the_null_and_tempered(inside: float, tau: float, rows: int) -> None:
    bet = recursion.bets(PROBABILITIES, np.full(8, tau))
    assert (expectation(bet, PROBABILITIES * inside, rows) <= 1 + 1e-9).all()


@given(outside=st.floats(0, 1), tau=st.floats(1, 100))
def test_recovery_bets_have_expectation_at_most_one_while_the_shift_lasts(outside: float, tau: float) -> None:
    asked = Questions(np.arange(8), PROBABILITIES / 2, PROBABILITIES, np.full(8, tau))
    bet = recovery.bets(asked)
    p = PROBABILITIES + outside * (1 - PROBABILITIES)
    assert (expectation(bet, p, 100) <= 1 + 1e-9).all()


def test_bets_that_would_pass_one_are_not_made() -> None:
    bet = recursion.bets(np.array([0.985, 1.0, 1.5]), np.ones(3))
    np.testing.assert_array_equal(bet.usable[0], [1, 0, 0, 0, 0])
    assert not bet.usable[1:].any()
    state = recursion.step(bet, recursion.start(bet), np.full(3, 200.0), np.full(3, 200.0))
    assert not state.r[1:].any()
    assert not state.r[0, 1:].any()


def test_recursion_is_that_of_shiryaev_and_roberts() -> None:
    bet = recursion.bets(np.array([0.3]), np.ones(1))
    state = recursion.start(bet)
    by_hand, rng = np.zeros(5), np.random.default_rng(1)
    for yes in rng.binomial(200, 0.33, 30).astype(float):
        p1 = 0.3 + recursion.STEPS
        ratio = stats.binom.pmf(yes, 200, p1) / stats.binom.pmf(yes, 200, 0.3)
        by_hand = (1 + by_hand) * ratio
        state = recursion.step(bet, state, np.array([yes]), np.array([200.0]))
    np.testing.assert_allclose(state.r[0], by_hand, rtol=1e-8)


def test_pane_in_which_nothing_was_asked_is_no_step() -> None:
    bet = recursion.bets(np.array([0.3, 0.3]), np.ones(2))
    state = recursion.step(bet, recursion.start(bet), np.array([90.0, 90.0]), np.array([200.0, 200.0]))
    after = recursion.step(bet, state, np.array([0.0, 90.0]), np.array([0.0, 200.0]))
    np.testing.assert_array_equal(after.r[0], state.r[0])
    assert (after.r[1] != state.r[1]).all()


def test_evidence_grows_to_its_cap_and_stays_finite() -> None:
    bet = recursion.bets(np.array([0.01]), np.ones(1))
    state = recursion.start(bet)
    for _ in range(100):
        state = recursion.step(bet, state, np.array([1e9]), np.array([1e9]))
    assert np.isfinite(state.r).all()
    assert (state.r >= 1e280).all()
    # and evidence to the contrary brings it down again
    for _ in range(20):
        state = recursion.step(bet, state, np.array([0.0]), np.array([1e9]))
    assert (state.r < 1e-10).all()


def test_age_counts_the_panes_since_evidence_began_to_rise() -> None:
    bet = recursion.bets(np.array([0.3]), np.ones(1))
    state = recursion.start(bet)
    for yes in [55.0] * 10 + [90.0] * 7:
        state = recursion.step(bet, state, np.array([yes]), np.array([200.0]))
    log_e, since = recursion.by_unit(state, np.array([0]), 2)
    assert since[0] == 7
    assert np.isnan(since[1])
    assert np.isnan(log_e[1])


def test_upper_bound_is_that_of_clopper_and_pearson() -> None:
    hits, asked = np.array([0.0, 3.0, 50.0, 100.0, 0.0]), np.array([100.0, 1_000.0, 100.0, 100.0, 0.0])
    bound = upper_bound(hits, asked)
    np.testing.assert_allclose(bound[:3], stats.beta.ppf(0.975, hits[:3] + 1, asked[:3] - hits[:3]), rtol=1e-9)
    assert bound[3] == pytest.approx(1.0)
    assert bound[4] == 1.0
