"""The agent's own log: structlog on standard error, one event a line, logfmt or JSON.

Sentences with key=value, never a feature value. An error that repeats is written a few times a minute and then counted,
so that a broken sender cannot fill a disk; nothing that happens to standard error reaches the caller.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import OrderedDict, deque
from threading import Lock
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from monitor.clock import Clock, SystemClock

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
REPEATS = 5
"""Lines of one warning or error that are written per `PERIOD`."""
PERIOD = 60.0
"""Seconds after which a repeated line may be written again, with the number of those left out."""
TAIL = 500
"""Newest lines that stay in memory, for the support bundle."""
REMEMBERED = 512
"""Different lines that are counted at a time; the one seen longest ago is forgotten first."""


def configure(
    form: Literal["logfmt", "json"] = "logfmt",
    level: Literal["debug", "info", "warning", "error"] = "info",
    *,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Set up logging for the process; a second call replaces the first."""
    out = cast("TextIO", _Quiet(sys.stderr if stream is None else stream))
    limit = RepeatLimit(SystemClock() if clock is None else clock)
    shape: list[Processor] = [
        structlog.processors.add_log_level,
        limit,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _remember,
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        structlog.processors.EventRenamer("msg"),
    ]
    if form == "json":
        shape.append(structlog.processors.JSONRenderer(sort_keys=False))
    else:
        order = ["time", "level", "msg"]
        shape += [_plain_keys, structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True)]
    structlog.configure(
        processors=shape,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(max(LEVELS[level], logging.WARNING))


_NEWEST: deque[dict[str, Any]] = deque(maxlen=TAIL)


def tail() -> list[dict[str, Any]]:
    """The newest lines, the oldest first, as they were before they were written: with whatever was logged."""
    return list(_NEWEST.copy())


def _remember(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    _NEWEST.append(dict(event))
    return event


def get(component: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines say which part speaks."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return logger


class RepeatLimit:
    """A processor that lets `REPEATS` equal warnings or errors through per `PERIOD` and then counts them."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing seen."""
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Pass the event on, with the number left out before it, or drop it."""
        if method in {"debug", "info"}:
            return event
        key = (str(event.get("component", "")), str(event.get("event", "")))
        now = self._clock.monotonic()
        with self._lock:
            start, count = self._seen.pop(key, (now, 0))
            left_out = 0
            if now - start >= PERIOD:
                left_out = max(count - REPEATS, 0)
                start, count = now, 0
            self._seen[key] = (start, count + 1)
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        if count >= REPEATS:
            raise structlog.DropEvent
        if left_out:
            event["repeats_left_out"] = left_out
        return event


class _Quiet:
    """A stream whose failures (a closed terminal, a full disk) stay its own: a log line is never worth a crash."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose the line."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        """Flush, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _Bridge(logging.Handler):
    """What libraries log through the standard library comes out in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on."""
        level = max((known for known in LEVELS.values() if known <= record.levelno), default=logging.DEBUG)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a library's own mistake in its arguments
            text = str(record.msg)
        get(record.name).log(level, text)


def _plain_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Logfmt has no quoting for keys: blanks in them become underscores."""
    return {"_".join(str(key).split()): value for key, value in event.items()}
