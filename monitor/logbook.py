"""The findings of a running agent: which are open, which wait for the disk, and the lines that other programs follow.

Touched by the engine's thread alone. What is in `pending` and `lines` is written with the next checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from monitor import log
from monitor.report import Finding, Recovered
from monitor.store import FindingRow, FindingState


class Logbook:
    """Open findings by id, and what is to be written down."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        self.open: dict[str, FindingRow] = {}
        self.pending: dict[str, FindingRow] = {}
        self.lines: list[dict[str, Any]] = []
        self._log = log.get("findings")

    @property
    def waiting(self) -> bool:
        """Whether there is something to write down."""
        return bool(self.pending or self.lines)

    def opened(self, finding: Finding, evidence: bytes) -> None:
        """Open a finding; ``evidence`` is an archive of `monitor.evidence`."""
        line = finding.as_dict()
        row = FindingRow(
            id=finding.id,
            model=finding.model,
            stream=finding.stream,
            opened=finding.time,
            closed=None,
            state="open",
            severity=finding.severity,
            detector=finding.detector,
            document=json.dumps(line),
            evidence=evidence,
        )
        self.open[row.id] = self.pending[row.id] = row
        self.lines.append(line)
        self._log.warning(
            finding.sentence(), model=finding.model, stream=finding.stream, finding=finding.id, triage=finding.triage
        )

    def recovered(self, back: Recovered, model: str, stream: str) -> None:
        """End the findings that a recovery ends."""
        self.lines.append(back.as_dict(model, stream))
        for row_id in back.ids:
            self.closed(row_id, back.time)

    def closed(self, row_id: str, time: float, state: FindingState = "recovered") -> None:
        """End one finding, if it is open."""
        row = self.open.pop(row_id, None)
        if row is not None:
            self.pending[row_id] = dataclasses.replace(row, closed=time, state=state)
            self._log.info(state, model=row.model, stream=row.stream, finding=row_id)
            if state != "recovered":  # a recovery has been told with its columns
                ended = {"kind": "ended", "why": state, "model": row.model, "stream": row.stream}
                self.lines.append({**ended, "time": time, "findings": [row_id]})

    def model_ended(self, model: str, time: float, state: FindingState) -> None:
        """End all findings of a model."""
        for row in [row for row in self.open.values() if row.model == model]:
            self.closed(row.id, time, state)
