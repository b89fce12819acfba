"""The witness: its bets are fair on the edge of the null, its direction is predictable, and alarms come and go."""

from __future__ import annotations

from functools import cache
from typing import cast

import numpy as np
import pytest

from detectors.multivariate import ramps
from detectors.multivariate.encode import Encoder
from detectors.multivariate.protocol import Step
from detectors.multivariate.witness import Witness, WitnessFixed, WitnessState
from detectors.types import CodeArray, FloatArray, Sample, View

LOG_A = np.log(10_000.0)
SMALL = Witness(tolerance=0.05, landmarks=64, axes=48)


def sample(rows: FloatArray, strata: CodeArray | None = None) -> Sample:
    codes = np.zeros(len(rows), np.int32) if strata is None else strata.astype(np.int32)
    return Sample(rows.astype(np.float32), np.arange(len(rows)) // 5, codes)


def view(rows: FloatArray, strata: CodeArray | None = None, tau: float = 1.0) -> View:
    return View("columns", cast("Encoder", None), sample(rows, strata), 5, (), tau)


def normal(seed: int, rows: int, dimensions: int = 6) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((rows, dimensions))


@cache
def fixed(tolerance: float = 0.05) -> WitnessFixed:
    return Witness(tolerance, landmarks=64, axes=48).fit(view(normal(0, 8_000)), np.random.default_rng(1))


def follow(
    witness: Witness, known: WitnessFixed, rows: FloatArray, state: WitnessState | None = None
) -> tuple[WitnessState, list[Step]]:
    """Panes of 100 rows, until an alarm."""
    state, steps = state or witness.start(known), []
    for begin in range(0, len(rows), 100):
        state, step = witness.score(known, state, sample(rows[begin : begin + 100]))
        steps.append(step)
        if step.log_e >= LOG_A:
            break
    return state, steps


def correlated(seed: int, rows: int, rho: float = 0.8) -> FloatArray:
    x = normal(seed, rows)
    x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    return x


def about(mean: float, variance: float) -> ramps.Expected:
    return ramps.Expected(np.full((1, 4), mean), np.full((1, 4), variance), np.full((1, 4), 1e-4))


@pytest.mark.parametrize(("m0", "variance"), [(0.02, 0.01), (0.3, 0.1), (0.5, 0.2), (0.9, 0.05), (0.999, 1e-3)])
def test_bets_on_a_rise_are_fair_at_m0_and_lose_below(m0: float, variance: float) -> None:
    """A ramp of heights 0 and 1: E[e] in closed form."""
    stake = ramps.stakes(about(m0 - 0.01, variance), np.full((1, 4), m0))
    rise, fall = 1 + stake * (1 - m0), 1 - stake * m0
    assert (stake > 0).all()
    assert (fall > 0).all()
    np.testing.assert_allclose(m0 * rise + (1 - m0) * fall, 1, rtol=1e-12)
    assert ((m0 / 2) * rise + (1 - m0 / 2) * fall < 1).all()


@pytest.mark.parametrize(("m0", "mean"), [(0.05, 0.01), (0.4, 0.3), (0.95, 0.9)])
def test_bets_on_the_way_back_are_fair_at_m0_and_lose_above(m0: float, mean: float) -> None:
    stake = ramps.stakes_back(about(mean, 0.05), np.full((1, 4), m0))
    above = (1 + m0) / 2
    high, low = 1 + stake * (1 - m0), 1 - stake * m0
    assert (stake < 0).all()
    assert (high > 0).all()
    np.testing.assert_allclose(m0 * high + (1 - m0) * low, 1, rtol=1e-12)
    assert (above * high + (1 - above) * low < 1).all()


def test_no_bet_where_the_null_cannot_be_left() -> None:
    stake = ramps.stakes(about(0.97, 0.02), np.full((1, 4), 1.02))
    np.testing.assert_array_equal(stake, 0)


def test_product_of_bets_is_that_of_the_rows() -> None:
    height = np.random.default_rng(3).random((2, 4, 5_003)).astype(np.float32)
    m0, stake = np.full((2, 4), 0.45), np.full((2, 4, 3), 0.7)
    expected = np.log1p(0.7 * (height - 0.45)).sum(axis=-1)[..., None].repeat(3, axis=2)
    np.testing.assert_allclose(ramps.log_bets(height, m0, stake), expected, rtol=1e-4, atol=1e-3)


def test_a_mean_over_strata_is_that_of_the_panes_mix() -> None:
    height = np.concatenate([np.full(3_000, 0.2), np.full(2_000, 0.9)]).astype(np.float32)[None, None]
    height = height + np.float32(0.1) * np.random.default_rng(0).random(5_000).astype(np.float32)
    rows = np.array([3_000.0, 2_000.0])
    own = ramps.expected(height, rows, np.array([0.6, 0.4]), 1.0)
    np.testing.assert_allclose(own.mean, height.mean(), rtol=1e-4)
    other = ramps.expected(height, rows, np.array([0.1, 0.9]), 1.0)
    np.testing.assert_allclose(other.mean, 0.1 * 0.25 + 0.9 * 0.95, atol=2e-3)
    unknown = ramps.expected(height, rows, np.zeros(2), 1.0)
    np.testing.assert_allclose(unknown.mean, height.mean(), rtol=1e-6)


def test_strata_that_agree_lean_on_the_whole_and_those_that_differ_stand_alone() -> None:
    n, variance = np.full(20, 100.0), np.array([0.25])
    noise = np.random.default_rng(2).standard_normal(20) * 0.05
    agree = ramps.pseudo_rows(0.5 + noise[None], n, np.array([0.5]), variance)
    differ = ramps.pseudo_rows(0.5 + 6 * noise[None], n, np.array([0.5]), variance)
    assert agree[0] > 100
    assert differ[0] < 20


def test_direction_of_a_pane_does_not_depend_on_its_rows() -> None:
    """Evidence is a sum over rows: what other rows the pane has changes nothing of what one says."""
    known = fixed()
    learnt, _ = follow(SMALL, known, normal(5, 1_000) + 0.1)
    state = SMALL.start(known)._replace(total=learnt.total)
    one, other = normal(6, 60), normal(7, 40) + 2

    def log_e(rows: FloatArray) -> FloatArray:
        return SMALL.score(known, state, sample(rows))[0].cusum

    both = log_e(np.concatenate([one, other]))
    assert np.abs(both).max() > 1
    np.testing.assert_allclose(both, log_e(one) + log_e(other), rtol=1e-5, atol=1e-4)


def test_first_pane_bets_nothing_and_zero_rows_are_no_step() -> None:
    known = fixed()
    state, step = SMALL.score(known, SMALL.start(known), sample(normal(1, 100)))
    assert step.log_e == -np.inf
    same, step = SMALL.score(known, state, sample(np.zeros((0, 6))))
    assert same is state
    assert (step.n, step.log_e) == (0, -np.inf)


def test_state_is_float64_and_resumes_bit_for_bit() -> None:
    known = fixed()
    state, _ = follow(SMALL, known, normal(5, 1_000))
    assert all(part.dtype == np.float64 for part in state)
    copied = WitnessState(*(np.frombuffer(part.tobytes()).reshape(part.shape) for part in state))
    one, first = follow(SMALL, known, normal(6, 500), state)
    two, second = follow(SMALL, known, normal(6, 500), copied)
    assert first == second
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_correlation_that_breaks_is_found_while_no_column_moves() -> None:
    before = np.concatenate([normal(10, 2_000), correlated(11, 3_000)])
    _, steps = follow(SMALL, fixed(), before)
    assert 20 < len(steps) < 45
    assert steps[-1].log_e >= LOG_A
    assert len(steps) - steps[-1].since >= 15
    assert steps[-1].effect > 0.05


def test_a_shift_below_tolerance_never_alarms() -> None:
    """0.1 deviations move less than 0.04 of the mass in any direction."""
    for seed in range(3):
        rows = normal(20 + seed, 10_000) + np.array([0.1, 0, 0, 0, 0, 0])
        _, steps = follow(SMALL, fixed(), rows)
        assert len(steps) == 100
        assert max(step.log_e for step in steps) < LOG_A / 2


def test_an_alarm_holds_its_direction_until_the_shift_is_over() -> None:
    known = fixed()
    shifted = normal(30, 6_000) + np.array([0.8, 0, 0, 0, 0, 0])
    state, steps = follow(SMALL, known, shifted)
    assert steps[-1].log_e >= LOG_A
    assert np.isnan(steps[-1].back)
    held = SMALL.alarmed(known, state)
    rows = normal(31, 500).astype(np.float32)
    assert np.corrcoef(SMALL.witness(known, held, rows), rows[:, 0])[0, 1] > 0.6
    held, still = follow(SMALL, known, shifted[:2_000], held)
    assert max(step.back for step in still) < np.log(1000)
    assert {step.log_e for step in still} == {-np.inf}
    held, back = follow(SMALL, known, normal(32, 4_000), held)
    assert back[-1].back >= np.log(1000)
    fresh = SMALL.recovered(known, held)
    assert not any(part.any() for part in fresh)


def test_a_changed_mix_of_strata_is_no_drift_and_drift_within_one_is() -> None:
    rng = np.random.default_rng(40)

    def stream(rows: int, share: float, shift: float = 0.0) -> tuple[FloatArray, CodeArray]:
        strata = (rng.random(rows) < share).astype(np.int32)
        return rng.standard_normal((rows, 6)) + 2.0 * strata[:, None] + shift * (strata == 1)[:, None], strata

    known = SMALL.fit(view(*stream(8_000, 0.5)), np.random.default_rng(0))

    def most(rows: FloatArray, strata: CodeArray) -> float:
        state, best = SMALL.start(known), -np.inf
        for begin in range(0, len(rows), 100):
            part = slice(begin, begin + 100)
            state, step = SMALL.score(known, state, sample(rows[part], strata[part]))
            best = max(best, step.log_e)
        return best

    assert most(*stream(4_000, 0.9)) < LOG_A / 2
    assert most(*stream(4_000, 0.9, 0.6)) >= LOG_A


def test_dependent_rows_count_for_less() -> None:
    shifted = normal(50, 500) + 0.5
    plain = SMALL.fit(view(normal(0, 8_000)), np.random.default_rng(1))
    _, often = follow(SMALL, plain, shifted)
    _, rarely = follow(SMALL, plain._replace(tau=np.array(10.0)), shifted[: 100 * len(often)])
    assert rarely[-1].log_e < often[-1].log_e / 3


@pytest.mark.parametrize("rows", [np.zeros((4_000, 3)), normal(1, 100, 3), np.zeros((0, 3))])
def test_without_a_usable_reference_it_says_nothing(rows: FloatArray) -> None:
    known = SMALL.fit(view(rows), np.random.default_rng(0))
    state, step = SMALL.score(known, SMALL.start(known), sample(normal(2, 100, 3)))
    assert np.isnan(step.log_e)
    assert SMALL.witness(known, SMALL.alarmed(known, state), normal(2, 7, 3).astype(np.float32)).shape == (7,)


def test_rows_of_few_distinct_values_do_not_fall_apart_by_rounding() -> None:
    rng = np.random.default_rng(60)
    known = Witness(0.0).fit(view(rng.integers(0, 2, (4_000, 3)).astype(float)), rng)
    _, steps = follow(Witness(0.0), known, rng.integers(0, 2, (10_000, 3)).astype(float))
    assert max(step.log_e for step in steps) < LOG_A


def test_a_large_pane_counts_all_its_rows() -> None:
    known, witness = fixed(0.0), Witness(0.0, landmarks=64, axes=48)
    state, step = witness.start(known), None
    for seed in (70, 71):
        state, step = witness.score(known, state, sample(normal(seed, 20_000) + 0.2))
    assert step is not None
    assert step.log_e >= LOG_A
