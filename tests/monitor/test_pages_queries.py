"""Queries of the interface for programs that cannot be used, and what it tells of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.exports.export import KINDS
from monitor.web import api
from monitor.web.desk import Desk
from monitor.web.exporting import OPTIONS, Exporting
from tests.monitor import exports_bench
from tests.monitor.pages_bench import client, row


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
