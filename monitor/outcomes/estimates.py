"""Estimates of one model's performance, window by window, made by a thread of their own.

A pane's counts are made where its rows are folded; what takes longer (weighing inputs takes most of a second) is done
beside the engine, of the newest window of each version and for at most a twentieth of a core. Windows that come
meanwhile are passed over: an estimate is of a whole window, and the next one holds most of its rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from detectors.performance import estimate
from detectors.performance.answer import Estimate
from monitor import log
from monitor.config import Model
from monitor.engine import Pane
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.counting import Arrays, Counter
from monitor.outcomes.expectation import below
from monitor.outcomes.measured import Measured

REST: Final = 19.0
"""After an estimate the thread rests so many times longer than it took."""


class Told(NamedTuple):
    """A window's estimate, the window's span, and which metrics are below expectation."""

    estimate: Estimate
    start: float
    end: float
    below: dict[str, bool]


class _Asked(NamedTuple):
    """A window to be estimated: counts of its panes, its span, and panes for each false alarm that is allowed."""

    panes: tuple[Arrays | None, ...]
    start: float
    end: float
    length: float


class Estimates:
    """The newest estimate of each version; asked and read by the engine's thread."""

    def __init__(self, model: Model, counter: Counter, tau: float) -> None:
        """``tau`` is the autocorrelation time of the rows' answers."""
        self.counter = counter
        self.told: dict[str, Told] = {}
        self.failures = 0
        self._model, self._tau = model, tau
        self._asked: dict[str, _Asked] = {}
        self._changed = threading.Condition()
        self._busy = self._closed = self._hurry = False
        self._thread: threading.Thread | None = None
        self._log = log.get("estimates")

    def judged(self, stream: str, panes: Sequence[Pane], length: float) -> None:
        """Ask for the estimate of a version's window; segments have none."""
        if "/" in stream or not panes:
            return
        with self._changed:
            counts = tuple(pane.answers for pane in panes)
            self._asked[stream] = _Asked(counts, panes[0].start, panes[-1].end, length)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name=f"estimates {self._model.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @property
    def behind(self) -> dict[str, bool]:
        """Of each metric whether any version is below expectation that has answered in the newest window."""
        now = max((one.start for one in self.told.values()), default=0.0)
        some = [one.below for one in self.told.values() if one.end >= now]
        return {name: any(one.get(name, False) for one in some) for one in some for name in one}

    def wait(self, timeout: float) -> bool:
        """Wait, without any rest from now on, until nothing is left to be estimated; whether that came in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._asked and not self._busy, timeout)

    def close(self) -> None:
        """Let the thread end after what it is at."""
        with self._changed:
            self._closed = True
            self._asked.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while (one := self._next()) is not None:
            began = time.monotonic()
            try:
                self._estimate(*one)
            except Exception as fault:  # noqa: BLE001 - an estimate that fails must not end those to come
                self.failures += 1
                self._log.error("estimate failed", model=self._model.name, stream=one[0], error=repr(fault))
            self._rest(REST * (time.monotonic() - began))

    def _next(self) -> tuple[str, _Asked] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._asked))
            if self._closed:
                return None
            stream = next(iter(self._asked))
            self._busy = True
            return stream, self._asked.pop(stream)

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._hurry, seconds)

    def _estimate(self, stream: str, asked: _Asked) -> None:
        counted, inputs = self.counter.window(asked.panes)
        made = estimate.estimate(self.counter.fixed, counted, inputs, self._tau)
        told = Told(made, asked.start, asked.end, below(made, asked.length, self._model.labels.smallest_loss))
        self.told = {**self.told, stream: told}  # a new one: the engine's thread reads it meanwhile


def estimates_of(model: Model, fitted: Fitted, known: Measured | None, tau: float) -> Estimates | None:
    """What estimates a model, None where its reference has no labels or shows no answers."""
    return None if known is None else Estimates(model, Counter(known, Answers(fitted), model.window.panes), tau)
