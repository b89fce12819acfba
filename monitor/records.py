"""What the state directory holds, row by row, and its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

FindingState = Literal["open", "acknowledged", "recovered", "rebaselined", "reloaded"]
InterventionKind = Literal["acknowledge", "mute", "quarantine", "rebaseline"]
EventKind = Literal[
    "finding.opened",
    "finding.acknowledged",
    "finding.recovered",
    "finding.ended",
    "intervention.done",
    "intervention.undone",
]

VERSION: Final = 2
"""Version of the schema, in SQLite's user_version."""
APPLICATION: Final = 0x44726677
"""SQLite's application_id: "Drfw"."""

SCHEMA: Final = """
CREATE TABLE checkpoint (
  id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, saved_at REAL NOT NULL, document TEXT NOT NULL,
  crc INTEGER NOT NULL, streams INTEGER NOT NULL) STRICT;
CREATE TABLE streams (name TEXT PRIMARY KEY, blob BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE findings (
  id TEXT PRIMARY KEY, model TEXT NOT NULL, stream TEXT NOT NULL, opened REAL NOT NULL, closed REAL,
  state TEXT NOT NULL, severity TEXT NOT NULL, triage TEXT NOT NULL, failure_mode TEXT NOT NULL, subject TEXT NOT NULL,
  joins TEXT NOT NULL, detector TEXT NOT NULL, unit TEXT NOT NULL, units INTEGER NOT NULL, sentence TEXT NOT NULL,
  muted INTEGER NOT NULL, document TEXT NOT NULL, evidence BLOB NOT NULL) STRICT;
CREATE INDEX findings_opened ON findings (opened, id);
CREATE INDEX findings_joins ON findings (joins, opened, id);
CREATE TABLE panes (
  stream TEXT NOT NULL, number INTEGER NOT NULL, saved_at REAL NOT NULL, blob BLOB NOT NULL,
  PRIMARY KEY (stream, number)) STRICT;
CREATE INDEX panes_saved ON panes (saved_at);
CREATE TABLE history (
  stream TEXT NOT NULL, pane INTEGER NOT NULL, start REAL NOT NULL, finish REAL NOT NULL, rows INTEGER NOT NULL,
  log_e REAL, threshold REAL NOT NULL, units TEXT NOT NULL, PRIMARY KEY (stream, pane)) STRICT;
CREATE TABLE interventions (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, finding TEXT NOT NULL, target TEXT NOT NULL,
  because TEXT NOT NULL, made_by TEXT NOT NULL, time REAL NOT NULL, until REAL, undone REAL,
  undone_by TEXT NOT NULL, undone_because TEXT NOT NULL) STRICT;
CREATE INDEX interventions_time ON interventions (time);
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time REAL NOT NULL, kind TEXT NOT NULL,
  model TEXT NOT NULL, document TEXT NOT NULL) STRICT;
CREATE TABLE receivers (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a restart needs to go on: ``streams`` holds the complete set, a stream that is absent is dropped."""

    sequence: int
    streams: Mapping[str, bytes]
    positions: Mapping[str, Any]
    ledger: Mapping[str, Any]
    saved_at: float


@dataclass(frozen=True, slots=True)
class Brief:
    """A finding as lists show it.

    ``joins`` is the id of the finding at the head of its incident, "" for a head; ``unit`` is the first of the
    ``units`` that it names;
    ``muted``: a mute covers it. It is over when ``closed`` is a time.
    """

    id: str
    model: str
    stream: str
    opened: float
    closed: float | None
    state: FindingState
    severity: str
    triage: str
    failure_mode: str
    subject: str
    joins: str
    detector: str
    unit: str
    units: int
    sentence: str
    muted: bool

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.closed is not None

    @property
    def unattended(self) -> bool:
        """Whether it is open, and nobody has acknowledged or muted it."""
        return self.state == "open" and not self.muted


@dataclass(frozen=True, slots=True)
class FindingRow(Brief):
    """A finding as it is kept: ``document`` is JSON, ``evidence`` an archive of `monitor.evidence`."""

    document: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class PaneRow:
    """A closed pane's summary, kept for the window."""

    stream: str
    number: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one pane: the stream's mean log e-value, its threshold, and the strongest units' own.

    ``stream`` is "model/stream"; ``log_e`` is None where nothing could be said.
    """

    stream: str
    pane: int
    start: float
    end: float
    rows: int
    log_e: float | None
    threshold: float
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Intervention:
    """What a person did: to what, why, until when, and who took it back."""

    id: str
    kind: InterventionKind
    model: str
    target: Mapping[str, Any]
    because: str
    by: str
    time: float
    until: float | None = None
    undone: float | None = None
    undone_by: str = ""
    undone_because: str = ""

    @property
    def finding(self) -> str:
        """The finding that it is about, "" for none."""
        return str(self.target.get("finding", ""))

    def active(self, now: float) -> bool:
        """Whether it still holds."""
        return self.undone is None and (self.until is None or now < self.until)

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "id": self.id,
            "kind": self.kind,
            "model": self.model,
            "target": dict(self.target),
            "because": self.because,
            "by": self.by,
            "time": self.time,
            "until": self.until,
            "undone": self.undone,
            "undone_by": self.undone_by,
            "undone_because": self.undone_because,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """Something that others may want to be told; ``seq`` is its place in the log, 0 before it is written."""

    id: str
    time: float
    kind: EventKind
    model: str
    document: Mapping[str, Any]
    seq: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """What a commit adds beside the checkpoint."""

    findings: tuple[FindingRow, ...] = ()
    panes: tuple[PaneRow, ...] = ()
    history: tuple[Judged, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    events: tuple[Event, ...] = ()
