"""Checkpoints: states, open panes, positions, books, findings and what receivers are told, in one transaction.

Touched by the engine's thread alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monitor import log
from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.intake import Intake
from monitor.logbook import Logbook
from monitor.metrics import histogram
from monitor.outcomes.leftovers import forget_others
from monitor.records import Checkpoint, Judged, News, PaneRow
from monitor.report import Report, number
from monitor.states import pack_pane
from monitor.store import Store
from monitor.watched import Watched

FINDINGS_FILE = "findings.jsonl"
UNITS = 10
"""Units of a pane whose evidence is kept: the strongest."""
_CROWDED = 0.5
"""Share of the spool that is in use before a checkpoint comes out of turn."""
_RETRY_SECONDS = 5.0
"""After a checkpoint that failed, findings wait so long before they are written down out of turn."""


@dataclass(slots=True)
class Progress:
    """What the checkpoint is about, and how checkpoints went."""

    sequence: int = 0
    settled: int = 0
    positions: dict[str, Any] = field(default_factory=dict)
    checkpoints: int = 0
    failures: int = 0
    last_success: float = 0.0
    size: int = 0


class Checkpoints:
    """Writes what the agent knows."""

    def __init__(self, store: Store, intake: Intake, findings: Logbook, clock: Clock, folder: Path) -> None:
        """``folder`` is the state folder, where the file of findings stands."""
        self.progress = Progress()
        self.seconds = histogram("driftwarden_checkpoint_duration_seconds")
        self._store, self._intake, self._findings = store, intake, findings
        self._clock, self._folder = clock, folder
        self._history: list[Judged] = []
        self._retry = 0.0
        self._joining: set[str] | None = None
        self._log = log.get("agent")

    @property
    def due(self) -> bool:
        """Whether one should be written out of turn: for findings, or because the spool fills up."""
        return (self._findings.waiting or self._crowded()) and self._clock.monotonic() >= self._retry

    def judged(self, model: str, report: Report, views: Sequence[str]) -> None:
        """Keep what a pane gave, for the next checkpoint; ``views`` are the names of its joint views."""
        self._history.append(judged(model, report, views))

    def write(self, models: Sequence[Watched]) -> None:
        """Write all of it; after a failure everything waits for the next one."""
        self.progress.checkpoints += 1
        began = self._clock.monotonic()
        try:
            size = self._commit(models)
        except StoreError as error:
            self.progress.failures += 1
            self._retry = self._clock.monotonic() + _RETRY_SECONDS
            self._log.error("checkpoint failed", error=str(error))
            return
        self.seconds.observe(self._clock.monotonic() - began)
        self.progress.size, self.progress.last_success = size, self._clock.now()
        self.progress.settled = self.progress.sequence
        self._intake.settled(self.progress.sequence)
        self._tell()

    def _crowded(self) -> bool:
        """Whether the spool is half full of deliveries that a checkpoint would settle."""
        spool = self._intake.spool
        return (
            spool is not None
            and self.progress.sequence > self.progress.settled
            and spool.bytes > spool.capacity_bytes * _CROWDED
        )

    def _commit(self, models: Sequence[Watched]) -> int:
        states: dict[str, bytes] = {}
        panes: list[PaneRow] = []
        oldest: dict[str, int] = {}
        sequence, positions = self.progress.sequence, dict(self.progress.positions)
        for watched in models:
            if watched.learner is not None:
                watched.learner.save(sequence)
            if watched.streams is None:
                continue
            states |= watched.streams.state()
            if watched.side is not None:
                states |= {f"{watched.model.name}/{key}": blob for key, blob in watched.side.states().items()}
            positions.setdefault("grids", {})[watched.model.name] = watched.identity
            for one in watched.streams.streams.values():
                key = f"{watched.model.name}/{one.name}"
                panes += [PaneRow(key, pane.number, pack_pane(pane)) for pane in one.closed]
                oldest[key] = one.panes.number - watched.model.window.panes + 1
        ledger = self._intake.ledger_state(sequence)
        checkpoint = Checkpoint(sequence, states, positions, ledger, self._clock.now())
        self._store.commit(checkpoint, self._news(panes), oldest)
        self._written(models)
        return sum(len(blob) for blob in states.values())

    def _news(self, panes: Iterable[PaneRow]) -> News:
        findings = self._findings
        return News(
            findings=tuple(findings.pending.values()),
            panes=tuple(panes),
            history=tuple(self._history),
            interventions=tuple(findings.interventions.pending.values()),
            events=tuple(findings.events),
        )

    def _written(self, models: Iterable[Watched]) -> None:
        """Nothing of it waits any more."""
        self._history = []
        self._findings.pending, self._findings.events = {}, []
        self._findings.interventions.pending = {}
        joining: set[str] = set()
        for watched in models:
            if watched.side is not None:
                watched.side.settled()
                joining |= {watched.model.name} if watched.side.joins else set()
            for one in watched.streams.streams.values() if watched.streams is not None else ():
                one.closed = []
        if joining != self._joining:
            forget_others(self._folder, joining)
            self._joining = joining

    def _tell(self) -> None:
        """Append findings that are safe on disk to the file that other programs follow."""
        if not self._findings.lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in self._findings.lines)
        self._findings.lines = []
        try:
            with (self._folder / FINDINGS_FILE).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self._log.error("findings file cannot be written", error=error.strerror)


def judged(model: str, report: Report, views: Sequence[str]) -> Judged:
    """What is kept of a pane: the strongest columns and views by their largest evidence."""
    names = (*report.comparison.reference.grid.names, *views)
    log_e = np.where(np.isnan(report.log_e), -np.inf, report.log_e).max(axis=0, initial=-np.inf)
    joint = [one.log_e for one in report.joint.values() if len(one.log_e) == len(views)]
    beside = np.nan_to_num(np.array([*joint, np.full(len(views), -np.inf)]), nan=-np.inf).max(axis=0)
    known = np.concatenate([log_e, beside])
    strongest = np.argsort(-known, kind="stable")[:UNITS]
    return Judged(
        stream=f"{model}/{report.stream}",
        pane=report.pane,
        start=report.start,
        end=report.end,
        rows=report.rows,
        log_e=number(report.mean_log_e),
        threshold=float(np.log(report.threshold)),
        units={names[unit]: round(float(known[unit]), 4) for unit in strongest if np.isfinite(known[unit])},
    )
