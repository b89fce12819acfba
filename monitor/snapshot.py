"""The whole agent as one metrics snapshot, and its two expositions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monitor.agent import Agent
from monitor.config import fingerprint
from monitor.exposition import Exposition
from monitor.interventions import KINDS
from monitor.ledger import REASONS, REFUSALS
from monitor.metrics import (
    Distribution,
    Snapshot,
    complete,
    process_collector,
    process_series,
    zeros,
)
from monitor.scheduler import Scheduler
from monitor.sinks import outcomes, prometheus
from monitor.web.ops import Scrape

if TYPE_CHECKING:
    from monitor.notify.dispatcher import Dispatcher


@dataclass(slots=True)
class Reloads:
    """How reloads went."""

    attempts: int = 0
    failures: int = 0
    last_successful: bool = True
    last_success: float = field(default_factory=time.time)


class Board:
    """Writes the snapshot that scrapes read."""

    def __init__(
        self,
        agent: Agent,
        scheduler: Scheduler,
        scrape: Scrape,
        version: str,
        tasks: tuple[str, ...],
        dispatcher: Dispatcher | None = None,
    ) -> None:
        """Nothing is published before the first `publish`."""
        self._dispatcher = dispatcher
        self.reloads = Reloads()
        self.ready = False
        self.sound: Callable[[], bool] = lambda: True
        self._agent, self._scheduler, self._scrape, self._version = agent, scheduler, scrape, version
        self._exposition = Exposition()
        self._process = process_collector()
        self._tasks = tasks
        self._failures = 0

    def publish(self) -> None:
        """Take the numbers and swap the bytes; on the engine's thread, so that nothing moves meanwhile."""
        try:
            self._scrape.publish(*self._exposition.render(self._snapshot()))
        except Exception:
            self._failures += 1
            raise

    def _snapshot(self) -> Snapshot:
        agent, now = self._agent, time.time()
        parts = [prometheus.identity(self._version, fingerprint(agent.config)), self._itself(), self._books()]
        parts.append(self._doors())
        for watched in agent.models.values():
            if watched.streams is None:
                continue
            parts.append(prometheus.of_model(watched.streams, watched.tally))
            parts.append(prometheus.of_findings(watched.model.name, agent.findings, now))
            if watched.side is not None:
                parts += outcomes.of_side(watched.side, watched.streams.threshold)
        parts.append(process_series(self._process))
        return complete(prometheus.merged(parts), zeros(self._known()))

    def _known(self) -> dict[str, tuple[str, ...]]:
        agent = self._agent
        sources = tuple(dict.fromkeys(source.kind for source in agent.config.sources))
        running = (name for one in agent.models.values() if one.streams for name in one.streams.detectors)
        guards = [one.streams.guard for one in agent.models.values() if one.streams]
        watching = (name for guard in guards if guard is not None for name in guard.watching)
        return {
            "driftwarden_suspicions_total.heuristic": tuple(dict.fromkeys(watching)),
            "heuristic": tuple(dict.fromkeys(kind for guard in guards if guard is not None for kind in guard.kinds)),
            "model": tuple(agent.models),
            "source": sources,
            "detector": tuple(dict.fromkeys(running)),
            "task": self._tasks,
            "driftwarden_interventions_total.kind": KINDS,
            "driftwarden_discarded_rows_total.reason": REASONS,
            "driftwarden_ingest_refused_requests_total.reason": REFUSALS,
            "driftwarden_ingest_refused_rows_total.reason": REFUSALS,
        }

    def _itself(self) -> Snapshot:
        progress, intake, reloads = self._agent.saving.progress, self._agent.intake, self.reloads
        spool = intake.spool
        plain: dict[str, float | Distribution] = {
            "driftwarden_ready": float(self.ready),
            "driftwarden_config_reloads_total": reloads.attempts,
            "driftwarden_config_reload_failures_total": reloads.failures,
            "driftwarden_config_last_reload_successful": float(reloads.last_successful and self.sound()),
            "driftwarden_config_last_reload_success_timestamp_seconds": reloads.last_success,
            "driftwarden_queue_bytes": intake.queued_bytes,
            "driftwarden_queue_capacity_bytes": intake.capacity_bytes,
            "driftwarden_queue_batches": intake.queued_batches,
            "driftwarden_spool_bytes": spool.bytes if spool is not None else 0,
            "driftwarden_spool_capacity_bytes": spool.capacity_bytes if spool is not None else 0,
            "driftwarden_spool_corrupt_records_total": spool.corrupt_records if spool is not None else 0,
            "driftwarden_checkpoints_total": progress.checkpoints,
            "driftwarden_checkpoint_failures_total": progress.failures,
            "driftwarden_checkpoint_last_success_timestamp_seconds": progress.last_success,
            "driftwarden_checkpoint_size_bytes": progress.size,
            "driftwarden_checkpoint_duration_seconds": self._agent.saving.seconds.freeze(),
            "driftwarden_snapshot_timestamp_seconds": time.time(),
            "driftwarden_snapshot_failures_total": self._failures,
        }
        made: Snapshot = {name: [((), value)] for name, value in plain.items()}
        made["driftwarden_detector_duration_seconds"] = prometheus.durations(self._agent.detector_seconds)
        for task, counts in self._scheduler.counts().items():
            for name, value in (
                ("runs", counts.runs),
                ("failures", counts.failures),
                ("missed_runs", counts.missed),
                ("skipped_runs", counts.skipped),
            ):
                made.setdefault(f"driftwarden_scheduler_{name}_total", []).append(((task,), value))
        return made

    def _doors(self) -> Snapshot:
        """Where people find the pages, and how receivers go."""
        web = self._agent.config.web
        made: Snapshot = {"driftwarden_web_info": [((web.address_text,), 1.0)]} if web.enabled else {}
        for name, counts in self._dispatcher.counts().items() if self._dispatcher is not None else ():
            for metric, value in (
                ("driftwarden_notifications_total", counts.sent),
                ("driftwarden_notification_failures_total", counts.failures),
                ("driftwarden_notifications_dropped_total", counts.dropped),
                ("driftwarden_notifications_waiting", counts.waiting),
            ):
                made.setdefault(metric, []).append(((name,), value))
        return made

    def _books(self) -> Snapshot:
        books, queued = self._agent.intake.books()
        made: Snapshot = {"driftwarden_buffered_rows": [(("queue",), queued)]}

        def put(metric: str, labels: tuple[str, ...], value: float | Distribution) -> None:
            made.setdefault(metric, []).append((labels, value))

        refused: Counter[tuple[str, str]] = Counter()
        refused_rows: Counter[tuple[str, str]] = Counter()
        for (source, model), account in books.accounts.items():
            for reason in REFUSALS:
                refused[source, reason] += account.refused_requests[reason]
                refused_rows[source, reason] += account.refused_rows[reason]
            if not model:
                continue
            put("driftwarden_ingest_received_rows_total", (source, model), account.received_rows)
            put("driftwarden_ingest_received_batches_total", (source, model), account.received_batches)
            put("driftwarden_ingest_received_bytes_total", (source, model), account.received_bytes)
            put("driftwarden_processed_rows_total", (source, model), account.processed_rows)
            for reason, rows in account.discarded_rows.items():
                put("driftwarden_discarded_rows_total", (source, model, reason), rows)
        for labels, number in refused.items():
            put("driftwarden_ingest_refused_requests_total", labels, number)
            put("driftwarden_ingest_refused_rows_total", labels, refused_rows[labels])
        for source, acks in books.acknowledgements.items():
            put("driftwarden_ingest_ack_duration_seconds", (source,), Distribution(acks.counts, acks.seconds))
        return made
