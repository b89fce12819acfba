"""What somebody wants exported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be exported: ``kind`` as in `monitor.exports.export.KINDS`, of a model or of a finding.

    ``since`` and ``until`` limit the rows by event time, ``rows`` their number. ``values``: feature values may be seen,
    ``names``: those of senders.
    """

    kind: str
    model: str | None = None
    finding: str | None = None
    since: float | None = None
    until: float | None = None
    rows: int = 500
    values: bool = False
    names: bool = False
