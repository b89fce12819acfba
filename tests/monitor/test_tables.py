"""What people read on the terminal: a line for each finding, recovery and summary of a replay."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.tables import sentence

UNIT = {"unit": "load", "detector": "e_out_of_range", "effect": 0.178234, "effect_name": "rate_change"}
FINDING: dict[str, Any] = {
    "kind": "finding",
    "stream": "v8/country=DE",
    "pane": 5,
    "time": 1_702_184_400.0,
    "severity": "ticket",
    "triage": "data_fault",
    "subject": "data",
    "units": [UNIT],
    "since_pane": 3,
    "since_time": 1_702_173_600.0,
}


def test_finding_says_when_where_what_and_by_which_detector() -> None:
    assert sentence(FINDING, timed=True) == (
        "pane      5  2023-12-10 05:00Z  ticket [v8/country=DE] data fault: "
        "load (rate change +0.178, e_out_of_range)  since pane 3, 2023-12-10 02:00Z"
    )


def test_rows_are_not_taken_for_times() -> None:
    assert "19" not in sentence(FINDING | {"time": 1000.0, "since_time": 600.0})


def test_change_of_the_mix_is_called_so() -> None:
    assert "mix: load" in sentence(FINDING | {"subject": "mix", "triage": "shift"})


def test_unit_without_a_size_still_names_its_detector() -> None:
    assert "load (adwin)" in sentence(FINDING | {"units": [UNIT | {"effect": None, "detector": "adwin"}]})


def test_only_the_first_units_are_named() -> None:
    assert "and 3 more" in sentence(FINDING | {"units": [UNIT] * 8})


@pytest.mark.parametrize(("stream", "shown"), [("all", "back   load"), ("v8", "back   [v8] load")])
def test_recovery_names_its_stream(stream: str, shown: str) -> None:
    line = {"kind": "recovery", "stream": stream, "pane": 20, "time": 0.0, "units": ["load"]}
    assert sentence(line) == f"pane     20  {shown}"
