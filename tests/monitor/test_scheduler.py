from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
import structlog
from apscheduler import events

from monitor import log
from monitor.clock import ManualClock
from monitor.scheduler import WORKERS, Counts, Scheduler

PATIENCE = 20.0
"""Seconds after which a test gives up waiting; it waits for events, so this is only spent on failure."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(io.StringIO()))
    yield
    structlog.reset_defaults()


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler()
    yield made
    made.stop()


def until(scheduler: Scheduler, reached: Callable[[Counts], bool], name: str = "task") -> Counts:
    tick = Event()
    for _ in range(int(PATIENCE / 0.01)):
        counts = scheduler.counts()[name]
        if reached(counts):
            return counts
        tick.wait(0.01)
    raise AssertionError(scheduler.counts())


def test_a_task_runs_again_and_again(scheduler: Scheduler) -> None:
    scheduler.add("task", 0.02, lambda: None)
    assert scheduler.counts() == {"task": Counts()}
    scheduler.start()
    counts = until(scheduler, lambda counts: counts.runs >= 3)
    assert counts.failures == 0


def test_a_failing_task_is_counted_and_goes_on(scheduler: Scheduler) -> None:
    def fail() -> None:
        raise RuntimeError("disk gone")

    scheduler.add("task", 0.02, fail)
    scheduler.start()
    until(scheduler, lambda counts: counts.failures >= 2 and counts.runs == counts.failures)


def test_a_slow_task_is_never_run_twice_at_a_time_and_its_skips_are_counted(scheduler: Scheduler) -> None:
    release, others = Event(), Event()
    running: list[int] = []

    def slow() -> None:
        running.append(1)
        assert len(running) == 1
        release.wait(PATIENCE)
        running.pop()

    scheduler.add("task", 0.02, slow)
    scheduler.add("other", 0.02, others.set)
    scheduler.start()
    until(scheduler, lambda counts: counts.skipped >= 2)
    assert others.wait(PATIENCE)
    release.set()
    counts = until(scheduler, lambda counts: counts.runs >= 1)
    assert counts.failures == 0


def test_runs_merged_after_a_sleep_of_the_machine_are_counted_as_missed(scheduler: Scheduler) -> None:
    scheduler.add("task", 10, lambda: None)
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    def due(after: float) -> None:
        times = [begin + timedelta(seconds=after)]
        scheduler._due(events.JobSubmissionEvent(events.EVENT_JOB_SUBMITTED, "task", "default", times))

    for after, missed in ((0, 0), (10, 0), (20.01, 0), (3620, 359), (3630, 359), (20, 359), (30, 359)):
        due(after)
        assert scheduler.counts()["task"].missed == missed


def test_a_run_that_waited_too_long_for_a_thread_is_counted_as_missed(scheduler: Scheduler) -> None:
    release = Event()
    for number in range(WORKERS):
        scheduler.add(f"slow{number}", 0.01, lambda: release.wait(PATIENCE))
    scheduler.start()
    for number in range(WORKERS):
        until(scheduler, lambda counts: counts.skipped >= 1, f"slow{number}")
    scheduler.add("task", 0.01, lambda: None)
    Event().wait(1.2)  # the shortest grace that APScheduler knows is a whole second
    release.set()
    until(scheduler, lambda counts: counts.missed >= 1)


def test_a_clock_that_jumps_back_does_not_put_a_task_to_sleep(scheduler: Scheduler) -> None:
    done = Event()
    scheduler.add("task", 0.05, done.set)
    scheduler.start()
    ahead = datetime.now(UTC) + timedelta(hours=5)
    scheduler._scheduler.modify_job("task", next_run_time=ahead)
    done.clear()
    scheduler.resync(datetime.now(UTC))
    assert done.wait(PATIENCE)


def test_resync_leaves_a_task_in_order_alone(scheduler: Scheduler) -> None:
    scheduler.add("task", 3600, lambda: None)
    scheduler.start()
    before = scheduler._scheduler.get_job("task").next_run_time
    scheduler.resync(datetime.now(UTC))
    assert scheduler._scheduler.get_job("task").next_run_time == before


def test_a_name_given_again_replaces_the_task_and_keeps_its_counts(scheduler: Scheduler) -> None:
    scheduler.add("task", 0.02, lambda: None)
    scheduler.start()
    before = until(scheduler, lambda counts: counts.runs >= 1)
    replaced = Event()
    scheduler.add("task", 0.03, replaced.set)
    assert replaced.wait(PATIENCE)
    assert scheduler.counts()["task"].runs >= before.runs


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_an_interval_must_be_above_zero(scheduler: Scheduler, seconds: float) -> None:
    with pytest.raises(ValueError, match="`seconds` of the task late"):
        scheduler.add("late", seconds, lambda: None)


def test_stopping_waits_for_the_run_that_is_going() -> None:
    scheduler, started, ended = Scheduler(), Event(), Event()

    def work() -> None:
        started.set()
        Event().wait(0.05)
        ended.set()

    scheduler.add("task", 0.02, work)
    scheduler.start()
    assert started.wait(PATIENCE)
    assert scheduler.stop(PATIENCE)
    assert ended.is_set()


def test_stopping_does_not_wait_for_ever() -> None:
    scheduler, started, release = Scheduler(), Event(), Event()

    def stuck() -> None:
        started.set()
        release.wait(PATIENCE)

    scheduler.add("task", 0.02, stuck)
    scheduler.start()
    assert started.wait(PATIENCE)
    assert not scheduler.stop(0.05)
    release.set()


def test_a_scheduler_that_never_started_stops_at_once() -> None:
    assert Scheduler().stop()


def test_the_logger_of_the_clockwork_follows_the_set_up() -> None:
    out = io.StringIO()
    scheduler = Scheduler()
    log.configure("logfmt", "info", stream=out, clock=ManualClock())
    scheduler._log.info("Here.")
    assert "component=scheduler" in out.getvalue()


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(100.0)
    clock.advance(5.0)
    clock.jump(50.0)
    assert (clock.now(), clock.monotonic()) == (50.0, 5.0)
    with pytest.raises(ValueError, match="jump"):
        clock.advance(-1.0)
