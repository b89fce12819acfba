"""The interface for programs, ``/api/v1``: what the pages show, as JSON, and what people do about it.

Faults are answered as ``{"faults": [...]}``, one sentence each. What is not this person's to see is not there (404).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.errors import ConfigError, DriftwardenError
from monitor.records import Intervention
from monitor.web import wishes, wording
from monitor.web.desk import MOST, Act, Desk, Filter, document_of
from monitor.web.modelview import model_view
from monitor.web.options import CHOICES, MOST_ACTS, MOST_PANES, ROOT, Query, index
from monitor.web.pages import undoable
from monitor.web.people import Person
from monitor.web.performanceview import document

JSON: Final = "application/json"
NOT_FOUND: Final = 404


class Api:
    """The handlers; each runs in a thread of the server."""

    def __init__(self, desk: Desk) -> None:
        """``desk`` is what is read and acted on."""
        self._desk = desk

    def incidents(self, request: Request) -> Response:
        """Incidents, newest first; ``next`` goes into ``after``."""
        query = Query(request, "/incidents")
        chosen = {name: query.choice(name, choices) for name, choices in CHOICES.items()}
        given = {name: value for name, value in chosen.items() if value}
        wanted, limit = Filter(model=query.text("model"), after=query.after(), **given), query.limit(MOST)
        query.check()
        listing = self._desk.incidents(_person(request), wanted, limit)
        following = None if listing.next is None else f"{listing.next[0]!r}~{listing.next[1]}"
        return _json({"incidents": [one.as_dict() for one in listing.incidents], "next": following})

    def finding(self, request: Request) -> Response:
        """A finding's document, how it stands, what joins it and what was done about it."""
        Query(request, "/findings/{id}").check()
        row = self._desk.finding(_person(request), request.path_params["id"])
        if row is None:
            return _none("finding")
        _, family = self._desk.family(row)
        beside = {
            "joined": [one.brief.id for one in family],
            "interventions": [_act(one) for one in self._desk.around(row)],
        }
        return _json(document_of(row) | beside)

    def history(self, request: Request) -> Response:
        """The evidence of a finding's stream, pane by pane, newest last."""
        query = Query(request, "/findings/{id}/history")
        limit = query.limit(MOST_PANES)
        query.check()
        row = self._desk.finding(_person(request), request.path_params["id"])
        if row is None:
            return _none("finding")
        found = self._desk.store.history(f"{row.model}/{row.stream}", limit=limit)
        names = ("pane", "start", "end", "rows", "log_e", "threshold", "units")
        return _json({"panes": [{name: getattr(one, name) for name in names} for one in found]})

    def models(self, request: Request) -> Response:
        """Models and how they do."""
        Query(request, "/models").check()
        return _json({"models": [_fields(one) | {"state": one.state} for one in self._desk.models(_person(request))]})

    def model(self, request: Request) -> Response:
        """One model: its streams, and the columns of one of them by their evidence."""
        query, person, name = Query(request, "/models/{name}"), _person(request), request.path_params["name"]
        if not person.sees(name) or self._desk.live.watched(name) is None:
            return _none("model")
        view = model_view(self._desk, name, query.text("stream"), values=person.values)
        query.choice("stream", [one.name for one in view.streams])
        query.check()
        units = [
            {"column": one.column.name, "evidence": one.evidence, "moved": one.moved, "alarmed": one.alarmed}
            for one in view.units
        ]
        told = {"name": name, "learning": view.learning, "reference_rows": view.rows, "created": view.created}
        return _json(
            told | {"stream": view.stream, "streams": [one._asdict() for one in view.streams], "columns": units}
        )

    def performance(self, request: Request) -> Response:
        """What is known of one model's performance."""
        Query(request, "/models/{name}/performance").check()
        person, name = _person(request), request.path_params["name"]
        watched = self._desk.live.watched(name) if person.sees(name) else None
        if watched is None or watched.side is None:
            return _none("model with labels")
        return _json(document(watched.side, values=person.values))

    def interventions(self, request: Request) -> Response:
        """What people did, newest first."""
        query = Query(request, "/interventions")
        kind: Any = query.choice("kind", wording.KINDS) or None
        active, limit = query.flag("active"), query.limit(MOST_ACTS)
        query.check()
        model, finding = query.text("model"), query.text("finding")
        found = self._desk.acts(_person(request), model=model, finding=finding, kind=kind, active=active, limit=limit)
        return _json({"interventions": [_act(one) for one in found]})

    def index(self, request: Request) -> Response:
        """What there is."""
        Query(request, "").check()
        return _json(index())

    def changes(self, request: Request) -> Response:
        """Place of the newest event: a page that was made at another one is out of date."""
        Query(request, "/changes").check()
        return _json({"last": self._desk.store.last_event()})

    async def intervene(self, request: Request) -> Response:
        """Do something; 201 with the intervention."""
        return await self._act(request, self._intervene)

    async def undo(self, request: Request) -> Response:
        """Take it back."""
        return await self._act(request, self._undo)

    async def _act(self, request: Request, do: Callable[[Request, bytes], Response]) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            return _faults([f"content-type: must be {JSON}"], 415)
        try:
            return await run_in_threadpool(do, request, await request.body())
        except ConfigError as error:
            return _faults(error.faults, 400)
        except DriftwardenError as error:
            return _faults(str(error).splitlines(), 503)

    def _intervene(self, request: Request, body: bytes) -> Response:
        person = _person(request)
        wanted = wishes.of_json(self._desk, person, body)
        if not person.sees(wanted.model):
            return _none("model")
        if not person.touches(wanted.model):
            return _faults([f"model: you may not act on {wanted.model!r}"], 403)
        return _json(self._desk.hands.intervene(wanted).as_dict(), 201)

    def _undo(self, request: Request, body: bytes) -> Response:
        person = _person(request)
        try:
            asked = wishes.Undo.model_validate_json(body)
        except ValidationError as error:
            raise ConfigError(wishes.faults_of(error)) from error
        one = undoable(self._desk, person, request.path_params["id"])
        return _json(self._desk.hands.undo(one.id, person.signature(asked.by), asked.because).as_dict())


def routes(desk: Desk) -> list[Route]:
    """All of ``/api/v1`` but the exports."""
    api = Api(desk)
    reads = {
        "": api.index,
        "/incidents": api.incidents,
        "/findings/{id}": api.finding,
        "/findings/{id}/history": api.history,
        "/models": api.models,
        "/models/{name:path}/performance": api.performance,
        "/models/{name:path}": api.model,
        "/interventions": api.interventions,
        "/changes": api.changes,
    }
    return [
        *(Route(f"{ROOT}{path}", _strict(read), methods=["GET"]) for path, read in reads.items()),
        Route(f"{ROOT}/interventions", api.intervene, methods=["POST"]),
        Route(f"{ROOT}/interventions/{{id}}/undo", api.undo, methods=["POST"]),
    ]


def _strict(read: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """A query that cannot be used is refused."""

    def answer(request: Request) -> Response:
        try:
            return read(request)
        except ConfigError as error:
            return _faults(error.faults, 400)

    return answer


def _act(one: Act) -> dict[str, Any]:
    made: Intervention = one.intervention
    return made.as_dict() | {"active": one.active}


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _json(document: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(_finite(document), status)


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _none(what: str) -> JSONResponse:
    return _faults([f"{what}: there is none of that name for you"], NOT_FOUND)


def _faults(lines: list[str], status: int) -> JSONResponse:
    return JSONResponse({"faults": lines}, status)


def _person(request: Request) -> Person:
    person: Person = request.state.person
    return person
