"""E-KS is as fast as methods.md 3.2 says, and its false alarms are as rare as the theorem says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from detectors import simulate
from detectors.compare import Baseline, Comparison
from detectors.parts import summarise
from detectors.sequential.e_ks import EKS, reference_error
from detectors.sequential.rates import Rate
from detectors.types import Window
from tests.statistical import delay
from tests.statistical.delay import DRAWS, PUBLISHED

FAST = [case for case, published in PUBLISHED.items() if case[2] == 1e4 and published < 60]
TOLERANCE = 0.25
A = 500.0


def _matches(case: tuple[str, float, float], columns: int) -> None:
    shift, delta, threshold = case
    rng = np.random.default_rng(7)
    measured = delay.mean_delay(shift, EKS(delta, known=True), delay.known(columns), threshold, rng)
    assert measured == pytest.approx(PUBLISHED[case], rel=TOLERANCE)


@pytest.mark.parametrize("case", FAST)
def test_delay_with_a_known_reference_matches_the_table(case: tuple[str, float, float]) -> None:
    _matches(case, 60)


@pytest.mark.slow
@pytest.mark.parametrize("case", PUBLISHED)
def test_every_delay_of_the_table_is_reproduced(case: tuple[str, float, float]) -> None:
    _matches(case, 300)


@pytest.mark.parametrize("shift", ["mean .2", "mean .5", "sd 1.3"])
def test_finite_reference_costs_what_its_wider_tolerance_costs(shift: str) -> None:
    rng = np.random.default_rng(8)
    wider = 0.02 + float(reference_error(np.array([20_000.0]))[0])
    finite = delay.mean_delay(shift, EKS(0.02), delay.sampled(80, 20_000, rng), 1e4, rng)
    exact = delay.mean_delay(shift, EKS(wider, known=True), delay.known(80), 1e4, rng)
    assert finite == pytest.approx(exact, rel=TOLERANCE)


def _at_least(stopped: np.ndarray[tuple[int], np.dtype[np.int64]], most: int) -> None:
    """Stops are about memoryless: alarms in ``most`` panes at a mean run length of A or more are at most expected."""
    time = np.minimum(stopped, most).sum()
    alarms = int((stopped <= most).sum())
    # upper 99 % bound of the mean run length if it were A: alarms are Poisson(time / A) then
    assert special.pdtrc(alarms - 1, time / A) > 0.01


def test_mean_run_length_without_drift_is_at_least_a() -> None:
    stopped = delay.stops(EKS(0.0, known=True), delay.known(100), DRAWS["none"], A, np.random.default_rng(9), 1_000)
    _at_least(stopped, 1_000)
    # methods.md: mean run length 1188, P(alarm within 500) = .295: not idle either
    assert 0.15 < (stopped <= 500).mean() < 0.45


def test_mean_run_length_at_the_edge_of_the_tolerance_is_at_least_a() -> None:
    shift = 2 * special.ndtri(0.5 + 0.05 / 2)  # a KS distance of exactly 0.05
    stopped = delay.stops(
        EKS(0.05, known=True),
        delay.known(100),
        lambda rng, shape: rng.standard_normal(shape) + shift,
        A,
        np.random.default_rng(10),
        1_000,
    )
    _at_least(stopped, 1_000)


def test_no_shift_within_the_tolerance_ever_alarms_with_a_finite_reference() -> None:
    rng = np.random.default_rng(11)
    stopped = delay.stops(EKS(0.02), delay.sampled(60, 1_000, rng), DRAWS["none"], A, rng, 500)
    assert (stopped <= 500).mean() < 0.05


def test_missing_rate_at_its_allowance_alarms_once_in_a_panes_at_most() -> None:
    rng = np.random.default_rng(12)
    reference = simulate.reference_of(simulate.block_of(rng.standard_normal((4_000, 100))), dependent=False)
    detector = Rate("missing", 0.02)
    fixed = detector.fit(reference)
    state = detector.start(fixed)
    share = fixed.questions.p0[0]
    stopped = np.full(100, 1_001)
    baseline = Baseline(reference)
    for pane in range(1, 1_001):
        rows = np.where(rng.random((200, 100)) < share, np.nan, 0.0)
        summary = summarise(reference.grid, simulate.block_of(rows))
        state, evidence = detector.score(fixed, state, Window(0.0, 1.0, Comparison(baseline, summary), summary))
        stopped[(stopped > 1_000) & (evidence.log_e >= np.log(A))] = pane
    _at_least(stopped, 1_000)
