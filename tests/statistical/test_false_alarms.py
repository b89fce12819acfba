"""The promise that an alarm can be believed: driftless streams of real rows raise next to nothing."""

from __future__ import annotations

import pytest

from tests.statistical import data, null

FAST = ["adult", "higgs", "white_wine"]
ALL = list(null.SETS)
MOST_PAGES = 8
"""In 30,000 panes at one page per 10,000: expected at most 3, and Poisson(3) passes 8 once in 260 (issue A)."""
SHIFTS = (0.02, 0.05)


@pytest.fixture(autouse=True)
def _data_is_there() -> None:
    for path in (("adult", "adult.parquet"), ("two_sample", "higgs_5k.parquet"), ("wine_quality", "white.parquet")):
        data.need(*path)


@pytest.mark.parametrize("shift", SHIFTS)
def test_few_false_alarms_on_some_driftless_streams(shift: float) -> None:
    tally = null.real(FAST, 9, 180, shift)
    assert tally.panes == 9 * 180
    assert tally.findings["page"] <= 1
    assert tally.findings["ticket"] <= 1


def test_window_far_larger_than_the_reference_raises_nothing() -> None:
    tally = null.real(["higgs"], 2, 240, 0.02, reference_rows=1_000, window=120)
    assert tally.findings["page"] + tally.findings["ticket"] == 0


def test_dependent_rows_raise_nothing_when_evidence_is_tempered() -> None:
    tally = null.dependent(3, 150, 0.02)
    assert tally.findings["page"] + tally.findings["ticket"] == 0


def test_classic_windowed_test_on_the_same_streams_cries_wolf() -> None:
    tally = null.real(["higgs"], 2, 120, 0.05)
    assert tally.ks_panes > tally.findings["page"] + tally.findings["ticket"]


@pytest.mark.slow
@pytest.mark.parametrize("shift", SHIFTS)
def test_sixty_driftless_streams_of_real_rows_keep_the_budget(shift: float) -> None:
    tally = null.real(ALL, 60, 500, shift)
    assert tally.panes == 30_000
    assert tally.findings["page"] <= MOST_PAGES


@pytest.mark.slow
@pytest.mark.parametrize("shift", SHIFTS)
def test_reference_of_a_thousand_rows_keeps_the_budget(shift: float) -> None:
    assert null.real(ALL, 60, 500, shift, reference_rows=1_000).findings["page"] <= MOST_PAGES


@pytest.mark.slow
@pytest.mark.parametrize("shift", SHIFTS)
def test_windows_sixty_times_the_reference_keep_both_budgets(shift: float) -> None:
    tally = null.real(ALL, 12, 600, shift, reference_rows=1_000, window=300)
    assert tally.findings["page"] + tally.findings["ticket"] <= MOST_PAGES


@pytest.mark.slow
@pytest.mark.parametrize("shift", SHIFTS)
def test_autocorrelated_streams_keep_the_budget(shift: float) -> None:
    assert null.dependent(20, 500, shift).findings["page"] <= MOST_PAGES
