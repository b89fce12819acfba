"""The guard of one model, from batches of the log to findings: who is named and who is not, and what goes wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.budget import GUARD
from monitor.clock import ManualClock
from monitor.security import cases
from monitor.security.cases import MOST_OPEN, Cases, Now
from monitor.security.guard import Guard
from monitor.told import Told
from tests.attacks import lookalikes, traces
from tests.monitor.security_bench import (
    EVE,
    LENGTH,
    batch,
    benign,
    feed,
    findings,
    guard,
    honest,
    hop_skip_jump,
    model,
    pseudonym,
    run,
    suspicion,
)  # fmt: skip

ATTACK = 400
ROWS = 2_600


@pytest.fixture(scope="module")
def stream() -> pa.RecordBatch:
    """An attack of 400 queries in the first thousand rows or so, and honest rows for long."""
    return batch(traces.mix(hop_skip_jump(ATTACK), benign(ROWS - ATTACK, 1)))


@pytest.fixture(scope="module")
def told(stream: pa.RecordBatch) -> list[Told]:
    return run(guard(), stream)


def test_a_search_among_honest_rows_pages_once_and_names_a_pseudonym(told: list[Told]) -> None:
    (finding,) = findings(told)
    assert (finding.triage, finding.severity, finding.subject) == ("attack", "page", "sender")
    assert finding.failure_mode == "perturbation_attack"
    assert finding.units[0].unit == pseudonym()
    assert finding.log_e >= finding.threshold
    assert EVE not in json.dumps(finding.as_dict()) + finding.sentence()


def test_the_finding_carries_its_tree_its_suspicions_and_its_modes(told: list[Told]) -> None:
    document = findings(told)[0].as_dict()
    tree = document["evidence"]["fault_tree"]
    assert tree["triage"] == "attack"
    assert "search" in {one["cause"] for one in tree["supported"]}
    heuristics = {one["heuristic"] for one in document["evidence"]["suspicions"]}
    assert heuristics >= {"near_duplicates", "boundary_walk"}
    assert document["evidence"]["suspicions"][0]["about"] == pseudonym()
    assert document["failure_modes"][0]["mode"] == "perturbation_attack"
    assert document["first_steps"]


def test_the_evidence_shows_rows_of_the_sender_under_its_pseudonym(told: list[Told]) -> None:
    ((_, rows),) = told[0].findings
    assert set(rows["who"].to_pylist()) == {pseudonym().removeprefix("client ")}
    assert 0 < rows.num_rows <= 20


@pytest.mark.parametrize("size", [20, 1000])
def test_there_are_rows_to_show_whatever_the_size_of_batches(stream: pa.RecordBatch, size: int) -> None:
    first = run(guard(), stream.slice(0, 1000), size=size)[0]
    assert first.findings[0][1].num_rows == 20


def test_names_are_told_where_the_configuration_says_so(stream: pa.RecordBatch) -> None:
    one = guard(client_names="plain")
    told = run(one, stream.slice(0, 700), size=10)
    assert findings(told)[0].units[0].unit == f"client {EVE}"
    assert told[0].findings[0][1]["who"].to_pylist()[0] == EVE
    again = guard(client_names="plain")
    again.restore(one.state())
    assert again.cases.called("client", next(iter(one.cases.suspects))) == f"client {EVE}"


@pytest.mark.parametrize("look", [lookalikes.video, lookalikes.retries])
def test_honest_traffic_that_looks_alike_is_no_attack(look: lookalikes.LookAlike) -> None:
    rows = traces.mix(honest(look, 800), benign(800, 2, each=0.02))
    one = guard()
    found = findings(run(one, batch(rows)))
    assert not [each for each in found if each.triage == "attack" or each.severity == "page"]
    assert one.parts.ring is not None
    assert one.tally.flags["near_duplicates"] + one.parts.ring.repeats > 100


def test_a_camera_on_something_ambiguous_wakes_nobody() -> None:
    rows = traces.mix(honest(lookalikes.ambiguous_video, 1200), benign(1200, 2, each=0.02))
    assert "page" not in {found.severity for found in findings(run(guard(), batch(rows)))}


def test_a_quiet_sender_recovers_after_the_hold_and_is_no_news_again(told: list[Told]) -> None:
    (finding,) = findings(told)
    ended = [back for each in told for back in each.recovered if finding.id in back.ids]
    assert len(ended) == 1
    assert ended[0].units == (pseudonym(),)
    assert ended[0].pane > finding.pane + model().hold


def test_a_sender_that_comes_back_is_told_of_again(stream: pa.RecordBatch) -> None:
    one = guard()
    first = findings(run(one, stream))
    back = findings(run(one, batch(traces.mix(hop_skip_jump(ATTACK, 8), benign(200, 9))), first=ROWS))
    assert [found.units[0].unit for found in (*first, *back)] == [pseudonym(), pseudonym()]
    assert first[0].id != back[0].id


@pytest.mark.parametrize("cut", [200, 1400])
def test_a_restart_in_the_middle_changes_nothing(stream: pa.RecordBatch, told: list[Told], cut: int) -> None:
    whole = guard()
    run(whole, stream.slice(0, 2000))
    first = guard()
    before = run(first, stream.slice(0, cut))
    second = guard()
    second.restore(first.state())
    assert second.state() == first.state()
    after = run(second, stream.slice(cut, 2000 - cut), first=cut)
    assert [one.as_dict() for one in findings(before + after)] == [one.as_dict() for one in findings(told)]
    assert second.state() == whole.state()


def test_versions_keep_their_numbers_over_a_restart() -> None:
    one = guard()
    for i, version in enumerate(("v1", "v2", "v1")):
        feed(one, batch(benign(100, i)), 100 * i, version)
    again = guard()
    again.restore(one.state())
    feed(again, batch(benign(100, 3)), 300, "v2")
    assert again.reader.versions == one.reader.versions
    assert set(again.reader.versions) >= {"v1", "v2"}


@pytest.mark.parametrize("changed", [{"queries": 2000}, {"training": True}])
def test_a_state_of_other_settings_begins_anew(stream: pa.RecordBatch, changed: dict[str, Any]) -> None:
    one = guard()
    run(one, stream.slice(0, 1000))
    other = guard(**changed)
    fresh = other.state()
    other.restore(one.state())
    assert other.state() == fresh
    assert findings(run(other, stream.slice(0, 1000)))


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        ("ring", "add", "near_duplicates"),
        ("ring", "suspicions", "near_duplicates"),
        ("fleet", "add", "fleet"),
        ("fleet", "suspicions", "fleet"),
        ("outputs", "add", "output_integrity"),
        ("versions", "add", "version_change"),
        ("golden", "suspicions", "version_change"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_go_on(
    stream: pa.RecordBatch, monkeypatch: pytest.MonkeyPatch, part: str, method: str, name: str
) -> None:
    one = guard()
    monkeypatch.setattr(type(getattr(one.parts, part)), method, _broken)
    told = run(one, stream.slice(0, 1000))
    assert {failed for each in told for failed in each.failures} == {name}
    assert all("ValueError: broken" in each.failures.get(name, "ValueError: broken") for each in told)
    assert pseudonym() in {one.cases.called(*key) for key in one.cases.cases}
    if part != "ring":
        assert pseudonym() in {found.units[0].unit for found in findings(told)}


@pytest.mark.parametrize(("where", "name"), [("reader.rows", "reader"), ("cases.judge", "guard")])
def test_a_failure_on_the_way_is_told_and_costs_no_batch(
    stream: pa.RecordBatch, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    one = guard()
    holder, method = where.split(".")
    monkeypatch.setattr(type(getattr(one, holder)), method, _broken)
    told = run(one, stream.slice(0, 1000))
    assert told
    assert {failed for each in told for failed in each.failures} == {name}


def _broken(*_: object, **__: object) -> None:
    raise ValueError("broken")


def test_more_rows_than_there_is_time_for_are_sampled_by_whole_senders() -> None:
    rows = batch(benign(4_000, 4))
    one = guard(ManualClock(0.0), rows_per_second=100)
    for start in range(0, 4_000, 200):
        feed(one, rows.slice(start, 200), start, now=start / 2_000)
    assert one.tally.looked_at + one.tally.passed_over == 4_000
    assert 0 < one.tally.looked_at < 3_000
    seen = one.parts.clients.counts("integrity", one.tally.looked_at - 200)[0]
    assert 0 < len(seen) < len(set(rows.slice(2_000)["who"].to_pylist())) / 2


def test_a_replay_looks_at_all_rows_and_often_though_they_come_in_one_batch() -> None:
    rows = batch(traces.mix(hop_skip_jump(ATTACK), benign(8_000, 1)))
    one = guard(rows_per_second=100)
    found = findings(run(one, rows, size=rows.num_rows))
    assert one.tally.looked_at == rows.num_rows
    assert found[0].units[0].unit == pseudonym()
    assert "near_duplicates" in {unit.detector for unit in found[0].units}
    assert found[0].rows < 1_500
    assert found[0].time < 1_500


def test_the_bar_rises_with_the_number_of_senders(stream: pa.RecordBatch) -> None:
    few = findings(run(guard(), stream.slice(0, 1000)))[0]
    names = pa.array([name if name == EVE else f"{i}" for i, name in enumerate(stream["who"].to_pylist())])
    many = findings(run(guard(), stream.set_column(0, "who", names).slice(0, 1000)))[0]
    assert few.threshold >= np.log(LENGTH / GUARD)
    assert many.threshold > few.threshold + 1


def empty() -> Cases:
    return Cases("m", "c", "g", hold=3)


def now(pane: int = 0) -> Now:
    return Now(pane, float(pane), 1000, 20.0)


WATCHING = ("near_duplicates", "boundary_walk", "client_shift")


def test_a_flood_of_suspicious_names_opens_so_many_findings_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MOST_CASES", 40)
    one = empty()
    found = one.judge([suspicion(who) for who in range(1, 100)], WATCHING, {}, now())
    assert len(found) == MOST_OPEN
    assert {finding.severity for finding, _ in found} == {"page"}
    assert len(one.cases) == cases.MOST_CASES
    assert sum(one.verdicts.values()) == 99


def ticket(who: int) -> Any:
    nan = float("nan")
    return suspicion(who, heuristic="client_shift", log_e=nan, log_p=-60.0, facts={})


def test_many_tickets_keep_no_page_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MOST_CASES", 40)
    one = empty()
    decoys = one.judge([ticket(who) for who in range(1, 100)], WATCHING, {}, now())
    assert [finding.severity for finding, _ in decoys] == ["ticket"] * MOST_OPEN
    ((page, _),) = one.judge([suspicion(9_999)], WATCHING, {}, now(1))
    assert page.severity == "page"


def test_tickets_that_become_pages_are_no_way_round_their_number() -> None:
    one, pages = empty(), 0
    for who in range(1, 3 * MOST_OPEN):
        one.judge([ticket(who)], WATCHING, {}, now())
        pages += len(one.judge([ticket(who), suspicion(who)], WATCHING, {}, now(1)))
    assert pages == MOST_OPEN
    assert sum(case.paged for case in one.cases.values()) == MOST_OPEN


def test_a_ticket_becomes_a_page_when_a_search_shows() -> None:
    one = empty()
    odd = suspicion(7, heuristic="neighbour_disagreement", facts={}, hits=20)
    watching = (*WATCHING, "neighbour_disagreement")
    located = {("client", 7): {"concentrated": True}}
    ((first, _),) = one.judge([odd], watching, located, now())
    assert (first.severity, first.triage) == ("ticket", "attack")
    ((second, _),) = one.judge([odd, suspicion(7)], watching, located, now(1))
    assert second.severity == "page"
    assert one.cases["client", 7].findings == (first.id, second.id)
    assert not one.judge([odd, suspicion(7, hits=390)], watching, located, now(2))


def test_what_a_harmless_cause_explains_is_counted_and_not_told() -> None:
    one = empty()
    assert not one.judge([suspicion(1, facts={})], WATCHING, {}, now())
    assert one.verdicts == {("near_duplicates", "benign"): 1}


def test_lasting_evidence_of_a_quiet_sender_does_not_page_after_each_hold() -> None:
    one = empty()
    told = [one.judge([suspicion(1)], WATCHING, {}, now(pane)) for pane in range(1)]
    back = []
    for pane in range(1, 30):
        told.append(one.judge([suspicion(1)], WATCHING, {}, now(pane)))
        back += one.ended(now(pane))
    assert [len(each) for each in told] == [1] + [0] * 29
    assert len(back) == 1
    ((again, _),) = one.judge([suspicion(1, hits=400, rows=500)], WATCHING, {}, now(30))
    assert again.id not in back[0].ids


def test_a_case_is_forgotten_when_its_evidence_is_gone() -> None:
    one = empty()
    one.judge([suspicion(1)], WATCHING, {}, now())
    assert not one.ended(now(3))
    assert [back.units for back in one.ended(now(4))] == [("client 0000000000000001",)]
    assert not one.cases


def test_open_findings_make_way_for_others_when_they_end() -> None:
    one = empty()
    many = [suspicion(who) for who in range(1, MOST_OPEN + 2)]
    assert len(one.judge(many, WATCHING, {}, now())) == MOST_OPEN
    one.ended(now(10))
    late = suspicion(MOST_OPEN + 1, hits=390)
    assert len(one.judge([late], WATCHING, {}, now(11))) == 1


def test_senders_that_prada_once_told_of_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one = guard(prada=True)
    assert one.parts.prada is not None
    names = iter(range(1, 10_000))
    monkeypatch.setattr(one.parts.prada, "suspicions", lambda: [suspicion(next(names)) for _ in range(700)])
    for _ in range(4):
        found = one._of_prada([suspicion(2_800), suspicion(2_000), suspicion(1)])
    assert [each.who for each in found] == [2_000, 2_800]
    assert len(one._beside) == cases.MOST_CASES


def test_a_cluster_that_is_mostly_one_senders_is_the_senders_case() -> None:
    one = empty()
    of_cluster = suspicion(3, about="cluster", clients=((42, 300), (43, 100)))
    nobodys = suspicion(4, about="cluster", clients=((42, 100), (43, 100), (44, 100), (45, 100)))
    found = one.judge([of_cluster, nobodys], WATCHING, {}, now())
    assert set(one.cases) == {("client", 42), ("cluster", 4)}
    assert [len(group) for _, group in found] == [1, 1]


def test_suspects_are_shown_under_pseudonyms_and_at_most_so_many(stream: pa.RecordBatch) -> None:
    one: Guard = guard()
    run(one, stream.slice(0, 1000))
    shown = one.suspects(3)
    assert shown[0][0] == pseudonym()
    assert len(shown) <= 3
    assert not one.suspects(0)
