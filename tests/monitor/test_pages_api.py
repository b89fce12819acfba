"""The interface for programs and the pages over a store of made-up findings: filters, rights, wishes, refusals."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from monitor.clock import ManualClock
from monitor.config import Model
from monitor.errors import ConfigError
from monitor.evidence import NO_HISTOGRAMS, pack_evidence
from monitor.exports.export import KINDS
from monitor.interventions import Interventions, Wanted
from monitor.records import Checkpoint, Event, FindingRow, Intervention, Judged, News
from monitor.store import Store
from monitor.watched import Watched
from monitor.web import api, pages
from monitor.web.desk import Desk, Filter, Hands
from monitor.web.exporting import OPTIONS, Exporting
from monitor.web.findingview import ALERTS
from monitor.web.live import Live
from monitor.web.people import Person
from tests.monitor import exports_bench
from tests.monitor.findings_bench import culprit, finding

NOW = 2_000_000.0
ALL = Person("ada", None, values=True, act=True)
READER = Person("bob", None)
OURS = Person("eve", frozenset({"ours"}), values=True, act=True)
HOSTILE = "<img src=x onerror=alert(1)>"


def row(at: int, model: str = "ours", **changes: Any) -> FindingRow:
    one = finding(model=model, time=NOW - at, pane=at, **{"severity": "page", "units": (culprit(HOSTILE),)} | changes)
    empty = pack_evidence(NO_HISTOGRAMS, NO_HISTOGRAMS)
    about = (one.severity, one.triage, one.failure_mode, one.subject, one.joins, one.detector, one.units[0].unit)
    return FindingRow(
        one.id, model, "all", NOW - at, None, "open", *about, 1, "a sentence", False, json.dumps(one.as_dict()), empty
    )


class Agent:
    """Does what people ask for, as the running agent would."""

    def __init__(self, store: Store) -> None:
        self.store, self.acts, self.done = store, Interventions(), 0

    def intervene(self, wanted: Wanted) -> Intervention:
        return self._kept(self.acts.do(wanted, NOW))

    def undo(self, id: str, by: str, because: str) -> Intervention:  # noqa: A002 - the field's name
        if id not in self.acts.held:
            raise ConfigError([f"id: nothing that holds is called {id!r}"])
        undone = self.acts.undone(self.acts.held[id], by, because, NOW)
        self.acts.let_go(undone)
        return self._kept(undone)

    def _kept(self, one: Intervention) -> Intervention:
        self.done += 1
        event = Event(f"e{self.done}", NOW, "intervention.done", one.model, {})
        self.store.commit(Checkpoint(self.done, {}, {}, {}, NOW), News(interventions=(one,), events=(event,)))
        return one


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Store(tmp_path, ManualClock(NOW)) as store:
        head = row(1)
        findings = (
            head,
            row(2, severity="ticket", joins=head.id),
            row(3, severity="ticket", triage="data_fault", failure_mode="common_corruption"),
            row(4, model="theirs"),
            dataclasses.replace(row(5), closed=NOW, state="recovered"),
        )
        history = (Judged("ours/all", 1, 1.0, 2.0, 100, 3.0, 9.0, {HOSTILE: 3.0}),)
        store.commit(Checkpoint(0, {}, {}, {}, NOW), News(findings=findings, history=history))
        agent = Agent(store)
        models = {
            name: Watched(Model.model_validate({"name": name, "reference": "r.parquet"})) for name in ("ours", "theirs")
        }
        yield Desk(store, Live(lambda: models), Hands(agent.intervene, agent.undo), lambda: NOW)


class Client:
    """Asks the pages as one person, who has passed the gate."""

    def __init__(self, desk: Desk, person: Person) -> None:
        routes = [*api.routes(desk), *pages.routes(desk, version="1", links=pages.Links())]
        self._app, self._person = Starlette(routes=routes), person

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, options))

    async def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._passed), base_url="http://agent") as client:
            return await client.request(method, path, **options)

    async def _passed(self, scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["person"] = self._person
        await self._app(scope, receive, send)


def client(desk: Desk, person: Person = ALL) -> Client:
    return Client(desk, person)


def ids(answer: Any) -> list[str]:
    return [one["id"] for one in answer.json()["incidents"]]


def wish(desk: Desk, person: Person = ALL, **changes: Any) -> Any:
    body = {"kind": "acknowledge", "target": {"finding": row(1).id}, "because": "looking"} | changes
    return client(desk, person).post("/api/v1/interventions", json=body)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "",
            [
                row(1),
                row(3, severity="ticket", triage="data_fault", failure_mode="common_corruption"),
                row(4, "theirs"),
            ],
        ),
        ("model=theirs", [row(4, "theirs")]),
        ("severity=page&model=ours", [row(1)]),
        ("triage=data_fault", [row(3, severity="ticket", triage="data_fault", failure_mode="common_corruption")]),
        ("state=recovered", [row(5)]),
        ("state=over", [row(5)]),
        ("severity=ticket&triage=shift", []),
    ],
)
def test_filters_leave_what_fits_and_joined_findings_stay_with_their_head(
    desk: Desk, query: str, expected: list[FindingRow]
) -> None:
    assert ids(client(desk).get(f"/api/v1/incidents?{query}")) == [one.id for one in expected]


def test_a_list_goes_on_where_it_stopped(desk: Desk) -> None:
    ask = client(desk)
    first = ask.get("/api/v1/incidents?state=all&limit=3")
    second = ask.get("/api/v1/incidents", params={"state": "all", "limit": 3, "after": first.json()["next"]})
    assert len(ids(first)) == 3
    assert len(set(ids(first) + ids(second))) == 4
    assert second.json()["next"] is None


def test_somebody_of_one_model_pages_through_it_alone(desk: Desk) -> None:
    listing = desk.incidents(OURS, Filter(state="all"), 2)
    rest = desk.incidents(OURS, Filter(state="all", after=listing.next), 2)
    assert [one.brief.model for one in listing.incidents + rest.incidents] == ["ours"] * 3
    assert rest.next is None


def test_a_finding_is_told_whole_with_what_joins_it(desk: Desk) -> None:
    told = client(desk).get(f"/api/v1/findings/{row(1).id}").json()
    assert told["joined"] == [row(2, severity="ticket", joins=row(1).id).id]
    assert (told["state"], told["closed"], told["units"][0]["unit"]) == ("open", None, HOSTILE)
    panes = client(desk).get(f"/api/v1/findings/{row(1).id}/history").json()["panes"]
    assert [one["pane"] for one in panes] == [1]


@pytest.mark.parametrize(
    "path",
    [
        f"/findings/{row(4, 'theirs').id}",
        "/models/theirs",
        f"/api/v1/findings/{row(4, 'theirs').id}",
        f"/api/v1/findings/{row(4, 'theirs').id}/history",
        "/api/v1/models/theirs",
    ],
)
def test_what_is_anothers_is_not_there(desk: Desk, path: str) -> None:
    assert client(desk, OURS).get(path).status_code == 404
    assert client(desk).get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/?state=all", "/?model=theirs", "/models", "/interventions", "/interventions?model=theirs"]
)
def test_lists_leave_out_what_is_anothers(desk: Desk, path: str) -> None:
    wish(desk, target={"finding": row(4, "theirs").id}, because="a secret of theirs", model="theirs")
    answer = client(desk, OURS).get(path)
    assert answer.status_code == 200
    assert "theirs" not in answer.text.replace("model=theirs", "")


@pytest.mark.parametrize(
    "path", ["incidents?state=all", "incidents?model=theirs", "models", "interventions", "interventions?model=theirs"]
)
def test_so_do_lists_for_programs(desk: Desk, path: str) -> None:
    wish(desk, target={"finding": row(4, "theirs").id}, because="a secret of theirs", model="theirs")
    assert "theirs" not in client(desk, OURS).get(f"/api/v1/{path}").text


def test_an_act_is_recorded_under_the_name_of_who_did_it(desk: Desk) -> None:
    answer = wish(desk, by="somebody else")
    assert answer.status_code == 201
    assert answer.json()["by"] == "ada"
    (one,) = client(desk).get("/api/v1/interventions?active=yes").json()["interventions"]
    assert (one["kind"], one["because"], one["active"]) == ("acknowledge", "looking", True)
    assert wish(desk, Person("token", act=True), by="Carl").json()["by"] == "Carl (token)"


def test_an_act_is_taken_back_once(desk: Desk) -> None:
    done = wish(desk).json()["id"]
    path = f"/api/v1/interventions/{done}/undo"
    assert client(desk).post(path, json={"because": "by mistake"}).json()["undone_by"] == "ada"
    again = client(desk).post(path, json={"because": "by mistake"})
    assert (again.status_code, len(again.json()["faults"])) == (400, 1)


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"because": ""}, 400, "because"),
        ({"kind": "explode"}, 400, "kind"),
        ({"kind": "mute", "target": {"column": "a"}}, 400, "until"),
        ({"kind": "mute", "target": {"column": "a", "segment": "b"}, "seconds": 60}, 400, "target"),
        ({"surplus": 1}, 400, "surplus"),
        ({"seconds": -1}, 400, "seconds"),
    ],
)
def test_wishes_that_cannot_be_say_why(desk: Desk, changes: dict[str, Any], status: int, says: str) -> None:
    answer = wish(desk, model="ours", **changes)
    assert answer.status_code == status
    assert says in answer.json()["faults"][0]
    assert desk.store.interventions() == []


def test_nobody_acts_on_what_is_not_theirs_to_touch(desk: Desk) -> None:
    theirs = row(4, "theirs").id
    assert wish(desk, READER).status_code == 403
    assert wish(desk, OURS, model="theirs", target={"finding": theirs}).status_code == 404
    done = wish(desk, model="theirs", target={"finding": theirs}).json()["id"]
    for person in (READER, OURS):
        answer = client(desk, person).post(f"/api/v1/interventions/{done}/undo", json={"because": "mine now"})
        assert answer.status_code == 400
    form = {"kind": "acknowledge", "finding": theirs, "because": "mine now"}
    for person in (READER, OURS):
        assert client(desk, person).post("/interventions", data=form).status_code == 400
    assert [one.undone for one in desk.store.interventions()] == [None]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"kind=mute"])
def test_bodies_that_are_no_wish_are_refused(desk: Desk, body: bytes) -> None:
    ask = client(desk)
    json_ = {"content-type": "application/json"}
    assert ask.post("/api/v1/interventions", content=body, headers=json_).status_code == 400
    assert ask.post("/api/v1/interventions", content=body).status_code == 415
    assert ask.post("/interventions", content=body).status_code == 400


def test_a_form_mutes_each_column_that_is_chosen(desk: Desk) -> None:
    form = {
        "kind": "mute",
        "finding": row(1).id,
        "column": [json.dumps("a"), json.dumps("b\nc")],
        "for": "3600",
        "because": "known",
    }
    answer = client(desk).post("/interventions", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/findings/{row(1).id}?done=mute")
    targets = [one.target["column"] for one in desk.store.interventions()]
    assert sorted(targets) == ["a", "b\nc"]
    assert {one.until for one in desk.store.interventions()} == {NOW + 3_600}


@pytest.mark.parametrize(
    "form",
    [
        {"kind": "mute", "for": "3600"},
        {"kind": "mute", "column": "not json", "for": "3600"},
        {"kind": "mute", "column": '"a"', "for": "for ever"},
        {"kind": "rebaseline", "span": "rows", "rows": "many"},
        {"kind": "rebaseline", "span": "rows", "rows": "nan"},
        {"kind": "quarantine"},
        {"kind": "unknown"},
    ],
)
def test_forms_that_cannot_be_done_come_back_with_the_reason(desk: Desk, form: dict[str, str]) -> None:
    answer = client(desk).post("/interventions", data=form | {"model": "ours", "because": "why not"})
    assert answer.status_code == 400
    assert "That was not done" in answer.text
    assert desk.store.interventions() == []


@pytest.mark.parametrize("path", ["../app.py", "..%2f..%2fpyproject.toml", "vendor", "", "nothing.css"])
def test_only_files_of_the_pages_are_served(desk: Desk, path: str) -> None:
    assert client(desk).get(f"/static/{path}").status_code == 404


@pytest.mark.parametrize("path", ["style.css", "app.js", "plots.js", "icon.svg", "vendor/uPlot-1.6.32.iife.min.js"])
def test_every_file_that_pages_load_is_there(desk: Desk, path: str) -> None:
    assert client(desk).get(f"/static/{path}").status_code == 200


def test_pages_load_nothing_from_elsewhere(desk: Desk) -> None:
    for path in ("/", f"/findings/{row(1).id}", "/models", "/interventions", "/runbooks"):
        text = client(desk).get(path).text
        assert re.search(r'(src|href|action)="(https?:)?//', text) is None
        assert HOSTILE not in text


def test_changes_are_told_by_the_place_in_the_log(desk: Desk) -> None:
    ask = client(desk)
    before = ask.get("/api/v1/changes").json()["last"]
    wish(desk)
    assert ask.get("/api/v1/changes").json()["last"] == before + 1


def test_every_finding_has_its_runbook(desk: Desk) -> None:
    text = client(desk).get("/runbooks").text
    for alert in ALERTS.values():
        assert f'<h2 id="{alert.lower()}">{alert}</h2>' in text
    assert 'href=".' not in text


def test_a_quarantine_names_senders_by_their_bare_pseudonyms(desk: Desk) -> None:
    """As `monitor.exports.senders` looks them up."""
    sender = "0f" * 8
    units = (dataclasses.replace(culprit(f"client {sender}"), detector="near_duplicates"),)
    told = row(7, units=units, subject="sender", triage="attack", failure_mode="perturbation_attack")
    assert isinstance(desk.store, Store)
    desk.store.commit(Checkpoint(9, {}, {}, {}, NOW), News(findings=(told,)))
    page = client(desk).get(f"/findings/{told.id}").text
    (value,) = re.findall(r'name="client" value="([^"]*)"', page)
    form = {"kind": "quarantine", "finding": told.id, "client": html.unescape(value), "because": "attacks"}
    assert client(desk).post("/interventions", data=form).status_code == 303
    (one,) = desk.store.interventions(kind="quarantine")
    assert one.target == {"clients": [sender], "finding": told.id}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("incidents?state=bogus", "state: 'bogus' must be one of current, over, all, open"),
        ("incidents?severity=x", "severity: 'x' must be one of page, ticket, info"),
        ("incidents?triage=x", "triage: 'x' must be one of shift"),
        ("incidents?failure_mode=x", "failure_mode: 'x' must be one of "),
        ("incidents?before=zzz", "before: there is no such option; there are model, state"),
        ("incidents?after=zzz", "after: 'zzz' must be `next`"),
        ("incidents?after=nan~x", "after: "),
        ("incidents?limit=-1", "limit: '-1' must be a whole number from 1 to 500"),
        ("incidents?limit=501", "limit: "),
        ("interventions?limit=x", "limit: 'x' must be a whole number from 1 to 10,000"),
        ("interventions?limit=0", "limit: "),
        ("interventions?kind=explode", "kind: 'explode' must be one of acknowledge, mute"),
        ("interventions?active=perhaps", "active: 'perhaps' must be one of true"),
        (f"findings/{row(1).id}?values=yes", "values: there is no such option; there are none here"),
        (f"findings/{row(1).id}/history?limit=many", "limit: "),
        ("models?model=ours", "model: there is no such option"),
        ("models/ours?stream=bogus", "stream: 'bogus' must be one of "),
        ("changes?x=1", "x: there is no such option"),
    ],
)
def test_queries_that_cannot_be_used_are_refused_with_the_choices(desk: Desk, path: str, says: str) -> None:
    answer = client(desk).get(f"/api/v1/{path}")
    assert answer.status_code == 400
    assert answer.json()["faults"][0].startswith(says)


def test_all_that_is_wrong_with_a_query_is_told_at_once_and_pages_go_on_without_it(desk: Desk) -> None:
    assert len(client(desk).get("/api/v1/incidents?state=x&severity=y&limit=z&w=1").json()["faults"]) == 4
    assert client(desk).get("/?state=x&severity=y&w=1").status_code == 200
    assert client(desk).get("/api/v1/incidents?state=&limit=").status_code == 200  # an empty field of a form


def test_the_interface_tells_each_of_its_routes(desk: Desk, tmp_path: Path) -> None:
    exports = Exporting(lambda: exports_bench.config(tmp_path), desk.store, lambda: b"")
    there = {
        f"{method} {route.path.replace(':path', '')}"
        for route in [*api.routes(desk), *exports.routes()]
        for method in (route.methods or set()) - {"HEAD"}
    }
    told = client(desk).get("/api/v1").json()["routes"]
    assert {f"{one['method']} {one['path']}" for one in told} == there
    assert all("\n" not in one["what"] and one["what"] for one in told)
    (line,) = (one for one in told if one["path"] == "/api/v1/exports/{kind}")
    assert all(kind in line["what"] for kind in KINDS)
    assert set(line["query"]) == set(OPTIONS)


def test_each_intervention_names_its_model(desk: Desk) -> None:
    for name, at in (("ours", row(1)), ("theirs", row(4, "theirs"))):
        wish(desk, model=name, target={"finding": at.id})
    acts = re.findall(r'<li class="act">.*?</li>', client(desk).get("/interventions").text, re.DOTALL)
    assert [re.findall(r'<a href="/models/(\w+)"><bdi>(\w+)</bdi></a>', act) for act in acts] == [
        [(name, name)] for name in [desk_act.intervention.model for desk_act in desk.acts(ALL)]
    ]
    assert len(acts) == 2
