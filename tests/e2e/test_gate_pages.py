"""Every endpoint of the pages and of their interface, asked by strangers, by people of one model, and by onlookers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from monitor.interventions import Wanted
from monitor.web import api, pages
from monitor.web.exporting import Exporting, links
from monitor.web.gate import gate, settings_of
from monitor.web.section import Web
from tests.e2e.desk_bench import Bench, feed_shop, shop

pytestmark = pytest.mark.slow
MINE, THEIRS = "checkout", "lending"
MINE_NAMES, THEIR_NAMES = ("amount", "weight", "country"), ("loan", "income", "branch")
PEOPLE = [
    {"name": "anna", "token_file": "anna", "models": [MINE], "act": True},
    {"name": "olga", "token_file": "olga", "values": True},
    {"name": "root", "token_file": "root", "values": True, "act": True},
]


class World:
    """Two models with findings and interventions, behind a gate that knows three people."""

    def __init__(self, place: Path) -> None:
        for person in PEOPLE:
            (place / str(person["name"])).write_text(f"token of {person['name']}")
        context = {"base": place, "secrets": True, "environ": {}}
        self.bench = Bench(place, [shop(place, MINE, MINE_NAMES), shop(place, THEIRS, THEIR_NAMES)])
        feed_shop(self.bench, MINE, MINE_NAMES, missing=0.3)
        feed_shop(self.bench, THEIRS, THEIR_NAMES, missing=0.3)
        store = self.bench.store
        self.findings = {name: store.briefs(model=name, heads=True)[0].id for name in (MINE, THEIRS)}
        desk = self.bench.desk
        self.exporting = Exporting(lambda: self.bench.agent.config, store, lambda: b"driftwarden_secret 1\n")
        self.routes: list[Route] = [
            *api.routes(desk),
            *pages.routes(desk, version="1", links=pages.Links(), exports=links),
            *self.exporting.routes(),
        ]
        web = Web.model_validate({"people": PEOPLE}, context=context)
        self.app = gate(Starlette(routes=self.routes), settings_of(web))
        self.held = {
            name: self.bench._intervene(
                Wanted("mute", name, "known to be so", "root", {"column": names[0]}, desk.now() + 3600)
            ).id
            for name, names in ((MINE, MINE_NAMES), (THEIRS, THEIR_NAMES))
        }

    def ask(self, person: str, method: str, path: str, **how: Any) -> httpx.Response:
        headers = how.pop("headers", {})
        if person:
            headers = {**headers, "authorization": f"Bearer token of {person}"}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, headers=headers, **how)

        return asyncio.run(send())

    def token(self, person: str) -> str:
        """The token in a form that a person gets."""
        page = self.ask(person, "GET", f"/findings/{self.findings[MINE]}").text
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        assert token
        return token

    def state(self, name: str) -> Any:
        """What people can change of a model: its findings and its interventions."""
        store = self.bench.store
        acts = [(one.id, one.undone) for one in store.interventions(model=name)]
        return [(one.id, one.state, one.muted) for one in store.briefs(model=name)], acts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = World(tmp_path_factory.mktemp("gate"))
    yield found
    found.exporting.close()
    found.bench.close()


def addresses(world: World, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """A request for every route: method, address and what is sent; ``name`` is the model that it is about."""
    finding, held = world.findings[name], world.held[name]
    reason = {"because": "planned", "by": "eve"}
    ack = {"kind": "acknowledge", "model": name, "target": {"finding": finding}, **reason}
    form = {"kind": "acknowledge", "finding": finding, "model": name, **reason}
    found: list[tuple[str, str, str, dict[str, Any]]] = [
        ("GET", "/", f"/?model={name}", {}),
        ("GET", "/findings/{id}", f"/findings/{finding}", {}),
        ("GET", "/models", "/models", {}),
        ("GET", "/models/{name:path}", f"/models/{name}", {}),
        ("GET", "/interventions", f"/interventions?model={name}", {}),
        ("POST", "/interventions", "/interventions", {"data": form}),
        ("POST", "/interventions/{id}/undo", f"/interventions/{held}/undo", {"data": reason}),
        ("GET", "/runbooks", "/runbooks", {}),
        ("GET", "/static/{path:path}", "/static/app.js", {}),
        ("GET", "/api/v1/incidents", f"/api/v1/incidents?model={name}", {}),
        ("GET", "/api/v1/findings/{id}", f"/api/v1/findings/{finding}", {}),
        ("GET", "/api/v1/findings/{id}/history", f"/api/v1/findings/{finding}/history", {}),
        ("GET", "/api/v1/models", "/api/v1/models", {}),
        ("GET", "/api/v1/models/{name:path}", f"/api/v1/models/{name}", {}),
        ("GET", "/api/v1/interventions", f"/api/v1/interventions?model={name}", {}),
        ("POST", "/api/v1/interventions", "/api/v1/interventions", {"json": ack}),
        ("POST", "/api/v1/interventions/{id}/undo", f"/api/v1/interventions/{held}/undo", {"json": reason}),
        ("GET", "/api/v1", "/api/v1", {}),
        ("GET", "/api/v1/changes", "/api/v1/changes", {}),
        ("GET", "/api/v1/exports/{kind}", f"/api/v1/exports/telling?finding={finding}", {}),
        ("GET", "/api/v1/exports/{kind}", f"/api/v1/exports/labelling?model={name}", {}),
        ("GET", "/api/v1/support-bundle", "/api/v1/support-bundle", {}),
    ]
    there = {(method, route.path) for route in world.routes for method in (route.methods or ()) if method != "HEAD"}
    assert {(method, path) for method, path, _, _ in found} == there, "a new endpoint needs its line here"
    return [(method, address, sent) for method, _, address, sent in found]


def tell_tales(world: World, name: str) -> list[str]:
    """What is nowhere but in the data of a model."""
    names = THEIR_NAMES if name == THEIRS else MINE_NAMES
    return [name, world.findings[name], world.held[name], *names]


@pytest.mark.parametrize("name", [MINE, THEIRS])
def test_strangers_read_nothing_and_change_nothing(world: World, name: str) -> None:
    before = world.state(name)
    for method, address, sent in addresses(world, name):
        answer = world.ask("", method, address, **sent)
        assert answer.status_code == 401, address
        assert len(answer.content) < 200
    assert world.state(name) == before


def test_people_of_one_model_see_and_touch_no_other(world: World) -> None:
    before, token = world.state(THEIRS), world.token("anna")
    for method, address, sent in addresses(world, THEIRS):
        form = {"data": {**sent["data"], "csrf_token": token}} if "data" in sent else {}
        answer = world.ask("anna", method, address, **{**sent, **form})
        assert "was not written for you" not in answer.text
        shown = answer.text.replace(address, "")
        for told in tell_tales(world, THEIRS):
            quoted = f"{told!r}", f"&#39;{told}&#39;", f'value="{told}"'  # what was asked for may be repeated
            rest = [shown := shown.replace(one, "") for one in quoted][-1]
            assert told not in rest, (method, address, told)
    assert world.state(THEIRS) == before
    assert world.ask("anna", "GET", f"/findings/{world.findings[MINE]}").status_code == 200


@pytest.mark.parametrize("kind", ["acknowledge", "quarantine"])
def test_nobody_acts_on_a_finding_in_the_name_of_another_model(world: World, kind: str) -> None:
    target: dict[str, Any] = {"finding": world.findings[THEIRS]}
    target |= {"clients": ["a"]} if kind == "quarantine" else {}
    wish = {"kind": kind, "model": MINE, "target": target, "because": "planned"}
    before = world.state(THEIRS)
    try:
        answer = world.ask("anna", "POST", "/api/v1/interventions", json=wish)
        assert answer.status_code in {400, 403, 404}
        assert world.state(THEIRS) == before
    finally:
        for one in world.bench.store.interventions(finding=world.findings[THEIRS]):
            if one.undone is None:
                world.bench._undo(one.id, "root", "test is over")


def test_onlookers_read_everything_and_change_nothing(world: World) -> None:
    before = world.state(MINE), world.state(THEIRS)
    for method, address, sent in addresses(world, MINE):
        answer = world.ask("olga", method, address, **sent)
        refused = method == "POST" or "support-bundle" in address
        assert (answer.status_code == 403) == refused, (method, address, answer.text)
    assert (world.state(MINE), world.state(THEIRS)) == before


def test_values_are_for_those_who_may_see_them(world: World, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    def exported(person: str) -> set[str]:
        answer = world.ask(person, "GET", f"/api/v1/exports/telling?finding={world.findings[MINE]}")
        assert answer.status_code == 200, answer.text
        file = tmp_path / f"{person}.parquet"
        file.write_bytes(answer.content)
        return set(pq.read_schema(file).names)

    assert "amount" in json.dumps(sorted(exported("root")))
    assert not exported("anna") & {*MINE_NAMES, "items"}


def test_a_form_of_another_person_is_not_taken(world: World) -> None:
    token = world.token("root")
    wish = {"kind": "acknowledge", "finding": world.findings[MINE], "because": "planned", "csrf_token": token}
    content, media = urlencode(wish), {"content-type": "application/x-www-form-urlencoded"}
    assert world.ask("anna", "POST", "/interventions", content=content, headers=media).status_code == 403
    assert world.ask("root", "POST", "/interventions", content=content, headers=media).status_code == 303
