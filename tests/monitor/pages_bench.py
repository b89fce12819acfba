"""What the tests of the pages share: a store of made-up findings, an agent that obeys, and a client as a person."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from monitor.clock import ManualClock
from monitor.config import Model
from monitor.errors import ConfigError
from monitor.evidence import NO_HISTOGRAMS, pack_evidence
from monitor.interventions import Interventions, Wanted
from monitor.records import Checkpoint, Event, FindingRow, Intervention, Judged, News
from monitor.store import Store
from monitor.watched import Watched
from monitor.web import api, pages
from monitor.web.desk import Desk, Hands
from monitor.web.live import Live
from monitor.web.people import Person
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


@contextmanager
def opened(folder: Path) -> Iterator[Desk]:
    """A desk over findings of two models."""
    with Store(folder, ManualClock(NOW)) as store:
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
