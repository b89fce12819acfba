"""Time as an argument: whoever needs the time of day or a stopwatch is given a clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two times: ``now`` may jump when the machine's clock is set, ``monotonic`` never goes back."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment, for measuring how long a thing took."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told: for tests and for the replay of stored logs."""

    def __init__(self, now: float = 0.0) -> None:
        """Begin at ``now`` seconds since the epoch."""
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced since the clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both."""
        if seconds < 0:
            raise ValueError("`seconds` must not be negative; use `jump` to set the time of day back")
        self._now += seconds
        self._monotonic += seconds

    def jump(self, now: float) -> None:
        """Set the time of day, as an operator or NTP may, without any time passing."""
        self._now = now
