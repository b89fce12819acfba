"""The read model of the pages and of their interface for programs: what one person may see of findings and models.

A model that is not theirs does not exist for them: it is left out of lists, and asking for it finds nothing. Every
method is called from threads of the server; nothing here waits for the engine, except for what people do.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from monitor.archive import Archive
from monitor.interventions import Wanted
from monitor.records import Brief, FindingRow, FindingState, Intervention, InterventionKind
from monitor.web import wording
from monitor.web.live import Live
from monitor.web.people import Person

PAGE: Final = 50
"""Incidents in one list."""
MOST: Final = 500
"""Incidents that a program may ask for at once."""
FRONT: Final = {"page": 20, "ticket": 10, "info": 4}
"""Incidents of each severity on the front page."""
Over = Literal["", "all", "over"]
"""What is listed: what is not over, everything, or only what is."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What somebody wants to see of the incidents; "" leaves a filter out.

    ``state`` is "current" (not over), "over", "all" or a state of a finding. ``after`` is the last one of the page
    before: time of opening and id.
    """

    model: str = ""
    state: str = "current"
    severity: str = ""
    triage: str = ""
    failure_mode: str = ""
    after: tuple[float, str] | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing is asked for but what is going on."""
        return self == Filter()

    @property
    def over(self) -> bool | None:
        """As the store asks it."""
        return {"current": False, "over": True}.get(self.state)

    @property
    def exact(self) -> FindingState | None:
        """The one state asked for, if it is one."""
        return self.state if self.state in wording.STATES else None  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Incident:
    """A head of a list: the finding, how many join it, and who attends to it."""

    brief: Brief
    joined: int = 0
    by: str = ""

    @property
    def title(self) -> str:
        """In a line."""
        one = self.brief
        return wording.title(one.triage, one.subject, one.failure_mode, one.unit, one.detector, one.units)

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        told = dataclasses.asdict(self.brief)
        return {**told, "title": self.title, "joined": self.joined, "acknowledged_by": self.by or None}


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of incidents; ``next`` continues it."""

    incidents: list[Incident]
    next: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model at a glance: how many incidents are open by severity, and how many of them nobody attends to."""

    name: str
    learning: bool
    until: float | None
    pages: int
    tickets: int
    notes: int
    unattended: int

    @property
    def state(self) -> str:
        """The worst that is going on."""
        return "page" if self.pages else "ticket" if self.tickets else "learning" if self.learning else "quiet"


@dataclass(frozen=True, slots=True)
class Front:
    """The front page: incidents that are going on, by severity, how many there are, and of how many nobody knows.

    Those that nobody attends to come first.
    """

    sections: dict[str, list[Incident]]
    counts: dict[str, int]
    alone: dict[str, int]
    models: list[ModelState]


@dataclass(frozen=True, slots=True)
class Act:
    """An intervention in a list; ``title`` is what its finding is about, "" for none."""

    intervention: Intervention
    active: bool
    title: str = ""


@dataclass(frozen=True, slots=True)
class Hands:
    """What people's acts are handed to; both raise `DriftwardenError` and return when the act is on disk."""

    intervene: Callable[[Wanted], Intervention]
    undo: Callable[[str, str, str], Intervention]


class Desk:
    """What is on the desk of whoever is on call."""

    def __init__(self, store: Archive, live: Live, hands: Hands, now: Callable[[], float]) -> None:
        """``store`` is read, ``live`` is the running agent, ``now`` the time of day."""
        self.store, self.live, self.hands, self.now = store, live, hands, now

    def front(self, person: Person) -> Front:
        """What is going on."""
        going = self._briefs(person, Filter(), None)
        ordered = sorted(going, key=lambda one: not one.unattended)
        groups = {severity: [one for one in ordered if one.severity == severity] for severity in wording.SEVERITIES}
        alone = {severity: sum(one.unattended for one in group) for severity, group in groups.items()}
        sections = {severity: self._incidents(group[: FRONT[severity]]) for severity, group in groups.items()}
        counts = {severity: len(group) for severity, group in groups.items()}
        return Front(sections, counts, alone, self._states(person, going))

    def incidents(self, person: Person, wanted: Filter, limit: int = PAGE) -> Listing:
        """Incidents that fit a filter, newest first."""
        limit = min(max(limit, 1), MOST)
        found = self._briefs(person, wanted, limit + 1)
        more = len(found) > limit
        shown = found[:limit]
        return Listing(self._incidents(shown), (shown[-1].opened, shown[-1].id) if more else None)

    def models(self, person: Person) -> list[ModelState]:
        """The models that somebody sees."""
        return self._states(person, self._briefs(person, Filter(), None))

    def finding(self, person: Person, id: str) -> FindingRow | None:  # noqa: A002 - the column's name
        """One finding, None if there is none for this person."""
        row = self.store.finding(id)
        return row if row is not None and person.sees(row.model) else None

    def family(self, row: FindingRow) -> tuple[Brief | None, list[Incident]]:
        """The head of a finding's incident if it is another one, and the others that belong to it, oldest first."""
        every = self.store.briefs(incident=row.joins or row.id, limit=MOST)
        head = next((one for one in every if one.id == row.joins), None)
        others = [one for one in every if one.id != row.id and one is not head]
        return head, [Incident(one) for one in reversed(others)]

    def acts(
        self,
        person: Person,
        *,
        model: str = "",
        finding: str = "",
        kind: InterventionKind | None = None,
        active: bool = False,
        limit: int = MOST,
    ) -> list[Act]:
        """What people did, newest first."""
        now = self.now()
        found = self.store.interventions(
            model=model or None, finding=finding or None, kind=kind, active=now if active else None
        )
        mine = list(islice((one for one in found if person.sees(one.model)), limit))
        return [Act(one, one.active(now), self._title(one.finding)) for one in mine]

    def around(self, row: Brief) -> list[Act]:
        """What people did about a finding, its incident's head, or by a mute that may cover it; newest first."""
        now = self.now()
        about = {row.id, row.joins} - {""}
        held = [one for one in self.store.interventions(model=row.model) if one.finding in about or _mutes(one, row)]
        return [Act(one, one.active(now)) for one in held]

    def _title(self, finding: str) -> str:
        row = self.store.finding(finding) if finding else None
        return "" if row is None else Incident(row).title

    def _briefs(self, person: Person, wanted: Filter, limit: int | None) -> list[Brief]:
        """Heads that fit a filter and are this person's to see."""
        models = [wanted.model] if wanted.model else None if person.models is None else sorted(person.models)
        if models is None:
            return self._heads(None, wanted, limit)
        lists = [self._heads(name, wanted, limit) for name in models if person.sees(name)]
        merged = heapq.merge(*lists, key=lambda one: (one.opened, one.id), reverse=True)
        return list(islice(merged, limit))

    def _heads(self, model: str | None, wanted: Filter, limit: int | None) -> list[Brief]:
        return self.store.briefs(
            model=model,
            state=wanted.exact,
            severity=wanted.severity or None,
            triage=wanted.triage or None,
            failure_mode=wanted.failure_mode or None,
            heads=True,
            over=wanted.over,
            after=wanted.after,
            limit=limit,
        )

    def _incidents(self, briefs: Sequence[Brief]) -> list[Incident]:
        joined = self.store.joined([one.id for one in briefs])
        by: dict[str, str] = {}
        if any(one.state == "acknowledged" for one in briefs):
            held = self.store.interventions(kind="acknowledge", active=self.now())
            by = {one.finding: one.by for one in reversed(held)}
        return [Incident(one, joined.get(one.id, 0), by.get(one.id, "")) for one in briefs]

    def _states(self, person: Person, going: Iterable[Brief]) -> list[ModelState]:
        tally: dict[str, list[Brief]] = {}
        for one in going:
            tally.setdefault(one.model, []).append(one)
        return [self._model(name, tally.get(name, [])) for name in self.live.names if person.sees(name)]

    def _model(self, name: str, going: Sequence[Brief]) -> ModelState:
        streams = self.live.streams(name)
        ends = [one.until for one in self.live.states(name) if one.panes]
        pages, tickets, notes = (sum(one.severity == severity for one in going) for severity in wording.SEVERITIES)
        alone = sum(one.unattended for one in going)
        return ModelState(name, streams is None, max(ends, default=None), pages, tickets, notes, alone)


def _mutes(one: Intervention, row: Brief) -> bool:
    """Whether it is a mute of something that a finding names first."""
    target = one.target
    said = (target.get("failure_mode") == row.failure_mode, target.get("segment") == row.stream.partition("/")[2])
    return one.kind == "mute" and (any(said) or target.get("column") in row.unit.split("*"))


def document_of(row: FindingRow) -> dict[str, Any]:
    """A finding's JSON with how it stands now."""
    found: dict[str, Any] = json.loads(row.document)
    now = {"state": row.state, "opened": row.opened, "closed": row.closed, "sentence": row.sentence, "muted": row.muted}
    return found | now
