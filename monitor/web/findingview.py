"""All that the page of one finding shows, put together from the store and from the running agent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from monitor.evidence import unpack_evidence
from monitor.exemplars import ROWS
from monitor.naming import FAULT_TREE, NOT_COLUMNS
from monitor.records import Brief, FindingRow, Judged
from monitor.web import plots, rowviews, wording
from monitor.web.desk import Act, Desk, Incident, document_of
from monitor.web.live import StreamState, names_of
from monitor.web.losses import Losses, losses
from monitor.web.people import Person

BEFORE: Final = 60
"""Panes drawn before a finding's onset."""
AFTER: Final = 20
"""Panes drawn after its end."""
ALERTS: Final = {
    "shift": "DriftwardenShift",
    "attack": "DriftwardenAttack",
    "data_fault": "DriftwardenDataFault",
    "unknown": "DriftwardenUnexplained",
}
"""Triage -> the alert that Prometheus raises of it."""
_BESIDE: Final = ("neighbours", "influence")
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """A column that a finding names: what is said of it, and its distribution if that is known."""

    name: str
    says: tuple[str, ...]
    evidence: float | None
    column: plots.Column | None


@dataclass(frozen=True, slots=True)
class FindingView:
    """The page of one finding."""

    row: FindingRow
    document: Document
    told: wording.Told
    sure: str
    head: Brief | None
    family: list[Incident]
    history: dict[str, Any]
    judged: list[Judged]
    changed: list[Changed]
    window: str
    joint: list[Document]
    scatter: dict[str, Any]
    telling: rowviews.Telling | None
    sampled: int
    segments: list[StreamState]
    acts: list[Act]
    elsewhere: list[Incident]

    @property
    def title(self) -> str:
        """In a line."""
        return Incident(self.row).title

    @property
    def sequential(self) -> bool:
        """Whether the evidence that is drawn is what raised it."""
        return wording.sequential(self.row.detector)

    @property
    def tree(self) -> Document:
        """The fault tree's verdict, empty without one."""
        found: Document = self.document["evidence"].get(FAULT_TREE) or {}
        return found

    @property
    def losses(self) -> Losses:
        """What it has to do with the performance."""
        return losses(self.document)

    @property
    def suspicions(self) -> list[Document]:
        """What is held against a sender."""
        return list(self.document["evidence"].get("suspicions", ()))

    @property
    def errors(self) -> Document:
        """What labels show of the answers, empty where the finding is about something else."""
        found: Document = self.document["evidence"].get("errors") or {}
        return found

    @property
    def strata(self) -> list[plots.Bar]:
        """Parts of the traffic whose shares moved."""
        return [plots.Bar(one["stratum"], one["reference"], one["window"]) for one in self.document["strata"]]

    @property
    def clients(self) -> list[str]:
        """Senders that it names, by their bare pseudonyms: what a quarantine takes."""
        named = [name for one in self.suspicions for name, _ in one["clients"]]
        told = [*named, *(unit["unit"] for unit in self.document["units"] if self.row.subject == "sender")]
        found = (re.fullmatch(r"(?:client|source) (.+)", name, re.DOTALL) for name in told)
        return list(dict.fromkeys(one[1] for one in found if one is not None))

    @property
    def columns(self) -> list[str]:
        """Columns that it names: what a mute takes."""
        return [] if self.row.subject in NOT_COLUMNS else names_of(self.document["units"])

    @property
    def segment(self) -> str:
        """The segment that it is about, "" for a whole version."""
        return self.row.stream.partition("/")[2]

    @property
    def alert(self) -> str:
        """The alert's name, for the runbook; "" where there is none."""
        return ALERTS.get(self.row.triage, "")

    @property
    def acknowledged(self) -> Act | None:
        """Who attends to it."""
        return next((one for one in self.acts if one.active and one.intervention.kind == "acknowledge"), None)


def view_of(desk: Desk, person: Person, row: FindingRow) -> FindingView:
    """The page of a finding that this person may see."""
    document = document_of(row)
    head, family = desk.family(row)
    tables = unpack_evidence(row.evidence)
    history = _history(desk, row, document)
    names = names_of(document["units"]) if row.subject not in NOT_COLUMNS else []
    counts, window = _counts(desk, row, document, tables, names)
    drawn = plots.columns(counts.to_pylist(), values=person.values, labels=("reference", window))
    document = _recounted(document, drawn)
    return FindingView(
        row=row,
        document=document,
        told=_told(document, drawn),
        sure=wording.sureness(document),
        head=head,
        family=family,
        history=_drawn(row, document, history, names),
        judged=history,
        changed=_changed(document, drawn),
        window=window,
        joint=[unit for unit in document["units"] if unit["view"]],
        telling=_telling(desk, row, document, tables) if person.values else None,
        sampled=tables.get("rows", pa.table({})).num_rows,
        scatter=_scatter(desk, row, document) if person.values else {},
        segments=_segments(desk, row),
        acts=desk.around(row),
        elsewhere=_elsewhere(desk, row),
    )


def _history(desk: Desk, row: FindingRow, document: Document) -> list[Judged]:
    """The stream's panes from well before the onset until a little after the end."""
    key = f"{row.model}/{row.stream}"
    if row.closed is None:
        found = desk.store.history(key, since=None)
    else:
        length = max(row.closed - document["since_time"], 1.0)
        found = desk.store.history(key, until=row.closed + length)
    first = next((place for place, one in enumerate(found) if one.pane >= document["since_pane"]), 0)
    return plots.thinned(found[max(first - BEFORE, 0) :])


def _drawn(row: FindingRow, document: Document, history: Sequence[Judged], names: Sequence[str]) -> dict[str, Any]:
    if not history or row.subject in NOT_COLUMNS:
        return {}
    marks = {"began": document["since_time"], "found": row.opened, "over": row.closed}
    strongest = sorted(document["units"], key=lambda unit: -(unit["log_e"] or 0.0))
    own = [unit["view"] or unit["unit"] for unit in strongest]
    sequential = document["threshold"] is not None and wording.sequential(document["detector"])
    alarms = {document["pane"]: document["log_e"]} if sequential and not row.joins else {}
    return plots.evidence(history, units=[*own, *names], marks=marks, alarms=alarms)


def _counts(
    desk: Desk, row: FindingRow, document: Document, tables: Mapping[str, pa.Table], names: Sequence[str]
) -> tuple[pa.Table, str]:
    """Counts of the named columns and what window they are of: of now while it lasts, else as they were kept."""
    if row.closed is None and names:
        fresh = desk.live.since(row.model, row.stream, names, document["since_pane"])
        if fresh is not None and fresh.num_rows:
            return fresh, "since it began"
    return tables.get("histograms", pa.table({})), "when found"


def _recounted(document: Document, drawn: Sequence[plots.Column]) -> dict[str, Any]:
    """The document with the shares of faults as they are drawn: what is said of a column and its picture agree."""
    columns = {column.name: column for column in drawn}
    return {**document, "units": [_again(unit, columns.get(unit["unit"])) for unit in document["units"]]}


def _again(unit: Document, column: plots.Column | None) -> Document:
    shares = None if column is None else plots.fault_shares(column, unit["detector"])
    return unit if shares is None else {**unit, "reference": shares[0], "window": shares[1]}


def _told(document: Document, drawn: Sequence[plots.Column]) -> wording.Told:
    """A finding in words, with the direction in which the first column of a shift went."""
    told = wording.told(document)
    sized = [unit for unit in document["units"] if unit["effect"] is not None and not unit["view"]]
    most = max(sized, key=lambda unit: unit["effect"], default=None)
    if most is None or document["subject"] != "data" or wording.is_rate(most["detector"]):
        return told
    where = next((column.where for column in drawn if column.name == most["unit"]), "")
    return wording.Told(told.headline, f"{told.detail} {where}".strip())


def _changed(document: Document, drawn: Sequence[plots.Column]) -> list[Changed]:
    """The named columns, those that moved most first, each with all that is said of it."""
    columns = {column.name: column for column in drawn}
    said: dict[str, list[Document]] = {}
    largest = sorted(document["units"], key=lambda unit: -(unit["effect"] or 0.0))
    for unit in largest if document["subject"] not in NOT_COLUMNS else ():
        for name in wording.parts_of(unit["unit"], unit["detector"]):
            said.setdefault(name, []).append(unit)
    return [_change(name, units, columns.get(name)) for name, units in said.items()]


def _change(name: str, units: Sequence[Document], column: plots.Column | None) -> Changed:
    alone = [unit for unit in units if not unit["view"]]
    strongest = max((unit["log_e"] for unit in alone if unit["log_e"] is not None), default=None)
    where = column.where if column is not None else ""
    return Changed(name, (*(wording.effect(unit) for unit in alone), *((where,) if where else ())), strongest, column)


def _telling(
    desk: Desk, row: FindingRow, document: Document, tables: Mapping[str, pa.Table]
) -> rowviews.Telling | None:
    """The rows that show it, beside trusted ones: as they were kept, or of now where more of these show it."""
    rows, beside = tables.get("window", pa.table({})), {name: tables[name] for name in _BESIDE if name in tables}
    if row.subject in NOT_COLUMNS:
        kept = tables.get("rows", pa.table({}))
        rows = kept.slice(0, min(ROWS, kept.num_rows))
    elif row.closed is None and not any(unit["view"] for unit in document["units"]):
        fresh = desk.live.telling(row, document)
        rows, beside = (fresh, {}) if fresh.num_rows > rows.num_rows else (rows, beside)
    if not rows.num_rows:
        return None
    if not beside:
        bare = rows.drop_columns(["witness"]) if "witness" in rows.column_names else rows
        beside = desk.live.trusted(row, bare)
    names = names_of(document["units"]) if row.subject not in NOT_COLUMNS else []
    return rowviews.telling(rows, beside, names, desk.live.looks(row.model), _score(row, document))


def _score(row: FindingRow, document: Document) -> str:
    """What the rows' score is."""
    if row.subject in NOT_COLUMNS:
        return ""
    what = "rows" if any(unit["view"] for unit in document["units"]) else "values"
    return f"how many times as many such {what} come now as in the reference, as a logarithm"


def _scatter(desk: Desk, row: FindingRow, document: Document) -> dict[str, Any]:
    """The first two numbers that changed together, row by row; nothing where they are not both numbers."""
    joint = [wording.parts_of(unit["unit"], unit["detector"]) for unit in document["units"] if unit["view"]]
    if row.closed is not None or not joint or len(joint[0]) < 2:
        return {}
    sides = (desk.live.reference(row.model), desk.live.sample(row.model, row.stream))
    return plots.scatter(sides, (joint[0][0], joint[0][1]), ("reference", "newest rows"))


def _segments(desk: Desk, row: FindingRow) -> list[StreamState]:
    """The segments of the finding's version, the strongest evidence first; none where it is about one itself."""
    version, _, segment = row.stream.partition("/")
    going = row.closed is None and not segment and row.subject not in NOT_COLUMNS
    return [one for one in desk.live.states(row.model) if going and one.segment and one.version == version]


def _elsewhere(desk: Desk, row: FindingRow) -> list[Incident]:
    """What else is going on in the same model: other segments and versions of it."""
    going = desk.store.briefs(model=row.model, heads=True, over=False, limit=AFTER)
    return [Incident(one) for one in going if one.id not in (row.id, row.joins) and one.severity != "info"]
