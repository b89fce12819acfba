"""The findings of a running agent: open, written down, ended, and the lines that other programs follow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from monitor.errors import ConfigError
from monitor.interventions import LONGEST_MUTE, Interventions, Wanted
from monitor.logbook import Logbook, quietly
from monitor.records import InterventionKind
from monitor.report import Finding, Recovered
from tests.monitor.findings_bench import culprit, finding

TABLES = b"tables"


def book(*found: Finding) -> Logbook:
    made = Logbook()
    for one in found:
        made.opened(one, TABLES)
    return made


def written(made: Logbook) -> None:
    """What a checkpoint does."""
    made.pending, made.lines, made.events = {}, [], []
    made.interventions.pending = {}


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


def ask(made: Logbook, kind: InterventionKind, target: dict[str, Any], until: float | None = None) -> str:
    """Somebody does something at 60 s."""
    one = made.interventions.do(Wanted(kind, "m", "known", "ana", target, until), 60.0)
    made.done(one, 60.0)
    return one.id


def undo(made: Logbook, name: str, now: float = 70.0) -> None:
    undone = made.interventions.undone(made.interventions.held[name], "bob", "mistake", now)
    made.interventions.let_go(undone)
    made.undone(undone, now)


def test_acknowledging_an_incident_takes_what_joined_it_and_is_undone_with_it() -> None:
    head = finding()
    joined, other = finding(pane=6, joins=head.id, severity="ticket"), finding(pane=9)
    made = book(head, joined, other)
    written(made)
    name = ask(made, "acknowledge", {"finding": head.id})
    assert [row.id for row in made.unattended] == [other.id]
    assert {row.state for row in made.pending.values()} == {"acknowledged"}
    assert quietly(made.heads) == {"acknowledged": 1, "muted": 0}
    assert [one.kind for one in made.events] == ["intervention.done", *["finding.acknowledged"] * 2]
    undo(made, name)
    assert {row.id for row in made.unattended} == {head.id, other.id}
    made.recovered(Recovered((head.id, joined.id), ("a",), 7, 80.0), "m", "all")
    assert [one.kind for one in made.events[-2:]] == ["finding.recovered"] * 2


def test_an_acknowledged_finding_still_recovers() -> None:
    one = finding()
    made = book(one)
    ask(made, "acknowledge", {"finding": one.id})
    made.recovered(Recovered((one.id,), ("a",), 7, 80.0), "m", "all")
    assert made.pending[one.id].state == "recovered"
    assert not made.open


@pytest.mark.parametrize(
    ("target", "muted"),
    [
        ({"column": "a"}, True),
        ({"column": "b"}, False),
        ({"failure_mode": "distributional_shift"}, True),
        ({"failure_mode": "poisoning"}, False),
        ({"segment": "region=EU"}, False),
    ],
)
def test_a_mute_covers_what_it_names_and_nothing_else(target: dict[str, str], muted: bool) -> None:  # noqa: FBT001
    made = book(finding())
    name = ask(made, "mute", target, 100.0)
    made.opened(finding(pane=8, time=61.0), TABLES)
    assert [row.muted for row in made.open.values()] == [muted] * 2
    assert len(made.unattended) == (0 if muted else 2)
    undo(made, name)
    assert len(made.unattended) == 2


def test_columns_muted_one_by_one_cover_a_finding_about_them_together() -> None:
    made = book(finding(units=(culprit("a"), culprit("a*b", 1))))
    ask(made, "mute", {"column": "a"}, 100.0)
    assert made.unattended
    ask(made, "mute", {"column": "b"}, 100.0)
    assert not made.unattended


def test_a_segment_is_muted_in_its_own_stream_only() -> None:
    made = book(finding(stream="v1/region=EU"), finding(stream="v1"))
    ask(made, "mute", {"segment": "region=EU"}, 100.0)
    assert [row.stream for row in made.unattended] == ["v1"]


def test_what_is_still_open_when_a_mute_runs_out_is_told_again() -> None:
    one = finding()
    made = book(one)
    ask(made, "mute", {"column": "a"}, 100.0)
    written(made)
    assert not made.interventions.forget(99.0)
    assert made.interventions.forget(100.0)
    made.look_at_mutes(100.0)
    assert [(event.kind, event.document["finding"]["muted"]) for event in made.events] == [("finding.opened", False)]
    assert made.events[0].id != f"{one.id}-finding.opened"


def test_findings_whose_head_is_over_stand_for_themselves() -> None:
    head, joined = finding(), finding(pane=6, joins=finding().id)
    made = book(head, joined)
    assert [row.id for row in made.heads] == [head.id]
    made.closed(head.id, 70.0)
    assert [row.id for row in made.heads] == [joined.id]


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        (Wanted("mute", "m", "known", "ana", {"column": "a"}), "until: say until when"),
        (Wanted("mute", "m", "known", "ana", {"column": "a"}, 60.0), "until"),
        (Wanted("mute", "m", "known", "ana", {"column": "a"}, 61 + LONGEST_MUTE), "at most a year"),
        (Wanted("mute", "m", "known", "ana", {"column": "a", "segment": "b"}, 70.0), "target: must name one of"),
        (Wanted("mute", "m", "known", "ana", {"column": ""}, 70.0), "target"),
        (Wanted("mute", "m", "known", "ana", {"failure_mode": "drift"}, 70.0), "target.failure_mode"),
        (Wanted("acknowledge", "m", "no", "ana", {"finding": "f"}), "because"),
        (Wanted("acknowledge", "m", "known", " ", {"finding": "f"}), "by"),
        (Wanted("acknowledge", "m", "known", "ana", {"finding": "f"}, 70.0), "until: only a mute"),
        (Wanted("acknowledge", "m", "known", "ana", {}), "target"),
        (Wanted("quarantine", "m", "known", "ana", {"clients": []}), "target: must name"),
        (Wanted("quarantine", "m", "known", "ana", {"clients": "all"}), "target.clients"),
        (Wanted("quarantine", "m", "known", "ana", {"rows": ["r"] * 10_001}), "target.rows"),
        (Wanted("rebaseline", "m", "known", "ana", {"rows": 999}), "target.rows"),
        (Wanted("rebaseline", "m", "known", "ana", {"since": 5.0}), "target: must be"),
        (Wanted("rebaseline", "m", "known", "ana", {"since": 5.0, "until": 5.0}), "target.until"),
    ],
)
def test_a_wish_that_cannot_be_granted_names_the_field(wanted: Wanted, fault: str) -> None:
    it = Interventions()
    with pytest.raises(ConfigError, match=fault):
        it.do(wanted, 60.0)
    assert not it.held


def test_what_was_undone_cannot_be_undone_again() -> None:
    it = Interventions()
    one = it.do(Wanted("quarantine", "m", "odd rows", "ana", {"clients": ["c1"]}), 60.0)
    it.let_go(it.undone(one, "bob", "harmless", 61.0))
    assert not it.held
    with pytest.raises(ConfigError, match="does not hold any more"):
        it.undone(it.pending[one.id], "bob", "harmless", 62.0)


def test_one_event_in_several_streams_is_one_incident() -> None:
    first = finding(stream="v1", since_time=40.0, time=50.0)
    twin = finding(stream="v2", since_time=45.0, time=60.0)
    slow = finding(stream="v1/region=EU", since_time=30.0, time=90.0, severity="ticket")
    later = finding(stream="v2", pane=9, since_time=55.0, time=95.0)
    made = book(first, twin, slow, later)
    assert [row.joins for row in made.open.values()] == ["", first.id, first.id, ""]
    assert [row.id for row in made.unattended] == [first.id, later.id]
    assert made.lines[1]["joins"] == first.id
    made.opened(finding(stream="v2", pane=8, joins=twin.id, severity="ticket"), TABLES)
    assert {row.joins for row in made.open.values() if row.stream == "v2"} == {first.id, ""}


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"subject": "sender"},
        {"severity": "info"},
        {"since_time": 51.0},
        {"since_time": float("nan")},
    ],
)
def test_what_is_of_another_event_is_an_incident_of_its_own(other: dict[str, Any]) -> None:
    made = book(finding(stream="v1"), finding(**{"stream": "v2", "time": 60.0, **other}))
    assert [row.joins for row in made.open.values()] == ["", ""]


def test_a_ticket_does_not_keep_a_page_quiet() -> None:
    made = book(finding(stream="v1", severity="ticket"), finding(stream="v2", time=60.0))
    assert len(made.unattended) == 2


def test_a_muted_head_hides_nothing_else() -> None:
    head = finding()
    joined = finding(pane=6, joins=head.id, severity="ticket", units=(culprit("b", 1),))
    made = book(head, joined)
    ask(made, "mute", {"column": "a"}, 100.0)
    assert [row.id for row in made.unattended] == [joined.id]
    made.opened(finding(stream="v2", time=61.0, units=(culprit("b", 1),)), TABLES)
    assert len(made.unattended) == 2


def test_a_mute_taken_back_tells_nothing_that_was_told_before_it() -> None:
    made = book(finding())
    written(made)
    name = ask(made, "mute", {"column": "a"}, 100.0)
    quiet = finding(pane=8, time=65.0, since_time=64.0, stream="v9")
    made.opened(quiet, TABLES)
    undo(made, name)
    assert [one.document["finding"]["id"] for one in made.events if one.kind == "finding.opened"] == [quiet.id] * 2
