"""The interface for programs and the pages over a store of made-up findings: filters, rights, wishes, refusals."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from typing import Any

import pytest

from monitor.records import Checkpoint, FindingRow, News
from monitor.store import Store
from monitor.web.desk import Desk, Filter
from monitor.web.findingview import ALERTS
from monitor.web.people import Person
from tests.monitor.findings_bench import culprit
from tests.monitor.pages_bench import ALL, HOSTILE, NOW, OURS, READER, client, ids, row, wish


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


def test_each_intervention_names_its_model(desk: Desk) -> None:
    for name, at in (("ours", row(1)), ("theirs", row(4, "theirs"))):
        wish(desk, model=name, target={"finding": at.id})
    acts = re.findall(r'<li class="act">.*?</li>', client(desk).get("/interventions").text, re.DOTALL)
    assert [re.findall(r'<a href="/models/(\w+)"><bdi>(\w+)</bdi></a>', act) for act in acts] == [
        [(name, name)] for name in [desk_act.intervention.model for desk_act in desk.acts(ALL)]
    ]
    assert len(acts) == 2
