from __future__ import annotations

import numpy as np
import pytest

from detectors.decide.concentration import Verdict, binomial_tail, concentration
from tests.bench.concentration import fleet, shares


def test_binomial_tail_is_exact() -> None:
    n, rate = 30, 0.07
    pmf = [1.0 * np.prod([(n - i) / (i + 1) for i in range(k)]) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)]
    f = np.arange(n + 1, dtype=np.float64)
    found = np.exp(binomial_tail(f, np.full(n + 1, float(n)), np.full(n + 1, rate)))
    assert found == pytest.approx(np.cumsum(pmf[::-1])[::-1], rel=1e-9)


def test_fleet_wide_drift_suspects_nobody_whether_clients_are_alike_or_not() -> None:
    rng = np.random.default_rng(0)
    for rate in (0.05, 0.3):
        for variation in (0.0, 0.3):
            alone, _, _ = shares(rng, (200, rate, variation), 0, 60)
            assert alone <= 0.02


def test_one_attacker_inside_a_drift_is_found_and_nobody_else() -> None:
    rng = np.random.default_rng(1)
    _, benign, attacker = shares(rng, (200, 0.2, 0.0), 1, 40)
    assert attacker >= 0.95
    assert benign <= 0.05


def test_attackers_leave_the_others_so_that_they_do_not_hide_each_other() -> None:
    rows = np.full(30, 100)
    flagged = np.array([*[1] * 28, 60, 9])
    told = concentration(flagged, rows)
    assert np.flatnonzero(told.suspects).tolist() == [28, 29]
    assert told.rate == pytest.approx(0.01)


def test_drift_without_culprit_is_the_fleets_where_the_reference_rate_is_known() -> None:
    flagged, rows = fleet(np.random.default_rng(2), 100, 0.1, 0.0)
    assert concentration(flagged, rows).verdict is Verdict.QUIET
    assert concentration(flagged, rows, expected=0.01).verdict is Verdict.FLEET
    assert concentration(flagged, rows, expected=0.12).verdict is Verdict.QUIET


def test_few_clients_and_clients_with_few_rows_are_not_judged() -> None:
    assert concentration(np.array([50, 0]), np.array([100, 100])).verdict is Verdict.FEW_CLIENTS
    told = concentration(np.array([19, 0, 0, 0, 0, 0]), np.array([19, *[100] * 5]))
    assert np.isnan(told.log_p[0])
    assert not told.suspects.any()


@pytest.mark.parametrize("flagged", [0, 1])
def test_nothing_and_everything_flagged_give_no_verdict(flagged: int) -> None:
    rows = np.full(10, 50)
    told = concentration(rows * flagged, rows)
    assert told.verdict is Verdict.QUIET
    assert not np.isnan(told.log_p).any()
    empty = np.zeros(0, np.int64)
    assert concentration(empty, empty).verdict is Verdict.FEW_CLIENTS


def test_expected_miss_attacker_under_a_fifth_of_all_names_looks_like_how_clients_differ() -> None:
    rng = np.random.default_rng(3)
    flagged, rows = rng.binomial(100, 0.01, 50), np.full(50, 100)
    flagged[:12] = rng.binomial(100, 0.9, 12)
    assert not concentration(flagged, rows).suspects.any()
