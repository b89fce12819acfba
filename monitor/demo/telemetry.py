"""What the demo knows of the agent: a scrape of its /metrics, and the findings that it appends to a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from monitor.demo.files import MODEL

Line = dict[str, Any]
METRIC = "accuracy"
"""Of the model's performance."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the scrape: its evidence, and its distance to the reference."""

    name: str
    log_e: float
    distance: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """The series that the demo shows; times in seconds since the epoch."""

    taken: float = 0.0
    received: int = 0
    queued: int = 0
    panes: int = 0
    findings: int = 0
    recoveries: int = 0
    event_time: float = 0.0
    log_e: float = -math.inf
    threshold: float = math.nan
    alarm: bool = False
    columns: tuple[Column, ...] = ()
    estimated: float = math.nan
    realised: float = math.nan
    reference: float = math.nan
    labels: int = 0

    @classmethod
    def of(cls, text: str) -> Scrape:
        """Read an answer of /metrics."""
        series = _Series(text)
        log_e = series.by("feature_log_e", "feature")
        distance = series.by("feature_effect", "feature", measure="total_variation")
        columns = [Column(name, value, distance.get(name, math.nan)) for name, value in log_e.items()]
        return cls(
            taken=series.one("snapshot_timestamp_seconds"),
            received=int(series.one("outcome_predictions_total", model=MODEL)),
            queued=int(series.one("buffered_rows", place="queue")),
            panes=int(series.one("panes_closed_total", model=MODEL)),
            findings=int(series.one("findings_total", model=MODEL)),
            recoveries=int(series.one("findings_recovered_total", model=MODEL)),
            event_time=series.one("watermark_timestamp_seconds", model=MODEL),
            log_e=series.one("evidence_log_e", -math.inf, model=MODEL),
            threshold=series.one("alarm_threshold_log_e", math.nan, model=MODEL),
            alarm=series.one("alarm_active", model=MODEL) > 0,
            estimated=series.one("performance_estimate", math.nan, model=MODEL, metric=METRIC),
            realised=series.one("performance_realised", math.nan, model=MODEL, metric=METRIC),
            reference=series.one("performance_reference", math.nan, model=MODEL, metric=METRIC),
            labels=int(series.one("outcome_labels_total", model=MODEL, fate="joined")),
            columns=tuple(sorted(columns, key=lambda column: -column.log_e)),
        )


class _Series:
    """Samples of one scrape, found by the name without its prefix and by labels."""

    def __init__(self, text: str) -> None:
        self._found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("driftwarden_")
                self._found.setdefault(name, []).append((sample.labels, float(sample.value)))

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], float]]:
        for own, value in self._found.get(name, []):
            if all(own.get(label) == wanted for label, wanted in labels.items()):
                yield own, value

    def one(self, name: str, absent: float = 0.0, /, **labels: str) -> float:
        """Sum of the series that match (one, but for counters by source)."""
        values = [value for _, value in self._matching(name, labels)]
        return sum(values) if values else absent

    def by(self, name: str, label: str, /, **labels: str) -> dict[str, float]:
        """Greatest value for each value of ``label``."""
        made: dict[str, float] = {}
        for own, value in self._matching(name, labels):
            made[own[label]] = max(value, made.get(own[label], -math.inf))
        return made


@dataclass(slots=True)
class Speed:
    """Rows a second, from the agent's own snapshots: scrapes between two snapshots change nothing."""

    rows: float = 0.0
    _before: Scrape | None = None

    def follow(self, scrape: Scrape) -> float:
        """Take a scrape into account."""
        before = self._before
        if before is not None and scrape.taken > before.taken:
            self.rows = (scrape.received - before.received) / (scrape.taken - before.taken)
        if before is None or scrape.taken > before.taken:
            self._before = scrape
        return self.rows


@dataclass(slots=True)
class Follower:
    """Reads a file of JSON lines while another process appends to it."""

    path: Path
    _at: int = 0
    _rest: bytes = field(default=b"")

    def news(self) -> list[Line]:
        """Whole lines that came since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                text = file.read()
        except FileNotFoundError:
            return []
        self._at += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        return [json.loads(line) for line in lines if line]
