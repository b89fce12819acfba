"""What the guard tells: findings about senders, labels and versions, beside the reports of panes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from monitor.report import Finding, Recovered


@dataclass(frozen=True, slots=True)
class Told:
    """Findings that no pane gave, each with the rows that show it, and what has ended."""

    stream: str
    findings: tuple[tuple[Finding, pa.Table], ...] = ()
    recovered: tuple[Recovered, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
