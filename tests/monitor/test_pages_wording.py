"""What pages say: every kind of finding in words, names of logs made harmless, numbers that keep their figures."""

from __future__ import annotations

import doctest
import math
from typing import Any

import pytest

from monitor.web import wording
from tests.monitor.findings_bench import culprit, finding


def document(**changes: Any) -> dict[str, Any]:
    return finding(**changes).as_dict()


def unit(name: str, detector: str, **changes: Any) -> Any:
    import dataclasses

    return dataclasses.replace(culprit(name), detector=detector, **changes)


def test_its_examples_hold() -> None:
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("changes", "headline", "detail"),
    [
        ({}, "a no longer looks like the reference.", "a: 30 % of the rows now lie where 10 % of the reference did."),
        (
            {"units": (culprit("a"), culprit("b"))},
            "a and b no longer look like the reference.",
            "a: 30 % of the rows now lie where 10 % of the reference did.",
        ),
        (
            {"triage": "data_fault", "units": (unit("a", "e_missing"),)},
            "a goes missing.",
            "a: 30 % of the rows lack it; in the reference 10 %.",
        ),
        (
            {"units": (unit("a*b", "e_witness", view="columns", reference_value=math.nan, window_value=math.nan),)},
            "a and b changed together in a way that no single column shows.",
            "a and b together: 20 % of the rows are distributed otherwise (10 % to 30 %).",
        ),
        (
            {"subject": "mix", "strata": (("region=west", 0.5, 0.75),)},
            "The mix of the traffic changed, seen in a.",
            "Most of all region=west: 75 % of the rows, expected 50 %.",
        ),
        (
            {
                "subject": "sender",
                "triage": "attack",
                "failure_mode": "perturbation_attack",
                "units": (unit("client 7", "near_duplicates", effect_name="share_of_rows"),),
            },
            "Perturbation attack suspected: client 7.",
            "30 % of the rows looked at speak for it; usual are 10 %.",
        ),
        (
            {"units": (unit("a", "e_ks", effect=math.nan),)},
            "a no longer looks like the reference.",
            "How large the change is cannot be told yet: there are too few rows since it began.",
        ),
    ],
)
def test_what_happened_in_two_sentences(changes: dict[str, Any], headline: str, detail: str) -> None:
    assert wording.told(document(**changes)) == (headline, detail)


@pytest.mark.parametrize(
    ("triage", "detector", "units", "says"),
    [
        ("data_fault", "e_ks", 1, "pred shifted"),
        ("data_fault", "window", 3, "pred and 2 more shifted"),
        ("data_fault", "e_missing", 1, "pred goes missing"),
        ("data_fault", "e_new_category", 2, "Data faults in pred and 1 more"),
        ("shift", "e_ks", 1, "pred shifted"),
    ],
)
def test_a_title_says_what_was_seen_whatever_it_may_come_of(triage: str, detector: str, units: int, says: str) -> None:
    assert wording.title(triage, "data", "distributional_shift", "pred", detector, units) == says


def test_the_largest_change_is_named_first_and_many_columns_are_counted() -> None:
    units = [
        unit(name, "e_ks", effect=effect) for name, effect in zip("abcdef", (0.1, 0.2, 0.6, 0.3, 0.4, 0.5), strict=True)
    ]
    told = wording.told(document(units=tuple(units)))
    assert told.headline == "c, f, e, d and 2 more columns no longer look like the reference."
    assert told.detail.startswith("c: ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"log_e": math.log(20_000), "threshold": math.log(10_000)},
            (
                "The evidence against chance is 20,000-fold; an alarm asks for 10,000-fold. "
                "By chance alone it comes at most once in about 10,000 panes."
            ),
        ),
        (
            {"detector": "window", "log_e": 23.1, "severity": "ticket"},
            "By chance a window like this comes with a probability below 10⁻¹⁰. Tests on full windows open tickets",
        ),
        ({"log_e": math.nan}, "This rule makes no promise about false alarms"),
    ],
)
def test_how_sure_says_what_it_was_measured_against(changes: dict[str, Any], says: str) -> None:
    assert wording.sureness(document(**changes)).startswith(says)


@pytest.mark.parametrize("letter", ["\u202e", "\u2066", "\x00", "\x1b", "\n", "\u2028", "\u200b"])
def test_letters_that_deceive_the_eye_are_shown_as_their_numbers(letter: str) -> None:
    assert wording.clean(f"a{letter}b") == f"a\\u{ord(letter):04x}b"


def test_long_names_are_cut() -> None:
    assert wording.clean("x" * 500) == "x" * wording.NAME_LETTERS + "…"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567.0, "1234567"), (0.25, "0.25"), (1e-7, "1e-07"), (123456.7, "123457"), (math.nan, wording.DASH)],
)
def test_numbers_of_a_table(value: float, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize("time", [None, math.nan, math.inf, -1.0, 1e300])
def test_times_that_are_none_are_a_dash(time: float | None) -> None:
    assert wording.instant(time) == wording.DASH
    assert wording.machine_time(time) == ""


def test_how_long_ago_is_said_while_it_helps() -> None:
    assert wording.ago(100.0, 100.0 + 5_400) == "90 minutes ago"
    assert wording.ago(100.0, 50.0) == ""
    assert wording.ago(0.0, 1e9) == ""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"column": "a\u202eb"}, ["column a\\u202eb"]),
        ({"failure_mode": "distributional_shift"}, ["every distributional shift"]),
        ({"rows": 20_000}, ["the next 20,000 rows"]),
        ({"clients": ["1a", "2b"], "rows": ["x", "y"]}, ["sender 1a", "sender 2b", "2 rows"]),
        ({"finding": "f"}, []),
    ],
)
def test_what_an_intervention_is_about(target: dict[str, Any], says: list[str]) -> None:
    assert wording.targets(target) == says
