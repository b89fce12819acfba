"""Drift that is documented in real data sets is found, by name, and not before it is there."""

from __future__ import annotations

from functools import cache

import pytest

from tests.statistical import data, documented
from tests.statistical.documented import CASES, Outcome

ONE_WINDOW = 60
"""Panes within which a change must be told."""
SLOW_TO_SHOW = {"nyc_taxi, missing", "ma_employment, 2017"}
"""A missing rate with a daily cycle (tau of 99 rows) and a shift of 0.07 against a smallest one of 0.05: later."""
RESTLESS = {"ma_employment, episode", "california_housing", "skab", "nyc_taxi, missing"}
"""Sets that change before the onset that is looked for, in ways that are documented too."""


@cache
def _judged(name: str) -> Outcome:
    try:
        return documented.judge(CASES[name]())
    except data.AbsentError as absent:
        pytest.skip(str(absent))


@pytest.mark.parametrize("name", [name for name in CASES if name != "nyc_taxi, quiet"])
def test_documented_change_is_found_in_a_documented_column(name: str) -> None:
    outcome = _judged(name)
    assert outcome.found is not None
    assert outcome.delay is not None
    if name not in SLOW_TO_SHOW:
        assert outcome.delay <= ONE_WINDOW


@pytest.mark.parametrize("name", sorted(CASES.keys() - RESTLESS))
def test_nothing_pages_before_the_documented_change(name: str) -> None:
    assert _judged(name).before == 0


def test_quiet_fortnight_before_the_pandemic_raises_nothing() -> None:
    outcome = _judged("nyc_taxi, quiet")
    assert outcome.found is None
    assert outcome.before == 0
