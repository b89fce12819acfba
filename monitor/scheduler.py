"""The clockwork: APScheduler 3 with everything said that it leaves to defaults, and its losses counted.

A task runs at its interval and never twice at a time. A run whose time passed while nothing could start it (a machine
asleep, all threads busy) is *missed*, one whose predecessor is still going is *skipped*; both are counters, not just
log lines. APScheduler merges runs missed in a row into one without a word: they are counted by the gap. It tells time
by the wall clock: when that jumps back, next runs are pulled up, or they would sleep through the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread

from apscheduler import events
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from monitor import log

WORKERS = 2
"""Threads for tasks: one slow task leaves one for the others."""
WATCH_SECONDS = 5.0
"""How often the wall clock is checked for a jump back."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the runs of one task."""

    runs: int = 0
    failures: int = 0
    missed: int = 0
    skipped: int = 0


class Scheduler:
    """Named tasks at intervals on threads of their own."""

    def __init__(self) -> None:
        """Nothing runs before `start`."""
        self._counts: dict[str, Counts] = {}
        self._seconds: dict[str, float] = {}
        self._last: dict[str, datetime] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._log = log.get("scheduler")
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # what is skipped is told here, and not each time
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(WORKERS)},
            job_defaults={"coalesce": True, "max_instances": 1},
            timezone=UTC,
            daemon=True,
        )
        self._scheduler.add_listener(self._due, events.EVENT_JOB_SUBMITTED | events.EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._executed, events.EVENT_JOB_EXECUTED)
        self._scheduler.add_listener(self._failed, events.EVENT_JOB_ERROR)
        self._scheduler.add_listener(self._missed, events.EVENT_JOB_MISSED)
        self._scheduler.add_listener(self._skipped, events.EVENT_JOB_MAX_INSTANCES)
        self._watch = Thread(target=self._watch_clock, name="driftwarden-clock-watch", daemon=True)

    def add(self, name: str, seconds: float, function: Callable[[], object]) -> None:
        """Run ``function`` every ``seconds``, the first time one interval from now; a known name is replaced."""
        if not seconds > 0:
            message = f"`seconds` of the task {name} must be above zero, not {seconds}"
            raise ValueError(message)
        with self._lock:
            self._counts.setdefault(name, Counts())
            self._seconds[name] = seconds
            self._last.pop(name, None)
        self._scheduler.add_job(
            function,
            IntervalTrigger(seconds=seconds, timezone=UTC),
            id=name,
            name=name,
            replace_existing=True,
            misfire_grace_time=max(1, round(seconds)),
        )

    def start(self) -> None:
        """Begin; tasks may be added before and after."""
        self._scheduler.start()
        self._watch.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Start no more runs and wait for those going, at most ``timeout`` seconds; whether all came to an end."""
        self._stopping.set()
        if not self._scheduler.running:
            return True
        waiter = Thread(target=self._scheduler.shutdown, name="driftwarden-scheduler-stop", daemon=True)
        waiter.start()
        waiter.join(timeout)
        if waiter.is_alive():
            self._log.warning("A task did not end in time; the shutdown goes on without it.", timeout_seconds=timeout)
        return not waiter.is_alive()

    def counts(self) -> Mapping[str, Counts]:
        """What became of all runs so far, by task."""
        with self._lock:
            return dict(self._counts)

    def resync(self, now: datetime) -> None:
        """Pull up every next run that lies further ahead than its interval: the wall clock went back."""
        for job in self._scheduler.get_jobs():
            seconds = self._seconds.get(job.id, 0.0)
            if job.next_run_time is not None and job.next_run_time > now + timedelta(seconds=seconds + WATCH_SECONDS):
                self._log.warning("The clock went back; the task's next run was pulled up.", task=job.id)
                job.modify(next_run_time=now + timedelta(seconds=seconds))

    def _watch_clock(self) -> None:
        """Look at the wall clock until the end."""
        while not self._stopping.wait(WATCH_SECONDS):
            self.resync(datetime.now(UTC))

    def _due(self, event: events.JobSubmissionEvent) -> None:
        """A run's time has come: those merged into it since the one before are missed."""
        name, times = event.job_id, event.scheduled_run_times
        with self._lock:
            last = self._last.get(name, times[0])
            self._last[name] = times[-1]
            passed = (times[0] - last).total_seconds() / self._seconds.get(name, 1.0)
        merged = round(passed) - 1
        if merged > 0:
            self._count(name, missed=merged)
            self._log.warning("Clockwork runs were missed.", task=name, runs=merged)

    def _executed(self, event: events.JobExecutionEvent) -> None:
        """A run came to its end."""
        self._count(event.job_id, runs=1)

    def _failed(self, event: events.JobExecutionEvent) -> None:
        """A run raised: the task stays, the next run may be good."""
        self._count(event.job_id, runs=1, failures=1)
        self._log.error("A clockwork task failed.", task=event.job_id, error=repr(event.exception))

    def _missed(self, event: events.JobExecutionEvent) -> None:
        """A run's time had passed."""
        self._count(event.job_id, missed=1)
        self._log.warning("A clockwork run was missed.", task=event.job_id)

    def _skipped(self, event: events.JobSubmissionEvent) -> None:
        """The run before is still going."""
        self._count(event.job_id, skipped=1)
        self._log.warning("A clockwork run was skipped: the one before is still going.", task=event.job_id)

    def _count(self, name: str, *, runs: int = 0, failures: int = 0, missed: int = 0, skipped: int = 0) -> None:
        """Add to one task's counters."""
        with self._lock:
            old = self._counts.get(name, Counts())
            self._counts[name] = replace(
                old,
                runs=old.runs + runs,
                failures=old.failures + failures,
                missed=old.missed + missed,
                skipped=old.skipped + skipped,
            )
