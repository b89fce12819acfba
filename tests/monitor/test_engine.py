"""The engine: what it pages, names, holds down, joins, recovers, and what it does when a detector fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from detectors.registry import SEQUENTIAL, WINDOWED
from monitor.report import Finding, Report
from monitor.streams import ModelStreams
from tests.monitor.streams_bench import NAMES, findings, model, rows, streams

PANE = 200


def _feed(it: ModelStreams, panes: int, seed: int, **shift: float) -> list[Report]:
    return list(it.feed(rows(panes * PANE, seed, **shift), "", 0.0).reports)


def test_undrifted_stream_is_quiet_and_every_pane_is_reported() -> None:
    reports = _feed(streams(), 60, 1)
    assert [report.pane for report in reports] == list(range(1, 61))
    assert not findings(reports, "page", "ticket")
    for report in reports:
        assert report.evidence.keys() == {**WINDOWED, **SEQUENTIAL}.keys()
        assert not report.failures
        assert report.rows == PANE
        assert report.mean_log_e < np.log(report.threshold)
        assert report.log_e.shape == (len(SEQUENTIAL), len(NAMES))


def test_mean_shift_pages_once_and_names_the_column_since_when_and_how_much() -> None:
    it = streams()
    reports = _feed(it, 20, 2) + _feed(it, 20, 3, shift=1.0)
    (page,) = findings(reports, "page")
    assert 21 <= page.pane <= 23
    assert page.since_pane == 21
    assert page.units[0].unit == "a"
    assert page.detector == "e_ks"
    assert page.triage == "shift"
    assert page.units[0].effect_low < page.units[0].effect < page.units[0].effect_high
    assert page.units[0].effect == pytest.approx(0.38, abs=0.06)
    assert page.log_e >= np.log(1_000)


@pytest.mark.parametrize(
    ("shift", "unit", "detector"),
    [({"missing": 0.2}, "b", "e_missing"), ({"new": 0.2}, "kind", "e_new_category")],
)
def test_faulty_data_pages_as_a_fault_of_the_data(shift: Mapping[str, float], unit: str, detector: str) -> None:
    it = streams()
    reports = _feed(it, 10, 4) + _feed(it, 10, 5, **shift)
    page = findings(reports, "page")[0]
    assert page.triage == "data_fault"
    assert page.failure_mode == "common_corruption"
    assert page.units[0].unit == unit
    assert page.units[0].detector == detector


def test_open_finding_does_not_page_again_and_ends_when_the_column_is_back() -> None:
    it = streams()
    drifted = _feed(it, 150, 6, shift=1.0)
    (page,) = findings(drifted, "page")
    assert not any(report.recovered for report in drifted)
    after = _feed(it, 60, 7)
    recovered = [one for report in after for one in report.recovered]
    (mine,) = (one for one in recovered if page.id in one.ids)
    assert "a" in mine.units
    assert mine.pane > 150
    assert not findings(after, "page")


def test_alarm_is_armed_again_after_recovery() -> None:
    it = streams(model(alarms={"false_alarms": "1 per 1000 panes", "hold": 0}))
    reports = _feed(it, 20, 8, shift=1.0) + _feed(it, 60, 9) + _feed(it, 20, 10, shift=1.0)
    pages = findings(reports, "page")
    assert len(pages) == 2
    assert pages[0].id != pages[1].id
    assert pages[1].since_pane == 81


def test_second_shift_within_the_hold_joins_the_first_page_as_a_ticket() -> None:
    it = streams()
    _feed(it, 5, 11)
    first = _feed(it, 4, 12, shift=1.0)
    second = _feed(it, 4, 13, shift=1.0, missing=0.3)
    (page,) = findings(first + second, "page")
    joined = [one for one in findings(second, "ticket") if one.detector == "e_missing"]
    assert joined[0].joins == page.id


def test_small_shift_that_is_certain_is_a_note_and_not_a_page() -> None:
    it = streams(model(window={"panes": 60}))
    reports = _feed(it, 120, 14, shift=0.1)
    assert not findings(reports, "page", "ticket")
    notes = findings(reports, "info")
    assert {unit.unit for one in notes for unit in one.units} == {"a"}
    assert all(one.pane % 60 == 0 for one in notes)


def test_finding_of_the_same_pane_has_the_same_id_and_its_json_is_plain() -> None:
    pages = []
    for _ in range(2):
        it = streams()
        pages += findings(_feed(it, 5, 15, shift=2.0), "page")
    assert pages[0].id == pages[1].id
    document = json.dumps(pages[0].as_dict(), allow_nan=False)
    assert json.loads(document)["units"][0]["unit"] == "a"
    assert "a" in pages[0].sentence()


class _Broken:
    """A detector that fails after a while."""

    def __init__(self, inner: Any, after: int) -> None:
        self._inner, self._left = inner, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def score(self, fixed: Any, state: Any, window: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ArithmeticError("broken on purpose")
        return self._inner.score(fixed, state, window)


@pytest.mark.parametrize("name", ["psi", "anderson_darling", "e_missing", "e_ks"])
def test_failing_detector_keeps_its_state_and_the_others_go_on(name: str) -> None:
    it = streams(model(window={"panes": 2}))
    _feed(it, 3, 16)
    family = it.engine.windowed if name in WINDOWED else it.engine.sequential
    before = it.streams["all"].state.detectors[name]
    family[name] = _Broken(family[name], 0)  # type: ignore[index]  # the engine's own dictionary
    reports = _feed(it, 6, 17, missing=0.5, shift=2.0)
    for report in reports:
        assert report.failures == {name: "ArithmeticError: broken on purpose"}
        assert name not in report.evidence
    after = it.streams["all"].state.detectors[name]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert findings(reports, "page")


@pytest.mark.parametrize("failing", [("total_variation",), ("anderson_darling", "g_test"), tuple(WINDOWED)])
def test_tickets_do_without_the_tests_that_have_failed(failing: tuple[str, ...]) -> None:
    it = streams(model(window={"panes": 2}, joint={"enabled": False}))
    for name in failing:
        it.engine.windowed[name] = _Broken(it.engine.windowed[name], 0)  # type: ignore[index]
    reports = _feed(it, 6, 18, shift=0.2)
    assert [report.failures.keys() for report in reports] == [set(failing)] * 6
    assert bool(findings(reports, "info", "ticket")) == (failing == ("total_variation",))


def test_shift_of_every_column_is_one_page() -> None:
    reference = rows(20_000, 0).select(["a", "c"])
    it = streams(reference=reference)
    odd = rows(10 * PANE, 19, shift=3.0).select(["a", "c"])
    moved = odd.set_column(1, "c", rows(10 * PANE, 20, shift=5.0).column("a"))
    pages: list[Finding] = findings(it.feed(moved, "", 0.0).reports, "page")
    assert len(pages) == 1


def test_weights_of_all_questions_sum_to_one() -> None:
    it = streams()
    assert it.engine.weight.sum() == pytest.approx(1)
    assert it.engine.weight[0].sum() == pytest.approx(0.5)
