"""How much a prober may ask, and when it must leave the endpoint alone. Pure: time is an argument, in seconds."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Final

DAY: Final = 86_400.0
FAILURES: Final = 3
"""Failures, or slow answers, one after another, that open the breaker."""
PAUSE: Final = 30.0
LONGEST: Final = 3_600.0
"""The first pause; each one after it without a success between is twice as long, up to the longest."""
_USUAL = 16
"""Answers whose median is the usual time of their kind."""
_KINDS = 8
_PATIENCE = 1.25
"""After a pause for slowness the endpoint may be so much slower than before: it may have become so for good."""


@dataclass(slots=True)
class Allowance:
    """A token bucket, a cap for the day and a share of the traffic seen, all in rows.

    ``burst`` is what may be saved up; nothing is at first, so that who is started again and again asks no more. The day
    is counted by the wall clock and never begins a second time when that is set back.
    """

    rate: float
    burst: int
    per_day: int
    share: float
    tokens: float = 0.0
    at: float = -math.inf
    day: int = 0
    today: int = 0
    seen: float = 0.0

    def observe(self, rows: int) -> None:
        """Traffic that the model had; at most what a burst costs is saved up of it."""
        self.seen = min(self.seen + self.share * rows, float(self.burst))

    def wait(self, cost: int, now: float, monotonic: float) -> float:
        """Seconds until ``cost`` rows may be sent, 0 for now; a minute where that depends on traffic."""
        self._refill(monotonic)
        day = int(now // DAY)
        if day > self.day:
            self.day, self.today = day, 0
        if self.today + cost > self.per_day:
            return max((self.day + 1) * DAY - now, 1.0)
        if self.seen < min(cost, self.burst):
            return 60.0
        return max((min(cost, self.burst) - self.tokens) / self.rate, 0.0)

    @property
    def spent(self) -> tuple[int, int]:
        """The day since the epoch, and the rows that were sent in it."""
        return self.day, self.today

    def resume(self, spent: tuple[int, int], now: float) -> None:
        """Go on with what was `spent` before; a day that has not come yet counts as this one."""
        day = int(now // DAY)
        self.day, self.today = max(self.day, min(spent[0], day)), self.today + (spent[1] if spent[0] >= day else 0)

    def spend(self, rows: int) -> None:
        """So many rows are being sent."""
        self.tokens -= rows
        self.seen -= rows
        self.today += rows

    def _refill(self, monotonic: float) -> None:
        passed = monotonic - self.at
        self.at = monotonic
        self.tokens = min(self.tokens + self.rate * passed, float(self.burst)) if math.isfinite(passed) else 0.0


@dataclass(slots=True)
class Breaker:
    """Leaves the endpoint alone after failures or slowness in a row; tries once after each pause.

    Slow is ``slow`` times the least median time that calls of that many rows have had.
    """

    slow: float
    until: float = -math.inf
    pauses: int = 0
    failures: int = 0
    usual: dict[int, float] = field(default_factory=dict)
    recent: dict[int, deque[float]] = field(default_factory=dict)

    def wait(self, now: float) -> float:
        """Seconds until a call may be tried, 0 for now."""
        return max(self.until - now, 0.0)

    @property
    def open(self) -> bool:
        """Whether the endpoint has been left alone and has not answered well since."""
        return self.pauses > 0

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """A call failed; the endpoint may have asked for a pause itself."""
        self.failures += 1
        if self.open or self.failures >= FAILURES or retry_after > 0:
            self._pause(now, retry_after)

    def answered(self, now: float, rows: int, seconds: float) -> None:
        """A call of ``rows`` rows was answered in ``seconds``."""
        if seconds > self.slow * self.usual.get(rows, math.inf):
            self.failures += 1
            if self.open or self.failures >= FAILURES:
                self.usual = {kind: usual * _PATIENCE for kind, usual in self.usual.items()}
                self._pause(now, 0.0)
            return
        self.failures = self.pauses = 0
        self._learn(rows, seconds)

    def _learn(self, rows: int, seconds: float) -> None:
        if rows not in self.recent and len(self.recent) >= _KINDS:
            return
        recent = self.recent.setdefault(rows, deque(maxlen=_USUAL))
        recent.append(seconds)
        if len(recent) == _USUAL:
            self.usual[rows] = min(self.usual.get(rows, math.inf), statistics.median(recent))

    def _pause(self, now: float, least: float) -> None:
        self.until = now + max(min(PAUSE * 2.0**self.pauses, LONGEST), min(least, LONGEST))
        self.pauses = min(self.pauses + 1, 16)
        self.failures = 0
