"""The engine thread's side of the agent: deliveries in, verdicts out, state to disk.

Everything here is touched by one thread only; others `post` what they want done. A batch, model or detector that fails
is counted and logged, and the others go on.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from monitor import log
from monitor.checkpoints import Checkpoints
from monitor.clock import Clock
from monitor.config import Config, Model, limits_of
from monitor.envelope import Delivery, batches
from monitor.errors import ConfigError
from monitor.evidence import NO_HISTOGRAMS, histograms, pack_evidence
from monitor.fitted import Fitted
from monitor.intake import Intake
from monitor.interventions import Interventions, Wanted
from monitor.logbook import Logbook
from monitor.louder import told_more
from monitor.metrics import Histogram, histogram
from monitor.outcomes.door import OUTCOMES, STATE, states_of
from monitor.records import Checkpoint, Intervention
from monitor.report import Report
from monitor.security.cases import STREAM as SENDERS
from monitor.store import Store
from monitor.streams import Fed
from monitor.told import Told
from monitor.watched import Act, References, Watched, rows_beside, seen, trusted_beside

CHECK_PANES = 10
"""Resampled panes judged at a time: a few milliseconds each."""
_TAKE_SECONDS = 0.1


class Agent:
    """Judges what the intake holds."""

    def __init__(self, config: Config, *, clock: Clock, store: Store, intake: Intake) -> None:
        """Load or measure every reference; `DriftwardenError` if one cannot be used."""
        self.config, self.clock, self.store, self.intake = config, clock, store, intake
        self.interventions = Interventions()
        self.findings = Logbook(self.interventions)
        self.saving = Checkpoints(store, intake, self.findings, clock, self.folder)
        self._halted = threading.Event()
        self._tasks: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]] = queue.SimpleQueue()
        self._log = log.get("agent")
        self._limits = limits_of(config)
        self.detector_seconds: dict[str, Histogram] = {}
        self.references = References(self.folder, clock)
        self.models = {model.name: self.watch(model, config) for model in config.models}

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.config.store.path

    def watch(self, model: Model, config: Config) -> Watched:
        """A model that begins: with its reference, or with learning one."""
        return self.references.watch(model, config)

    def restore(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        saved = self.store.load()
        self.findings.open = {row.id: row for row in self.store.findings(over=False)}
        self.interventions.restore(self.store.interventions(active=self.clock.now()))
        for watched in self.models.values():
            if watched.learner is not None:
                watched.learner.restore(0 if saved is None else saved.sequence)
            if watched.side is not None:
                watched.side.restore({} if saved is None else states_of(watched.model.name, saved.streams))
        if saved is None:
            self._forget()
            self.intake.recover(0)
            return
        self.saving.progress.sequence = self.saving.progress.settled = saved.sequence
        self.saving.progress.positions = dict(saved.positions)
        self.intake.ledger.restore(saved.ledger)
        for watched in self.models.values():
            self._restore_model(watched, saved)
        self._forget()
        rows = self.intake.recover(saved.sequence)
        self._log.info("restored", sequence=saved.sequence, recovered_rows=rows, open_findings=len(self.findings.open))

    def _restore_model(self, watched: Watched, saved: Checkpoint) -> None:
        if watched.streams is None:
            return
        grid = saved.positions.get("grids", {}).get(watched.model.name)
        if grid not in (None, watched.identity):
            self._log.warning("the reference or its tolerances changed: evidence starts anew", model=watched.model.name)
            return
        own = {key: blob for key, blob in saved.streams.items() if f"/{STATE}" not in key}
        watched.streams.restore(own, lambda name: [row.blob for row in self.store.panes(name)])
        watched.judged(*watched.streams.streams)

    def _forget(self) -> None:
        """End findings about senders or answers of which nobody knows any more: settings or reference are others."""
        known = {of for watched in self.models.values() for of in watched.findings}
        beside = (SENDERS, OUTCOMES)
        for row in [row for row in self.findings.open.values() if row.stream in beside and row.id not in known]:
            self.findings.closed(row.id, self.clock.now(), "reloaded")

    def halt(self) -> None:
        """End the loop after the delivery at hand, whatever else waits."""
        self._halted.set()

    def loop(self) -> None:
        """Work until the intake is closed and empty, or told to halt."""
        while not self._halted.is_set():
            delivery = self.intake.take(_TAKE_SECONDS)
            if delivery is not None:
                self.handle(delivery)
            self.work()
            if delivery is None and self.intake.drained:
                return

    def work(self) -> None:
        """Do what other threads have posted, and write findings down before anything else happens."""
        while not self._tasks.empty():
            task, done = self._tasks.get()
            try:
                task()
            except Exception as error:  # noqa: BLE001 - the clockwork must not end the engine
                self._log.error("task failed", error=repr(error))
            finally:
                done.set()
        if self.saving.due:
            self.checkpoint()

    def post(self, task: Callable[[], object], timeout: float = 30.0) -> bool:
        """Have the engine thread run a task; whether it did so in time."""
        done = threading.Event()
        self._tasks.put((task, done))
        return done.wait(timeout)

    def handle(self, delivery: Delivery) -> None:
        """Feed one delivery to its model and account for each of its rows."""
        watched = self.models.get(delivery.model)
        ledger = self.intake.ledger
        left = delivery.rows

        def discard(reason: str, rows: int, message: str) -> None:
            nonlocal left
            left -= rows
            ledger.discarded(delivery.source, delivery.model, reason, rows)
            self._log.warning("rows discarded", model=delivery.model, reason=reason, rows=rows, why=message)

        if watched is None:  # the model went with a reload while its rows waited
            discard("unknown_model", left, "the model is not configured any more")
        else:
            for batch in batches(delivery, self._limits, discard, watched.types):
                left -= batch.num_rows
                self._feed(watched, batch, delivery)
            if left > 0:
                discard("malformed", left, "the delivery held fewer rows than it said")
        if delivery.position is not None:
            self.saving.progress.positions.update(delivery.position)
        self.saving.progress.sequence = delivery.sequence
        self.intake.done(delivery)

    def _feed(self, watched: Watched, batch: pa.RecordBatch, delivery: Delivery) -> None:
        ledger, key = self.intake.ledger, (delivery.source, delivery.model)
        if watched.only_labels(batch.schema.names):
            self._label(watched, batch, delivery)
            return
        watched.last_rows = self.clock.monotonic()
        try:
            if watched.learner is not None:
                rest = self._learn(watched, batch, delivery.arrived)
                ledger.processed(*key, batch.num_rows - (0 if rest is None else rest.num_rows))
                if rest is None or watched.streams is None or not rest.num_rows:
                    return
                batch = rest
            if watched.streams is None:
                return
            fed = watched.streams.feed(batch, delivery.version, self.clock.now())
        except Exception as fault:  # noqa: BLE001 - one batch must not end the agent; it is counted and told
            ledger.discarded(*key, "decode_error", batch.num_rows)
            self._log.error("batch failed", model=watched.model.name, rows=batch.num_rows, error=repr(fault))
            return
        for sentence in watched.absent.look(batch.schema.names, batch.num_rows) if watched.absent else ():
            self._log.warning(sentence, model=watched.model.name)
        watched.last_rows = self.clock.monotonic()  # the time that judging took is no silence of the senders
        self._account(watched, fed, key)
        if watched.side is not None and fed.decoded is not None:
            watched.side.fed(fed.decoded, delivery.arrived, delivery.version)
        for told in (fed.told, watched.told()):
            self._hear(watched, told)
        self.publish(watched, fed.reports)

    def _label(self, watched: Watched, batch: pa.RecordBatch, delivery: Delivery) -> None:
        """Join labels that came alone; without an index there is nothing to join them to."""
        ledger, key = self.intake.ledger, (delivery.source, delivery.model)
        if watched.side is None or not watched.side.joins:
            ledger.discarded(*key, "schema", batch.num_rows)
            self._log.warning("labels came for a model that keeps no predictions", model=watched.model.name)
        elif watched.side.labelled(batch, delivery.arrived):
            ledger.processed(*key, batch.num_rows)
            self._hear(watched, watched.told())
        else:
            ledger.discarded(*key, "decode_error", batch.num_rows)

    def _account(self, watched: Watched, fed: Fed, key: tuple[str, str]) -> None:
        ledger = self.intake.ledger
        for reason, rows in (("late", fed.late), ("implausible_time", fed.implausible)):
            if rows:
                ledger.discarded(*key, reason, rows)
        ledger.processed(*key, fed.rows - fed.late - fed.implausible)
        watched.tally.fed(fed)
        for kind, names in (("missing", fed.missing_columns), ("new", fed.extra_columns), ("retyped", fed.retyped)):
            if names:
                shown = ", ".join(list(names)[:10])
                self._log.warning(
                    "schema differs from the reference", model=watched.model.name, kind=kind, columns=shown
                )

    def _learn(self, watched: Watched, batch: pa.RecordBatch, arrived: float) -> pa.RecordBatch | None:
        """The rows that are still to be judged."""
        act = watched.act
        rest, learnt = self.references.learn(watched, batch, self.config)
        if learnt and watched.streams is not None:
            self._log.info("reference learnt", model=watched.model.name, rows=watched.streams.fitted.rows)
        if learnt and act is not None:
            self._rebaselined(watched, act)
            watched.waits(batch.slice(0, batch.num_rows - (0 if rest is None else rest.num_rows)), arrived)
        elif act is not None and watched.act is None:  # they made none
            self._called_off(act)
        return rest

    def _called_off(self, act: Act) -> None:
        """A re-baseline came to nothing: it is undone in the agent's own name."""
        one = self.interventions.held.get(act.id)
        if one is not None:
            why = "its rows made no reference; the log says why"
            undone = self.interventions.undone(one, "driftwarden", why, self.clock.now())
            self.interventions.let_go(undone)
            self.findings.undone(undone, self.clock.now())

    def publish(self, watched: Watched, reports: Iterable[Report]) -> None:
        """Count, log and keep what the reports say; findings are written with the next checkpoint, which follows."""
        for report in reports:
            watched.tally.judged(report, self.clock.now())
            watched.judged(report.stream)
            self.saving.judged(watched.model.name, report, watched.views(report.stream))
            for name, seconds in report.seconds.items():
                if name not in self.detector_seconds:
                    self.detector_seconds[name] = histogram("driftwarden_detector_duration_seconds")
                self.detector_seconds[name].observe(seconds)
            for name, why in report.failures.items():
                self._log.error("detector failed", model=watched.model.name, detector=name, error=why)
            for finding in report.findings:
                window = seen(watched, report, finding)
                rows, telling = rows_beside(watched, report.stream, finding, window)
                tables = pack_evidence(histograms(finding, window), rows, telling)
                self.findings.opened(finding, tables)
            for back in report.recovered:
                self.findings.recovered(back, watched.model.name, report.stream)
        if watched.side is not None:
            told_more(self.findings, watched, watched.side, self.clock.now())

    def _hear(self, watched: Watched, told: Told | None) -> None:
        """Count, log and keep what the guard says, or labels say of answers."""
        if told is None:
            return
        watched.tally.heard(told)
        for name, why in told.failures.items():
            self._log.error("heuristic failed", model=watched.model.name, heuristic=name, error=why)
        for finding, rows in told.findings:
            self.findings.opened(finding, pack_evidence(NO_HISTOGRAMS, rows, trusted_beside(watched, finding, rows)))
        for back in told.recovered:
            self.findings.recovered(back, watched.model.name, told.stream)

    def idle(self) -> None:
        """Let event time pass for models whose rows have stopped coming; while rows wait, none have stopped."""
        if self.interventions.forget(self.clock.now()):
            self.findings.look_at_mutes(self.clock.now())
        if self.intake.queued_batches:
            return
        now = self.clock.monotonic()
        for watched in self.models.values():
            streams = watched.streams
            quiet = now - watched.last_rows
            if streams is not None and quiet >= 1.0 and streams.streams:
                self.publish(watched, streams.advance(streams.watermark + quiet))

    def checkpoint(self) -> None:
        """Write everything down."""
        self.saving.write(list(self.models.values()))

    def intervene(self, wanted: Wanted, measured: Fitted | None = None) -> Intervention:
        """Do what somebody asks for, on disk when this returns; `ConfigError` says what is wrong with it.

        ``measured`` is the new reference of a re-baseline from a span.
        """
        now = self.clock.now()
        if wanted.target.get("finding"):
            self._check_finding(wanted, str(wanted.target["finding"]))
        watched = self._watched(wanted.model)
        if unknown := watched.unknown(wanted):
            raise ConfigError(unknown)
        made = self.interventions.do(wanted, now)
        if made.kind == "rebaseline":
            try:
                self._rebaseline(watched, made, measured)
            except BaseException:
                self.interventions.drop(made)
                raise
        self.findings.done(made, now)
        self.checkpoint()
        return made

    def _check_finding(self, wanted: Wanted, finding: str) -> None:
        """Who may act on one model must not reach another's findings."""
        row = self.findings.open.get(finding)
        if row is None and wanted.kind != "acknowledge":
            row = self.store.finding(finding)
        if row is None or row.model != wanted.model:
            state = "open finding" if wanted.kind == "acknowledge" else "finding"
            raise ConfigError(
                [f"target.finding: {finding!r} is no {state}{' of ' if wanted.model else ''}{wanted.model}"]
            )
        incident = (one.state for one in self.findings.open.values() if finding in (one.id, one.joins))
        if wanted.kind == "acknowledge" and "open" not in incident:
            raise ConfigError([f"target.finding: {finding!r} is acknowledged already"])

    def undo(self, id: str, by: str, because: str) -> Intervention:  # noqa: A002 - the field's name
        """Take an intervention back, on disk when this returns; `ConfigError` if it does not hold."""
        now = self.clock.now()
        one = self.interventions.held.get(id)
        if one is None:
            raise ConfigError([f"id: nothing that holds is called {id!r}; it may be undone already, or have run out"])
        undone = self.interventions.undone(one, by, because, now)
        if one.kind == "rebaseline":
            watched = self._watched(one.model)
            if self.references.back(watched, undone, self.config):
                self.findings.model_ended(one.model, now, "rebaselined")
        self.interventions.let_go(undone)
        self.findings.undone(undone, now)
        self.checkpoint()
        return undone

    def _rebaseline(self, watched: Watched, one: Intervention, measured: Fitted | None) -> None:
        """Begin to gather rows for a new reference, or take the one that has been measured."""
        if watched.streams is None:
            raise ConfigError([f"model: {one.model!r} is still learning its first reference"])
        act = Act(one.id, one.model, one.because, one.by, int(one.target.get("rows", 0)), one.time)
        if measured is None:
            self.references.rebaseline(watched, act)
        else:
            self.references.adopt(watched, act, measured, self.config)
            self._rebaselined(watched, act)

    def _rebaselined(self, watched: Watched, act: Act) -> None:
        """There is a new reference: findings against the old one end."""
        watched.tally.rebaselined += 1
        self.findings.lines.append({"kind": "rebaseline", **dataclasses.asdict(act), "time": self.clock.now()})
        self.findings.model_ended(act.model, self.clock.now(), "rebaselined")

    def _watched(self, model: str) -> Watched:
        watched = self.models.get(model)
        if watched is None:
            raise ConfigError([f"model: {model!r} is not watched; watched are: {', '.join(self.models)}"])
        return watched

    def check_itself(self) -> None:
        """Judge some resampled panes of every model that wants it."""
        for watched in self.models.values():
            watched.check_itself(CHECK_PANES)

    def retain(self) -> None:
        """Forget findings closed longer ago than the retention time."""
        self.store.prune(self.clock.now() - self.config.store.retention)

    def close(self) -> None:
        """End what runs beside the engine's thread."""
        for watched in self.models.values():
            watched.close()

    def replace(self, config: Config, begun: Sequence[Watched]) -> None:
        """Take over a reloaded configuration: ``begun`` are the models that are new or changed."""
        self.references.go_on(begun, self.models, self.saving.progress.sequence)
        fresh = {watched.model.name: watched for watched in begun}
        kept = {model.name: fresh.get(model.name) or self.models[model.name] for model in config.models}
        gone = [name for name in self.models if kept.get(name) is not self.models[name]]
        for name, watched in fresh.items():
            watched.goes_on(self.models.get(name))
        for name in gone:
            self.models[name].close()
            self.findings.model_ended(name, self.clock.now(), "reloaded")
        self.config, self.models = config, kept
        self._limits = limits_of(config)
        self.checkpoint()
