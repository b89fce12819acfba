"""The pages that a person opens, written on the server: incidents, a finding, models, what was done, runbooks.

Each asks `Desk` for what this person may see. Forms post to ``/interventions`` and come back to where they were; that
they are ours, and of this person, is the gate's to see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from detectors.taxonomy import MODES
from monitor.errors import ConfigError, DriftwardenError
from monitor.interventions import Wanted
from monitor.records import Brief, Intervention
from monitor.web import wishes, wording
from monitor.web.desk import Desk, Filter, Incident
from monitor.web.findingview import view_of
from monitor.web.modelview import model_view
from monitor.web.options import CHOICES
from monitor.web.people import Person
from monitor.web.performanceview import performance_view
from monitor.web.render import page
from monitor.web.runbooks import runbooks

STATIC: Final = Path(__file__).parent / "static"
COLUMNS: Final = 60
"""Columns on a model's page, unless all are asked for."""
_STATES: Final = (
    ("current", "going on"),
    ("open", "open, unattended"),
    ("acknowledged", "acknowledged"),
    ("over", "over"),
    ("recovered", "recovered"),
    ("rebaselined", "accepted as normal"),
    ("all", "all"),
)
Exports = Callable[[Brief], list[tuple[str, str]]]
"""Links to what can be exported of a finding: label and address."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where else to look: bases of addresses; without dashboards there is no link to them."""

    runbooks: str = "/runbooks"
    dashboards: str = ""

    def runbook(self, alert: str) -> str:
        """What to do about an alert."""
        return f"{self.runbooks}#{alert.lower()}"

    def dashboard(self, row: Brief) -> str:
        """The dashboard of a finding's model."""
        name = "driftwarden-security" if row.subject == "sender" else "driftwarden-model"
        return f"{self.dashboards.rstrip('/')}/d/{name}?var-model={quote(row.model)}"


class Pages:
    """The handlers; each runs in a thread of the server."""

    def __init__(self, desk: Desk, version: str, links: Links, exports: Exports | None) -> None:
        """``exports`` says what can be exported of a finding."""
        self._desk, self._version, self._links, self._exports = desk, version, links, exports

    def incidents(self, request: Request) -> Response:
        """The front page, or a list where something is asked for."""
        desk, person, wanted = self._desk, _person(request), filter_of(request)
        front = desk.front(person) if wanted.plain else None
        listing = None if front is not None else desk.incidents(person, wanted)
        more = _query(request, listing.next) if listing is not None and listing.next else ""
        choices: dict[str, Any] = {
            "models": [(name, name) for name in desk.live.names if person.sees(name)],
            "severities": list(wording.SEVERITIES.items()),
            "triages": list(wording.TRIAGES.items()),
            "modes": [(name, mode.title) for name, mode in MODES.items()],
            "states": _STATES,
        }
        return self._page(request, "incidents.html", front=front, listing=listing, filter=wanted, more=more, **choices)

    def finding(self, request: Request) -> Response:
        """One finding."""
        person = _person(request)
        row = self._desk.finding(person, request.path_params["id"])
        if row is None:
            return self._missing(request, "There is no such finding, or it has been forgotten since.")
        view = view_of(self._desk, person, row)
        exports = self._exports(row) if self._exports is not None else []
        watched = self._desk.live.watched(row.model)
        followed = watched is not None and watched.side is not None
        done = self._done(request)
        return self._page(request, "finding.html", view=view, exports=exports, done=done, followed=followed)

    def models(self, request: Request) -> Response:
        """All models."""
        return self._page(request, "models.html", states=self._desk.models(_person(request)))

    def model(self, request: Request) -> Response:
        """One model."""
        desk, person, name = self._desk, _person(request), request.path_params["name"]
        watched = desk.live.watched(name) if person.sees(name) else None
        if watched is None:
            return self._missing(request, "There is no such model.")
        query = request.query_params
        most = None if query.get("columns") == "all" else COLUMNS
        view = model_view(desk, name, query.get("stream", ""), values=person.values, most=most)
        going = desk.incidents(person, Filter(model=name)).incidents
        acts = desk.acts(person, model=name, active=True)
        right = None if watched.side is None else performance_view(watched.side, "", values=person.values)
        return self._page(
            request, "model.html", name=name, stream=view.stream, view=view, going=going, acts=acts, right=right
        )

    def performance(self, request: Request) -> Response:
        """How well one model does."""
        person, name = _person(request), request.path_params["name"]
        watched = self._desk.live.watched(name) if person.sees(name) else None
        if watched is None or watched.side is None:
            return self._missing(request, "There is no such model, or its log has no labels.")
        view = performance_view(watched.side, request.query_params.get("metric", ""), values=person.values)
        return self._page(request, "performance.html", name=name, view=view)

    def interventions(self, request: Request) -> Response:
        """What was done."""
        desk, person, query = self._desk, _person(request), request.query_params
        kind: Any = query.get("kind", "")
        chosen = {"model": query.get("model", ""), "kind": kind, "active": bool(query.get("active"))}
        known = kind if kind in wording.KINDS else None
        acts = desk.acts(person, model=chosen["model"], kind=known, active=chosen["active"])
        models = [name for name in desk.live.names if person.sees(name)]
        return self._page(
            request, "interventions.html", acts=acts, chosen=chosen, models=models, done=self._done(request)
        )

    def runbooks(self, request: Request) -> Response:
        """What to do about each alert."""
        return self._page(request, "runbooks.html", text=runbooks())

    async def intervene(self, request: Request) -> Response:
        """Do what a form asks for, and go back to the page that it came from."""
        return await self._form(request, self._intervene)

    async def undo(self, request: Request) -> Response:
        """Take back what somebody did."""
        return await self._form(request, self._undo)

    async def _form(self, request: Request, do: Callable[[Request, wishes.Form], Response]) -> Response:
        try:
            form = wishes.form_of(await request.body())
            return await run_in_threadpool(do, request, form)
        except DriftwardenError as error:
            return await run_in_threadpool(self._refused, request, str(error).splitlines())

    def _intervene(self, request: Request, form: wishes.Form) -> Response:
        person = _person(request)
        done = [self._do(person, wanted) for wanted in wishes.of_form(self._desk, person, form)]
        finding, model = wishes.first(form, "finding"), done[0].model
        back = f"/findings/{quote(finding)}" if finding else f"/models/{quote(model)}"
        return RedirectResponse(f"{back}?done={done[0].kind}", status_code=303)

    def _do(self, person: Person, wanted: Wanted) -> Intervention:
        if not person.touches(wanted.model):
            raise ConfigError([f"model: you may not act on {wanted.model!r}"])
        return self._desk.hands.intervene(wanted)

    def _undo(self, request: Request, form: wishes.Form) -> Response:
        person = _person(request)
        one = undoable(self._desk, person, request.path_params["id"])
        self._desk.hands.undo(one.id, person.signature(wishes.first(form, "by")), wishes.first(form, "because"))
        back = f"/findings/{quote(one.finding)}" if one.finding else "/interventions"
        return RedirectResponse(f"{back}?done=undo", status_code=303)

    def _page(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        last, now = self._desk.store.last_event(), self._desk.now()
        return page(request, template, status, last=last, now=now, version=self._version, links=self._links, **context)

    def _missing(self, request: Request, line: str) -> Response:
        return self._page(request, "message.html", 404, heading="Nothing here", lines=[line], back="/")

    def _refused(self, request: Request, lines: list[str]) -> Response:
        return self._page(request, "message.html", 400, heading="That was not done", lines=lines, back="/")

    def _done(self, request: Request) -> str:
        """What the last form did, to be said once."""
        kind = request.query_params.get("done", "")
        return "Taken back." if kind == "undo" else f"{wording.KINDS[kind]}." if kind in wording.KINDS else ""


def routes(desk: Desk, *, version: str, links: Links, exports: Exports | None = None) -> list[Route]:
    """All pages and what they load."""
    pages = Pages(desk, version, links, exports)
    return [
        Route("/", pages.incidents, methods=["GET"]),
        Route("/findings/{id}", pages.finding, methods=["GET"]),
        Route("/models", pages.models, methods=["GET"]),
        Route("/models/{name:path}/performance", pages.performance, methods=["GET"]),
        Route("/models/{name:path}", pages.model, methods=["GET"]),
        Route("/interventions", pages.interventions, methods=["GET"]),
        Route("/interventions", pages.intervene, methods=["POST"]),
        Route("/interventions/{id}/undo", pages.undo, methods=["POST"]),
        Route("/runbooks", pages.runbooks, methods=["GET"]),
        Route("/static/{path:path}", static, methods=["GET"]),
    ]


def static(request: Request) -> Response:
    """A file that pages load: one of those that are there, whatever is asked for."""
    known = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}
    path = known.get(request.path_params["path"])
    if path is None:
        return Response("There is no such file.\n", status_code=404, media_type="text/plain")
    return FileResponse(path, headers={"cache-control": "no-cache"})


def filter_of(request: Request) -> Filter:
    """The filter in a query; what is not known is left out."""
    query = request.query_params
    given = {name: query[name] for name, values in CHOICES.items() if query.get(name) in values}
    return Filter(model=query.get("model", ""), after=_after(query.get("after", "")), **given)


def _after(text: str) -> tuple[float, str] | None:
    time, _, id_ = text.partition("~")
    try:
        return (float(time), id_) if id_ else None
    except ValueError:
        return None


def _query(request: Request, after: tuple[float, str]) -> str:
    """The address of the next page of a list."""
    kept = {name: value for name, value in request.query_params.items() if name != "after"}
    return f"/?{urlencode(kept | {'after': f'{after[0]!r}~{after[1]}'})}"


def undoable(desk: Desk, person: Person, id: str) -> Intervention:  # noqa: A002 - the column's name
    """An intervention that this person may take back; `ConfigError` if there is none."""
    one = next(iter(desk.store.interventions(id=id)), None)
    if one is None or not person.sees(one.model):
        raise ConfigError([f"id: there is no intervention {id!r}"])
    if not person.touches(one.model):
        raise ConfigError([f"model: you may not act on {one.model!r}"])
    return one


def _person(request: Request) -> Person:
    person: Person = request.state.person
    return person


__all__ = ["Exports", "Incident", "Links", "Pages", "filter_of", "routes", "undoable"]
