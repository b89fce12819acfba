"""The G-test of the mix: its level, who grew, and what the hours have to do with it."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.types import IntArray
from detectors.univariate.mix import mix_change

SHARES = np.array([0.5, 0.25, 0.15, 0.06, 0.03, 0.01])


def draw(rng: np.random.Generator, rows: int, shares: np.ndarray[tuple[int], np.dtype[np.float64]]) -> IntArray:
    return np.asarray(rng.multinomial(rows, shares), np.int64)


def test_statistic_is_the_textbook_one() -> None:
    window, reference = np.array([30, 50, 20]), np.array([100, 100, 100])
    table = np.array([window, reference], np.float64)
    hoped = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    found = mix_change(window, reference)
    assert found.statistic == pytest.approx(2 * (table * np.log(table / hoped)).sum())
    assert found.df == 2
    assert found.log_p == pytest.approx(-found.statistic / 2)  # chi-square with two degrees of freedom


@pytest.mark.parametrize("rows", [150, 2_000])
def test_level_is_five_percent(rows: int) -> None:
    rng = np.random.default_rng(rows)
    log_p = [mix_change(draw(rng, rows, SHARES), draw(rng, 5_000, SHARES)).log_p for _ in range(2_000)]
    assert 0.03 < np.mean(np.array(log_p) <= np.log(0.05)) < 0.065  # rare strata keep a little below


def test_strata_that_grew_and_shrank_are_told() -> None:
    rng = np.random.default_rng(1)
    changed = np.array([0.4, 0.25, 0.15, 0.06, 0.13, 0.01])
    found = mix_change(draw(rng, 2_000, changed), draw(rng, 10_000, SHARES))
    assert found.log_p < np.log(1e-9)
    assert found.z.argmax() == 4
    assert found.z.argmin() == 0
    np.testing.assert_allclose(found.share - found.expected, changed - SHARES, atol=0.03)
    assert found.share.sum() == pytest.approx(1)
    assert found.expected.sum() == pytest.approx(1)


def test_stratum_that_appears_or_vanishes_counts() -> None:
    assert mix_change(np.array([150, 50]), np.array([2_000, 0])).log_p < np.log(1e-9)
    assert mix_change(np.array([200, 0]), np.array([1_500, 500])).log_p < np.log(1e-9)
    assert mix_change(np.array([1_000, 1_000]), np.array([800_000, 0])).log_p < np.log(1e-9)
    assert mix_change(np.array([1_999, 1]), np.array([800_000, 0])).log_p > np.log(1e-3)


def test_hours_that_the_window_does_not_have_are_no_change() -> None:
    # two hours with mixes of their own; the window is of the second hour only
    cell = np.array([0, 0, 1, 1])
    reference = np.array([9_000, 1_000, 1_000, 9_000])
    window = np.array([0, 0, 100, 900])
    assert mix_change(window, reference).log_p < np.log(1e-9)
    within = mix_change(window, reference, cell)
    assert within.df == 1
    assert within.log_p == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(np.isnan(within.z), [True, True, False, False])
    assert mix_change(np.array([0, 0, 900, 100]), reference, cell).log_p < np.log(1e-9)


def test_level_holds_over_many_sparse_hours() -> None:
    rng = np.random.default_rng(2)
    hours = 48
    cell = np.tile(np.arange(hours), 3)
    shares = np.array([0.7, 0.25, 0.05])
    log_p = []
    for _ in range(500):
        reference, window = (np.concatenate(rng.multinomial(n, shares, hours).T).astype(np.int64) for n in (400, 40))
        log_p.append(mix_change(window, reference, cell).log_p)
    assert 0.03 < np.mean(np.array(log_p) <= np.log(0.05)) < 0.075


def test_dependent_rows_count_for_fewer() -> None:
    window, reference = np.array([300, 500, 200]), np.array([1_000, 1_000, 1_000])
    assert mix_change(window, reference, tau=10).statistic == pytest.approx(
        mix_change(window, reference).statistic / 10
    )


def test_nothing_to_compare_is_no_evidence() -> None:
    for window, reference in (([0, 0], [5, 5]), ([5, 5], [0, 0]), ([50], [500]), ([], [])):
        found = mix_change(np.array(window, np.int64), np.array(reference, np.int64))
        assert found.df == 0
        assert found.log_p == 0
