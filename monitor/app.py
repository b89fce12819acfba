"""The running agent: wiring and threads only. It reads like the way of a row.

sources -> intake (queue, spool) -> agent (one thread) -> store, board; the scheduler posts the clockwork's tasks to
that thread; the main thread waits for signals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from monitor import log, memory, serving
from monitor.agent import Agent
from monitor.archive import reading
from monitor.clock import SystemClock
from monitor.config import Config, limits_of, load
from monitor.errors import ConfigError, DriftwardenError, StoreError
from monitor.fitted import Fitted
from monitor.intake import Intake
from monitor.interventions import Wanted, check
from monitor.kept import SPOOL, Kept, Span, rows
from monitor.kept import folder_of as kept_in
from monitor.learning import measured
from monitor.ledger import Ledger
from monitor.listeners import Directory, Flight, Http, Stdin
from monitor.outcomes.door import judged
from monitor.records import Intervention
from monitor.scheduler import Scheduler
from monitor.signals import Signals
from monitor.snapshot import Board
from monitor.sources import http
from monitor.sources import load as source_class
from monitor.spool import Spool
from monitor.store import Store
from monitor.watched import Watched
from monitor.web import ops
from monitor.web.desk import Hands

if TYPE_CHECKING:
    from monitor.notify.dispatcher import Dispatcher
    from monitor.outcomes.side import Side

T = TypeVar("T")
SNAPSHOT_SECONDS = 1.0
IDLE_SECONDS = 1.0
RETENTION_SECONDS = 3600.0
MEMORY_SECONDS = 30.0
DRAIN_SECONDS = 15.0
HALT_SECONDS = 5.0
CHECK_SECONDS = 10.0
_TASKS = ("idle", "snapshot", "checkpoint", "retention", "memory", "selfcheck")


def serve(path: Path, signals: Signals) -> int:
    """Run until a signal says stop; the process's exit code."""
    config = load(path)
    log.configure(config.log.format, config.log.level)
    pa.set_cpu_count(1)  # it sizes its pool by the host's cores, not by the cgroup's share
    running = Running(config, path, signals.wake)
    try:
        running.start()
        while not signals.stop.is_set():
            signals.wake.wait()
            signals.wake.clear()
            if running.failed.is_set():
                return 1
            if signals.reload.is_set():
                signals.reload.clear()
                running.try_reload()
    finally:
        running.stop()
    return 0


class Running:
    """All parts of one agent process."""

    def __init__(self, config: Config, path: Path, wake: threading.Event) -> None:
        """Open the state folder and prepare every model; `DriftwardenError` if something cannot be used.

        ``wake`` is set when the engine fails, after ``failed``.
        """
        self._path, self._wake = path, wake
        self._log = log.get("app")
        clock = SystemClock()
        self._store = Store(config.store.path, clock)
        try:
            names = [model.name for model in config.models]
            kinds = {source.kind for source in config.sources}
            ledger = Ledger((kind, name) for kind in kinds for name in names)
            durable = config.store.durable
            kept = Kept(kept_in(config), config.store.keep_bytes)
            self._spool = Spool(config.store.path / SPOOL, config.store.spool_bytes, kept) if durable else None
            self._intake = Intake(models=names, capacity_bytes=config.queue.bytes, ledger=ledger, spool=self._spool)
            self.agent = Agent(config, clock=clock, store=self._store, intake=self._intake)
            self.agent.restore()
        except BaseException:
            self._store.close()
            raise
        self._dispatcher = _dispatcher(config, self._store, clock)
        self._scheduler = Scheduler()
        self.scrape = ops.Scrape()
        version = installed("driftwarden")
        self.board = Board(self.agent, self._scheduler, self.scrape, version, _TASKS, self._dispatcher)
        self._version = version
        self._engine = threading.Thread(target=self._judge, name="driftwarden-engine", daemon=True)
        self.failed = threading.Event()
        self._sources: list[Any] = []
        self.servers: dict[str, http.Server] = {}
        self._archive = reading(config.store.path)
        self._ends: list[Callable[[], None]] = [self._archive.close]

    def start(self) -> None:
        """Begin to accept rows."""
        config = self.agent.config
        self.board.publish()
        self._engine.start()
        if self._dispatcher is not None:
            self._dispatcher.start()
        self._serve(config)
        for source in config.sources:
            made = self._source(source.settings)
            if made is not None:
                made.start()
                self._sources.append(made)
        self._clockwork(config)
        self.board.ready = True
        self.agent.post(self.board.publish)
        memory.release()
        listening = ", ".join(f"{one.host}:{one.port}" for one in self.servers.values())
        self._log.info("ready", models=len(config.models), http=listening, state=str(config.store.path))

    def _judge(self) -> None:
        try:
            self.agent.loop()
        except BaseException:
            self.failed.set()
            self._wake.set()
            self._log.exception("the engine thread ended: this agent is not ready any more")
            raise

    def _serve(self, config: Config) -> None:
        hands = Hands(self.intervene, self.undo)
        parts = (self.agent, self._intake, self._archive, hands, self.scrape, self.missing, self.reload, self._version)
        served = serving.serve(config, serving.Behind(*parts), self.servers)
        self._ends.append(served.close)
        self.board.sound = served.sound

    def _source(self, settings: Flight | Http | Directory | Stdin) -> Any:
        limits = limits_of(self.agent.config)
        if isinstance(settings, Flight):
            return source_class("flight")(self._intake, settings, limits)
        if isinstance(settings, Directory):
            return source_class("directory")(self._intake, settings, limits, self.agent.saving.progress.positions)
        if isinstance(settings, Stdin):
            return source_class("stdin")(self._intake, settings, limits)
        return None

    def _clockwork(self, config: Config) -> None:
        work = (
            (_TASKS[0], IDLE_SECONDS, self.agent.idle),
            (_TASKS[1], SNAPSHOT_SECONDS, self.board.publish),
            (_TASKS[2], config.store.checkpoint, self.agent.checkpoint),
            (_TASKS[3], RETENTION_SECONDS, self.agent.retain),
            (_TASKS[4], MEMORY_SECONDS, memory.release),
            (_TASKS[5], CHECK_SECONDS, self.agent.check_itself),
        )
        for name, seconds, task in work:
            self._scheduler.add(name, seconds, partial(self.agent.post, task))
        self._scheduler.start()

    def missing(self) -> str | None:
        """None when ready, else what is missing."""
        if self.failed.is_set():
            return "the engine has stopped; see the log and restart the agent"
        return None if self.board.ready else "starting or draining"

    def try_reload(self) -> None:
        """Reload and log; the old configuration stays if the new one has faults."""
        try:
            self.reload()
        except DriftwardenError as error:
            self._log.error("reload refused, the old configuration stays", faults=str(error))

    def reload(self) -> None:
        """Take over models of the changed file at once, or raise with everything as it was."""
        reloads = self.board.reloads
        reloads.attempts += 1
        try:
            config, begun = self._prepare()
        except DriftwardenError:
            reloads.failures += 1
            reloads.last_successful = False
            raise
        self.agent.post(lambda: self._adopt(config, begun))
        reloads.last_successful, reloads.last_success = True, self.agent.clock.now()
        self._log.info("reloaded", models=len(config.models), begun_anew=len(begun))

    def intervene(self, wanted: Wanted) -> Intervention:
        """Have the engine do what somebody asks for; `DriftwardenError` if it cannot."""
        check(wanted, self.agent.clock.now())
        measured = self._measured(wanted) if wanted.kind == "rebaseline" and "since" in wanted.target else None
        return self._asked(lambda: self.agent.intervene(wanted, measured))

    def undo(self, id: str, by: str, because: str) -> Intervention:  # noqa: A002 - the field's name
        """Have the engine take an intervention back; `DriftwardenError` if it cannot."""
        return self._asked(lambda: self.agent.undo(id, by, because))

    def _measured(self, wanted: Wanted) -> Fitted:
        """A reference of kept rows, measured on the caller's thread while the engine goes on."""
        watched = self.agent.models.get(wanted.model)
        if watched is None or watched.types is None:
            raise ConfigError([f"model: {wanted.model!r} is not watched, or still learning its first reference"])
        span = Span(float(wanted.target["since"]), float(wanted.target["until"]))
        config = self.agent.config
        time, limits = watched.model.columns.time, limits_of(config)
        kept = rows(kept_in(config), wanted.model, span, time=time, limits=limits, types=watched.types)
        kept = judged(watched.model.columns, kept)
        if (side := watched.side) is not None:
            from monitor.outcomes.relabelled import relabelled

            ask = partial(self._known, side)
            kept = relabelled(kept, watched.model.columns, watched.types, ask)
        return measured(kept, watched.model)

    def _known(self, side: Side, ids: pa.Array) -> pa.Array:
        """Labels that have come for rows, asked of the engine's thread."""
        return self._asked(lambda: side.known(ids))

    def _asked(self, do: Callable[[], T]) -> T:
        """What the engine's thread made of it."""
        made: list[T] = []
        faults: list[DriftwardenError] = []

        def task() -> None:
            try:
                made.append(do())
            except DriftwardenError as fault:
                faults.append(fault)

        done = self.agent.post(task)
        if faults:
            raise faults[0]
        if not done or not made:
            raise StoreError("the engine is busy or has failed; look at the log and try again")
        return made[0]

    def _adopt(self, config: Config, begun: list[Watched]) -> None:
        self._intake.admit(model.name for model in config.models)
        self.agent.replace(config, begun)
        memory.release()

    def _prepare(self) -> tuple[Config, list[Watched]]:
        old, new = self.agent.config, load(self._path)
        fixed = ("sources", "telemetry", "web", "notify", "store", "queue", "limits", "log")
        faults = [
            f"{name}: cannot change while the agent runs; restart it, or put the old value back"
            for name in fixed
            if getattr(old, name) != getattr(new, name)
        ]
        if faults:
            raise ConfigError(faults)
        before = {model.name: model for model in old.models}
        begun = [self.agent.watch(model, new) for model in new.models if before.get(model.name) != model]
        return new, begun

    def stop(self) -> None:
        """Stop accepting, judge what was accepted, write a last checkpoint."""
        self.board.ready = False
        self._intake.close()
        for source in self._sources:
            source.stop()
        self._scheduler.stop()
        if self._engine.is_alive():
            self._engine.join(DRAIN_SECONDS)
            self.agent.halt()  # what is left lies in the spool, if there is one
            self._engine.join(HALT_SECONDS)
        if not self._engine.is_alive() and not self.failed.is_set():
            self.agent.work()
            self.agent.checkpoint()
        for server in self.servers.values():
            server.stop()
        for end in reversed(self._ends):
            end()
        if self._spool is not None:
            self._spool.close()
        self.agent.close()
        if self._dispatcher is not None:
            self._dispatcher.stop()
        self._store.close()
        self._log.info("stopped", undone_rows=self._intake.queued_rows)


def _dispatcher(config: Config, store: Store, clock: SystemClock) -> Dispatcher | None:
    """Who tells others, where others are to be told."""
    if not config.notify:
        return None
    from monitor.notify.dispatcher import Dispatcher

    return Dispatcher(store, config.notify, config.web.address_text if config.web.enabled else "", clock)
