"""The findings of a running agent: open, written down, ended, and the lines that other programs follow."""

from __future__ import annotations

import json

from structlog.testing import capture_logs

from monitor.logbook import Logbook
from monitor.report import Finding, Recovered
from tests.monitor.findings_bench import finding

TABLES = b"tables"


def book(*found: Finding) -> Logbook:
    made = Logbook()
    for one in found:
        made.opened(one, TABLES)
    return made


def written(made: Logbook) -> None:
    """What a checkpoint does."""
    made.pending, made.lines = {}, []


def test_an_opened_finding_is_open_waits_and_is_a_line() -> None:
    one = finding()
    made = book(one)
    row = made.open[one.id]
    assert made.waiting
    assert made.pending == {one.id: row}
    assert made.lines == [one.as_dict()]
    assert (row.model, row.stream, row.severity, row.detector) == ("m", "all", "page", "e_ks")
    assert (row.state, row.opened, row.closed, row.evidence) == ("open", one.time, None, TABLES)
    assert json.loads(row.document) == json.loads(json.dumps(one.as_dict()))


def test_it_is_told_once_in_the_log_with_its_id_and_triage() -> None:
    with capture_logs() as lines:
        book(finding(triage="attack"))
    (line,) = lines
    assert line["log_level"] == "warning"
    assert line["event"].startswith("page: distributional shift in a")
    assert (line["finding"], line["triage"]) == (finding().id, "attack")


def test_nothing_waits_once_it_is_written() -> None:
    made = book(finding())
    written(made)
    assert not made.waiting
    assert made.open


def test_a_recovery_ends_its_findings_and_no_others() -> None:
    first, second = finding(), finding(pane=9)
    made = book(first, second)
    written(made)
    made.recovered(Recovered((first.id,), ("a",), 7, 70.0), "m", "all")
    assert set(made.open) == {second.id}
    assert made.pending[first.id].state == "recovered"
    assert made.pending[first.id].closed == 70.0
    assert made.pending[first.id].evidence == TABLES
    assert [line["kind"] for line in made.lines] == ["recovery"]
    assert made.lines[0]["findings"] == [first.id]


def test_a_recovery_of_what_is_not_open_is_a_line_and_nothing_else() -> None:
    made = book()
    made.recovered(Recovered(("unknown",), ("a",), 7, 70.0), "m", "all")
    assert not made.pending
    assert len(made.lines) == 1


def test_a_model_that_ends_takes_its_findings_with_it() -> None:
    mine, others = finding(), finding(model="other")
    made = book(mine, others)
    written(made)
    made.model_ended("m", 99.0, "reloaded")
    assert set(made.open) == {others.id}
    (line,) = made.lines
    assert (line["kind"], line["why"], line["findings"], line["time"]) == ("ended", "reloaded", [mine.id], 99.0)
    assert made.pending[mine.id].state == "reloaded"


def test_a_finding_that_opens_and_ends_between_checkpoints_is_written_closed() -> None:
    one = finding()
    made = book(one)
    made.recovered(Recovered((one.id,), ("a",), 7, 70.0), "m", "all")
    assert made.pending[one.id].state == "recovered"
    assert [line["kind"] for line in made.lines] == ["finding", "recovery"]
    assert not made.open


def test_the_same_finding_told_again_stays_one_row() -> None:
    made = book(finding(), finding())
    assert len(made.open) == len(made.pending) == 1
