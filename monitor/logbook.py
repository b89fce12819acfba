"""The findings of a running agent: which are open, which wait for the disk, and who is to be told.

Touched by the engine's thread alone. What is in `pending`, `events` and `lines` is written with the next checkpoint:
`lines` into the file that other programs follow, `events` into the log that receivers read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from monitor import log
from monitor.interventions import Interventions
from monitor.naming import SENDER
from monitor.outcomes.door import OUTCOMES
from monitor.records import Event, EventKind, FindingRow, FindingState, Intervention
from monitor.report import Finding, Recovered
from monitor.severity import GROWN, SEVERITY

if TYPE_CHECKING:
    from monitor.outcomes.changed import Divided

CHANGE = "change"
"""Key of a finding's evidence: why the performance changed, by what that is known."""
_CALLING = {"ticket": 1, "page": 2}
"""Severities that call somebody, and how loudly."""
_ENDS: dict[str, EventKind] = {"recovered": "finding.recovered"}


class Logbook:
    """Open findings by id, and what is to be written down."""

    def __init__(self, interventions: Interventions | None = None) -> None:
        """Begin with nothing open."""
        self.interventions = Interventions() if interventions is None else interventions
        self.open: dict[str, FindingRow] = {}
        self.pending: dict[str, FindingRow] = {}
        self.events: list[Event] = []
        self.lines: list[dict[str, Any]] = []
        self._told: set[str] = set()
        self._explained: dict[str, set[str]] = {}
        self.weighed: dict[str, int] = {}
        self._log = log.get("findings")

    @property
    def waiting(self) -> bool:
        """Whether there is something to write down."""
        return bool(self.pending or self.lines or self.events or self.interventions.pending)

    @property
    def unattended(self) -> list[FindingRow]:
        """What calls for somebody, one row an incident: open, neither acknowledged nor muted."""
        return [row for row in self.heads if row.unattended]

    @property
    def heads(self) -> list[FindingRow]:
        """One row for each open incident: its head, or, where that is over or muted, each finding that joined it."""
        return [row for row in self.open.values() if self._leads(row)]

    def opened(self, finding: Finding, evidence: bytes) -> None:
        """Open a finding; ``evidence`` is an archive of `monitor.evidence`."""
        joins = self._root(finding)
        line = finding.as_dict() | {"joins": joins}
        row = FindingRow(
            id=finding.id,
            model=finding.model,
            stream=finding.stream,
            opened=finding.time,
            closed=None,
            state="open",
            severity=finding.severity,
            triage=finding.triage,
            failure_mode=finding.failure_mode,
            subject=finding.subject,
            joins=joins,
            detector=finding.detector,
            unit=finding.units[0].unit,
            units=len(finding.units),
            sentence=finding.sentence(),
            muted=False,
            document=json.dumps(line),
            evidence=evidence,
        )
        row = dataclasses.replace(row, muted=self.interventions.mutes(row, finding.time))
        self.open[row.id] = self.pending[row.id] = row
        self.lines.append(line)
        self._event(row, "finding.opened", finding.time)
        if not row.muted:
            self._told.add(row.id)
        self._log.warning(row.sentence, model=row.model, stream=row.stream, finding=row.id, triage=row.triage)

    def _leads(self, row: FindingRow) -> bool:
        """Whether a finding stands for its incident."""
        head = self.open.get(row.joins)
        return head is None or (head.muted and not row.muted)

    def _root(self, finding: Finding) -> str:
        """The head of the incident that a finding belongs to, "" if it is one itself.

        Streams judge by themselves, so one event opens findings in each version and segment. Those that began before
        the other was found are taken for one event: somebody has been called already.
        """
        if finding.joins:
            known = self.open.get(finding.joins)
            return finding.joins if known is None else known.joins or finding.joins
        if finding.severity not in _CALLING or finding.subject == SENDER:
            return ""
        same = [row for row in self.open.values() if row.stream != finding.stream and _one_event(row, finding)]
        return min(same, key=lambda row: row.opened).id if same else ""

    def explain(self, model: str, explained: Callable[[str], Sequence[Divided]]) -> None:
        """Add to open findings of a model why its performance changed, once that is known of a time after they began.

        ``explained`` tells it of a stream; each way to know it is told once, with labels and without.
        """
        for row in [row for row in self.open.values() if row.model == model and row.severity in _CALLING]:
            had = self._explained.setdefault(row.id, set())
            began = row.opened if row.stream != OUTCOMES else json.loads(row.document)["since_time"] or row.opened
            news = [one for one in explained(row.stream) if one.by not in had and one.end >= began]
            if not news or row.subject == SENDER:
                continue
            had |= {one.by for one in news}
            document = json.loads(row.document)
            known = document["evidence"].get(CHANGE, {})
            known |= {one.by: one.document() for one in news if one.by not in known}
            document["evidence"][CHANGE] = known
            self._keep(dataclasses.replace(row, document=json.dumps(document)))

    def lowered(self, model: str) -> list[tuple[FindingRow, dict[str, Any]]]:
        """Open findings of a model that would page if they cost more, with what was said of their cost."""
        rows = [row for row in self.open.values() if row.model == model and row.severity == "ticket"]
        said = [(row, json.loads(row.document).get("evidence", {}).get(SEVERITY)) for row in rows]
        return [(row, one) for row, one in said if one and (one["usual"], one["severity"]) == ("page", "ticket")]

    def louder(self, row: FindingRow, now: float) -> None:
        """A ticket has become a page: it is told as if it had opened."""
        document = json.loads(row.document)
        document["severity"] = "page"
        document["evidence"][SEVERITY] |= {"severity": "page", "because": GROWN}
        sentence = "page" + row.sentence.removeprefix(row.severity)
        kept = self._keep(dataclasses.replace(row, severity="page", sentence=sentence, document=json.dumps(document)))
        self.lines.append({"kind": "louder", "model": row.model, "stream": row.stream, "time": now, "finding": row.id})
        if kept.unattended:
            self._event(kept, "finding.opened", now, f"{row.id}-louder")
        self._log.warning(kept.sentence, model=row.model, stream=row.stream, finding=row.id, triage=row.triage)

    def recovered(self, back: Recovered, model: str, stream: str) -> None:
        """End the findings that a recovery ends."""
        self.lines.append(back.as_dict(model, stream))
        for row_id in back.ids:
            self.closed(row_id, back.time)

    def closed(self, row_id: str, time: float, state: FindingState = "recovered") -> None:
        """End one finding, if it is open."""
        row = self.open.pop(row_id, None)
        self._told.discard(row_id)
        self._explained.pop(row_id, None)
        self.weighed.pop(row_id, None)
        if row is not None:
            row = self.pending[row_id] = dataclasses.replace(row, closed=time, state=state)
            self._event(row, _ENDS.get(state, "finding.ended"), time)
            self._log.info(state, model=row.model, stream=row.stream, finding=row_id)
            if state != "recovered":  # a recovery has been told with its columns
                ended = {"kind": "ended", "why": state, "model": row.model, "stream": row.stream}
                self.lines.append({**ended, "time": time, "findings": [row_id]})

    def model_ended(self, model: str, time: float, state: FindingState) -> None:
        """End all findings of a model."""
        for row in [row for row in self.open.values() if row.model == model]:
            self.closed(row.id, time, state)

    def done(self, one: Intervention, now: float) -> None:
        """Somebody did something: findings that are acknowledged or muted by it are so from now on."""
        self._record(one, "intervention.done", now)
        if one.kind == "acknowledge":
            self._acknowledge(one, "open", "acknowledged", now)
        self.look_at_mutes(now)

    def undone(self, one: Intervention, now: float) -> None:
        """Somebody took it back: what it kept quiet calls for somebody again."""
        self._record(one, "intervention.undone", now)
        if one.kind == "acknowledge":
            self._acknowledge(one, "acknowledged", "open", now)
        self.look_at_mutes(now, taken_back=True)

    def look_at_mutes(self, now: float, *, taken_back: bool = False) -> None:
        """Bring all open findings up to date with the mutes; one that is heard again is told as if it had opened.

        Where the mute was ``taken_back``, not those that were told before it: nothing was missed.
        """
        for row in list(self.open.values()):
            muted = self.interventions.mutes(row, now)
            if muted != row.muted:
                heard = self._keep(dataclasses.replace(row, muted=muted))
                if heard.unattended and not (taken_back and row.id in self._told):
                    self._event(heard, "finding.opened", now, f"{row.id}-{now:.3f}")

    def _acknowledge(self, one: Intervention, before: FindingState, after: FindingState, now: float) -> None:
        """The finding and what has joined it so far."""
        for row in list(self.open.values()):
            if one.finding in (row.id, row.joins) and row.state == before:
                kept = self._keep(dataclasses.replace(row, state=after))
                if after == "acknowledged":
                    self._event(kept, "finding.acknowledged", now, f"{row.id}-{one.id}", one)
                else:
                    self._event(kept, "finding.opened", now, f"{row.id}-{one.id}-undone", one)

    def _record(self, one: Intervention, kind: EventKind, now: float) -> None:
        self.events.append(Event(f"{one.id}-{kind}", now, kind, one.model, {"intervention": one.as_dict()}))
        self.lines.append({"kind": kind, "model": one.model, "time": now, "intervention": one.as_dict()})
        who = (one.by, one.because) if one.undone is None else (one.undone_by, one.undone_because)
        self._log.warning(kind, model=one.model, what=one.kind, intervention=one.id, by=who[0], because=who[1])

    def _keep(self, row: FindingRow) -> FindingRow:
        self.open[row.id] = self.pending[row.id] = row
        return row

    def _event(
        self, row: FindingRow, kind: EventKind, time: float, name: str = "", by: Intervention | None = None
    ) -> None:
        document: dict[str, Any] = {"finding": told(row)}
        if by is not None:
            document["intervention"] = by.as_dict()
        self.events.append(Event(name or f"{row.id}-{kind}", time, kind, row.model, document))


def _one_event(head: FindingRow, finding: Finding) -> bool:
    """Whether a finding is of the event for which a head of its model calls: both had begun when either was found."""
    if head.model != finding.model or head.joins or head.muted or head.subject == SENDER:
        return False
    if _CALLING.get(head.severity, 0) < _CALLING[finding.severity]:
        return False
    began = json.loads(head.document)["since_time"]
    known = began is not None and math.isfinite(finding.since_time)
    return known and finding.since_time <= head.opened and began <= finding.time


def told(row: FindingRow) -> dict[str, Any]:
    """A finding as others are told of it: its own JSON, and what has become of it."""
    became = ("state", "opened", "closed", "sentence", "muted")
    document: dict[str, Any] = json.loads(row.document)
    return document | {name: getattr(row, name) for name in became}


def quietly(rows: Iterable[FindingRow]) -> dict[str, int]:
    """How many incidents are open and somebody knows: acknowledged, or muted and not acknowledged."""
    rows = list(rows)
    muted = sum(row.state == "open" and row.muted for row in rows)
    return {"acknowledged": sum(row.state == "acknowledged" for row in rows), "muted": muted}
