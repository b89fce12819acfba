from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from monitor import log
from monitor.clock import ManualClock


class Broken(io.StringIO):
    """A terminal that went away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)


def test_logfmt_says_time_level_and_message_first(out: io.StringIO) -> None:
    log.configure("logfmt", "info", stream=out)
    log.get("store").info("A checkpoint was written.", rows=5, note="two words")
    line = out.getvalue()
    assert line.startswith("time=2")
    assert 'level=info msg="A checkpoint was written." ' in line
    assert {'note="two', 'words"', "rows=5", "component=store"} <= set(line.split())
    assert line.endswith("\n")


def test_json_lines_are_objects_with_the_same_names(out: io.StringIO) -> None:
    log.configure("json", "info", stream=out)
    log.get("store").warning("Full.", bytes=5)
    line = json.loads(out.getvalue())
    assert {"level": "warning", "msg": "Full.", "component": "store", "bytes": 5}.items() <= line.items()
    assert line["time"].endswith("Z")


def test_lines_below_the_level_are_left_out(out: io.StringIO) -> None:
    log.configure("logfmt", "warning", stream=out)
    log.get("a").info("Quiet.")
    log.get("a").warning("Loud.")
    assert out.getvalue().count("\n") == 1


def test_an_event_is_one_line_whatever_is_in_it(out: io.StringIO) -> None:
    log.configure("logfmt", "info", stream=out)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log.get("a").exception('Two\nlines and a "quote".', **{"odd key": "x\ny"})
    text = out.getvalue()
    assert text.count("\n") == 1
    assert "ZeroDivisionError" in text
    assert "odd_key=" in text


def test_a_repeated_error_is_written_a_few_times_and_then_counted(out: io.StringIO, clock: ManualClock) -> None:
    log.configure("json", "info", stream=out, clock=clock)
    for number in range(100):
        log.get("http").error("Bad batch.", number=number)
    log.get("http").error("Another fault.")
    log.get("flight").error("Bad batch.")
    assert out.getvalue().count("Bad batch.") == log.REPEATS + 1
    assert out.getvalue().count("Another fault.") == 1
    clock.advance(log.PERIOD)
    log.get("http").error("Bad batch.")
    assert json.loads(out.getvalue().splitlines()[-1])["repeats_left_out"] == 100 - log.REPEATS


def test_information_is_never_limited(out: io.StringIO, clock: ManualClock) -> None:
    log.configure("logfmt", "info", stream=out, clock=clock)
    for _ in range(50):
        log.get("a").info("Same.")
    assert out.getvalue().count("\n") == 50


def test_the_memory_of_repeats_is_bounded(clock: ManualClock) -> None:
    limit = log.RepeatLimit(clock)
    for number in range(3 * log.REMEMBERED):
        limit(None, "error", {"event": str(number)})
    assert len(limit._seen) == log.REMEMBERED


def test_a_broken_standard_error_stays_its_own_problem() -> None:
    log.configure("logfmt", "info", stream=Broken())
    log.get("a").error("Nobody hears this.")
    closed = io.StringIO()
    closed.close()
    log.configure("logfmt", "info", stream=closed)
    log.get("a").error("Nor this.")


def test_libraries_come_out_in_the_same_form(out: io.StringIO) -> None:
    log.configure("json", "info", stream=out)
    logging.getLogger("apscheduler").warning("Run of %s missed", "job")
    logging.getLogger("apscheduler").info("chatter")
    logging.getLogger("odd").log(35, "%d", "not a number")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["component"], line["level"], line["msg"]) for line in lines] == [
        ("apscheduler", "warning", "Run of job missed"),
        ("odd", "warning", "%d"),
    ]


def test_a_second_set_up_replaces_the_first(out: io.StringIO) -> None:
    logger = log.get("a")
    log.configure("logfmt", "info", stream=io.StringIO())
    log.configure("json", "info", stream=out)
    logger.info("Here.")
    logging.getLogger("b").error("There.")
    assert [json.loads(line)["msg"] for line in out.getvalue().splitlines()] == ["Here.", "There."]
