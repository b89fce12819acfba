from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import budget, quantities
from monitor.budget import Budget, parse, run_length


@pytest.mark.parametrize("module", [budget, quantities])
def test_examples_in_the_documentation_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 per 90d", Budget(1, period_seconds=90 * 86400)),
        ("2 per week", Budget(2, period_seconds=7 * 86400)),
        ("1 per day", Budget(1, period_seconds=86400)),
        ("0.5 per 12 hours", Budget(0.5, period_seconds=12 * 3600)),
        ("1 alarm per 1h30m", Budget(1, period_seconds=5400)),
        ("1 per 100000 panes", Budget(1, period_panes=100_000)),
        ("3 per 10,000 panes", Budget(3, period_panes=10_000)),
    ],
)
def test_a_budget_is_read_in_the_words_of_people(text: str, expected: Budget) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "often", "1", "1 per", "0 per 90d", "1 per 0 panes", "-1 per 1d", "1 per 5 fish", "1 per 0s", 7, None]
)
def test_what_is_no_budget_is_refused_with_the_forms_that_are(text: object) -> None:
    with pytest.raises(ValueError, match="1 per 90d"):
        parse(text)


@pytest.mark.parametrize("text", ["1 per 90d", "2 per 7d", "1 per 100000 panes", "0.5 per 12h"])
def test_a_budget_reads_its_own_text(text: str) -> None:
    assert str(parse(str(parse(text)))) == str(parse(text))


def test_a_budget_in_time_becomes_panes_by_their_length() -> None:
    assert run_length(parse("1 per 90d"), 60.0) == 129_600
    assert run_length(parse("2 per 90d"), 60.0) == 64_800
    assert run_length(parse("1 per 90d"), 3600.0) == 2160


def test_a_budget_in_panes_does_not_ask_how_long_they_are() -> None:
    assert run_length(parse("2 per 100000 panes"), None) == run_length(parse("2 per 100000 panes"), 7.0) == 50_000


def test_a_pane_counted_in_rows_is_taken_for_a_minute() -> None:
    assert run_length(parse("1 per 90d"), None) == run_length(parse("1 per 90d"), 60.0)


def test_a_budget_that_allows_an_alarm_a_pane_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer alarms"):
        run_length(parse("1 per 1m"), 60.0)


@given(st.integers(0, 10**9))
def test_a_duration_in_whole_seconds_survives_its_text(seconds: int) -> None:
    assert quantities.duration(quantities.duration_text(seconds)) == seconds


@given(st.integers(0, 2**45))
def test_a_size_survives_its_text(count: int) -> None:
    assert quantities.size(quantities.size_text(count)) == count


@given(st.text(max_size=12))
def test_no_text_makes_the_parsers_raise_anything_but_a_value_error(text: str) -> None:
    for parser in (quantities.duration, quantities.size, quantities.address, parse):
        try:
            parser(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either outcome is right, silence is not
