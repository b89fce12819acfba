from __future__ import annotations

from detectors.decide.incidents import Incident, joins

LAST = Incident(pane=100, onset=90, effect=0.1, id="page")


def test_first_alarm_of_a_stream_is_a_page() -> None:
    assert not joins(Incident(), pane=5, onset=4, effect=0.2, hold=60, still_open=False)


def test_alarm_soon_after_a_page_belongs_to_it() -> None:
    assert joins(LAST, pane=101, onset=100, effect=0.8, hold=60, still_open=True)
    assert joins(LAST, pane=150, onset=149, effect=0.15, hold=60, still_open=True)


def test_far_larger_shift_that_began_after_the_page_is_a_page_of_its_own() -> None:
    assert not joins(LAST, pane=150, onset=149, effect=0.2, hold=60, still_open=True)


def test_late_alarm_belongs_to_an_open_page_only_if_it_began_with_it() -> None:
    assert joins(LAST, pane=300, onset=95, effect=0.5, hold=60, still_open=True)
    assert not joins(LAST, pane=300, onset=95, effect=0.5, hold=60, still_open=False)
    assert not joins(LAST, pane=300, onset=290, effect=0.5, hold=60, still_open=True)
